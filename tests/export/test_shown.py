"""What is not valid is in no file: whatever a network said there, clouds, meshes, splats and images are without it."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import cv2
import numpy as np
import plyfile
import pytest
import trimesh

from pager_ray import geometry
from pager_ray.export import splats
from pager_ray.export.formats import ExportSettings, export_files
from pager_ray.export.mesh import surface_mesh
from pager_ray.export.points import Cleaning, pixels_kept, point_cloud
from pager_ray.prediction import Prediction
from pager_ray.read import decode_panorama
from pager_ray.samples import Scene
from pager_ray.validity import Validity
from tests.export.scenes import HEIGHT, rendered
from tests.export.test_images import exr, png
from tests.export.test_points import misses

WIDTH, SIZE = 2 * HEIGHT, 48
CROP = Validity(HEIGHT, WIDTH, 40, 20, 170, 90)
MASK = np.ones((90, 170), bool)
MASK[30:50, 60:120] = False
MASK[np.random.default_rng(2).random(MASK.shape) < 0.02] = False
KINDS = {
    "crop": CROP,
    "caps": Validity.whole(HEIGHT, WIDTH).capped(35.0, 20.0),
    "mask": CROP.masked(MASK).capped(40.0, 0.0),
    "mask of the source": Validity.whole(3 * HEIGHT, 3 * WIDTH).masked(
        np.random.default_rng(3).random((3 * HEIGHT, 3 * WIDTH)) < 0.9
    ),
}
every = pytest.mark.parametrize("kind", KINDS)
EVERYTHING = Cleaning(None, edge_relative=None, saturation=None, far_percentile=None, max_points=None)


@cache
def spoilt(kind: str, seed: int = 0) -> tuple[Scene, Prediction, np.ndarray]:
    """Exact maps of a rendered scene that are nonsense where nothing is valid, and which pixels are."""
    scene, truth = rendered("indoor")
    found = KINDS[kind]
    valid = found.erp(HEIGHT, WIDTH)
    random = np.random.default_rng(seed)
    nonsense = {
        "depth": np.exp(random.uniform(-4, 4, valid.shape)).astype(np.float32),
        "normals": random.normal(size=(*valid.shape, 3)).astype(np.float32),
        "sky": random.random(valid.shape).astype(np.float32),
    }
    exact = {"depth": truth.depth, "normals": truth.normals, "sky": truth.sky.astype(np.float32)}
    maps = {
        name: np.where(valid if array.ndim == 2 else valid[..., None], array, nonsense[name])
        for name, array in exact.items()
    }
    loaders = {name: (lambda array=array: array) for name, array in maps.items()}
    prediction = Prediction(
        id="a", uri="/in/a.jpg", height=HEIGHT, width=WIDTH, fov=90.0, loaders=loaders, validity=lambda: found
    )
    return scene, prediction, valid


def pixels_of(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that points lie in."""
    column = np.floor((np.arctan2(xyz[:, 2], xyz[:, 0]) / (2 * np.pi) + 0.5) * WIDTH).astype(int)
    row = np.floor((0.5 - np.arctan2(xyz[:, 1], np.hypot(xyz[:, 0], xyz[:, 2])) / np.pi) * HEIGHT).astype(int)
    return row, column


@every
def test_clouds_have_valid_pixels_alone(kind: str) -> None:
    """All of them and no other, with or without cleaning; what lies beside an invalid pixel is no edge for that."""
    scene, prediction, valid = spoilt(kind)
    cloud = point_cloud(prediction, None, EVERYTHING)
    found = np.zeros_like(valid)
    found[pixels_of(cloud.xyz)] = True
    np.testing.assert_array_equal(found, valid)
    assert misses(scene, cloud.xyz).max() < 1e-4
    whole = Prediction(
        id="a", uri="", height=HEIGHT, width=WIDTH, fov=90.0, loaders={"depth": lambda: rendered("indoor")[1].depth}
    )
    assert not (pixels_kept(whole, Cleaning()) & valid & ~pixels_kept(prediction, Cleaning())).any()


@every
def test_files_do_not_depend_on_what_is_not_valid(kind: str) -> None:
    """With other nonsense there every format makes the same files, to the byte."""
    picture = rendered("indoor")[1].rgb
    formats = ("glb", "ply", "laz", "splats", "mesh", "depth-exr", "depth-png", "normals-exr", "normals-png", "sky-png")
    for name in (*formats, "faces", "nerfstudio", "colmap"):
        settings = ExportSettings(name, face_size=SIZE, cleaning=Cleaning(max_points=3000))
        for shown in (picture, None):
            one, other = (export_files(spoilt(kind, seed)[1], shown, settings) for seed in (0, 1))
            assert one.keys() == other.keys(), name
            # Headers of LAS files have the day, those of glTF none.
            assert {file: bytes(content) for file, content in one.items()} == {
                file: bytes(content) for file, content in other.items()
            }, name


@every
def test_meshes_and_splats_lie_on_the_scene(kind: str) -> None:
    """Vertices and centres are points of valid pixels, but for a pole that is surrounded by them."""
    scene, prediction, valid = spoilt(kind)
    mesh = surface_mesh(prediction, max_triangles=20_000)
    inner = mesh.xyz[(mesh.uv[:, 1] > 0) & (mesh.uv[:, 1] < 1)]
    assert len(inner) > 500
    assert valid[pixels_of(inner)].all()
    assert np.quantile(misses(scene, inner), 0.99) < 1e-5
    content = bytes(splats.encode_splats(prediction, None, axes="y-up"))
    vertices = plyfile.PlyData.read(io.BytesIO(content))["vertex"]
    xyz = np.stack([vertices[axis] for axis in "xyz"], 1)
    assert valid[pixels_of(xyz)].all()
    assert np.quantile(misses(scene, xyz), 0.99) < 1e-5


