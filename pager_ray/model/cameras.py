"""The six cameras of a cubemap: extrinsics, intrinsics and their pose encoding.

Faces are in order F, R, B, L, U, D. World and cameras have x right, y down, z forward. Everything here is computed once
per checkpoint, on the CPU in float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64
    from numpy import ndarray

YAW_PITCH_DEGREES = ((0, 0), (-90, 0), (180, 0), (90, 0), (0, -90), (0, 90))


def focal_length(size: int, fov_degrees: float) -> float:
    """Focal length in pixels of a square face: S / (2·tan(fov / 2))."""
    return size / (2.0 * math.tan(math.radians(fov_degrees) / 2.0))


def intrinsics(size: int, fov_degrees: float) -> Float64[ndarray, "6 3 3"]:
    """Pinhole matrices of the six faces: equal focal lengths, principal point in the middle of the face (S / 2)."""
    focal = focal_length(size, fov_degrees)
    matrix = np.array([[focal, 0.0, size / 2.0], [0.0, focal, size / 2.0], [0.0, 0.0, 1.0]])
    return np.broadcast_to(matrix, (6, 3, 3)).copy()


def extrinsics() -> Float64[ndarray, "6 4 4"]:
    """World-to-camera matrices Rx(pitch)·Ry(yaw) of the six faces, without translation."""
    return np.stack([_rotation(yaw, pitch) for yaw, pitch in YAW_PITCH_DEGREES])


def normalise_extrinsics(world_to_camera: Float64[ndarray, "n 4 4"]) -> Float64[ndarray, "n 4 4"]:
    """Express world-to-camera matrices relative to the first camera: E·E₀⁻¹."""
    return world_to_camera @ np.linalg.inv(world_to_camera[0])


def pose_encoding(
    world_to_camera: Float64[ndarray, "n 4 4"], camera: Float64[ndarray, "n 3 3"], size: int
) -> Float64[ndarray, "n 9"]:
    """Nine numbers per camera: its position, its orientation and its field of view.

    Args:
        world_to_camera: extrinsics, already relative to the first camera.
        camera: intrinsics in pixels.
        size: side of the square image in pixels.

    Returns:
        Camera-to-world translation (3), quaternion xyzw with w ≥ 0 (4), vertical and horizontal field of view in
        radians (2), each 2·atan((S / 2) / f).
    """
    camera_to_world = np.linalg.inv(world_to_camera)
    fov_h = 2.0 * np.arctan(size / 2.0 / camera[:, 1, 1])
    fov_w = 2.0 * np.arctan(size / 2.0 / camera[:, 0, 0])
    quaternions = np.stack([_quaternion(matrix[:3, :3]) for matrix in camera_to_world])
    return np.concatenate([camera_to_world[:, :3, 3], quaternions, fov_h[:, None], fov_w[:, None]], axis=1)


def _rotation(yaw: int, pitch: int) -> Float64[ndarray, "4 4"]:
    # Exact quarter turns: the rounding error of sin(180°) would decide the sign of the back face's quaternion.
    cy, sy, cx, sx = (float(round(f(math.radians(angle)))) for angle in (yaw, pitch) for f in (math.cos, math.sin))
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_y
    return matrix


def _quaternion(rotation: Float64[ndarray, "3 3"]) -> Float64[ndarray, "4"]:
    """Unit quaternion xyzw with w ≥ 0, from the outer product of the quaternion with itself (Shepperd's method)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    outer = np.array(
        [
            [1.0 + a - e - i, b + d, c + g, h - f],
            [b + d, 1.0 - a + e - i, f + h, c - g],
            [c + g, f + h, 1.0 - a - e + i, d - b],
            [h - f, c - g, d - b, 1.0 + a + e + i],
        ]
    )
    column = outer[int(np.argmax(np.diagonal(outer)))]
    quaternion = column / np.linalg.norm(column)
    return -quaternion if quaternion[3] < 0.0 else quaternion
