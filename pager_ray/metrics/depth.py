"""Depth scores: how far a predicted panorama is from the true one, in three alignments and with its slices.

Every formula needs only sums over the pixels of a row: plain totals, cos-latitude weighted totals and latitude bands
are then sums over rows. So a panorama is read once (twice with a fit), in bands that stay in the core's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from pager_ray.errors import ConfigError, InputError
from pager_ray.metrics.bands import (
    Scores,
    by_latitude,
    check_map,
    count_rows,
    ratio,
    row_bands,
    solid_angle_weights,
    weighted_sum,
)
from pager_ray.metrics.catalogue import ALIGNMENTS, RANGE_EDGES, SOLID_ANGLE_SUFFIX

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

_BINS: Final = len(RANGE_EDGES) - 1
# Slots of a pixel: its bin, 7 for a valid pixel beyond the outer edges, and 8 more for a pixel that is not valid;
# 16 more mark a hit.
_OUTSIDE: Final = _BINS
_INVALID: Final = 8
_HIT: Final = 16
_SLOTS: Final = 32
# Neighbouring pixels mostly share a slot, and a sum that waits for the one before takes three times as long: columns
# take turns in eight lanes. A pixel's lane and slot together fill one byte.
_LANES: Final = 8
# Between these bounds no square or quotient leaves single precision; a band that does is done in double precision.
_LEAST_TRUTH: Final = 1e-3
_LEAST: Final = 1e-15
_MOST: Final = 1e15
# The spread of predictions, relative to their mean square, below which single precision leaves digits to chance.
_LEAST_SPREAD: Final = 1e-2
# Sums whose products single precision holds with all digits, with room for differences.
_LEAST_PRODUCT: Final = 1e-30
_MOST_PRODUCT: Final = 1e37
_SINGLE_STEP: Final = 2.0**-23
_MANTISSA_BITS: Final = 23
_FIRST_EXPONENT: Final = 126  # of depths in [0.5, 1); all that is nearer goes to the same bin


def depth_scores(
    prediction: Float32[np.ndarray, "h w"],
    truth: Float32[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    alignments: Sequence[str],
) -> Scores:
    """Score one depth map.

    With the aligned prediction a and the truth g at valid pixels, each value is a mean over them:
    ``abs_relative_difference`` |a − g|/g, ``squared_relative_difference`` (a − g)²/g, ``rmse_linear`` the root of the
    mean (a − g)², ``delta1_acc`` the share with max(a/g, g/a) < 1.25. Alignment ``metric`` takes the prediction as it
    is, ``scale`` times the s that minimises Σ(s·p − g)², ``scale_and_shift`` as s·p + t that minimise
    Σ(s·p + t − g)². As released, and as its golden values show:

    * Nothing is clamped after the alignment. A shift can make depths negative; they count with their error, and
      for ``delta1_acc`` as hits, because both of their quotients are below 1.25. A depth of exactly 0 is a miss.
    * The fit of scale and shift is solved in single precision by Cramer's rule, whose rounding moves the released
      values by up to some 1e-5 of themselves; the same arithmetic is used here. Predictions that vary by less than
      about a tenth of their mean, where it would leave no digits, are fitted in double precision; a constant
      prediction becomes scale 0 and the mean of the truth.

    Args:
        prediction: metres along the ray, or anything proportional for ``scale``; finite at valid pixels.
        truth: metres along the ray; finite and above 0 at valid pixels.
        mask: which pixels are valid; what the others hold has no influence.
        alignments: which of :data:`~pager_ray.metrics.catalogue.ALIGNMENTS` to score.

    Returns:
        ``valid_pixels`` (int), ``pixels_by_range`` (7,) and ``pixels_by_latitude`` (6,) int64, and per alignment
        ``depth_<alignment>_<metric>``, the same weighted by solid angle under ``…_solid_angle`` (floats), and of
        ``abs_relative_difference`` and ``delta1_acc`` the means ``…_by_range`` (7,) and ``…_by_latitude`` (6,) float64,
        NaN where there is no pixel. Valid pixels outside of the outer range edges count everywhere but by range.
        The values depend on the arguments alone: no library that splits sums over threads takes part.

    Raises:
        ConfigError: an unknown alignment.
        ShapeError: wrong shapes or dtypes.
        InputError: ``no_valid_pixels``; ``non_finite_prediction`` or ``bad_ground_truth`` with the number of pixels.
    """
    _check_alignments(alignments)
    maps = _checked(prediction, truth, mask)
    spaces = _Spaces(truth.shape[1])
    sums = _sum_pixels(maps, _fits(alignments, maps, spaces), spaces)
    scores: Scores = {
        "valid_pixels": int(sums.pixels.sum()),
        "pixels_by_range": sums.pixels_by_slot[:_BINS],
        "pixels_by_latitude": by_latitude(sums.pixels),
    }
    for alignment, aligned in zip(alignments, sums.aligned, strict=True):
        scores |= _means(f"depth_{alignment}_", aligned, sums)
    return scores


def fit_alignment(
    prediction: Float32[np.ndarray, "h w"],
    truth: Float32[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    alignment: str,
) -> tuple[float, float]:
    """Give scale and shift of an alignment as :func:`depth_scores` fits them: aligned = scale · prediction + shift.

    Raises:
        ConfigError, ShapeError, InputError: as :func:`depth_scores`, whose arguments these are.
    """
    _check_alignments([alignment])
    maps = _checked(prediction, truth, mask)
    [fit] = _fits([alignment], maps, _Spaces(truth.shape[1]))
    return fit.scale, fit.shift


@dataclass(frozen=True)
class _Fit:
    """aligned = scale · prediction + shift."""

    scale: float
    shift: float


@dataclass(frozen=True)
class _Moments:
    """Sums over valid pixels of predictions p and truths g: Σp², Σp, Σ1, Σpg, Σg."""

    pp: float
    p: float
    n: float
    pg: float
    g: float


@dataclass(frozen=True)
class _AlignedSums:
    """Sums of one alignment: over the valid pixels of each row, and by slot over all rows."""

    absolute: Float64[np.ndarray, " h"]
    squared: Float64[np.ndarray, " h"]
    squared_relative: Float64[np.ndarray, " h"]
    hits: Int64[np.ndarray, " h"]
    absolute_by_slot: Float64[np.ndarray, " slots"]
    hits_by_slot: Int64[np.ndarray, " slots"]

    @classmethod
    def zeros(cls, height: int) -> _AlignedSums:
        """Give sums over nothing."""
        by_row, by_slot = (height, np.float64), (_SLOTS, np.float64)
        counts = (height, np.int64), (_SLOTS, np.int64)
        kinds = by_row, by_row, by_row, counts[0], by_slot, counts[1]
        return cls(*(np.zeros(length, dtype) for length, dtype in kinds))


@dataclass(frozen=True)
class _Sums:
    pixels: Int64[np.ndarray, " h"]
    pixels_by_slot: Int64[np.ndarray, " slots"]
    aligned: list[_AlignedSums]


@dataclass(frozen=True)
class _Band:
    """Some rows, in the precision they need; in double precision, pixels that are not valid hold 1."""

    rows: slice
    prediction: Float[np.ndarray, "rows w"]
    truth: Float[np.ndarray, "rows w"]
    mask: Bool[np.ndarray, "rows w"]
    prediction_ends: tuple[float, float]
    truth_ends: tuple[float, float]


class _Maps:
    """The panorama in bands; each is looked at once for values that need care."""

    def __init__(self, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> None:
        self.prediction, self.truth, self.mask = prediction, truth, mask
        self._ends: dict[int, tuple[tuple[float, float], tuple[float, float]]] = {}

    def __iter__(self) -> Iterator[_Band]:
        for rows in row_bands(*self.truth.shape):
            prediction, truth, mask = self.prediction[rows], self.truth[rows], self.mask[rows]
            if rows.start not in self._ends:
                self._ends[rows.start] = _ends(prediction), _ends(truth)
            ends = self._ends[rows.start]
            if _is_plain(*ends):
                yield _Band(rows, prediction, truth, mask, *ends)
            else:
                yield self._careful(rows, prediction, truth, mask)

    def _careful(self, rows: slice, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> _Band:
        if not np.isfinite(prediction[mask]).all():
            bad = np.count_nonzero(~np.isfinite(self.prediction) & self.mask)
            raise InputError(
                "non_finite_prediction", f"the predicted depth is NaN or infinite at {bad} valid pixels; predict again"
            )
        if not _is_depth(truth[mask]).all():
            bad = np.count_nonzero(~_is_depth(self.truth) & self.mask)
            raise InputError(
                "bad_ground_truth", f"the true depth is not above 0 or not finite at {bad} valid pixels; mask them out"
            )
        clean_prediction, clean_truth = (
            np.where(mask, array, np.float32(1)).astype(np.float64) for array in (prediction, truth)
        )
        return _Band(rows, clean_prediction, clean_truth, mask, _ends(clean_prediction), _ends(clean_truth))


def _check_alignments(alignments: Sequence[str]) -> None:
    for alignment in alignments:
        if alignment not in ALIGNMENTS:
            raise ConfigError(f"unknown alignment {alignment!r}; known are {', '.join(ALIGNMENTS)}")


def _checked(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> _Maps:
    check_map("truth", truth)
    check_map("prediction", prediction, truth.shape)
    check_map("mask", mask, truth.shape, np.bool_)
    if not mask.any():
        raise InputError("no_valid_pixels", "the ground truth has no valid pixel to score; check its mask and range")
    return _Maps(prediction, truth, mask)


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _is_depth(truth: np.ndarray) -> np.ndarray:
    return np.isfinite(truth) & (truth > 0)


def _is_plain(prediction_ends: tuple[float, float], truth_ends: tuple[float, float]) -> bool:
    """Tell whether no sum, square or quotient leaves single precision; no comparison holds with NaN."""
    farthest = max(-prediction_ends[0], prediction_ends[1])
    return _LEAST < farthest < _MOST and truth_ends[0] > _LEAST_TRUTH and truth_ends[1] < _MOST


def _fits(alignments: Sequence[str], maps: _Maps, spaces: _Spaces) -> list[_Fit]:
    identity = _Fit(1.0, 0.0)
    if set(alignments) <= {"metric"}:
        return [identity for _ in alignments]
    moments = _moments(maps, spaces)
    return [identity if alignment == "metric" else _fit(alignment, moments, maps) for alignment in alignments]


def _fit(alignment: str, moments: _Moments, maps: _Maps) -> _Fit:
    pp, p, n, pg, g = moments.pp, moments.p, moments.n, moments.pg, moments.g
    if alignment == "scale":
        return _Fit(pg / pp if pp > 0 else 0.0, 0.0)
    fits_single = pp > _LEAST_PRODUCT and max(pp, abs(pg)) * max(n, abs(p), g) < _MOST_PRODUCT
    if not fits_single or pp * n - p * p <= _LEAST_SPREAD * pp * n:
        return _fit_in_double(maps, p / n, g / n)
    pp32, p32, n32, pg32, g32 = (np.float32(value) for value in (pp, p, n, pg, g))
    determinant = pp32 * n32 - p32 * p32
    return _Fit(float((n32 * pg32 - p32 * g32) / determinant), float((pp32 * g32 - p32 * pg32) / determinant))


def _moments(maps: _Maps, spaces: _Spaces) -> _Moments:
    sums = np.zeros(5)
    for band in maps:
        space = spaces.of(band)
        weight, prediction, truth, product = space.weight, space.difference, space.relative, space.product
        np.copyto(weight, band.mask)
        np.multiply(band.prediction, weight, out=prediction)
        np.multiply(band.truth, weight, out=truth)
        # Pairwise within a row, in double precision across rows: 8 million terms lose nothing that matters.
        for i, term in enumerate((prediction, weight, truth)):
            sums[i] += np.add.reduce(term, axis=1).sum(dtype=np.float64)
        for i, factor in ((3, prediction), (4, truth)):
            sums[i] += np.add.reduce(np.multiply(prediction, factor, out=product), axis=1).sum(dtype=np.float64)
    p, n, g, pp, pg = sums.tolist()
    return _Moments(pp, p, n, pg, g)


def _fit_in_double(maps: _Maps, prediction_centre: float, truth_centre: float) -> _Fit:
    """Fit scale and shift about centres that lie near the means, so that little cancels."""
    n = p = g = pp = pg = 0.0
    for band in maps:
        prediction = band.prediction[band.mask].astype(np.float64) - prediction_centre
        truth = band.truth[band.mask].astype(np.float64) - truth_centre
        n += len(truth)
        p += float(prediction.sum())
        g += float(truth.sum())
        pp += float((prediction * prediction).sum())
        pg += float((prediction * truth).sum())
    spread = pp - p * p / n
    # What is left of a constant is its rounding to single precision.
    is_constant = spread <= n * (_SINGLE_STEP * prediction_centre) ** 2
    scale = 0.0 if is_constant else (pg - p * g / n) / spread
    shift = truth_centre + g / n - scale * (prediction_centre + p / n)
    return _Fit(scale, shift)


class _Workspace:
    """What the passes over a band of one shape and precision write to."""

    def __init__(self, rows: int, width: int, dtype: np.dtype) -> None:
        shape = rows, width
        self.weight, self.difference, self.relative, self.product = (np.empty(shape, dtype) for _ in range(4))
        self.exponent = np.empty(shape, np.int32)
        self.slot, self.marked_slot = (np.empty(shape, np.uint8) for _ in range(2))
        self.hit, self.other = (np.empty(shape, np.bool_) for _ in range(2))
        self.cell = np.empty(shape, np.int64)
        self.lane = (np.arange(width) % _LANES * _SLOTS).astype(np.uint8)
        self.first_cell = np.arange(rows)[:, None] * (_LANES * _SLOTS)


class _Spaces:
    """A workspace for each kind of band: the last one may be shorter, and few need double precision."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._by_kind: dict[tuple[int, np.dtype], _Workspace] = {}

    def of(self, band: _Band) -> _Workspace:
        """Give the workspace that fits a band."""
        kind = len(band.mask), band.truth.dtype
        if kind not in self._by_kind:
            self._by_kind[kind] = _Workspace(kind[0], self._width, kind[1])
        return self._by_kind[kind]


