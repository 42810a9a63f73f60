"""Faces and panoramas sampled from a cubemap are the scene that it shows, as exactly as those from an ERP."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.geometry import erp_to_cubemap, level_rotation
from pager_ray.geometry.cubes import cubemap_picture, resample_cubemap
from tests.read import cubes


def truth(size: int, fov: float) -> np.ndarray:
    """The network's faces of the scene, from edge to edge."""
    plane = np.linspace(-1, 1, size) * (1 if fov == 90 else np.tan(np.radians(fov / 2)))
    return np.stack([cubes.seen(camera, *np.meshgrid(plane, plane)) for camera in cubes.FACES])


@pytest.mark.parametrize("fov", [90.0, 100.0])
@pytest.mark.parametrize("size", [21, 64, 150])
def test_faces_are_the_scene(size: int, fov: float) -> None:
    """Smaller, as large and larger than the cubemap's, also where a wider face sees its neighbours."""
    faces = np.stack(cubes.cubemap(64))
    expected = truth(size, fov)
    sampled = resample_cubemap(faces, size, fov)
    assert (sampled.shape, sampled.dtype) == ((6, size, size, 3), np.uint8)
    np.testing.assert_allclose(sampled, expected, atol=3)
    exact = resample_cubemap(faces.astype(np.float32), size, fov)
    assert np.abs(exact - sampled).max() <= 0.5
    np.testing.assert_allclose(sampled, erp_to_cubemap(cubes.panorama(128), size, fov), atol=5)


def test_neighbours_share_their_edges() -> None:
    """At 90 degrees the last column of a face is the first one of the next."""
    front, right, back, left, up, down = resample_cubemap(np.stack(cubes.cubemap(32)).astype(np.float32), 32)
    sides = (front, right, back, left)
    for one, other in zip(sides, (*sides[1:], front), strict=True):
        np.testing.assert_allclose(one[:, -1], other[:, 0], atol=0.01)
    np.testing.assert_allclose(up[-1], front[0], atol=0.01)
    np.testing.assert_allclose(down[0], front[-1], atol=0.01)


def test_the_panorama_is_the_scene() -> None:
    """At pixel centres, with no seam where faces meet."""
    np.testing.assert_allclose(cubemap_picture(np.stack(cubes.cubemap(64)), 128, 256), cubes.panorama(128), atol=2)


def test_a_face_turned_is_another_picture() -> None:
    """What these tests compare with tells a face that is turned or mirrored."""
    faces = np.stack(cubes.cubemap(64))
    for wrong in (np.rot90(faces[4]), np.rot90(faces[4], 2), faces[4][::-1], faces[4][:, ::-1]):
        assert np.abs(wrong.astype(int) - faces[4]).mean() > 10


@pytest.mark.parametrize(
    "faces",
    [np.zeros((5, 8, 8, 3), np.uint8), np.zeros((6, 8, 9, 3), np.uint8), np.zeros((6, 8, 8), np.uint8),
     np.zeros((6, 8, 8, 3)), np.zeros((6, 1, 1, 3), np.uint8), np.zeros((6, 5460, 5460, 1), np.uint8), "faces"],
)  # fmt: skip
def test_what_is_no_cubemap_is_refused(faces: object) -> None:
    """Rank, type, squares, and what OpenCV can address."""
    with pytest.raises(ShapeError, match=r"^face"):
        resample_cubemap(faces, 8)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"^face"):
        cubemap_picture(faces, 8, 16)  # type: ignore[arg-type]


@pytest.mark.parametrize("fov", [90.0, 100.0])
@pytest.mark.parametrize(("pitch", "roll"), [(20.0, 0.0), (-50.0, 130.0)])
def test_levelled_faces_are_the_levelled_scene(pitch: float, roll: float, fov: float) -> None:
    """From a tilted camera's cubemap as from its panorama."""
    rotation = level_rotation(pitch, roll)
    sampled = resample_cubemap(np.stack(cubes.cubemap(64)), 40, fov, rotation)
    np.testing.assert_allclose(sampled, erp_to_cubemap(cubes.panorama(128), 40, fov, rotation), atol=6)
    exact = resample_cubemap(np.stack(cubes.cubemap(64)), 40, fov)
    straight = resample_cubemap(np.stack(cubes.cubemap(64)), 40, fov, np.eye(3))
    assert np.abs(straight.astype(int) - exact).max() <= 1
