"""The six faces of a panorama as a nerfstudio data set.

::

    <id>/transforms.json              six pinhole cameras; camera to world in OpenGL's axes: x right, y up, z back
    <id>/images/front.jpg …           the source picture, seen by each camera
    <id>/depth/front.png …            distance along the camera's axis (z), 16 bits, millimetres, 0 is none
    <id>/masks/front.png …            where some pixels are not valid: white where they are
    <id>/points.ply                   the cleaned cloud, to start from
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray import geometry
from pager_ray.export.axes import turn
from pager_ray.export.faces import face_pictures, face_z_depth
from pager_ray.export.images import encode_jpeg
from pager_ray.export.libraries import load
from pager_ray.export.pointfiles import encode_ply
from pager_ray.export.points import Cleaning, point_cloud, surface_kept
from pager_ray.export.shown import face_masks

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, UInt8

    from pager_ray.prediction import Prediction

FARTHEST: Final = 65.535
"""Metres that 16 bits of millimetres reach, nerfstudio's own unit; what is farther is no depth."""
MOST_POINTS: Final = 100_000
"""Of the cloud: training starts from a Gaussian at each."""


def export_nerfstudio(
    prediction: Prediction,
    picture: UInt8[np.ndarray, "h w 3"],
    cleaning: Cleaning,
    size: int,
    unit: str = "metre",
    axes: str = "z-up",
) -> dict[str, bytes]:
    """Files of one panorama by name below its folder.

    Args:
        prediction: with depth.
        picture: (H, W, 3) RGB at the size of the maps.
        cleaning: of the cloud; depth leaves out what is no surface.
        size: S, pixels per side of a face.
        unit: of the cloud.
        axes: of the world that the cameras stand in.

    Raises:
        InputError: ``no_points``: nothing is left of the cloud; ``no_map``: there is no depth.
    """
    depth, keep = surface_kept(prediction, cleaning)
    faces = dict(zip(geometry.FACE_NAMES, face_z_depth(np.where(keep, depth, np.float32(0)), size), strict=True))
    count = min(cleaning.max_points or MOST_POINTS, MOST_POINTS)
    cloud = point_cloud(prediction, picture, replace(cleaning, max_points=count)).turned(axes)
    masks = face_masks(prediction, size)
    about = transforms(size, axes, has_masks=bool(masks))
    files = {"transforms.json": (json.dumps(about, indent=2) + "\n").encode()}
    files |= {f"masks/{name}.png": mask for name, mask in masks.items()}
    for name, face in face_pictures(picture, size).items():
        files[f"images/{name}.jpg"] = encode_jpeg(face)
        files[f"depth/{name}.png"] = _millimetres(faces[name])
    return files | {"points.ply": encode_ply(cloud, unit)}


def transforms(size: int, axes: str, *, has_masks: bool = False) -> dict[str, Any]:
    """What ``transforms.json`` says."""
    return {
        "camera_model": "OPENCV",
        **{"w": size, "h": size, "fl_x": (size - 1) / 2, "fl_y": (size - 1) / 2, "cx": size / 2, "cy": size / 2},
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "ply_file_path": "points.ply",
        "frames": [
            {
                "file_path": f"images/{name}.jpg",
                "depth_file_path": f"depth/{name}.png",
                **({"mask_path": f"masks/{name}.png"} if has_masks else {}),
                "transform_matrix": camera_to_world(face_axes, axes).tolist(),
            }
            for name, face_axes in zip(geometry.FACE_NAMES, geometry.FACE_AXES, strict=True)
        ],
    }


def camera_to_world(face_axes: Float64[np.ndarray, "3 3"], axes: str) -> Float64[np.ndarray, "4 4"]:
    """The pose of a face's camera, in OpenGL's axes: its right, up and backward direction are columns."""
    right, down, forward = turn(face_axes, axes)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, 0 - down, 0 - forward], axis=1)
    return pose


def _millimetres(depth: Float[np.ndarray, "s s"]) -> bytes:
    cv2 = load("cv2")
    is_depth = np.isfinite(depth) & (depth > 0) & (depth <= FARTHEST)
    values = np.where(is_depth, np.maximum(np.rint(np.where(is_depth, depth, 0) * 1000), 1), 0).astype(np.uint16)
    return cv2.imencode(".png", values)[1].tobytes()
