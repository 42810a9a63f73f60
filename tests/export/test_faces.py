"""The rig opens in pycolmap, and its cameras see what the panorama shows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pycolmap
import pytest

from pager_ray import geometry
from pager_ray.export.faces import export_faces, face_z_depth, quaternion
from tests.export.scenes import predicted, rendered
from tests.export.test_points import misses

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene's faces on disk."""
    truth = rendered()[1]
    target = tmp_path_factory.mktemp("faces")
    for name, content in export_faces("a\nb", truth.rgb, predicted(truth).depth, SIZE).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return target


@pytest.fixture(scope="module")
def model(folder: Path) -> pycolmap.Reconstruction:
    return pycolmap.Reconstruction(str(folder / "sparse" / "0"))


def test_the_rig_opens_in_pycolmap(model: pycolmap.Reconstruction) -> None:
    """Six pinhole cameras in one rig, one frame with six images, all posed."""
    assert (len(model.cameras), len(model.rigs), len(model.frames), len(model.images)) == (6, 1, 1, 6)
    assert model.is_valid()
    assert model.rigs[1].num_sensors() == 6
    assert all(camera.model.name == "PINHOLE" for camera in model.cameras.values())
    assert [model.images[n].name for n in range(1, 7)] == [f"{name}.jpg" for name in geometry.FACE_NAMES]


def test_poses_are_the_faces_axes(model: pycolmap.Reconstruction) -> None:
    """Through the rig, each image's camera looks along its face: right, down and forward are the rows of its pose."""
    for number, axes in enumerate(geometry.FACE_AXES, start=1):
        pose = model.images[number].cam_from_world()
        np.testing.assert_allclose(pose.rotation.matrix(), axes, atol=1e-12)
        assert not pose.translation.any()


def test_cameras_see_the_pixels_that_were_sampled(folder: Path, model: pycolmap.Reconstruction) -> None:
    """A world point on a ray of the panorama projects to the face's pixel that shows it: on the pictures of the rig."""
    truth = rendered()[1]
    faces = geometry.erp_to_cubemap(truth.rgb, SIZE)
    for number, (face, axes) in enumerate(zip(faces, geometry.FACE_AXES, strict=True), start=1):
        image = model.images[number]
        decoded = cv2.imread(str(folder / "images" / image.name))[..., ::-1]
        assert np.abs(decoded.astype(int) - face).mean() < 3
        camera = model.cameras[image.camera_id]
        right, down, forward = axes
        for row, column in ((0, 0), (10, 50), (SIZE - 1, SIZE - 1)):
            a, b = np.linspace(-1, 1, SIZE)[[column, row]]
            point = 3.0 * (forward + a * right + b * down)
            seen = camera.img_from_cam(image.cam_from_world() * point)
            np.testing.assert_allclose(seen, (column + 0.5, row + 0.5), atol=1e-9)


def test_depth_along_the_axis_lies_on_the_scene(folder: Path, model: pycolmap.Reconstruction) -> None:
    """Back-projecting the depth files through pycolmap's cameras gives points on the rendered surfaces.

    Off by the resampling of one map of 128 rows: 0.1 % of the distance in the median, 95 % within 2.5 %.
    """
    scene, _ = rendered()
    points = []
    for number, name in enumerate(geometry.FACE_NAMES, start=1):
        file = OpenEXR.File(str(folder / "depth" / f"{name}.exr"), separate_channels=True)
        assert file.header()["rayType"] == "z"
        assert "envmap" not in file.header()
        z = file.channels()["Z"].pixels
        camera, pose = model.cameras[number], model.images[number].cam_from_world()
        rows, columns = np.nonzero(z > 0)
        plane = camera.cam_from_img(np.stack([columns + 0.5, rows + 0.5], 1))
        seen = np.concatenate([plane, np.ones((len(plane), 1))], 1) * z[rows, columns][:, None]
        points.append(seen @ pose.rotation.matrix())
    off = misses(scene, np.concatenate(points))
    assert np.median(off) < 0.001
    assert np.quantile(off, 0.95) < 0.025


def test_no_depth_lies_between_two_surfaces() -> None:
    """At an edge a face's depth is one of the panorama's own, never a mixture."""
    depth = np.full((64, 128), 2.0, np.float32)
    depth[:, 60:70] = 10.0
    size = 33
    plane = np.linspace(-1, 1, size)
    length = np.sqrt(plane[None, :] ** 2 + plane[:, None] ** 2 + 1)
    along = face_z_depth(depth, size) * length
    assert (np.minimum(np.abs(along - 2), np.abs(along - 10)) < 1e-5).all()


def test_without_depth_there_are_pictures_and_cameras() -> None:
    """A run of normals alone still gives its rig; an id with line breaks breaks no file."""
    files = export_faces("a\nb", rendered()[1].rgb, None, 16)
    assert {name.split("/")[0] for name in files} == {"images", "sparse"}
    assert files["sparse/0/cameras.txt"].startswith(b"# panorama a b; world")
    assert len(files) == 11


def test_quaternions_give_their_rotation() -> None:
    """Any rotation, half turns included, comes back from its quaternion."""
    for rotation in (*geometry.FACE_AXES, *(pycolmap.Rotation3d(q).matrix() for q in np.eye(4))):
        w, x, y, z = quaternion(np.asarray(rotation))
        np.testing.assert_allclose(pycolmap.Rotation3d(np.array([x, y, z, w])).matrix(), rotation, atol=1e-12)
