"""Axes are turned exactly, and each file says and uses the same ones."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import laspy
import numpy as np
import OpenEXR
import plyfile
import pycolmap
import pytest
import trimesh

from pager_ray import geometry
from pager_ray.errors import ConfigError
from pager_ray.export.axes import FRAMES, check_axes, rotation, turn, turn_components
from pager_ray.export.formats import FORMATS, ExportSettings, check_possible, export_files
from pager_ray.export.points import Cleaning
from tests.export.scenes import predicted, rendered

UP = {"y-up": (0, 1, 0), "z-up": (0, 0, 1), "y-down": (0, -1, 0)}
FORWARD = {"y-up": (1, 0, 0), "z-up": (1, 0, 0), "y-down": (0, 0, 1)}


@pytest.mark.parametrize("axes", FRAMES)
def test_a_turn_is_a_rotation(axes: str) -> None:
    """Up and forward end where the name says, handedness stays, and numbers are only moved."""
    matrix = rotation(axes)
    assert np.linalg.det(matrix) == 1
    forward, up, _ = np.eye(3)
    np.testing.assert_array_equal(matrix @ up, UP[axes])
    np.testing.assert_array_equal(matrix @ forward, FORWARD[axes])
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(turn(vectors, axes), vectors @ matrix.T.astype(np.float32))
    np.testing.assert_array_equal(np.stack(turn_components(tuple(vectors.T), axes), 1), turn(vectors, axes))  # type: ignore[arg-type]


def read_ply(content: bytes) -> tuple[np.ndarray, str]:
    ply = plyfile.PlyData.read(io.BytesIO(content))
    (frame,) = (text.removeprefix("frame: ") for text in ply.comments if text.startswith("frame: "))
    return np.stack([ply["vertex"][name] for name in "xyz"], 1), frame


def read_glb(content: bytes) -> tuple[np.ndarray, str]:
    scene = trimesh.load_scene(io.BytesIO(content), file_type="glb")
    (points,) = scene.geometry.values()
    return points.vertices.astype(np.float32), scene.metadata["frame"]


def read_laz(content: bytes) -> tuple[np.ndarray, str]:
    las = laspy.read(io.BytesIO(content))
    (about,) = (record for record in las.header.vlrs if record.user_id == "pager_ray")
    return np.asarray(las.xyz), about.record_data_bytes().decode().partition("frame: ")[2]


READERS = {"ply": (read_ply, 0.0), "glb": (read_glb, 0.0), "laz": (read_laz, 6e-5), "splats": (read_ply, 0.0)}


@pytest.mark.parametrize("format_name", READERS)
@pytest.mark.parametrize("axes", [None, *FRAMES])
def test_point_files_are_turned(format_name: str, axes: str | None) -> None:
    """The same points in every frame; without a wish, in the one that the format's programs expect."""
    truth = rendered()[1]
    read, error = READERS[format_name]
    cleaning = Cleaning(max_points=500)
    settings = ExportSettings(format_name, cleaning=cleaning, axes=axes)  # type: ignore[arg-type]
    (content,) = export_files(predicted(truth), truth.rgb, settings).values()
    (plain,) = export_files(predicted(truth), truth.rgb, ExportSettings("ply", cleaning=cleaning)).values()
    points, frame = read(bytes(content))
    expected = axes or {"laz": "z-up", "splats": "y-down"}.get(format_name, "y-up")
    assert frame == FRAMES[expected]
    np.testing.assert_allclose(points, turn(read_ply(bytes(plain))[0], expected), atol=error, rtol=0)


def read_exr(content: bytes) -> tuple[np.ndarray, str]:
    file = OpenEXR.File(io.BytesIO(content), separate_channels=True)
    return np.stack([file.channels()[f"N.{name}"].pixels for name in "XYZ"], -1), file.header()["frame"]


def read_png(content: bytes) -> tuple[np.ndarray, str]:
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    return (values - 32768.0) / 32767, FRAMES["z-up"] if FRAMES["z-up"].encode() in content else ""


@pytest.mark.parametrize(("format_name", "read"), [("normals-exr", read_exr), ("normals-png", read_png)])
def test_normals_are_turned(format_name: str, read: Callable[[bytes], tuple[np.ndarray, str]]) -> None:
    """As points are."""
    truth = rendered()[1]
    settings = ExportSettings(format_name, axes="z-up")
    (content,) = export_files(predicted(truth), None, settings).values()
    normals, frame = read(bytes(content))
    assert frame == FRAMES["z-up"]
    np.testing.assert_allclose(normals, turn(truth.normals, "z-up"), atol=2e-5)


def test_the_rigs_world_is_turned(tmp_path: object) -> None:
    """Cameras look where the axes of the world say; images and depth stay as they are."""
    truth = rendered()[1]
    files, plain = (
        export_files(predicted(truth), truth.rgb, ExportSettings("faces", face_size=16, axes=axes))  # type: ignore[arg-type]
        for axes in ("z-up", None)
    )
    changed = {name for name in files if files[name] != plain[name]}
    assert changed == {f"a/sparse/0/{name}.txt" for name in ("cameras", "rigs", "frames", "images", "points3D")}
    for name, content in files.items():
        target = tmp_path / name  # type: ignore[operator]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    model = pycolmap.Reconstruction(str(tmp_path / "a/sparse/0"))  # type: ignore[operator]
    for number, face_axes in enumerate(geometry.FACE_AXES, start=1):
        pose = model.images[number].cam_from_world().rotation.matrix()
        np.testing.assert_allclose(pose, turn(face_axes, "z-up"), atol=1e-12)


def test_what_has_no_axes_is_refused() -> None:
    """By name, with what can be turned; an unknown name too."""
    with pytest.raises(ConfigError, match=r"--axes: depth-png has no axes to turn; .* one of glb, ply, laz, splats"):
        check_possible(ExportSettings("depth-png", axes="z-up"), ("depth",))
    with pytest.raises(ConfigError, match=r"--axes: got 'up'; takes y-up, z-up, y-down"):
        check_axes("up")
    assert FORMATS["npz"].axes is None
