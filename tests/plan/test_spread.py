"""Bands around means."""

from __future__ import annotations

import random

import pytest

from pager_ray.plan.spread import Band, mean_band


def test_equal_samples_have_no_band() -> None:
    """Where all samples agree the band is a point."""
    assert mean_band([2.0, 2.0, 2.0]) == Band(2.0, 2.0, 2.0)


def test_one_sample_knows_no_spread() -> None:
    """A single sample's band is half of its value wide, to either side."""
    assert mean_band([4.0]) == Band(4.0, 2.0, 6.0)


def test_the_interval_is_student_s() -> None:
    """Of 1…8 the mean is 4.5 and the 95 % interval 2.45 to either side over √8, times 2.365."""
    band = mean_band([1, 2, 3, 4, 5, 6, 7, 8])
    assert band.estimate == 4.5
    assert band.high == pytest.approx(4.5 + 2.365 * 2.449 / 8**0.5, rel=1e-3)
    assert band.low == pytest.approx(4.5 - 2.365 * 2.449 / 8**0.5, rel=1e-3)


def test_the_low_end_stays_positive() -> None:
    """Two very different samples never make a band that reaches below nothing."""
    assert mean_band([1.0, 100.0]).low == 0.5


@pytest.mark.parametrize("count", [4, 8, 30])
def test_the_true_mean_is_inside_nineteen_times_of_twenty(count: int) -> None:
    """The band of normal samples holds the true mean in about 95 % of draws, whatever their number."""
    chance = random.Random(1)
    bands = [mean_band([chance.gauss(10, 1) for _ in range(count)]) for _ in range(2000)]
    share = sum(band.low <= 10 <= band.high for band in bands) / len(bands)
    assert 0.93 <= share <= 0.97
