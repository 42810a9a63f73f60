"""The six faces of a panorama with their cameras, as a rig that COLMAP's tools open.

::

    <id>/images/front.jpg …           the source picture, seen by each camera
    <id>/depth/front.exr …            distance along the camera's axis (z), metres
    <id>/masks/front.jpg.png …        where some pixels are not valid: white where they are
    <id>/sparse/0/cameras.txt …       pinhole cameras, one rig, one frame; world: x forward, y up, z right by default

The cameras are those of :func:`pager_ray.geometry.erp_to_cubemap` exactly: its pixels reach the edges of a face with
their centres, so the focal length is (S − 1) / 2 for a field of view of 90°, not S / 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray import geometry
from pager_ray.export.axes import FRAMES, rotation
from pager_ray.export.cleaning import edge_keep
from pager_ray.export.images import encode_depth_exr, encode_jpeg
from pager_ray.plain import comment_text

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

FOV: Final = 90.0


def export_faces(
    id: str,
    picture: UInt8[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"] | None,
    size: int,
    unit: str = "metre",
    axes: str = "y-up",
) -> dict[str, bytes]:
    """Files of one panorama's faces by name below its folder.

    Args:
        id: the panorama's; becomes part of the comment of the rig.
        picture: (H, W, 3) RGB.
        depth: (H, W) metres along the ray; None writes no depth.
        size: S, pixels per side of a face.
        unit: of depth.
        axes: of the world that the cameras stand in; a name of :data:`pager_ray.export.axes.FRAMES`.
    """
    files = {f"images/{name}.jpg": encode_jpeg(face) for name, face in face_pictures(picture, size).items()}
    if depth is not None:
        for name, face in zip(geometry.FACE_NAMES, face_z_depth(depth, size), strict=True):
            files[f"depth/{name}.exr"] = encode_depth_exr(face, unit, ray_type="z")
    files |= {f"sparse/0/{name}": text.encode() for name, text in rig_files(id, size, axes).items()}
    return files


def face_pictures(picture: UInt8[np.ndarray, "h w 3"], size: int) -> dict[str, UInt8[np.ndarray, "s s 3"]]:
    """What each camera sees, by the name of its face."""
    return dict(zip(geometry.FACE_NAMES, geometry.erp_to_cubemap(picture, size, FOV), strict=True))


def face_z_depth(depth: Float[np.ndarray, "h w"], size: int) -> Float[np.ndarray, "6 s s"]:
    """Depth along each camera's axis: bilinear on surfaces; at edges, the nearest pixel, so that none lies between."""
    smooth = geometry.erp_to_cubemap(np.ascontiguousarray(depth, np.float32)[..., None], size, FOV)[..., 0]
    at_edge = geometry.erp_to_cubemap((~edge_keep(depth)).astype(np.float32)[..., None], size, FOV)[..., 0] > 0
    plane = np.linspace(-1, 1, size)
    length = np.sqrt(plane[None, :] ** 2 + plane[:, None] ** 2 + 1).astype(np.float32)
    height, width = depth.shape
    for face, (right, down, forward) in enumerate(geometry.FACE_AXES):
        row, column = np.nonzero(at_edge[face])
        ray = forward + plane[column, None] * right + plane[row, None] * down
        across = np.floor((np.arctan2(ray[:, 2], ray[:, 0]) / (2 * np.pi) + 0.5) * width).astype(int)
        below = np.floor((0.5 - np.arctan2(ray[:, 1], np.hypot(ray[:, 0], ray[:, 2])) / np.pi) * height).astype(int)
        smooth[face, row, column] = depth[np.clip(below, 0, height - 1), across % width]
    return smooth / length


def rig_files(id: str, size: int, axes: str = "y-up") -> dict[str, str]:
    """COLMAP's text model of one frame: its cameras, the rig that holds them, and no points."""
    numbers = range(1, len(geometry.FACE_NAMES) + 1)
    rotations = [face_axes @ rotation(axes).T for face_axes in geometry.FACE_AXES]
    title = comment_text(f"# panorama {id}; world: {FRAMES[axes]}; metres")
    members = "".join(f" CAMERA {n} {n}" for n in numbers)
    return {
        "cameras.txt": text_file(title, *camera_lines(size)),
        "rigs.txt": text_file(title, rig_lines()),
        "frames.txt": text_file(title, f"1 1 {pose_text(rotations[0])} {len(numbers)}{members}"),
        # A second line per image holds its observed points: none.
        "images.txt": text_file(
            title,
            *(
                f"{n} {pose_text(turned)} {n} {name}.jpg\n"
                for n, turned, name in zip(numbers, rotations, geometry.FACE_NAMES, strict=True)
            ),
        ),
        "points3D.txt": text_file(title),
    }


def camera_lines(size: int) -> list[str]:
    """The pinhole camera of each face, numbered from 1."""
    focal, centre = (size - 1) / 2, size / 2
    numbers = range(1, len(geometry.FACE_NAMES) + 1)
    return [f"{n} PINHOLE {size} {size} {focal!r} {focal!r} {centre!r} {centre!r}" for n in numbers]


def rig_lines() -> str:
    """The rig of all faces, number 1: the front camera is its own place and direction."""
    front = geometry.FACE_AXES[0]
    turns = [pose_text(face_axes @ front.T) for face_axes in geometry.FACE_AXES[1:]]
    sensors = "".join(f" CAMERA {number} 1 {turned}" for number, turned in enumerate(turns, start=2))
    return f"1 {len(geometry.FACE_NAMES)} CAMERA 1{sensors}"


def text_file(*lines: str) -> str:
    """Lines, each of which ends."""
    return "\n".join(lines) + "\n"


def pose_text(turned: Float[np.ndarray, "3 3"], moved: Float[np.ndarray, "3"] | None = None) -> str:
    """A rotation as quaternion, w first, and a translation; none where cameras share a centre."""
    moved = np.zeros(3) if moved is None else moved
    return " ".join(f"{value:.17g}" for value in (*quaternion(turned), *moved))


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation matrix, w not negative."""
    # Of the four ways to divide, the one by the largest component is exact for half turns too.
    r = rotation
    squares = np.array(
        [
            1 + r[0, 0] + r[1, 1] + r[2, 2],
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    products = np.array(
        [
            [squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], squares[1], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], squares[2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[3]],
        ]
    )
    q = products[int(np.argmax(squares))]
    q = q / np.linalg.norm(q)
    return -q if q[0] < 0 else q
