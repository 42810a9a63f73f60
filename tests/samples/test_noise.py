"""Noise: the compiled sums are those of the definition, corner by corner."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pager_ray.samples.noise import fractal_noise, lattice, value_noise


def _defined(*axes: np.ndarray, seed: int) -> np.ndarray:
    """Value noise from its definition: the cell's corners, weighted by a smooth step of the place between them."""
    total = np.zeros(axes[0].size)
    for corner in itertools.product((0, 1), repeat=len(axes)):
        weight = np.ones(axes[0].size)
        for axis, side in zip(axes, corner, strict=True):
            part = axis - np.floor(axis)
            part = part * part * (3 - 2 * part)
            weight = weight * (part if side else 1 - part)
        cells = [np.floor(axis).astype(np.int64) + side for axis, side in zip(axes, corner, strict=True)]
        total += weight * lattice(*cells, seed=seed)
    return total


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_compiled_noise_is_the_defined_one(dimensions: int) -> None:
    """One octave and several, at places left and right of zero, equal the weighted corners of their cells."""
    axes = tuple(np.random.default_rng(dimensions).uniform(-50, 50, (dimensions, 500)))
    np.testing.assert_allclose(value_noise(*axes, seed=7), _defined(*axes, seed=7), rtol=0, atol=1e-12)
    octaves = [_defined(*(a * 2.0**k for a in axes), seed=3000000019 + 7919 * k) / 2**k for k in range(3)]
    expected = sum(octaves) / 1.75
    np.testing.assert_allclose(fractal_noise(*axes, seed=3000000019), expected, rtol=0, atol=1e-12)


def test_lattice_is_uniform_and_steady() -> None:
    """Cells get numbers that fill [0, 1), the same on every call, others with another seed."""
    cells = np.arange(-5000, 5000)
    drawn = lattice(cells, cells[::-1], seed=1)
    np.testing.assert_array_equal(drawn, lattice(cells, cells[::-1], seed=1))
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 800
    assert np.abs(np.corrcoef(drawn, lattice(cells, cells[::-1], seed=2))[0, 1]) < 0.05
