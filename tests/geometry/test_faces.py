"""Tests of pager_ray.geometry.faces."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.geometry.faces import FACE_AXES, FACE_NAMES, inner_size, ray_length_factor
from tests.geometry.reference import golden


@pytest.mark.parametrize("size", [16, 36])
@pytest.mark.parametrize("fov", [90, 95])
def test_ray_length_factor_golden(size: int, fov: int) -> None:
    """z-depth times the factor is the released Euclidean depth."""
    data = golden("geometry.npz")
    ours = data[f"z_f{size}_fov{fov}"] * ray_length_factor(size, fov)
    np.testing.assert_allclose(ours, data[f"euclid_f{size}_fov{fov}"], rtol=1e-6)


def test_ray_length_factor_centre() -> None:
    """The factor is 1 at integer pixel (S/2, S/2), not half a pixel before it, and largest at pixel (0, 0)."""
    factor = ray_length_factor(8)
    assert factor[4, 4] == 1
    assert factor.argmax() == 0
    assert factor[0, 0] == np.float32(np.sqrt(3))


def test_face_axes_are_the_network_cameras() -> None:
    """Axes are the rows of the released cameras' rotations, whose world is x right, y down, z forward."""
    to_camera_world = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]])
    rotations = FACE_AXES @ to_camera_world.T
    np.testing.assert_allclose(rotations, golden("geometry.npz")["extrinsics"][:, :3, :3], atol=1e-6)


def test_face_axes_follow_their_names() -> None:
    """Viewing directions are the named ones in the frame x forward, y up, z right."""
    directions = {name: tuple(axes[2]) for name, axes in zip(FACE_NAMES, FACE_AXES, strict=True)}
    assert directions == {
        "front": (1, 0, 0),
        "right": (0, 0, 1),
        "back": (-1, 0, 0),
        "left": (0, 0, -1),
        "up": (0, 1, 0),
        "down": (0, -1, 0),
    }


def test_inner_size_of_wider_faces() -> None:
    """The 90-degree part of a face is all of it at 90 degrees and shrinks with the tangent beyond."""
    assert [inner_size(504, fov) for fov in (90, 95, 120)] == [504, 462, 291]


@pytest.mark.parametrize(("size", "fov", "message"), [(1, 90, "face_size"), (16, 89.9, "fov"), (16, 180, "fov")])
def test_rejects_impossible_faces(size: int, fov: float, message: str) -> None:
    """A face without neighbouring pixels, or of a field of view that leaves gaps, is refused by name."""
    with pytest.raises(ShapeError, match=message):
        ray_length_factor(size, fov)
