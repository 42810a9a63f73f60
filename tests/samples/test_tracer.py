"""Rendered ground truth: exact against closed forms, consistent with itself, and the same on every run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pager_ray.errors import ConfigError, ShapeError
from pager_ray.samples import STYLES, RenderedPanorama, make_scene, render
from pager_ray.samples.scene import Lamp, Scene, Sky, Sun
from pager_ray.samples.solids import Ground, Sphere, box
from pager_ray.samples.textures import Plain
from pager_ray.samples.tracer import erp_rays
from tests.samples.reference import cast

GRAY = Plain((0.5, 0.5, 0.5))
SKY = Sky((0.6, 0.7, 0.9), (0.2, 0.3, 0.6))
EVERY_STYLE = [(seed, kind) for kind in STYLES for seed in range(3)]


def _scene(*solids: object, heading: float = 0.0, **more: object) -> Scene:
    return Scene("outdoor", "test", (0.0, 0.0, 0.0), heading, solids, sky=SKY, **more)


def _points(panorama: RenderedPanorama) -> np.ndarray:
    height, width = panorama.depth.shape
    return erp_rays(height, width).reshape(3, height, width) * panorama.depth.astype(np.float64)


def test_rays_follow_the_stated_frame() -> None:
    """The centre looks along +x, the upper half up, and longitude grows to the right, toward +z."""
    rays = erp_rays(64, 128).reshape(3, 64, 128)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(rays[:, 31:33, 63:65].mean(axis=(1, 2)), (1, 0, 0), atol=1e-3)
    assert (rays[1, :32] > 0).all()
    assert (rays[2, :, 64:] > 0).all()
    theta, phi = (100.5 / 128 - 0.5) * 2 * np.pi, (0.5 - 10.5 / 64) * np.pi
    expected = (np.cos(phi) * np.cos(theta), np.sin(phi), np.cos(phi) * np.sin(theta))
    np.testing.assert_allclose(rays[:, 10, 100], expected, rtol=1e-12)


def test_a_ball_ahead_has_its_closed_form_depth_and_normals() -> None:
    """A ball on the x axis: depth d·cos a − √(r² − d²·sin² a), normals away from its centre, sky around it."""
    panorama = render(_scene(Sphere((5.0, 0.0, 0.0), 2.0, GRAY)), 64, 128)
    rays = erp_rays(64, 128).reshape(3, 64, 128)
    under = 4 - 25 * (1 - rays[0] ** 2)
    hit = (under >= 0) & (rays[0] > 0)
    expected = np.where(hit, 5 * rays[0] - np.sqrt(np.maximum(under, 0)), 0)
    np.testing.assert_allclose(panorama.depth, expected, rtol=1e-6)
    np.testing.assert_array_equal(panorama.sky, ~hit)
    normals = ((rays * expected - np.array([5.0, 0, 0])[:, None, None]) / 2).transpose(1, 2, 0)
    np.testing.assert_allclose(panorama.normals[hit], normals[hit], atol=1e-6)


def test_a_room_has_its_slab_depth_and_inward_normals() -> None:
    """From inside a box the depth is the nearest wall's and the normal is that wall's axis, toward the camera."""
    room = box((1.0, -1.2, -0.5), (7.0, 3.0, 5.0), GRAY, room=True)
    panorama = render(Scene("indoor", "test", (0.0, 0.0, 0.0), 0.0, (room,)), 64, 128)
    rays = erp_rays(64, 128)
    low, high = np.array([-2.5, -1.2, -3.0])[:, None], np.array([4.5, 1.8, 2.0])[:, None]
    walls = np.where(rays > 0, high, low) / rays
    np.testing.assert_allclose(panorama.depth.ravel(), walls.min(axis=0), rtol=1e-6)
    assert not panorama.sky.any()
    axis = walls.argmin(axis=0)
    expected = np.zeros((rays.shape[1], 3))
    expected[np.arange(len(axis)), axis] = -np.sign(rays[axis, np.arange(len(axis))])
    np.testing.assert_allclose(panorama.normals.reshape(-1, 3), expected, atol=1e-7)


def test_heading_turns_the_camera() -> None:
    """A quarter turn of the heading moves the picture a quarter of its width, and the normals turn with the camera."""
    solids = (Sphere((1.0, 0.5, 4.0), 1.0, GRAY), box((-3.0, -1.0, 1.0), (1.0, 3.0, 2.0), GRAY, yaw=0.3))
    ahead, turned = render(_scene(*solids), 32, 64), render(_scene(*solids, heading=np.pi / 2), 32, 64)
    np.testing.assert_allclose(turned.depth, np.roll(ahead.depth, -16, axis=1), rtol=1e-6)
    rolled = np.roll(ahead.normals, -16, axis=1)
    expected = np.stack([rolled[..., 2], rolled[..., 1], -rolled[..., 0]], axis=-1)
    np.testing.assert_allclose(turned.normals, expected, atol=1e-6)


@pytest.mark.parametrize(("seed", "kind"), EVERY_STYLE)
def test_ground_truth_of_every_style_is_consistent(seed: int, kind: str) -> None:
    """Sky is where there is no depth; normals are unit, face the camera and vanish at sky; all keeps its distance."""
    panorama = render(make_scene(seed, kind), 96, 192, supersample=1)
    assert panorama.rgb.shape == (96, 192, 3)
    assert (panorama.rgb.dtype, panorama.depth.dtype, panorama.normals.dtype) == (np.uint8, np.float32, np.float32)
    assert panorama.scene == kind
    np.testing.assert_array_equal(panorama.sky, panorama.depth == 0)
    assert panorama.sky.any() == (kind == "outdoor")
    surface = ~panorama.sky
    assert np.isfinite(panorama.depth).all()
    assert panorama.depth[surface].min() > 0.3
    np.testing.assert_allclose(np.linalg.norm(panorama.normals[surface], axis=-1), 1, atol=1e-6)
    assert (panorama.normals[panorama.sky] == 0).all()
    rays = erp_rays(96, 192).T.reshape(96, 192, 3)
    assert ((panorama.normals * rays).sum(axis=-1)[surface] <= 1e-6).all()


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.15, -0.1)])
@pytest.mark.parametrize(("seed", "kind"), EVERY_STYLE)
def test_pictures_are_those_of_a_caster_that_leaves_nothing_out(
    seed: int, kind: str, tilt: tuple[float, float]
) -> None:
    """Indices by direction, merged textures and compiled code change no picture by more than a level, and no truth."""
    scene = replace(make_scene(seed, kind), tilt=tilt)
    fast, (rgb, depth, normals) = render(scene, 24, 48, supersample=1), cast(scene, 24)
    np.testing.assert_allclose(fast.depth, depth, rtol=1e-6)
    np.testing.assert_allclose(fast.normals, normals, atol=1e-6)
    assert np.abs(fast.rgb.astype(int) - rgb).max() <= 1


def test_tilt_pitches_and_rolls_the_camera() -> None:
    """With a pitch the centre looks up by that angle; with a roll the right side rises; normals are the camera's."""
    ground = Ground(GRAY, height=-1.0)
    pitched, rolled = (render(_scene(ground, tilt=tilt), 64, 128) for tilt in ((0.2, 0.0), (0.0, 0.2)))
    assert pitched.sky[32, 64]
    assert not pitched.sky[30, 0]
    assert rolled.sky[32, 96]
    assert not rolled.sky[32, 32]
    for panorama, up in ((pitched, (np.sin(0.2), np.cos(0.2), 0.0)), (rolled, (0.0, np.cos(0.2), np.sin(0.2)))):
        np.testing.assert_allclose(panorama.normals[~panorama.sky], np.tile(up, ((~panorama.sky).sum(), 1)), atol=1e-6)


