"""A nerfstudio data set's cameras, by that program's own conventions, see the panorama and its surfaces."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import plyfile
import pytest

from pager_ray import geometry
from pager_ray.export.axes import rotation
from pager_ray.export.formats import ExportSettings, export_files
from pager_ray.export.nerfstudio import FARTHEST
from pager_ray.export.points import Cleaning
from tests.export.scenes import predicted, rendered
from tests.export.test_points import misses

SIZE = 48


def rays(about: dict[str, float], matrix: np.ndarray) -> np.ndarray:
    """World vectors of unit z-depth through every pixel's centre, as nerfstudio's pinhole cameras make them."""
    columns, rows = np.meshgrid(np.arange(about["w"]) + 0.5, np.arange(about["h"]) + 0.5)
    across, up = (columns - about["cx"]) / about["fl_x"], -(rows - about["cy"]) / about["fl_y"]
    return np.stack([across, up, -np.ones_like(across)], -1) @ matrix[:3, :3].T


@pytest.mark.parametrize("axes", [None, "y-up"])
def test_cameras_see_the_panorama_and_its_surfaces(axes: str | None) -> None:
    """Pictures are what lies in the cameras' directions; depth and cloud lie on the rendered scene, sky has none."""
    scene, truth = rendered("outdoor")
    prediction = predicted(truth)
    settings = ExportSettings("nerfstudio", face_size=SIZE, axes=axes, cleaning=Cleaning(max_points=2000))  # type: ignore[arg-type]
    files = {
        name.removeprefix("a/"): bytes(content)
        for name, content in export_files(prediction, truth.rgb, settings).items()
    }
    about = json.loads(files["transforms.json"])
    assert len(about["frames"]) == 6
    own = rotation(axes or "z-up")
    points, sky_seen = [], 0
    for frame, face_axes, expected in zip(
        about["frames"], geometry.FACE_AXES, geometry.erp_to_cubemap(truth.rgb, SIZE), strict=True
    ):
        matrix = np.asarray(frame["transform_matrix"])
        assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
        np.testing.assert_array_equal(matrix[:, 3], (0, 0, 0, 1))
        through = rays(about, matrix) @ own
        plane = np.linspace(-1, 1, SIZE)
        ours = face_axes[2] + plane[None, :, None] * face_axes[0] + plane[:, None, None] * face_axes[1]
        np.testing.assert_allclose(through, ours, atol=1e-12)
        shown = cv2.imdecode(np.frombuffer(files[frame["file_path"]], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(shown.astype(int) - expected).mean() < 3
        depth = cv2.imdecode(np.frombuffer(files[frame["depth_file_path"]], np.uint8), cv2.IMREAD_ANYDEPTH)
        assert depth.dtype == np.uint16
        points.append((through * (depth * 1e-3)[..., None])[depth > 0])
        sky_seen += np.count_nonzero(depth == 0)
    assert sky_seen > 500
    off = misses(scene, np.concatenate(points))
    assert np.median(off) < 0.002
    assert np.quantile(off, 0.95) < 0.04
    cloud = plyfile.PlyData.read(io.BytesIO(files[about["ply_file_path"]]))["vertex"]
    xyz = np.stack([cloud[name] for name in "xyz"], 1).astype(np.float64) @ own
    assert 500 < len(xyz) <= 2000
    assert np.quantile(misses(scene, xyz), 0.99) < 1e-6


def test_what_millimetres_do_not_reach_is_no_depth() -> None:
    """Sixteen bits end at 65.5 m: beyond it no depth, and not a wrong one."""
    truth = rendered("indoor", 64)[1]
    depth = np.full_like(truth.depth, 50)
    depth[:, 64:] = 70
    files = export_files(predicted(truth, depth=depth, sky=None), truth.rgb, ExportSettings("nerfstudio", face_size=17))
    front = cv2.imdecode(np.frombuffer(files["a/depth/front.png"], np.uint8), cv2.IMREAD_ANYDEPTH)
    plane = np.linspace(-1, 1, 17)
    length = np.sqrt(plane[None, :] ** 2 + plane[:, None] ** 2 + 1)
    along = np.where(np.arange(17)[None, :] > 8, 70, 50) / length
    certain = np.s_[:, [*range(7), *range(10, 17)]]
    expected = np.where(along <= FARTHEST, np.rint(along * 1000), 0)
    np.testing.assert_allclose(front[certain], expected[certain], atol=1)
    assert (expected[certain] == 0).any()