def _sum_pixels(maps: _Maps, fits: list[_Fit], spaces: _Spaces) -> _Sums:
    height = len(maps.truth)
    sums = _Sums(np.zeros(height, np.int64), np.zeros(_SLOTS, np.int64), [_AlignedSums.zeros(height) for _ in fits])
    for band in maps:
        space = spaces.of(band)
        _sort_into_slots(band, maps.truth[band.rows], space)
        sums.pixels[band.rows] = count_rows(band.mask)
        sums.pixels_by_slot[:] += _histogram(space.slot)
        np.copyto(space.weight, band.mask)
        for fit, aligned in zip(fits, sums.aligned, strict=True):
            _sum_aligned(band, fit, aligned, space)
    return sums


def _sort_into_slots(band: _Band, truth: Float32[np.ndarray, "rows w"], space: _Workspace) -> None:
    """Find each pixel's slot, and the cell (row, lane, slot) of the band's sums that it belongs to.

    The inner range edges are successive powers of two, so the bin of a depth is its exponent in single precision.
    """
    np.right_shift(truth.view(np.int32), _MANTISSA_BITS, out=space.exponent)
    np.copyto(space.slot, space.exponent, casting="unsafe")
    np.clip(space.slot, np.uint8(_FIRST_EXPONENT), np.uint8(_FIRST_EXPONENT + _BINS - 1), out=space.slot)
    np.subtract(space.slot, np.uint8(_FIRST_EXPONENT), out=space.slot)
    if not (RANGE_EDGES[0] <= band.truth_ends[0] and band.truth_ends[1] < RANGE_EDGES[-1]):
        beyond = np.less(truth, np.float32(RANGE_EDGES[0]), out=space.other)
        beyond |= np.greater_equal(truth, np.float32(RANGE_EDGES[-1]), out=space.hit)
        np.multiply(beyond.view(np.uint8), np.uint8(_OUTSIDE), out=space.marked_slot)
        np.maximum(space.slot, space.marked_slot, out=space.slot)
    invalid = np.logical_not(band.mask, out=space.other)
    np.multiply(invalid.view(np.uint8), np.uint8(_INVALID), out=space.marked_slot)
    np.bitwise_or(space.slot, space.marked_slot, out=space.slot)
    np.bitwise_or(space.slot, space.lane, out=space.slot)
    np.add(space.first_cell, space.slot, out=space.cell)


