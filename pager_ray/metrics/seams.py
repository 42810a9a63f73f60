"""Seam scores: how much a predicted depth panorama jumps where two cube faces meet; no ground truth takes part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.errors import ConfigError, InputError, ShapeError
from pager_ray.geometry import face_map
from pager_ray.geometry.locking import built_once
from pager_ray.metrics.bands import BAND_PIXELS, Scores, check_map

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

_EDGES: Final = 12
_QUANTILES: Final = (0.01, 0.99)
_SAMPLES: Final = 1 << 14
# Standard deviations of a sampled quantile's rank between which the true one is looked for; a miss costs a full search.
_MARGIN: Final = 5.0
_MOST_KEPT: Final = 1 << 18


@dataclass(frozen=True)
class SeamThresholds:
    """From where on a jump counts, in shares of the depth range between the 1 % and 99 % quantiles.

    The defaults are those of the released command line; ``SeamThresholds(0.02, 0.1, 0.015)`` those of its library.

    Attributes:
        pixel: a pair of pixels is broken above it.
        min_broken_fraction: an edge is broken when more than this share of its pairs is.
        edge: an edge is severe when the mean jump of its pairs is above it.
    """

    pixel: float = 0.010
    min_broken_fraction: float = 0.05
    edge: float = 0.008

    def __post_init__(self) -> None:
        for name in ("pixel", "min_broken_fraction", "edge"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"seam threshold {name} must lie between 0 and 1, got {value}")


@dataclass(frozen=True, eq=False)
class SeamPairs:
    """Neighbouring pixels of a panorama that are stitched from different faces, sorted by the edge they lie on.

    Attributes:
        first: flat indices of one pixel of each pair.
        second: flat indices of the other, right of or below the first.
        starts: where each of the 12 edges begins.
    """

    first: Int64[np.ndarray, " n"]
    second: Int64[np.ndarray, " n"]
    starts: Int64[np.ndarray, " 12"]


def seam_scores(depth: Float32[np.ndarray, "h w"], thresholds: SeamThresholds | None = None) -> Scores:
    """Score the seams of one depth map.

    Depth is normalised to (d − q₁)/(q₉₉ − q₁), clamped to [0, 1], between its quantiles over all pixels (see
    :func:`depth_quantiles`). A jump is the difference of the two pixels of a pair (see :func:`seam_pairs`); each edge
    weighs the same in the last two scores, however many pairs it has. The golden values agree with or without the
    clamp, to [0, 1] is what the protocol says. Between equal quantiles there is no range to compare with, and no
    jump.

    Args:
        depth: float32, finite everywhere, of any unit.
        thresholds: what counts as a defect; as the released command line by default.

    Returns:
        ``seam_defect_density``, the share of all pairs that are broken, ``seam_prevalence``, the share of the edges
        that are, and ``seam_severity``, the share of the edges that are severe.

    Raises:
        ShapeError: wrong shape or dtype, or a panorama too small to show all 12 edges.
        InputError: ``non_finite_prediction`` with the number of pixels.
    """
    thresholds = SeamThresholds() if thresholds is None else thresholds
    check_map("depth", depth)
    pairs: SeamPairs = built_once(seam_pairs, *depth.shape)
    low, high = depth_quantiles(depth)
    flat = depth.reshape(-1)
    jump = np.zeros(len(pairs.first))
    if high > low:
        first, second = (
            np.clip((flat[side].astype(np.float64) - low) / (high - low), 0, 1) for side in (pairs.first, pairs.second)
        )
        jump = np.abs(first - second)
    broken = jump > thresholds.pixel
    lengths = np.diff(pairs.starts, append=len(jump))
    broken_shares = np.add.reduceat(broken, pairs.starts, dtype=np.int64) / lengths
    mean_jumps = np.add.reduceat(jump, pairs.starts) / lengths
    return {
        "seam_defect_density": float(np.mean(broken)),
        "seam_prevalence": float(np.mean(broken_shares > thresholds.min_broken_fraction)),
        "seam_severity": float(np.mean(mean_jumps > thresholds.edge)),
    }


@lru_cache(maxsize=4)
def seam_pairs(height: int, width: int) -> SeamPairs:
    """Find the pairs of pixels that meet across the edges of the cube, once per size and process.

    Neighbours in a row, where the last column meets the first, and neighbours in a column, which ends at the poles;
    a pixel in a corner belongs to several pairs. Faces are those that pixels are stitched from
    (:func:`pager_ray.geometry.face_map`).

    Raises:
        ShapeError: faces that share no edge touch, or an edge has no pair: the panorama is too small.
    """
    faces = face_map(height, width)
    beside = np.flatnonzero(faces != np.roll(faces, -1, axis=1))
    above = np.flatnonzero(faces[:-1] != faces[1:])
    row_start = beside - beside % width
    first = np.concatenate([beside, above])
    second = np.concatenate([row_start + (beside + 1) % width, above + width])
    face_first, face_second = (faces.reshape(-1)[side].astype(np.int64) for side in (first, second))
    edge = 6 * np.minimum(face_first, face_second) + np.maximum(face_first, face_second)
    order = np.argsort(edge, kind="stable")
    known, starts = np.unique(edge[order], return_index=True)
    if len(known) != _EDGES:
        raise ShapeError(
            f"a panorama of {height}x{width} pixels is too small to show the 12 edges of a cube; takes 4x8 or more"
        )
    pairs = SeamPairs(first[order], second[order], starts.astype(np.int64))
    for array in (pairs.first, pairs.second, pairs.starts):
        array.setflags(write=False)
    return pairs


def depth_quantiles(depth: Float32[np.ndarray, "h w"]) -> tuple[float, float]:
    """The 1 % and the 99 % quantile over all pixels, exactly, without sorting them.

    Linear interpolation between the two values around rank q·(n − 1), with q and the result in single precision: the
    bits of ``torch.quantile``, at sizes that it refuses, too.

    Raises:
        InputError: ``non_finite_prediction`` with the number of pixels.
    """
    ranks = [float(np.float32(quantile)) * (depth.size - 1) for quantile in _QUANTILES]
    pairs = _order_statistics(depth, [int(rank) for rank in ranks])
    low, high = (_interpolate(*pair, rank % 1) for pair, rank in zip(pairs, ranks, strict=True))
    return low, high


def _interpolate(below: np.float32, above: np.float32, weight: float) -> float:
    """Interpolate with one rounding after product and sum, from the nearer end."""
    step, weight = float(above) - float(below), float(np.float32(weight))
    exact = float(below) + weight * step if weight < 0.5 else float(above) - step * (1 - weight)
    return float(np.float32(exact))


def _order_statistics(depth: Float32[np.ndarray, "h w"], ranks: list[int]) -> list[tuple[np.float32, np.float32]]:
    """For each rank, the value of that rank in ascending order and the next one (the last value has itself).

    A sample tells between which two values a rank must lie; one pass counts what is below them and keeps the little
    that is between. Where the sample misleads (ranks outside, or too much between), a selection finds the values.
    """
    values = depth.reshape(-1)
    windows = [_Window(*ends) for ends in _sampled_ends(values, ranks)]
    for start in range(0, len(values), BAND_PIXELS):
        chunk = values[start : start + BAND_PIXELS]
        if not (-np.inf < chunk.min() and chunk.max() < np.inf):
            bad = np.count_nonzero(~np.isfinite(values))
            raise InputError(
                "non_finite_prediction", f"the predicted depth is NaN or infinite at {bad} pixels; predict again"
            )
        for window in windows:
            window.add(chunk)
    pairs = [window.pick(rank, min(rank + 1, len(values) - 1)) for window, rank in zip(windows, ranks, strict=True)]
    return [_select(values, rank) if pair is None else pair for pair, rank in zip(pairs, ranks, strict=True)]


def _sampled_ends(values: Float32[np.ndarray, " n"], ranks: list[int]) -> list[tuple[np.float32, np.float32]]:
    # An odd step visits all columns of an even width.
    sample = np.sort(values[:: max(1, len(values) // _SAMPLES) | 1])
    ends = []
    for rank in ranks:
        share = rank / max(1, len(values) - 1)
        middle, margin = share * (len(sample) - 1), _MARGIN * np.sqrt(len(sample) * share * (1 - share)) + 2
        first, last = int(middle - margin), int(middle + margin) + 1
        low = sample[first] if first > 0 else np.float32(-np.inf)
        ends.append((low, sample[last] if last < len(sample) else np.float32(np.inf)))
    return ends


class _Window:
    """The values between two ends, and how many are below them."""

    def __init__(self, low: np.float32, high: np.float32) -> None:
        self._low, self._high = low, high
        self._below, self._seen, self._kept_count = 0, 0, 0
        self._kept: list[np.ndarray] | None = []

    def add(self, chunk: Float32[np.ndarray, " n"]) -> None:
        """Sort some values in; give up when too many lie between the ends, as in a picture of few depths."""
        if self._kept is None:
            return
        self._below += int(np.count_nonzero(chunk < self._low))
        kept = chunk[(chunk >= self._low) & (chunk <= self._high)]
        self._kept.append(kept)
        self._seen += len(chunk)
        self._kept_count += len(kept)
        if self._kept_count > max(_MOST_KEPT, self._seen // 8):
            self._kept = None

    def pick(self, rank: int, following: int) -> tuple[np.float32, np.float32] | None:
        """Give the values of two ranks, or None when they are not between the ends."""
        if self._kept is None or rank < self._below or following >= self._below + self._kept_count:
            return None
        ordered = np.sort(np.concatenate(self._kept))
        return ordered[rank - self._below], ordered[following - self._below]


def _select(values: Float32[np.ndarray, " n"], rank: int) -> tuple[np.float32, np.float32]:
    following = min(rank + 1, len(values) - 1)
    ordered = np.partition(values, (rank, following))
    return ordered[rank], ordered[following]
