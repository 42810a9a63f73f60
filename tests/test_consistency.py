"""Noise of scale between frames goes, at least five times of it, and nothing else does: no level, no trend, no cut."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.consistency import agreement, consistent_scale, jitter, lowess

COUNT = 60
NO_CUTS = np.zeros(COUNT, np.int64)


def smooth_path(count: int = COUNT) -> np.ndarray:
    """A true log scale that wanders by a third on a walk."""
    along = np.linspace(0, 1, count)
    return 0.4 + 0.15 * np.sin(4 * along) + 0.1 * along


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_jitter_falls_five_times_without_bias(noise: float, seed: int) -> None:
    """Over the truth: the corrected scale neither jumps from frame to frame nor is off by 2 % of what noise leaves."""
    random = np.random.default_rng(seed)
    truth, time = smooth_path(), np.arange(COUNT) / 10
    raw = truth + random.normal(0, noise, COUNT)
    found = consistent_scale(raw, time)
    error, before = found.log_scale - truth, raw - truth
    assert jitter(error, NO_CUTS) < jitter(before, NO_CUTS) / 5
    # The mean of so many frames is known no better; of the network's own mean nothing is lost.
    assert abs(found.log_scale.mean() - raw.mean()) < 1e-9
    assert abs(np.expm1(error.mean())) < 0.02 + 3 * noise / COUNT**0.5 * (noise > 0.05)


def test_depths_are_believed_before_scales() -> None:
    """Where a scale head makes up for what the depth head does, scales jump and depths do not: nothing is done."""
    random = np.random.default_rng(0)
    truth = smooth_path()
    raw = truth + random.normal(0, 0.1, COUNT)
    found = consistent_scale(raw, np.arange(COUNT), np.diff(truth))
    assert np.abs(found.log_scale - raw).max() < 0.03
    noise = random.normal(0, 0.1, COUNT)
    found = consistent_scale(raw + noise, np.arange(COUNT), np.diff(truth + noise))
    assert jitter(found.log_scale - raw, NO_CUTS) < jitter(noise, NO_CUTS) / 5


def test_scales_stand_in_for_depths_that_cannot_be_compared() -> None:
    """Here and there, or everywhere."""
    random = np.random.default_rng(1)
    raw = smooth_path() + random.normal(0, 0.05, COUNT)
    steps = np.diff(raw)
    steps[::3] = np.nan
    expected = consistent_scale(raw, np.arange(COUNT)).log_scale
    assert consistent_scale(raw, np.arange(COUNT), steps).log_scale == pytest.approx(expected)
    assert consistent_scale(raw, np.arange(COUNT), np.full(COUNT - 1, np.nan)).log_scale == pytest.approx(expected)


def test_single_frames_that_are_far_off_pull_nothing() -> None:
    """Three of sixty, wrong by a factor of two."""
    random = np.random.default_rng(2)
    truth = smooth_path()
    raw = truth + random.normal(0, 0.02, COUNT)
    raw[[7, 30, 31]] += 0.7
    error = consistent_scale(raw, np.arange(COUNT)).log_scale - truth
    assert np.abs(error - np.median(error)).max() < 0.03


def test_a_cut_stays_a_cut() -> None:
    """Another place has another scale from its first frame on, and neither side is drawn toward the other."""
    random = np.random.default_rng(3)
    truth = np.where(np.arange(COUNT) < 26, 0.2, 1.0)
    found = consistent_scale(truth + random.normal(0, 0.02, COUNT), np.arange(COUNT))
    assert found.stretches.tolist() == [0] * 26 + [1] * 34
    assert np.abs(found.log_scale - truth).max() < 0.02


def test_a_gap_in_time_is_a_cut() -> None:
    """The camera was off."""
    time = np.arange(COUNT) / 2.0
    time[20:] += 600
    found = consistent_scale(np.full(COUNT, 0.5), time)
    assert found.stretches.tolist() == [0] * 20 + [1] * 40


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 16])
def test_short_sequences_are_taken_as_they_are(count: int) -> None:
    """Of a few frames nobody can tell what is noise."""
    random = np.random.default_rng(4)
    raw = random.normal(0, 0.1, count)
    found = consistent_scale(raw, np.arange(count))
    assert np.isfinite(found.log_scale).all()
    if count < 5:
        assert np.array_equal(found.log_scale, raw)


def test_frames_of_one_time_are_smoothed_alike() -> None:
    """Cameras that count in whole seconds, or say nothing else."""
    raw = np.random.default_rng(5).normal(0, 0.1, 40)
    assert np.isfinite(consistent_scale(raw, np.zeros(40)).log_scale).all()
    assert (
        jitter(consistent_scale(raw, np.repeat(np.arange(10), 4)).log_scale, np.zeros(40))
        < jitter(raw, np.zeros(40)) / 3
    )


def test_lines_are_their_own_smooth() -> None:
    """A trend is no noise; also where frames are not evenly apart, and of more frames than are fitted at a time."""
    for count in (8, 60, 5000):
        x = np.cumsum(np.random.default_rng(6).uniform(0.1, 1, count))
        assert lowess(x, 3 + 0.25 * x) == pytest.approx(3 + 0.25 * x)


def test_depths_agree_by_their_median() -> None:
    """A third of the directions see something else; frames of two places agree in nothing."""
    random = np.random.default_rng(7)
    earlier = random.normal(1, 0.5, 900).astype(np.float32)
    later = earlier + np.float32(0.1)
    later[:300] += random.normal(0, 1, 300).astype(np.float32)
    earlier[880:] = np.nan
    assert agreement(earlier, later) == pytest.approx(0.1, abs=0.01)
    assert np.isnan(agreement(earlier, random.normal(1, 0.5, 900).astype(np.float32)))
    assert np.isnan(agreement(earlier[:40], later[:40]))
