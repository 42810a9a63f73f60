"""Ray intersections of the solids, against closed forms and against points known to lie on surfaces."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pager_ray.samples.index import index_around
from pager_ray.samples.kernels import first_hits, surfaces
from pager_ray.samples.solids import Convex, Cylinder, Ground, Solid, Sphere, box, gable_roof, pack, pyramid
from pager_ray.samples.textures import Plain

GRAY = Plain((0.5, 0.5, 0.5))
SOLIDS = {
    "sphere": Sphere((4.0, 1.0, -1.0), 1.5, GRAY),
    "cylinder": Cylinder((3.0, -0.5, 2.0), 0.8, 2.5, GRAY),
    "box": box((-3.0, -1.0, 1.0), (1.0, 2.0, 3.0), GRAY, yaw=0.7),
    "gable": gable_roof((0.0, 2.0, 4.0), (3.0, 1.5, 2.0), GRAY, GRAY, yaw=-0.4),
    "pyramid": pyramid((-2.0, -1.0, -4.0), 1.2, 3.0, 5, GRAY, yaw=0.2),
    "room": box((0.0, -1.5, 0.0), (8.0, 3.0, 6.0), GRAY, room=True),
    "ground": Ground(GRAY, height=-1.5),
}
ORIGIN = np.zeros((3, 1))


def _rays(count: int, seed: int = 0) -> np.ndarray:
    rays = np.random.default_rng(seed).normal(size=(3, count))
    return rays / np.linalg.norm(rays, axis=0)


def _hit(solid: Solid, rays: np.ndarray, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Distance to a solid alone along each ray."""
    packed, start = pack((solid,)), np.array(origin)
    return first_hits(packed, index_around(packed, start), start, rays)[0]


def _surface(solid: Solid, rays: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, ...]:
    """Outward normals, u, v and number of the face where the rays from the origin meet a solid."""
    _, normal, (u, v, _), _, which = surfaces(pack((solid,)), np.zeros(3), rays, t, np.zeros(t.size, np.int64), 0.001)
    return -normal if solid is SOLIDS["room"] else normal, u, v, which


def _inside(solid: Solid, p: np.ndarray, margin: float) -> np.ndarray:
    """Whether points lie deeper than ``margin`` in a solid, from its definition alone."""
    if isinstance(solid, Sphere):
        return np.linalg.norm(p - np.array(solid.center)[:, None], axis=0) < solid.radius - margin
    if isinstance(solid, Cylinder):
        x, y, z = p - np.array(solid.foot)[:, None]
        return (np.hypot(x, z) < solid.radius - margin) & (y > margin) & (y < solid.height - margin)
    if isinstance(solid, Ground):
        return p[1] < solid.height - margin
    assert isinstance(solid, Convex)
    return np.all([np.array(face.normal) @ p < face.offset - margin for face in solid.faces], axis=0)


def test_sphere_distance_is_the_closed_form() -> None:
    """A ball of radius r at distance d, seen at an angle a off its centre, is d·cos a − √(r² − d²·sin² a) away."""
    angle = np.linspace(0, math.asin(1.5 / 5) - 1e-6, 50)
    rays = np.stack([np.cos(angle), np.zeros(50), np.sin(angle)])
    t = _hit(Sphere((5.0, 0.0, 0.0), 1.5, GRAY), rays)
    np.testing.assert_allclose(t, 5 * np.cos(angle) - np.sqrt(1.5**2 - 25 * np.sin(angle) ** 2), rtol=1e-12)


def test_room_distance_is_the_slab_formula() -> None:
    """Inside a box the distance is the smallest of half-extent over the ray's component, per axis."""
    rays = _rays(2000)
    half = np.array([4.0, 1.5, 3.0])[:, None]
    np.testing.assert_allclose(_hit(SOLIDS["room"], rays), (half / np.abs(rays)).min(axis=0), rtol=1e-12)


def test_axis_rays_meet_an_axis_aligned_box_exactly() -> None:
    """Rays parallel to faces hit the box in front of them and pass the boxes beside them."""
    ahead, beside = box((3.0, -1.0, 0.0), (2.0, 2.0, 2.0), GRAY), box((3.0, -1.0, 1.5), (2.0, 2.0, 2.0), GRAY)
    ray = np.array([[1.0], [0.0], [0.0]])
    assert _hit(ahead, ray) == 2.0
    assert np.isinf(_hit(beside, ray))
    assert np.isinf(_hit(ahead, -ray))


