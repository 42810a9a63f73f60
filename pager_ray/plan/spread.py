"""How well a few samples know a mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Student's t, two-sided 95 %, for 1 … 10 degrees of freedom; beyond, 1.96 + 2.4/df is within a percent of it.
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

_ALONE = 0.5
"""One sample knows nothing of a spread: half of its value is taken for it."""


@dataclass(frozen=True)
class Band:
    """An estimate between the two ends of its error band."""

    estimate: float
    low: float
    high: float

    def times(self, factor: float, low: float | None = None, high: float | None = None) -> Band:
        """All three multiplied; the ends by factors of their own where they are given."""
        return Band(
            self.estimate * factor,
            self.low * (factor if low is None else low),
            self.high * (factor if high is None else high),
        )

    def plus(self, other: Band) -> Band:
        """Both ends at once: the samples' errors are not independent."""
        return Band(self.estimate + other.estimate, self.low + other.low, self.high + other.high)


def mean_band(values: Sequence[float]) -> Band:
    """The mean of all from a sample, with a 95 % t-interval; its low end is never below the smallest value's half."""
    count, mean = len(values), sum(values) / len(values)
    if count == 1:
        return Band(mean, mean * (1 - _ALONE), mean * (1 + _ALONE))
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    quantile = _T[count - 2] if count - 2 < len(_T) else 1.96 + 2.4 / (count - 1)
    half = quantile * math.sqrt(variance / count)
    return Band(mean, max(mean - half, min(values) / 2), mean + half)
