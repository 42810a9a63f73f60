"""A recording is read back by Rerun's own reader: points on the scene, cameras along the faces, maps as they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from rerun.chunk import RrdReader

from pager_ray import geometry
from pager_ray.export.axes import rotation, turn
from pager_ray.export.formats import ExportSettings, export_files
from pager_ray.export.points import Cleaning, point_cloud
from pager_ray.prediction import Prediction
from pager_ray.validity import Validity
from tests.export.scenes import predicted, rendered
from tests.export.test_points import misses

SIZE = 32


def read(prediction: Prediction, picture: np.ndarray | None, folder: Path, **more: Any) -> dict[tuple[str, str], Any]:
    """What a recording holds, by entity and component."""
    settings = ExportSettings("rerun", face_size=SIZE, cleaning=Cleaning(max_points=2000), **more)
    ((name, content),) = export_files(prediction, picture, settings).items()
    assert name == "a.rrd"
    (folder / name).write_bytes(content)
    found: dict[tuple[str, str], Any] = {}
    for chunk in RrdReader(str(folder / name)).stream():
        assert chunk.is_static
        batch = chunk.to_record_batch()
        for field in batch.schema:
            found[chunk.entity_path, field.name] = batch.column(field.name)[-1].as_py()
    return found


@pytest.mark.parametrize("axes", [None, "z-up", "y-down"])
def test_points_and_cameras(tmp_path: Path, axes: str | None) -> None:
    """Points lie on the rendered scene in the picture's colours; each camera looks along its face and shows it."""
    scene, truth = rendered()
    prediction, own = predicted(truth), axes or "y-up"
    found = read(prediction, truth.rgb, tmp_path, axes=axes)
    cloud = point_cloud(prediction, truth.rgb, Cleaning(max_points=2000))
    xyz = np.asarray(found["/world/points", "Points3D:positions"], np.float32)
    np.testing.assert_array_equal(xyz, turn(cloud.xyz, own))
    assert np.quantile(misses(scene, xyz.astype(np.float64) @ rotation(own)), 0.99) < 1e-6
    packed = np.asarray(found["/world/points", "Points3D:colors"], np.uint32)
    np.testing.assert_array_equal(np.stack([packed >> 24, (packed >> 16) & 255, (packed >> 8) & 255], 1), cloud.colors)
    for name, face_axes, face in zip(
        geometry.FACE_NAMES, geometry.FACE_AXES, geometry.erp_to_cubemap(truth.rgb, SIZE), strict=True
    ):
        # Rerun keeps matrices column by column.
        (pose,) = found[f"/world/{name}", "Transform3D:mat3x3"]
        np.testing.assert_array_equal(np.reshape(pose, (3, 3)), turn(face_axes, own))
        (matrix,) = found[f"/world/{name}", "Pinhole:image_from_camera"]
        expected = [[(SIZE - 1) / 2, 0, SIZE / 2], [0, (SIZE - 1) / 2, SIZE / 2], [0, 0, 1]]
        np.testing.assert_allclose(np.reshape(matrix, (3, 3)).T, expected)
        assert np.abs(image(found[f"/world/{name}", "EncodedImage:blob"]).astype(int) - face).mean() < 3
    # Right, left, up, … as Rerun numbers directions: up is 1, down 2, right 3, left 4, forward 5, back 6.
    (directions,) = found["/world", "ViewCoordinates:xyz"]
    assert list(directions) == {"y-up": [5, 1, 3], "z-up": [5, 4, 1], "y-down": [3, 2, 5]}[own]


def image(blob: Any) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(bytes(blob[0]))))


def test_maps_are_those_of_the_run(tmp_path: Path) -> None:
    """Depth to the bit, sky in 255 steps, the picture at its size; unit and frame are told."""
    truth = rendered()[1]
    found = read(predicted(truth), truth.rgb, tmp_path, unit="relative")
    (buffer,) = found["/panorama/depth", "DepthImage:buffer"]
    depth = np.frombuffer(bytes(buffer), np.float32).reshape(truth.depth.shape)
    np.testing.assert_array_equal(depth, predicted(truth).depth)
    (sky,) = found["/panorama/sky", "Image:buffer"]
    np.testing.assert_array_equal(np.frombuffer(bytes(sky), np.uint8).reshape(truth.sky.shape), truth.sky * 255)
    assert image(found["/panorama/picture", "EncodedImage:blob"]).shape == truth.rgb.shape
    (about,) = found["/about", "TextDocument:text"]
    assert about == "a; unit: relative; frame: x forward (ERP centre), y up, z right"


def test_a_checkpoint_of_depth_alone(tmp_path: Path) -> None:
    """What there is not is not in it."""
    truth = rendered()[1]
    found = read(predicted(truth, normals=None, sky=None), truth.rgb, tmp_path)
    assert {path for path, _ in found if path.startswith("/panorama")} == {"/panorama/picture", "/panorama/depth"}


def test_what_is_not_valid_is_in_no_recording(tmp_path: Path) -> None:
    """No point, no depth, no normal and no sky of it, whatever the maps hold there."""
    truth = rendered()[1]
    height, width = truth.depth.shape
    found = Validity(height, width, 30, 20, 150, 80, 35.0)
    valid = found.erp(height, width)
    maps = {
        "depth": np.where(valid, truth.depth, np.float32(7)),
        "normals": np.where(valid[..., None], truth.normals, np.float32(0.577)),
        "sky": np.where(valid, truth.sky, np.float32(0.4)).astype(np.float32),
    }
    loaders = {name: (lambda array=array: array) for name, array in maps.items()}
    masked = Prediction(id="a", uri="", height=height, width=width, fov=90.0, loaders=loaders, validity=lambda: found)
    told = read(masked, truth.rgb, tmp_path)
    (depth,) = told["/panorama/depth", "DepthImage:buffer"]
    np.testing.assert_array_equal(np.frombuffer(bytes(depth), np.float32).reshape(height, width) > 0, valid)
    xyz = np.asarray(told["/world/points", "Points3D:positions"], np.float64)
    column = ((np.arctan2(xyz[:, 2], xyz[:, 0]) / (2 * np.pi) + 0.5) * width).astype(int)
    row = ((0.5 - np.arctan2(xyz[:, 1], np.hypot(xyz[:, 0], xyz[:, 2])) / np.pi) * height).astype(int)
    assert valid[row, column].all()
    (sky,) = told["/panorama/sky", "Image:buffer"]
    assert not np.frombuffer(bytes(sky), np.uint8).reshape(height, width)[~valid].any()
