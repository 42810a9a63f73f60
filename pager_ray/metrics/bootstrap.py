"""Confidence intervals over panoramas: how far a mean would move with another draw of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from jaxtyping import Float64

# Samples drawn at a time: bounds memory at any number of samples. The results are defined with it.
_CHUNK: Final = 1 << 13
_LOW_BITS: Final = np.uint64(32)


def bootstrap_interval(
    values: Float64[np.ndarray, " n"], *, seed: int = 0, replicates: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Give the interval of one metric's mean: :func:`bootstrap_intervals` of a single column, bit for bit.

    Returns:
        Lower and upper end, NaN without any value.

    Raises:
        ConfigError, ShapeError: as :func:`bootstrap_intervals`.
    """
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        got = f"an array of shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ShapeError(f"values must be an (N,) array, one per sample, got {got}")
    low, high = bootstrap_intervals(values[:, None], seed=seed, replicates=replicates, level=level)[0]
    return float(low), float(high)


def bootstrap_intervals(
    values: Float64[np.ndarray, "n m"], *, seed: int = 0, replicates: int = 1000, level: float = 0.95
) -> Float64[np.ndarray, "m 2"]:
    """Give percentile bootstrap intervals of the means of several metrics over the same samples.

    Each replicate draws N of the N samples with replacement, the same for all columns, and takes each column's mean;
    an interval spans the middle ``level`` of the replicates' means (quantiles interpolated linearly). NaN says that a
    sample has no such value: it is left out of that column's means, and a replicate that drew no value at all is left
    out of the column's interval. A paired comparison of two runs is nothing else: pass the differences of the samples
    that both have, and the interval is that of the mean difference.

    Draws come from the raw bits of PCG64, which no version of NumPy changes, and sums are NumPy's own, so the result
    depends on the arguments alone: not on threads, on other columns, nor on a BLAS. Memory: a few MB per 30 columns
    at any N, 8 bytes per replicate and column.

    Args:
        values: one row per sample, one column per metric; finite or NaN. The order of rows matters to the draws:
            sort samples by id.
        seed: of the draws, ≥ 0.
        replicates: how many means are drawn.
        level: share of the means inside an interval, between 0 and 1.

    Returns:
        Lower and upper end per column; NaN for a column without any value.

    Raises:
        ConfigError: ``seed``, ``replicates`` or ``level`` out of bounds.
        ShapeError: no (N, M) array of numbers, or infinite ones.
    """
    if seed < 0 or replicates < 1 or not 0 < level < 1:
        raise ConfigError(
            f"a bootstrap takes seed ≥ 0, replicates ≥ 1 and 0 < level < 1, got {seed}, {replicates} and {level}"
        )
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiu":
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ShapeError(f"values must be an (N, M) array of numbers, one row per sample, got {got}")
    columns = np.ascontiguousarray(values.T, dtype=np.float64)
    if np.isinf(columns).any():
        raise ShapeError("values must be finite, or NaN where a sample has none")
    missing = np.isnan(columns)
    gaps = np.flatnonzero(missing.any(axis=1))
    columns = np.where(missing, 0.0, columns)
    means = _resampled_means(columns, ~missing[gaps], gaps, seed, replicates)
    intervals = np.full((len(columns), 2), np.nan)
    for column, drawn in enumerate(means):
        usable = drawn[~np.isnan(drawn)]
        if usable.size:
            intervals[column] = np.quantile(usable, ((1 - level) / 2, (1 + level) / 2))
    return intervals


def _resampled_means(
    columns: Float64[np.ndarray, "m n"], present: np.ndarray, gaps: np.ndarray, seed: int, replicates: int
) -> Float64[np.ndarray, "m replicates"]:
    """Means of each replicate; ``present`` marks the values of those columns (``gaps``) that lack some."""
    count = columns.shape[1]
    means = np.full((len(columns), replicates), np.nan)
    if not count:
        return means
    present = present.astype(np.float64)
    bits = np.random.PCG64(seed)
    # Of few samples many replicates at once: what a call of NumPy costs would be most of it.
    together = max(1, _CHUNK // count)
    for first in range(0, replicates, together):
        some = min(together, replicates - first)
        sums = np.zeros((len(columns), some))
        counts = np.full((len(columns), some), float(count))
        counts[gaps] = 0
        for start in range(0, count, _CHUNK):
            # The upper half of 64 bits, scaled: uniform to within 2^-32 of a sample.
            raw = bits.random_raw(some * min(_CHUNK, count - start)) >> _LOW_BITS
            drawn = ((raw * np.uint64(count)) >> _LOW_BITS).astype(np.int64).reshape(some, -1)
            sums += np.take(columns, drawn, axis=1).sum(axis=2)
            if len(gaps):
                counts[gaps] += np.take(present, drawn, axis=1).sum(axis=2)
        np.divide(sums, counts, out=means[:, first : first + some], where=counts > 0)
    return means
