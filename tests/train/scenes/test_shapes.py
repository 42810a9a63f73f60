"""Solids in any attitude: outlines become closed convex solids whose faces look outward and carry square textures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pager_ray.samples.solids import Convex, Cylinder, Ground, Sphere
from pager_ray.samples.textures import Plain
from pager_ray.train.scenes.shapes import arch, attitude, bar, block, clearance, disc, drawn_out

GRAY = Plain((0.5, 0.5, 0.5))
WEDGE = ((0.0, 0.0), (3.0, 0.0), (3.0, 1.0), (1.0, 2.0))
SOLIDS = {
    "wedge": drawn_out(WEDGE, 4.0, (1.0, 2.0, -3.0), attitude(0.7, 0.3, -0.4), GRAY),
    "block": block((2.0, 0.0, 1.0), (1.0, 2.0, 3.0), GRAY, 0.4),
    "bar": bar((0.0, 1.0, 0.0), (2.0, 3.0, -1.0), 0.1, GRAY),
    "upright bar": bar((1.0, 0.0, 0.0), (1.0, 2.0, 0.0), 0.2, GRAY, sides=4),
    "disc": disc((0.0, 1.0, 0.0), 0.4, 0.2, 0.8, GRAY),
}


def test_attitudes_turn_as_stated() -> None:
    """Yaw turns x toward z, pitch lifts x; the axes are orthonormal and right-handed."""
    np.testing.assert_allclose(attitude(math.pi / 2)[0], (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(attitude(0.0, 0.3)[0], (math.cos(0.3), math.sin(0.3), 0), atol=1e-12)
    np.testing.assert_allclose(attitude(0.0, 0.0, 0.3)[1], (0, math.cos(0.3), math.sin(0.3)), atol=1e-12)
    axes = np.array(attitude(0.5, -0.2, 1.1)).T
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)


@pytest.mark.parametrize("name", SOLIDS)
def test_faces_look_outward_and_bound_the_solid(name: str) -> None:
    """The middle is inside of every face; texture axes are unit, orthogonal and in it; spheres hold all."""
    solid = SOLIDS[name]
    assert clearance(solid, solid.center) < 0
    for face in solid.faces:
        frame = np.array([face.normal, face.u_axis, face.v_axis])
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-9)
        assert abs(face.normal[1]) > 0.999 or face.v_axis[1] >= -1e-12
    outward = np.array([face.normal for face in solid.faces])
    assert abs(outward.sum(axis=0)).max() < len(solid.faces)
    far = np.array(solid.center) + solid.radius * 1.001 * outward
    assert all(clearance(solid, tuple(p)) > 0 for p in far)


def test_a_wedge_has_its_corners() -> None:
    """Corners of the outline, turned and drawn out, lie on the surface; points beyond them lie outside."""
    axes, at = np.array(attitude(0.7, 0.3, -0.4)).T, np.array([1.0, 2.0, -3.0])
    for x, y in WEDGE:
        for z in (-2.0, 2.0):
            assert clearance(SOLIDS["wedge"], tuple(axes @ (x, y, z) + at)) == pytest.approx(0, abs=1e-9)
    assert clearance(SOLIDS["wedge"], tuple(axes @ (1.5, 0.5, 2.1) + at)) == pytest.approx(0.1)


def test_pieces_with_one_anchor_share_a_pattern() -> None:
    """Where two blocks meet, their textures' coordinates agree; v counts from the anchor's height."""
    pieces = [block((x, y, 0.0), (1.0, 1.0, 0.2), GRAY, anchor=(0.0, 0.0, 0.0)) for x, y in ((0.5, 0.0), (1.5, 1.0))]
    front = [next(face for face in piece.faces if face.normal[2] > 0.9) for piece in pieces]
    shared = np.array((1.0, 1.0, 0.1))
    coordinates = [[np.dot(shared - face.origin, axis) for axis in (face.u_axis, face.v_axis)] for face in front]
    np.testing.assert_allclose(coordinates[0], coordinates[1], atol=1e-12)
    assert coordinates[0][1] == pytest.approx(1.0)


def test_an_arch_leaves_its_opening_free() -> None:
    """Points inside the span are outside of every wedge; those in the ring are inside of one."""
    ring = arch((0.0, 2.0, 0.0), 2.0, 1.0, 0.3, 0.4, GRAY, 0.0)
    free = [(0.0, 2.9, 0.0), (0.6, 2.6, 0.1), (-0.9, 2.1, 0.0)]
    assert all(clearance(piece, p) > 0 for p in free for piece in ring)
    inside = [(0.0, 3.1, 0.0), (1.1, 2.2, 0.1), (-0.8, 2.8, -0.1)]
    assert all(min(clearance(piece, p) for piece in ring) < 0 for p in inside)


def test_clearance_never_exceeds_the_distance() -> None:
    """For each kind of solid the clearance is the distance or less, and negative inside."""
    points = np.random.default_rng(0).uniform(-4, 4, (200, 3))
    ball, post = Sphere((0.0, 0.0, 0.0), 1.0, GRAY), Cylinder((0.0, -1.0, 0.0), 1.0, 2.0, GRAY)
    for p in points:
        x, y, z = p
        assert clearance(ball, tuple(p)) == pytest.approx(np.linalg.norm(p) - 1)
        away = math.hypot(max(math.hypot(x, z) - 1, 0), max(abs(y) - 1, 0))
        assert clearance(post, tuple(p)) <= away + 1e-9 or away == 0
        cube: Convex = block((0.0, -1.0, 0.0), (2.0, 2.0, 2.0), GRAY)
        assert clearance(cube, tuple(p)) <= np.linalg.norm(np.maximum(np.abs(p) - 1, 0)) + 1e-9 or (np.abs(p) < 1).all()
    assert clearance(Ground(GRAY, -1.0), (0.0, 0.5, 0.0)) == 1.5
