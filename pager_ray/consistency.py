"""A consistent scale over a sequence: what a network's metric scale jumps by from frame to frame, taken out.

A frame's metric depth is wrong by a factor of its own. Over a sequence that factor has a slow part, which nothing here
can tell from the scene's, and a fast one, which is noise. Where two frames see the same place, the median ratio of
their depths says by how much their factors differ: what is nearer ahead is farther behind, and most walls stay. Summed
up, these steps are a path, as the log scales themselves are where nothing can be compared. The path is smoothed over
time, robustly, and each frame is corrected by its distance from the smooth one.

The smoother is LOWESS (Cleveland, Robust Locally Weighted Regression and Smoothing Scatterplots, 1979): lines fitted to
the nearest frames in time, weighted by the tricube of their distance and, again and again, by the bisquare of their
residuals, so that single frames that are far off pull nothing. Across cuts nothing is smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

NEIGHBOURS: Final = 31
"""Frames that a line is fitted to; fewer in shorter sequences."""

LEAST: Final = 5
"""Frames of a stretch below which nothing is corrected: there is nothing to tell noise by."""

_ITERATIONS: Final = 4
_CHUNK: Final = 4096
# A gap in time so many times longer than usual, and at least so many seconds, is a cut.
_GAP, _GAP_SECONDS = 10.0, 5.0
# Frames on either side whose medians tell a cut, by how many deviations they differ, and at least by how much.
_SIDE, _DEVIATIONS, _LEAST_JUMP = 8, 8.0, 0.15
_MAD: Final = 1.4826
# Directions that must be there, and how much their ratios may differ, of frames that see the same place.
_LEAST_DIRECTIONS, _OVERLAP = 64, 0.3


@dataclass(frozen=True, eq=False)
class ConsistentScale:
    """A sequence's corrected scales.

    Attributes:
        log_scale: float64 (n,), corrected.
        stretches: int64 (n,): number of the stretch between two cuts that a frame is in.
        jitter_before, jitter_after: see :func:`jitter`; of the path, and of the smooth one.
    """

    log_scale: Float64[np.ndarray, " n"]
    stretches: Int64[np.ndarray, " n"]
    jitter_before: float
    jitter_after: float


def consistent_scale(
    log_scale: Float64[np.ndarray, " n"],
    time: Float64[np.ndarray, " n"],
    steps: Float64[np.ndarray, " m"] | None = None,
) -> ConsistentScale:
    """Take the noise out of the log scales of a sequence.

    Args:
        log_scale: natural logarithms, one per frame, all finite.
        time: seconds, in order; equal ones are allowed.
        steps: from each frame to the next, by how much its depths are larger, as a logarithm (see
            :func:`agreement`); NaN where they cannot be compared. The log scales' own steps stand in for those.

    Returns:
        Corrected scales, whose mean over each stretch is that of the raw ones.
    """
    values, seconds = np.asarray(log_scale, np.float64), np.asarray(time, np.float64)
    path = values
    if steps is not None and len(values) > 1:
        taken = np.where(np.isfinite(steps), steps, np.diff(values))
        path = values[0] + np.concatenate([[0.0], np.cumsum(taken)])
    stretches = _stretches(path, seconds)
    corrected, smoothed = values.copy(), path.copy()
    for number in range(int(stretches[-1]) + 1 if len(stretches) else 0):
        places = np.flatnonzero(stretches == number)
        if len(places) >= LEAST:
            smooth = lowess(seconds[places], path[places])
            shift = smooth - path[places]
            # What a robust line leaves out is as often too large as too small; the network's mean is kept.
            corrected[places] = values[places] + shift - shift.mean()
            smoothed[places] = smooth
    return ConsistentScale(corrected, stretches, jitter(path, stretches), jitter(smoothed, stretches))


def agreement(earlier: Float32[np.ndarray, " s"], later: Float32[np.ndarray, " s"]) -> float:
    """By how much the depths of a frame are larger than those of the one before it, as a logarithm.

    Args:
        earlier, later: log depth along the same directions, of equal solid angles each; NaN where it does not count.

    Returns:
        The median of the differences; NaN where they differ so much that the frames see other places, or too few of
        them are there.
    """
    ratio = later - earlier
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) < _LEAST_DIRECTIONS:
        return float("nan")
    middle = float(np.median(ratio))
    return middle if _MAD * np.median(np.abs(ratio - middle)) < _OVERLAP else float("nan")


def jitter(log_scale: Float64[np.ndarray, " n"], stretches: Int64[np.ndarray, " n"]) -> float:
    """The typical change of scale from one frame to the next, as a share: the root of the mean squared step.

    Steps across cuts do not count; 0 where there is no other.
    """
    steps = np.diff(log_scale)[np.diff(stretches) == 0]
    return float(np.expm1(np.sqrt(np.mean(steps**2)))) if len(steps) else 0.0


def lowess(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Smooth values over places that ascend, robustly, by lines through the nearest :data:`NEIGHBOURS`."""
    count = min(NEIGHBOURS, len(x))
    half = count // 2
    first = np.clip(np.arange(len(x)) - half, 0, len(x) - count)
    weights = np.ones(len(x))
    smooth = y
    for _ in range(_ITERATIONS):
        smooth = np.concatenate(
            [
                _lines(x, y, weights, first[at : at + _CHUNK], count, np.arange(at, min(at + _CHUNK, len(x))))
                for at in range(0, len(x), _CHUNK)
            ]
        )
        residual = np.abs(y - smooth)
        spread = 6 * np.median(residual)
        if spread <= 1e-12:
            break
        weights = np.clip(1 - (residual / spread) ** 2, 0, None) ** 2
    return smooth