@pytest.mark.parametrize(("seed", "kind"), EVERY_STYLE)
def test_normals_are_those_of_the_depth(seed: int, kind: str) -> None:
    """Where neighbours share a plane, the cross product of the differences of their points is the normal."""
    panorama = render(make_scene(seed, kind), 96, 192, supersample=1)
    points, normals = _points(panorama), panorama.normals.astype(np.float64)
    right, down = points[:, :-1, 1:] - points[:, :-1, :-1], points[:, 1:, :-1] - points[:, :-1, :-1]
    cross = np.cross(right, down, axis=0)
    cross /= np.maximum(np.linalg.norm(cross, axis=0), 1e-12)
    here = normals[:-1, :-1]
    alike = ((normals[:-1, 1:] == here) & (normals[1:, :-1] == here)).all(axis=-1) & ~panorama.sky[:-1, :-1]
    # Same direction is not yet same plane: parallel boards lie at different heights.
    offset = (here.transpose(2, 0, 1) * right).sum(axis=0), (here.transpose(2, 0, 1) * down).sum(axis=0)
    tolerance = 2e-6 * panorama.depth[:-1, :-1] + 1e-6
    alike &= (np.abs(offset[0]) < tolerance) & (np.abs(offset[1]) < tolerance)
    agreement = np.abs((cross.transpose(1, 2, 0) * here).sum(axis=-1))[alike]
    assert alike.mean() > 0.2
    assert np.quantile(agreement, 0.001) > 0.999


