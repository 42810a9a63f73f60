"""Tests of pager_ray.metrics.bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ConfigError, ShapeError
from pager_ray.metrics import bootstrap, bootstrap_interval, bootstrap_intervals


def test_matches_a_plain_bootstrap() -> None:
    """Intervals are those of resampling with NumPy's generator, within the noise of the draws."""
    rng = np.random.default_rng(0)
    values = rng.lognormal(0, 1, 300)
    means = [rng.choice(values, 300).mean() for _ in range(4000)]
    expected = np.quantile(means, (0.025, 0.975))
    found = np.array(bootstrap_interval(values, replicates=4000))
    assert found == pytest.approx(expected, abs=0.1 * np.ptp(expected))
    assert found[0] < values.mean() < found[1]


def test_matches_its_definition() -> None:
    """With the draws taken from the generator's bits, intervals are quantiles of the replicates' means."""
    values = np.random.default_rng(1).random((40, 2))
    bits = np.random.PCG64(7)
    draws = [[(int(bits.random_raw()) >> 32) * 40 >> 32 for _ in range(40)] for _ in range(200)]
    means = np.array([values[drawn].mean(axis=0) for drawn in draws])
    expected = np.quantile(means, (0.05, 0.95), axis=0).T
    found = bootstrap_intervals(values, seed=7, replicates=200, level=0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_covers_the_mean() -> None:
    """About 95 of 100 intervals hold the mean that the samples were drawn from."""
    values = np.random.default_rng(2).exponential(1, (60, 400))
    low, high = bootstrap_intervals(values, replicates=500).T
    assert 0.89 < np.mean((low <= 1) & (high >= 1)) < 0.98


def test_columns_do_not_see_each_other() -> None:
    """A column's interval has the same bits alone and among others, whatever those lack."""
    values = np.random.default_rng(3).random((500, 5))
    values[::3, 1] = np.nan
    values[:, 2] = np.nan
    together = bootstrap_intervals(values, seed=5, replicates=100)
    for column in range(5):
        alone = bootstrap_interval(values[:, column], seed=5, replicates=100)
        np.testing.assert_array_equal(together[column], alone)
    assert np.isnan(together[2]).all()
    assert not np.isnan(np.delete(together, 2, axis=0)).any()


def test_missing_values_are_left_out() -> None:
    """A sample without a value weighs nothing: constants stay constant, and the interval widens."""
    values = np.random.default_rng(4).random((200, 3))
    values[:, 1] = values[:, 0]
    values[40:, 1] = np.nan
    values[:, 2] = np.where(np.arange(200) % 2, 0.25, np.nan)
    whole, part, constant = bootstrap_intervals(values)
    assert constant.tolist() == [0.25, 0.25]
    assert 1.5 * np.ptp(whole) < np.ptp(part)
    assert part[0] < values[:40, 0].mean() < part[1]


def test_replicates_without_any_value_are_left_out() -> None:
    """One value among many samples, which every third replicate misses, gives its own interval."""
    values = np.full(50, np.nan)
    values[7] = 3.0
    assert bootstrap_interval(values) == (3, 3)


def test_deterministic_and_seeded() -> None:
    """The same arguments give the same bits, another seed other ones."""
    values = np.random.default_rng(5).random((100, 2))
    first = bootstrap_intervals(values, replicates=50)
    np.testing.assert_array_equal(first, bootstrap_intervals(values.copy(order="F"), replicates=50))
    assert (first != bootstrap_intervals(values, replicates=50, seed=1)).any()


def test_known_bits() -> None:
    """Draws are the same with every NumPy: these ends were computed once and must not move."""
    assert bootstrap_interval(np.arange(10.0), replicates=100) == pytest.approx((3.2, 6.905), rel=1e-15)


def test_chunks_bound_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in chunks, replicates are the same draws, summed in another order."""
    values = np.random.default_rng(6).random((300, 3))
    values[::5, 1] = np.nan
    whole = bootstrap_intervals(values, replicates=50)
    monkeypatch.setattr(bootstrap, "_CHUNK", 7)
    np.testing.assert_allclose(bootstrap_intervals(values, replicates=50), whole, rtol=1e-13)


@pytest.mark.parametrize("shape", [(0, 2), (3, 0)])
def test_nothing(shape: tuple[int, int]) -> None:
    """Without samples intervals are NaN, without columns there are none."""
    found = bootstrap_intervals(np.zeros(shape), replicates=10)
    assert found.shape == (shape[1], 2)
    assert np.isnan(found).all()


def test_one_sample() -> None:
    """A single sample is all that can be drawn."""
    assert bootstrap_interval(np.array([0.3])) == (0.3, 0.3)


def test_wrong_arguments() -> None:
    """Arguments that give no interval are refused with what came."""
    values = np.ones((3, 2))
    for keywords in ({"seed": -1}, {"replicates": 0}, {"level": 0}, {"level": 1}):
        with pytest.raises(ConfigError, match="a bootstrap takes"):
            bootstrap_intervals(values, **keywords)
    with pytest.raises(ShapeError, match=r"\(N, M\) array of numbers, .* got float64 \(3,\)"):
        bootstrap_intervals(values[:, 0])
    with pytest.raises(ShapeError, match=r"\(N,\) array, .* got an array of shape \(3, 2\)"):
        bootstrap_interval(values)
    with pytest.raises(ShapeError, match="got list"):
        bootstrap_interval([1.0, 2.0])
    with pytest.raises(ShapeError, match="finite, or NaN"):
        bootstrap_intervals(np.full((3, 2), np.inf))