def test_cylinder_is_hit_on_mantle_and_caps() -> None:
    """A level ray meets the mantle at distance − radius; a steep one from above meets the cap's plane."""
    post = Cylinder((5.0, -1.0, 0.0), 1.0, 2.0, GRAY)
    assert _hit(post, np.array([[1.0], [0.0], [0.0]])) == 4.0
    above = (5.0, 4.0, 0.0)
    assert _hit(post, np.array([[0.0], [-1.0], [0.0]]), above) == 3.0
    beside = (5.0, 4.0, 1.01)
    assert np.isinf(_hit(post, np.array([[0.0], [-1.0], [0.0]]), beside))


def test_ground_is_met_below_the_horizon_only() -> None:
    """The plane y = −h is h / −d_y away for falling rays and nowhere for the others."""
    rays = _rays(500)
    t = _hit(SOLIDS["ground"], rays)
    down = rays[1] < 0
    np.testing.assert_allclose(t[down], 1.5 / -rays[1, down], rtol=1e-12)
    assert np.isinf(t[~down]).all()


@pytest.mark.parametrize("name", SOLIDS)
def test_hits_are_the_first_change_of_side(name: str) -> None:
    """Along every ray the side of the surface changes at the hit and nowhere before; missing rays never enter."""
    solid, rays = SOLIDS[name], _rays(1500, seed=3)
    t = _hit(solid, rays)
    reach = np.where(np.isfinite(t), t, 30.0)
    starts_inside = _inside(solid, ORIGIN, 0.0)[0]
    for share in np.linspace(0.002, 0.998, 40):
        before = _inside(solid, rays * (reach * share), -1e-9 if starts_inside else 1e-9)
        assert (before == starts_inside).all()
    hit = np.isfinite(t)
    assert hit.any()
    after = _inside(solid, rays[:, hit] * (t[hit] + 1e-6), 0.0)
    grazing = np.abs((_surface(solid, rays[:, hit], t[hit])[0] * rays[:, hit]).sum(axis=0)) < 1e-2
    assert (after[~grazing] != starts_inside).all()


@pytest.mark.parametrize("name", SOLIDS)
def test_normals_are_unit_and_point_outward(name: str) -> None:
    """Normals are unit vectors, and a step along them leaves the solid while a step against them enters it."""
    solid, rays = SOLIDS[name], _rays(1500, seed=4)
    t = _hit(solid, rays)
    rays, t = rays[:, np.isfinite(t)], t[np.isfinite(t)]
    p = rays * t
    normal, u, v, which = _surface(solid, rays, t)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1, rtol=1e-9)
    assert not _inside(solid, p + 1e-6 * normal, 0.0).any()
    corner = ~_inside(solid, p - 2e-3 * normal, 1e-6)
    assert corner.mean() < 0.05
    assert np.isfinite(u).all()
    assert np.isfinite(v).all()
    assert set(which) <= set(range(len(solid.textures)))


@pytest.mark.parametrize("name", ["sphere", "cylinder", "box", "gable", "pyramid"])
def test_bounding_spheres_lose_no_hit(name: str) -> None:
    """Every ray that meets a solid passes its bounding sphere."""
    solid, rays = SOLIDS[name], _rays(4000, seed=5)
    hit = np.isfinite(_hit(replace(solid, bounded=False) if isinstance(solid, Convex) else solid, rays))
    center, radius = solid.bound()
    along = np.array(center) @ rays
    assert hit.any()
    assert (np.linalg.norm(np.array(center)[:, None] - along * rays, axis=0)[hit] <= radius).all()
    np.testing.assert_array_equal(np.isfinite(_hit(solid, rays)), hit)


def test_texture_axes_are_right_angled_and_in_the_face() -> None:
    """On every face u and v are unit, orthogonal to each other and to the normal, and v points up on upright faces."""
    for name in ("box", "gable", "pyramid", "room"):
        for face in SOLIDS[name].faces:
            frame = np.array([face.normal, face.u_axis, face.v_axis])
            np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
            assert abs(face.normal[1]) > 0.999 or face.v_axis[1] > 0