def test_supersampling_leaves_the_ground_truth_alone() -> None:
    """Ground truth comes from pixel centres: it is the same with and without anti-aliasing, while the edges differ."""
    scene = make_scene(1, "outdoor")
    plain, smooth = render(scene, 64, 128, supersample=1), render(scene, 64, 128, supersample=3)
    np.testing.assert_array_equal(plain.depth, smooth.depth)
    np.testing.assert_array_equal(plain.normals, smooth.normals)
    assert 0.02 < (plain.rgb != smooth.rgb).any(axis=-1).mean() < 0.8


def test_rendering_is_deterministic() -> None:
    """The same seed gives the same bytes; another seed another picture."""
    first, again, other = (render(make_scene(seed, "indoor"), 48, 96) for seed in (4, 4, 7))
    for name in ("rgb", "depth", "normals", "sky"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.rgb != other.rgb).mean() > 0.2
    assert not np.array_equal(first.depth, other.depth)


def test_shadows_fall_where_the_light_is_blocked() -> None:
    """Under a ball the ground is darker than beside it, for the sun and for a lamp."""
    solids = (Ground(GRAY, height=-1.5), Sphere((4.0, 0.5, 0.0), 0.6, GRAY))
    overhead = {"sun": Sun((0.0, 1.0, 0.0), (1.0, 1.0, 1.0))}
    lamp = {"lamps": (Lamp((4.0, 6.0, 0.0), (20.0, 20.0, 20.0)),)}
    for light in (overhead, lamp):
        rgb = render(_scene(*solids, **light), 128, 256, supersample=1).rgb.astype(int)
        row = round((0.5 + np.arctan2(1.5, 4.0) / np.pi) * 128)
        beside = round((0.5 + np.arctan2(1.5, 4.0) / (2 * np.pi)) * 256)
        assert rgb[row, 128].sum() + 60 < rgb[row, beside].sum()


def test_metering_brings_dim_and_bright_scenes_to_one_level() -> None:
    """A room under a lamp and under a hundredth of it are metered to the same picture; a factor makes it brighter."""
    room = box((0.0, -1.2, 0.0), (5.0, 2.6, 4.0), GRAY, room=True)

    def picture(power: float, metered: float) -> np.ndarray:
        lamp = Lamp((0.0, 1.2, 0.0), (power, power, power))
        ambient = ((power / 9,) * 3, (power / 9,) * 3)
        scene = Scene("indoor", "test", (0.0, 0.0, 0.0), 0.0, (room,), (lamp,), ambient=ambient, metered=metered)
        return render(scene, 32, 64, supersample=1).rgb.astype(int)

    assert np.abs(picture(10.0, 1.0) - picture(0.1, 1.0)).max() <= 2
    assert 90 < picture(1.0, 1.0).mean() < 190
    assert picture(1.0, 1.5).mean() > picture(1.0, 1.0).mean() + 10


def test_pictures_use_the_whole_tonal_range() -> None:
    """No style renders flat, black or burnt out."""
    for seed, kind in EVERY_STYLE:
        gray = render(make_scene(seed, kind), 48, 96).rgb.mean(axis=-1)
        assert 70 < gray.mean() < 225
        assert gray.std() > 20


@pytest.mark.parametrize(("height", "width", "supersample"), [(64, 64, 2), (1, 2, 2), (64, 128, 0)])
def test_impossible_sizes_are_refused(height: int, width: int, supersample: int) -> None:
    """A size that is no ERP's, or no sample at all, is a ShapeError."""
    with pytest.raises(ShapeError, match=f"cannot render {height}x{width} with supersample {supersample}; takes H×2H"):
        render(make_scene(0, "indoor"), height, width, supersample)


@pytest.mark.parametrize(("seed", "kind"), [(0, "underwater"), (-1, "indoor")])
def test_unknown_scenes_are_refused(seed: int, kind: str) -> None:
    """Another kind or a negative seed is a ConfigError that says what there is."""
    with pytest.raises(ConfigError, match="indoor or outdoor"):
        make_scene(seed, kind)
