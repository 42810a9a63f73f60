"""Photographic effects: drawn from a generator alone, bounded, blind to the seam, and off at strength zero."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.train.scenes import render_training_panorama
from pager_ray.train.scenes.camera_effects import _nadir_hidden, photographed


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return render_training_panorama(1, 5, 64).rgb


def test_the_same_generator_gives_the_same_picture(picture: np.ndarray) -> None:
    """Effects are a function of picture, generator and strength, and leave their input alone."""
    before = picture.copy()
    made = [photographed(picture, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).mean() > 0.2
    np.testing.assert_array_equal(picture, before)
    assert (made[0].shape, made[0].dtype) == (picture.shape, np.uint8)


def test_no_strength_is_no_effect(picture: np.ndarray) -> None:
    """Strength 0 gives the picture itself, as a copy."""
    made = photographed(picture, np.random.default_rng(0), 0.0)
    np.testing.assert_array_equal(made, picture)
    assert not np.shares_memory(made, picture)


def test_effects_stay_within_what_photographs_show(picture: np.ndarray) -> None:
    """Over many draws pictures keep their layout: brightness follows the original's, and few become unreadable."""
    gray = picture.mean(axis=2)[:48]
    made = [photographed(picture, np.random.default_rng(seed)).mean(axis=2)[:48] for seed in range(60)]
    alike = [np.corrcoef(gray.ravel(), other.ravel())[0, 1] for other in made]
    assert np.median(alike) > 0.9
    assert np.mean([a > 0.6 for a in alike]) > 0.95
    levels = [other.mean() for other in made]
    assert np.quantile(levels, 0.05) > 15
    assert np.quantile(levels, 0.95) < 250
    assert np.std(levels) > 10
    mild = [photographed(picture, np.random.default_rng(seed), 0.2).mean(axis=2)[:48] for seed in range(20)]
    assert np.mean([np.abs(m - gray).mean() for m in mild]) < np.mean([np.abs(m - gray).mean() for m in made])


def test_the_seam_stays_closed(picture: np.ndarray) -> None:
    """Blur and compression see the picture go on beyond its border: steps at the seam are those of elsewhere."""
    smooth = np.repeat(np.repeat(np.array([[[90, 120, 150]]], np.uint8), 64, axis=0), 128, axis=1)
    smooth = (smooth + 40 * np.cos(np.arange(128) / 128 * 2 * np.pi)[None, :, None]).astype(np.uint8)
    seam, elsewhere = [], []
    for seed in range(30):
        made = photographed(smooth, np.random.default_rng(seed)).astype(int)[:40]
        steps = np.abs(made - np.roll(made, 1, axis=1)).mean(axis=(0, 2))
        seam.append(steps[0])
        elsewhere.append(np.median(steps))
    assert np.mean(seam) < 1.5 * np.mean(elsewhere) + 1


def test_only_the_nadir_is_hidden() -> None:
    """Tripods, discs and bands change the lowest part of the picture, some of the bands its top, nothing between."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    for seed in range(20):
        made = _nadir_hidden(picture, np.random.default_rng(seed))
        changed = (made != picture).any(axis=(1, 2))
        assert changed[-2:].any()
        assert not changed[14:36].any()


def test_other_arrays_are_refused() -> None:
    """Anything but an RGB picture of bytes is a ShapeError."""
    for wrong in (np.zeros((8, 16), np.uint8), np.zeros((8, 16, 3), np.float32), np.zeros((4, 8, 3), np.uint8)):
        with pytest.raises(ShapeError, match="effects take"):
            photographed(wrong, np.random.default_rng(0))
