"""Training scenes: the same for the same index and seed, never a test's, the camera free, their truth on surfaces."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pager_ray.errors import ConfigError
from pager_ray.samples import STYLES, Kind, Scene, render
from pager_ray.samples.solids import Ground
from pager_ray.samples.tracer import erp_rays
from pager_ray.train.scenes import FAMILIES, FIRST_SEED, catalogue, sample_scene, training_scene
from pager_ray.train.scenes.shapes import clearance

INDICES = range(16)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [training_scene(index, 5) for index in INDICES]


def test_an_index_is_the_same_scene_every_time(scenes: list[Scene]) -> None:
    """Index and seed decide everything; another of either is another scene."""
    for index in (2, 3):
        assert training_scene(index, 5) == scenes[index]
        assert training_scene(index, 6) != scenes[index]
    assert len({scene.eye for scene in scenes}) == len(scenes)


def test_indoors_and_outdoors_take_turns(scenes: list[Scene]) -> None:
    """Even indices are indoors and odd ones outdoors, whatever family or place is drawn."""
    assert [scene.kind for scene in scenes] == ["outdoor" if index % 2 else "indoor" for index in INDICES]


@pytest.mark.parametrize("seed", [0, 9_999])
def test_seeds_of_tests_are_refused(seed: int) -> None:
    """No sample scene below seed 10,000 can become a training scene."""
    with pytest.raises(ConfigError, match=f"sample seed {seed} is kept for testing"):
        sample_scene(seed, "indoor")
    assert sample_scene(FIRST_SEED, "indoor").kind == "indoor"


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds that families are asked for; neither they nor random scenes are made, which takes long."""
    asked: list[int] = []
    empty = Scene("indoor", "random", (0.0, 1.0, 0.0), 0.0, ())
    monkeypatch.setattr(catalogue, "room", lambda rng: empty)
    monkeypatch.setattr(catalogue, "place", lambda rng: empty)

    def family(seed: int, kind: Kind) -> Scene:
        asked.append(seed)
        return replace(empty, style=STYLES[kind][seed % 3].__name__)

    monkeypatch.setattr(catalogue, "make_scene", family)
    return asked


def test_families_are_two_in_five_and_have_seeds_of_their_own(seeds: list[int]) -> None:
    """Families come up in about 40 % of the scenes, all six alike, each with a seed of its own from 10,000 on."""
    styles = [training_scene(index, 3).style for index in range(3000)]
    assert min(seeds) >= FIRST_SEED
    assert len(set(seeds)) == len(seeds)
    assert all(150 < styles.count(family) < 250 for family in FAMILIES)


def test_families_can_be_left_out(seeds: list[int]) -> None:
    """A family that is left out is never drawn; the others come up where they did."""
    everywhere = [training_scene(index, 5).style for index in range(200)]
    without = [training_scene(index, 5, leave_out=("gallery", "park")).style for index in range(200)]
    assert {"gallery", "park"} <= set(everywhere)
    assert without == ["random" if style in ("gallery", "park") else style for style in everywhere]


@pytest.mark.parametrize(
    ("index", "seed", "leave_out", "what"),
    [
        (-1, 0, (), "index -1"),
        (0, -1, (), "seed -1"),
        (0, 0, ("attic",), "no family attic to leave out; there are"),
    ],
)
def test_what_there_is_no_scene_for_is_refused(index: int, seed: int, leave_out: tuple[str, ...], what: str) -> None:
    """Negative numbers and unknown families are errors that say what there is."""
    with pytest.raises(ConfigError, match=what):
        training_scene(index, seed, leave_out=leave_out)


def test_the_camera_stands_free(scenes: list[Scene]) -> None:
    """No solid but a surrounding room holds the camera, and nothing is nearer than an arm's length."""
    for scene in scenes:
        for solid in scene.solids:
            around = not isinstance(solid, Ground) and solid.bound() is None
            assert around or clearance(solid, scene.eye) > 0.3, (scene.style, solid)


def test_cameras_are_held_as_people_hold_them(scenes: list[Scene]) -> None:
    """Heights lie between 0.8 and 3 m above the ground, tilts within ten degrees, and some cameras are tilted."""
    tilts = [math.hypot(*scene.tilt) for scene in scenes]
    assert max(tilts) <= math.radians(10.001)
    assert min(tilts) == 0 < max(tilts)
    assert all(0.79 <= scene.eye[1] <= 3.01 for scene in scenes)


def test_truth_lies_on_surfaces_and_faces_the_camera(scenes: list[Scene]) -> None:
    """Depth along its ray ends on a solid's surface; normals are unit, face the camera and vanish at sky."""
    rays = erp_rays(16, 32)
    for scene in scenes[:8]:
        panorama = render(scene, 16, 32, supersample=1)
        hit = np.flatnonzero(~panorama.sky.ravel())
        points = np.array(scene.eye)[:, None] + scene.camera @ rays[:, hit] * panorama.depth.ravel()[hit]
        for point, depth in list(zip(points.T, panorama.depth.ravel()[hit], strict=True))[::13]:
            off = min(abs(clearance(solid, tuple(point))) for solid in scene.solids)
            assert off < 1e-4 * max(1.0, depth), (scene.style, point)
        normals = panorama.normals.reshape(-1, 3)
        np.testing.assert_allclose(np.linalg.norm(normals[hit], axis=1), 1, atol=1e-5)
        assert ((normals[hit] * rays[:, hit].T).sum(axis=1) <= 1e-6).all()
        assert not normals[panorama.sky.ravel()].any()


def test_outdoors_there_is_sky_and_below_there_is_ground(scenes: list[Scene]) -> None:
    """Every panorama has a surface below the camera that looks up; only places outdoors may open to much sky."""
    for scene in scenes:
        panorama = render(scene, 16, 32, supersample=1)
        assert not panorama.sky[-1].any()
        up = panorama.normals[-1] @ scene.camera.T[:, 1]
        assert np.median(up) > 0.9, scene.style
        if scene.kind == "indoor":
            assert panorama.sky.mean() < 0.2, scene.style


def test_pictures_are_neither_black_nor_burnt_out(scenes: list[Scene]) -> None:
    """Exposure brings every scene into the range that a picture can show."""
    for scene in scenes:
        gray = render(scene, 32, 64, supersample=1).rgb.mean(axis=-1)
        assert 35 < gray.mean() < 235, scene.style
        assert gray.std() > 8, scene.style
