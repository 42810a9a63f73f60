"""A panorama as a Rerun recording: its points, its maps and six cameras that look at them.

::

    world                     the axes
    world/points              the cleaned cloud
    world/front …             a camera per face, with the picture it sees
    panorama/picture, depth, normals, sky
    about                     id, unit and frame, as text
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray import geometry
from pager_ray.export.axes import FRAMES, turn
from pager_ray.export.faces import face_pictures
from pager_ray.export.images import encode_jpeg
from pager_ray.export.libraries import load
from pager_ray.export.points import Cleaning, point_cloud
from pager_ray.export.shown import shown_map
from pager_ray.plain import comment_text
from pager_ray.preview import colorize_normals

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from pager_ray.prediction import Prediction

APPLICATION: Final = "pager_ray"

# Where x, y and z point: forward, left, up, right, down.
_COORDINATES: Final = {"y-up": "FUR", "z-up": "FLU", "y-down": "RDF"}


def encode_recording(
    prediction: Prediction,
    picture: UInt8[np.ndarray, "h w 3"],
    cleaning: Cleaning,
    size: int,
    unit: str = "metre",
    axes: str = "y-up",
) -> bytes:
    """The ``.rrd`` file; everything in it holds for all times.

    Args:
        prediction: with depth; normals and sky where it has them.
        picture: (H, W, 3) RGB at the size of the maps.
        cleaning: of the points.
        size: S, pixels per side of what a camera sees.
        unit: of depth and points.
        axes: of the world.

    Raises:
        ConfigError: the library is not installed.
        InputError: ``no_points``: nothing is left of the cloud; ``no_map``: there is no depth.
    """
    rerun = load("rerun", "rerun")
    cloud = point_cloud(prediction, picture, cleaning).turned(axes)
    recording = rerun.RecordingStream(APPLICATION, recording_id=prediction.id or APPLICATION)
    stream = recording.binary_stream()

    def log(path: str, *what: object) -> None:
        recording.log(path, *what, static=True)

    recording.send_recording_name(prediction.id or APPLICATION)
    log("about", rerun.TextDocument(comment_text(f"{prediction.id}; unit: {unit}; frame: {FRAMES[axes]}")))
    log("world", getattr(rerun.ViewCoordinates, _COORDINATES[axes]))
    log("world/points", rerun.Points3D(cloud.xyz, colors=cloud.colors))
    focal, centre = (size - 1) / 2, size / 2
    for face_axes, (name, face) in zip(geometry.FACE_AXES, face_pictures(picture, size).items(), strict=True):
        camera = rerun.Pinhole(
            focal_length=focal,
            principal_point=(centre, centre),
            resolution=(size, size),
            camera_xyz=rerun.ViewCoordinates.RDF,
        )
        # Its columns are the camera's right, down and forward direction in the world.
        log(f"world/{name}", rerun.Transform3D(mat3x3=turn(face_axes, axes).T), camera)
        log(f"world/{name}", rerun.EncodedImage(contents=encode_jpeg(face), media_type="image/jpeg"))
    log("panorama/picture", rerun.EncodedImage(contents=encode_jpeg(picture), media_type="image/jpeg"))
    log("panorama/depth", rerun.DepthImage(np.ascontiguousarray(shown_map(prediction, "depth"), np.float32), meter=1.0))
    if prediction.normals is not None:
        shown = encode_jpeg(colorize_normals(shown_map(prediction, "normals")))
        log("panorama/normals", rerun.EncodedImage(contents=shown, media_type="image/jpeg"))
    if prediction.sky is not None:
        sky = shown_map(prediction, "sky")
        log("panorama/sky", rerun.Image(np.rint(np.clip(sky, 0, 1) * 255).astype(np.uint8), "L"))
    content = stream.read(flush=True)
    recording.disconnect()
    return content or b""
