"""Surfaces of training scenes: colours of every texture are finite, positive and the same on every call."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from pager_ray.samples.textures import Plain
from pager_ray.train.scenes import materials
from pager_ray.train.scenes.materials import Fenestration, Goods, Rubble, Veined, Weathered

GRAY = Plain((0.5, 0.5, 0.5))
TEXTURES = {
    "weathered": Weathered(GRAY, 0.3, 1.0, 4),
    "rubble": Rubble((0.5, 0.4, 0.3), (0.1, 0.1, 0.1), seed=3),
    "veined": Veined((0.5, 0.3, 0.1), (0.2, 0.1, 0.05)),
    "goods": Goods(seed=2),
    "fenestration": Fenestration(GRAY, 12.0, shutters=(0.1, 0.3, 0.1), shop=(0.4, 0.1, 0.1)),
}
MAKERS = ("anything", "wall", "ceiling", "floor", "pavement", "meadow", "plaster", "wood", "stone", "brick")


def _points(count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    u, v, w = np.random.default_rng(1).uniform(-6, 6, (3, count))
    return u, v + 6, np.stack([u, v, w])


@pytest.mark.parametrize("name", TEXTURES)
def test_colours_are_albedos(name: str) -> None:
    """Every sample is finite, not negative and not far above 1, steady, and not one flat colour."""
    texture = TEXTURES[name]
    color = texture.sample(*_points())
    assert color.shape == (4000, 3)
    assert np.isfinite(color).all()
    assert color.min() >= 0
    assert color.max() < 1.5
    assert color.std(axis=0).max() > 0.01
    np.testing.assert_array_equal(color, texture.sample(*_points()))
    assert texture.feature > 0


@pytest.mark.parametrize("name", MAKERS)
def test_draws_are_textures_that_can_be_shared(name: str) -> None:
    """Whatever is drawn can be sampled and hashed, and the same generator draws the same."""
    for seed in range(12):
        drawn, again = (getattr(materials, name)(np.random.default_rng(seed)) for _ in range(2))
        assert drawn == again
        assert hash(drawn) == hash(again)
        color = drawn.sample(*_points(200))
        assert np.isfinite(color).all()
        assert color.min() >= -1e-9


def test_windows_are_where_a_front_has_them() -> None:
    """A front shows glass in the middle of a bay at a window's height, and its wall between and below."""
    front = Fenestration(GRAY, 12.0, storey=3.0, pitch=3.0, window=(1.2, 1.5), sill=0.9, bars=1)
    place = np.zeros((3, 3))
    glass, between, below = front.sample(np.array([-1.5 + 0.25, 0.0, -1.5]), np.array([4.3, 4.3, 3.4]), place)
    assert not np.allclose(glass, 0.5)
    np.testing.assert_allclose(between, 0.5)
    np.testing.assert_allclose(below, 0.5)


def test_glowing_keeps_the_pattern() -> None:
    """A texture with light of its own has the same colours, through stains too."""
    base = Weathered(materials.brick(np.random.default_rng(0)), 0.2)
    lit = materials.glowing(base, 1.5)
    assert (base.emission, lit.emission) == (0.0, 1.5)
    np.testing.assert_array_equal(lit.sample(*_points(50)), base.sample(*_points(50)))
    assert {field.name for field in fields(lit)} == {"base", "amount", "scale", "seed"}