def _lines(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, first: np.ndarray, count: int, places: np.ndarray
) -> np.ndarray:
    """The values at some places of lines through their neighbours, closed form."""
    near = first[:, None] + np.arange(count)
    offset = x[near] - x[places][:, None]
    reach = np.abs(offset).max(axis=1, keepdims=True) * (1 + 1e-9)
    # Frames of one time are all alike.
    share = np.divide(np.abs(offset), reach, out=np.zeros_like(offset), where=reach > 0)
    weight = (1 - share**3) ** 3 * weights[near]
    # Where all neighbours are outliers, they are all there is.
    weight = np.where(weight.sum(axis=1, keepdims=True) > 1e-9, weight, 1.0)
    total = weight.sum(axis=1)
    mean_x = (weight * offset).sum(axis=1) / total
    mean_y = (weight * y[near]).sum(axis=1) / total
    centred = offset - mean_x[:, None]
    spread = (weight * centred**2).sum(axis=1)
    slope = np.divide(
        (weight * centred * (y[near] - mean_y[:, None])).sum(axis=1),
        spread,
        out=np.zeros_like(spread),
        where=spread > 0,
    )
    return mean_y - slope * mean_x


def _stretches(values: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Number of the stretch that each frame is in: gaps in time and jumps that last are cuts."""
    cuts = np.zeros(len(values), dtype=bool)
    if len(values) < 2:
        return np.cumsum(cuts)
    gaps = np.diff(seconds)
    usual = np.median(gaps[gaps > 0]) if (gaps > 0).any() else 0.0
    cuts[1:] |= gaps > max(_GAP * usual, _GAP_SECONDS)
    cuts |= _jumps(values)
    return np.cumsum(cuts)


def _jumps(values: np.ndarray) -> np.ndarray:
    """Frames from which on the scale is another one than before, for longer and by more than noise has it."""
    found = np.zeros(len(values), dtype=bool)
    if len(values) < 2 * _SIDE:
        return found
    windows = np.lib.stride_tricks.sliding_window_view(values, _SIDE)
    before, after = windows[:-_SIDE], windows[_SIDE:]
    middle = np.median(before, axis=1), np.median(after, axis=1)
    deviation = [
        _MAD * np.median(np.abs(part - one[:, None]), axis=1) for part, one in zip((before, after), middle, strict=True)
    ]
    # A median of so few is known to about a third of their deviation.
    noise = np.maximum(*deviation) * (np.pi / 2 / _SIDE) ** 0.5
    jump = np.abs(middle[1] - middle[0])
    is_jump = (jump > _DEVIATIONS * noise) & (jump > _LEAST_JUMP)
    # Around a jump many windows see it: the one that sees it largest has it in its middle.
    for place in np.flatnonzero(is_jump):
        begin = max(0, int(place) - _SIDE)
        near = slice(begin, int(place) + _SIDE)
        score = np.where(is_jump[near], jump[near] - noise[near], -np.inf)
        if place == begin + int(np.argmax(score)):
            found[place + _SIDE] = True
    return found