def _sum_aligned(band: _Band, fit: _Fit, sums: _AlignedSums, space: _Workspace) -> None:
    rows, precision = band.rows, band.truth.dtype.type
    aligned = band.prediction
    if fit.scale != 1:
        aligned = np.multiply(aligned, precision(fit.scale), out=space.difference)
    if fit.shift != 0:
        aligned = np.add(aligned, precision(fit.shift), out=space.difference)
    least = min(precision(end) * precision(fit.scale) + precision(fit.shift) for end in band.prediction_ends)
    negative = np.less(aligned, 0) if least < 0 else None

    difference = np.subtract(aligned, band.truth, out=space.difference)
    difference *= space.weight
    relative = np.divide(difference, band.truth, out=space.relative)
    sums.squared[rows] = np.add.reduce(np.multiply(difference, difference, out=space.product), axis=1)
    sums.squared_relative[rows] = np.add.reduce(np.multiply(difference, relative, out=space.product), axis=1)

    # Both quotients of prediction and truth are below 1.25.
    hit = np.less(relative, precision(0.25), out=space.hit)
    hit &= np.greater(relative, precision(-0.2), out=space.other)
    if negative is not None:
        hit |= negative
    hit &= band.mask
    sums.hits[rows] = count_rows(hit)
    np.multiply(hit.view(np.uint8), np.uint8(_HIT), out=space.marked_slot)
    np.bitwise_or(space.marked_slot, space.slot, out=space.marked_slot)
    sums.hits_by_slot[:_HIT] += _histogram(space.marked_slot)[_HIT:]

    absolute = np.abs(relative, out=relative)
    cells = np.bincount(space.cell.ravel(), absolute.ravel(), len(space.cell) * _LANES * _SLOTS)
    by_row = cells.reshape(-1, _LANES, _SLOTS).sum(axis=1)
    sums.absolute[rows] = by_row[:, :_INVALID].sum(axis=1)
    sums.absolute_by_slot[:] += by_row.sum(axis=0)


