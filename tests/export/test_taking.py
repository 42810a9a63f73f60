"""A prediction in Python gives points, a mesh and files, in the colours of its picture where that is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import PIL.Image
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


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("room.jpg", r"picture: got str, takes uint8 \(128, 256, 3\), as numpy.asarray gives of a PIL image"),
        (np.zeros((128, 256, 3)), r"picture: got float64 \(128, 256, 3\), takes uint8"),
        (np.zeros((128, 256), np.uint8), r"picture: got \(128, 256\), and the maps are 128×256"),
    ],
)
def test_pictures_that_are_none_are_told(prediction: Prediction, picture: Any, message: str) -> None:
    """A path is not read, and colours of 0 to 1 are no black."""
    with pytest.raises(ShapeError, match=message):
        prediction.points(picture)


def test_a_picture_may_be_pils(prediction: Prediction) -> None:
    """Colours are its pixels', as of the same array."""
    mirrored = np.ascontiguousarray(prediction.picture[:, ::-1])
    cloud = prediction.points(PIL.Image.fromarray(mirrored))
    np.testing.assert_array_equal(cloud.colors, prediction.points(mirrored).colors)


@pytest.mark.parametrize(
    ("call", "settings", "message"),
    [
        ("points", {"max_points": 0}, "max_points: got 0, takes a whole number from 1, or None to leave it out"),
        ("points", {"max_points": -1}, "max_points: got -1, takes a whole number from 1"),
        ("points", {"max_points": 1.5}, "max_points: got 1.5, takes a whole number from 1"),
        ("points", {"max_points": True}, "max_points: got True, takes a whole number from 1"),
        ("points", {"sky_threshold": float("nan")}, "sky_threshold: got nan, takes a number from 0 to 1"),
        ("points", {"far_percentile": 500}, "far_percentile: got 500, takes a number from 0 to 100"),
        ("points", {"saturation": "x"}, "saturation: got 'x', takes a number from 0"),
        ("points", {"edge_absolute": None}, "edge_absolute: got None, takes a number from 0$"),
        ("points", {"seed": None}, "seed: got None, takes a whole number$"),
        ("mesh", {"max_triangles": 0}, "max_triangles: got 0, takes a whole number from 1, or None"),
        ("mesh", {"max_triangles": 2.5}, "max_triangles: got 2.5, takes a whole number from 1"),
        ("save", {"axes": "up"}, "axes: got 'up'; takes y-up, z-up, y-down"),
        ("save", {"color": "grey"}, "color: got 'grey', takes rgb or normals"),
        ("save", {"cleaning": 5}, "cleaning: got 5, takes a pager_ray.export.points.Cleaning"),
        ("save", {"face_size": 0}, "face_size: got 0, takes a whole number from 2$"),
        ("save", {"max_triangles": -1}, "max_triangles: got -1, takes a whole number from 1"),
    ],
)
def test_settings_that_are_none_are_told(
    prediction: Prediction, tmp_path: Path, call: str, settings: dict[str, Any], message: str
) -> None:
    """By name, with what is taken: none ends in another library's words, or thins to nothing, as if all were sky."""
    places = [tmp_path / "room.glb"] if call == "save" else []
    with pytest.raises(ConfigError, match=message):
        getattr(prediction, call)(*places, **settings)
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
