"""Several panoramas as one COLMAP project: a rig of six cameras, and a frame of it for each panorama.

::

    images/front/<id>.jpg …           the source pictures, one folder per camera
    depth/front/<id>.exr …            distance along the camera's axis (z), metres
    masks/front/<id>.jpg.png …        where some pixels are not valid: white where they are, as COLMAP reads masks
    points/<id>.ply                   some of the panorama's points, in its own axes
    sparse/0/cameras.txt …            cameras, rig, frames with their poses, and all points, each seen by one camera

The files of a panorama are made one by one; ``sparse`` is written last, from those that were made.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray import geometry
from pager_ray.errors import StorageError
from pager_ray.export.axes import FRAMES, rotation
from pager_ray.export.faces import camera_lines, face_pictures, face_z_depth, pose_text, rig_lines, text_file
from pager_ray.export.images import encode_depth_exr, encode_jpeg
from pager_ray.export.libraries import load
from pager_ray.export.pointfiles import encode_ply
from pager_ray.export.points import Cleaning, point_cloud
from pager_ray.export.shown import face_masks, shown_map
from pager_ray.storage import safe_name

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from pager_ray.export.poses import Pose
    from pager_ray.prediction import Prediction
    from pager_ray.storage import Folder

MOST_POINTS: Final = 4096
"""Of one panorama: the project's are read into memory together."""

POINTS_FOLDER: Final = "points"
MODEL_FOLDER: Final = "sparse/0"


def export_panorama(
    prediction: Prediction,
    picture: UInt8[np.ndarray, "h w 3"],
    cleaning: Cleaning,
    size: int,
    unit: str = "metre",
    axes: str = "z-up",
) -> dict[str, bytes]:
    """Files of one panorama by name below the project.

    Raises:
        InputError: ``no_points``: nothing is left of its points; ``no_map``: it lacks depth.
    """
    name = safe_name(prediction.id)
    count = min(cleaning.max_points or MOST_POINTS, MOST_POINTS)
    cloud = point_cloud(prediction, picture, replace(cleaning, max_points=count))
    files = {f"{POINTS_FOLDER}/{name}.ply": encode_ply(cloud.turned(axes), unit)}
    depths = face_z_depth(shown_map(prediction, "depth"), size)
    for (face, shown), depth in zip(face_pictures(picture, size).items(), depths, strict=True):
        files[f"images/{face}/{name}.jpg"] = encode_jpeg(shown)
        files[f"depth/{face}/{name}.exr"] = encode_depth_exr(depth, unit, ray_type="z")
    return files | {f"masks/{face}/{name}.jpg.png": mask for face, mask in face_masks(prediction, size).items()}


def model_files(output: Folder, poses: Mapping[str, Pose], size: int, axes: str = "z-up") -> dict[str, bytes]:
    """COLMAP's text model of all panoramas of a project.

    Args:
        output: the project, with the panoramas' points.
        poses: by id.
        size: S, pixels per side of a face.
        axes: of the world.

    Raises:
        StorageError: points cannot be read.
    """
    into = rotation(axes).T
    rotations = [face_axes @ into for face_axes in geometry.FACE_AXES]
    title = f"# {len(poses)} panoramas; world: {FRAMES[axes]}; metres"
    frames: list[str] = []
    images: list[str] = []
    points: list[str] = []
    cameras = len(rotations)
    for frame, (id, pose) in enumerate(sorted(poses.items()), start=1):
        first = (frame - 1) * cameras + 1
        members = "".join(f" CAMERA {n + 1} {first + n}" for n in range(cameras))
        frames.append(f"{frame} 1 {_seen_from(pose, rotations[0])} {cameras}{members}")
        xyz, colors = _read_points(output, f"{safe_name(id)}.ply")
        camera, pixels = _observed(xyz @ into.T, size)
        world = xyz @ pose.turned.T + pose.place
        start = len(points)
        for n, turned in enumerate(rotations):
            seen = np.flatnonzero(camera == n)
            text = " ".join(f"{x:.6f} {y:.6f} {start + k + 1}" for k, (x, y) in zip(seen, pixels[seen], strict=True))
            name = f"{geometry.FACE_NAMES[n]}/{safe_name(id)}.jpg"
            images.append(f"{first + n} {_seen_from(pose, turned)} {n + 1} {name}\n{text}")
        # Where in the list of its image a point stands.
        place = np.zeros(len(camera), np.int64)
        for n in range(cameras):
            place[camera == n] = np.arange(np.count_nonzero(camera == n))
        points += [
            f"{start + k + 1} {x:.9g} {y:.9g} {z:.9g} {r} {g} {b} 0 {first + n} {at}"
            for k, ((x, y, z), (r, g, b), n, at) in enumerate(
                zip(world.tolist(), colors.tolist(), camera.tolist(), place.tolist(), strict=True)
            )
        ]
    texts = {
        "cameras.txt": text_file(title, *camera_lines(size)),
        "rigs.txt": text_file(title, rig_lines()),
        "frames.txt": text_file(title, *frames),
        "images.txt": text_file(title, *images),
        "points3D.txt": text_file(title, *points),
    }
    return {f"{MODEL_FOLDER}/{name}": text.encode() for name, text in texts.items()}


def _seen_from(pose: Pose, camera: Float[np.ndarray, "3 3"]) -> str:
    """From the world to a camera of the rig at a pose."""
    turned = camera @ pose.turned.T
    return pose_text(turned, -turned @ pose.place)


def _observed(xyz: Float[np.ndarray, "n 3"], size: int) -> tuple[np.ndarray, Float[np.ndarray, "n 2"]]:
    """The camera that sees each point, and where in its picture; points in the package's own axes, from its place."""
    seen = np.einsum("fij,nj->nfi", geometry.FACE_AXES, xyz)
    camera = np.argmax(seen[..., 2], axis=1)
    right, down, forward = seen[np.arange(len(xyz)), camera].T
    focal, centre = (size - 1) / 2, size / 2
    return camera, np.stack([right / forward * focal + centre, down / forward * focal + centre], axis=1)


def _read_points(output: Folder, name: str) -> tuple[Float[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
    folder = output / POINTS_FOLDER
    plyfile = load("plyfile")
    try:
        vertices = plyfile.PlyData.read(io.BytesIO(folder.read(name)))["vertex"]
        xyz = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
        colors = np.stack([vertices[channel] for channel in ("red", "green", "blue")], axis=1).astype(np.uint8)
    except (plyfile.PlyParseError, KeyError, ValueError) as error:
        raise StorageError(
            f"{folder.uri(name)}: holds no points of an export ({error}); remove it, then run the same command again"
        ) from error
    return xyz, colors