def _histogram(lanes_and_slots: UInt8[np.ndarray, "rows w"]) -> Int64[np.ndarray, " slots"]:
    # Counts of a band are small enough to be exact in the single precision that OpenCV gives them in.
    counts = cv2.calcHist([lanes_and_slots], [0], None, [_LANES * _SLOTS], [0, _LANES * _SLOTS])
    return counts.reshape(_LANES, _SLOTS).sum(axis=0).astype(np.int64)


def _means(prefix: str, aligned: _AlignedSums, sums: _Sums) -> Scores:
    scores: Scores = {}
    for weights, suffix in ((None, ""), (solid_angle_weights(len(sums.pixels)), SOLID_ANGLE_SUFFIX)):
        total = weighted_sum(sums.pixels, weights)
        means = {
            "abs_relative_difference": weighted_sum(aligned.absolute, weights) / total,
            "squared_relative_difference": weighted_sum(aligned.squared_relative, weights) / total,
            "rmse_linear": float(np.sqrt(weighted_sum(aligned.squared, weights) / total)),
            "delta1_acc": weighted_sum(aligned.hits, weights) / total,
        }
        scores |= {f"{prefix}{name}{suffix}": value for name, value in means.items()}
    for name, rows, slots in (
        ("abs_relative_difference", aligned.absolute, aligned.absolute_by_slot),
        ("delta1_acc", aligned.hits, aligned.hits_by_slot),
    ):
        scores[f"{prefix}{name}_by_range"] = ratio(slots[:_BINS], sums.pixels_by_slot[:_BINS])
        scores[f"{prefix}{name}_by_latitude"] = ratio(by_latitude(rows), by_latitude(sums.pixels))
    return scores