@every
def test_images_have_no_value_there(kind: str) -> None:
    """Depth 0, the zero vector, no sky; PNG pictures are cut to what the file covers, and say where that lies."""
    _, prediction, valid = spoilt(kind)
    files = {name: image_of(prediction, name) for name in ("depth-exr", "depth-png", "normals-png", "sky-png")}
    depth = exr(files["depth-exr"])[1]["Z"]
    np.testing.assert_array_equal(depth > 0, valid)
    np.testing.assert_array_equal(depth[valid], prediction.depth[valid])
    left, top, width, height = KINDS[kind].rectangle(HEIGHT, WIDTH)
    part = np.s_[top : top + height, left : left + width]
    values, _ = png(files["depth-png"])
    np.testing.assert_array_equal(values > 0, valid[part])
    assert (png(files["normals-png"])[0][~valid[part]] == 32768).all()
    assert not png(files["sky-png"])[0][~valid[part]].any()
    # Read as a picture of a collection, it lies where the source lay.
    again = decode_panorama(files["sky-png"])
    assert (again.source_height, again.source_width) == (HEIGHT, WIDTH)
    assert again.validity.rectangle(HEIGHT, WIDTH) == (left, top, width, height)


def image_of(prediction: Prediction, name: str) -> bytes:
    (content,) = export_files(prediction, None, ExportSettings(name)).values()
    return bytes(content)


@every
def test_faces_come_with_masks(kind: str) -> None:
    """Cameras' masks show which of their pixels are valid, named as each program expects; outside there is no depth."""
    _, prediction, _ = spoilt(kind)
    picture = rendered("indoor")[1].rgb
    expected = KINDS[kind].faces(SIZE, 90.0)
    for name, place in (
        ("faces", "a/masks/{}.jpg.png"),
        ("nerfstudio", "a/masks/{}.png"),
        ("colmap", "masks/{}/a.jpg.png"),
    ):
        files = export_files(prediction, picture, ExportSettings(name, face_size=SIZE))
        within, with_depth = 0, 0
        for face, mask in zip(geometry.FACE_NAMES, expected, strict=True):
            read = cv2.imdecode(np.frombuffer(files[place.format(face)], np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(read == 255, mask)
            depth, flags = depth_of(files, name, face), mask.astype(np.uint8)
            # At a border, face and map may differ by their pixels.
            assert kind == "mask of the source" or not depth[cv2.dilate(flags, np.ones((5, 5))) == 0].any()
            inside = cv2.erode(flags, np.ones((5, 5))) == 1
            within, with_depth = within + inside.sum(), with_depth + np.count_nonzero(depth[inside])
        assert with_depth >= 0.9 * within
        if name == "nerfstudio":
            frames = json.loads(files["a/transforms.json"])["frames"]
            assert [frame["mask_path"] for frame in frames] == [f"masks/{face}.png" for face in geometry.FACE_NAMES]


def depth_of(files: dict[str, Any], format: str, face: str) -> np.ndarray:
    if format == "nerfstudio":
        return cv2.imdecode(np.frombuffer(files[f"a/depth/{face}.png"], np.uint8), cv2.IMREAD_UNCHANGED)
    return exr(files[f"a/depth/{face}.exr" if format == "faces" else f"depth/{face}/a.exr"])[1]["Z"]


def test_whole_panoramas_have_no_masks() -> None:
    """Where all is valid files are as before: no masks, whole pictures."""
    truth = rendered("indoor")[1]
    maps = {"depth": truth.depth, "normals": truth.normals}
    loaders = {name: (lambda array=array: array) for name, array in maps.items()}
    given = {"id": "a", "uri": "", "height": HEIGHT, "width": WIDTH, "fov": 90.0, "loaders": loaders}
    plain, whole = Prediction(**given), Prediction(**given, validity=lambda: Validity.whole(HEIGHT, WIDTH))
    for name in ("faces", "nerfstudio", "colmap", "depth-png", "glb", "mesh"):
        settings = ExportSettings(name, face_size=SIZE, cleaning=Cleaning(max_points=2000))
        one, other = (export_files(prediction, truth.rgb, settings) for prediction in (plain, whole))
        assert {file: bytes(content) for file, content in one.items()} == {file: bytes(c) for file, c in other.items()}
        assert not any("mask" in file for file in one)


def test_glb_and_mesh_open_elsewhere() -> None:
    """trimesh finds the points and triangles of valid pixels in the files themselves."""
    _, prediction, valid = spoilt("mask")
    picture = rendered("indoor")[1].rgb
    for name in ("glb", "mesh"):
        (content,) = export_files(prediction, picture, ExportSettings(name)).values()
        loaded = trimesh.load_scene(io.BytesIO(bytes(content)), file_type="glb")
        for part in loaded.geometry.values():
            xyz = np.asarray(part.vertices)
            xyz = xyz[np.abs(xyz[:, [0, 2]]).max(1) > 1e-6]
            assert len(xyz) > 500
            assert valid[pixels_of(xyz)].all()
