"""A prediction in Python gives points, a mesh and files, in the colours of its picture where that is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import plyfile
import pytest
import trimesh

import pager_ray
from pager_ray.errors import ConfigError, InputError, ShapeError
from pager_ray.export.mesh import surface_mesh
from pager_ray.export.points import Cleaning, point_cloud
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.prediction import Prediction
from pager_ray.preview import colorize_normals
from tests.export.scenes import predicted, rendered


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    truth = rendered()[1]
    exact = predicted(truth)
    maps = {name: (lambda name=name: getattr(exact, name)) for name in ("depth", "normals", "sky")}
    size = {"height": exact.height, "width": exact.width, "fov": 90.0}
    return Prediction(id="a", uri="", loaders=maps, picture=lambda: truth.rgb, log_scale=0.0, **size)  # type: ignore[arg-type]


def test_points_and_mesh_are_those_of_an_export(prediction: Prediction) -> None:
    """With the same defaults; knobs are the export's by their names."""
    cloud, expected = prediction.points(), point_cloud(prediction, prediction.picture)
    np.testing.assert_array_equal(cloud.xyz, expected.xyz)
    np.testing.assert_array_equal(cloud.colors, expected.colors)
    assert len(prediction.points(max_points=100).xyz) <= 100
    made = prediction.mesh(1000, sky_threshold=None)
    np.testing.assert_array_equal(made.faces, surface_mesh(prediction, Cleaning(sky_threshold=None), 1000).faces)
    with pytest.raises(ConfigError, match=r"max_point: unknown; takes sky_threshold, .* max_points, seed"):
        prediction.points(max_point=1)


def test_the_suffix_says_the_format(prediction: Prediction, tmp_path: Path) -> None:
    """Each file is what its name says, below folders that are made; unit and frame are in it."""
    prediction.save(tmp_path / "new" / "room.ply", axes="z-up")
    ply = plyfile.PlyData.read(str(tmp_path / "new" / "room.ply"))
    assert ply.comments == ["unit: metre", "frame: x forward (ERP centre), y left, z up"]
    assert len(ply["vertex"]) == len(prediction.points().xyz)
    prediction.save(str(tmp_path / "room.exr"))
    file = OpenEXR.File(str(tmp_path / "room.exr"), separate_channels=True)
    np.testing.assert_array_equal(file.channels()["Z"].pixels, prediction.depth)
    prediction.save(tmp_path / "room.GLB")
    assert isinstance(next(iter(trimesh.load_scene(tmp_path / "room.GLB").geometry.values())), trimesh.PointCloud)
    prediction.save(tmp_path / "mesh.glb", format="mesh", max_triangles=500)
    assert isinstance(next(iter(trimesh.load_scene(tmp_path / "mesh.glb").geometry.values())), trimesh.Trimesh)
    for name in ("room.laz", "room.png", "room.rrd"):
        prediction.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_what_cannot_be_saved_is_said(prediction: Prediction, tmp_path: Path) -> None:
    """A suffix of nothing, a format of several files, a picture of another size."""
    with pytest.raises(ConfigError, match=r"room.obj does not say .* takes \.glb, \.ply, \.laz, \.exr, \.png, \.rrd"):
        prediction.save(tmp_path / "room.obj")
    with pytest.raises(ConfigError, match="save: faces is 17 files"):
        prediction.save(tmp_path / "room.zip", format="faces")
    with pytest.raises(ShapeError, match=r"picture: got \(2, 4, 3\), and the maps are 128×256"):
        prediction.points(picture=np.zeros((2, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_without_a_picture_normals_colour(tmp_path: Path) -> None:
    """As of a run's prediction; without normals too there is nothing to colour by."""
    exact = predicted(rendered()[1])
    cloud = exact.points()
    np.testing.assert_array_equal(cloud.colors, colorize_normals(cloud.normals[None])[0])
    with pytest.raises(InputError, match="neither a picture nor normals"):
        predicted(rendered()[1], normals=None).save(tmp_path / "room.glb")


def test_predict_keeps_its_picture(tmp_path: Path) -> None:
    """What was predicted from is what points are coloured by: pixel by pixel at its own size."""
    write_random_checkpoint(tmp_path / "checkpoint", "tiny")
    rgb = rendered()[1].rgb
    prediction = pager_ray.predict(rgb, pager_ray.load_model(tmp_path / "checkpoint"), scene="indoor")
    np.testing.assert_array_equal(prediction.picture, rgb)
    keep = dict.fromkeys(("sky_threshold", "edge_relative", "saturation", "far_percentile", "max_points"))
    assert len(prediction.points(**keep).colors) == np.count_nonzero(
        np.isfinite(prediction.depth) & (prediction.depth > 0)
    )
