"""Pixels that carry nothing: black bars above and below a picture, and the black round about the circles of a fisheye.

Both are found in files that are 2:1 and no panoramas, or only the middle of one. A picture of the night is dark, but
not as dark as what nothing was ever drawn on; what is found here is a suspicion to filter by, and rejects nothing.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

BLACK_BARS: Final = "black_bars"
DUAL_FISHEYE: Final = "dual_fisheye"

_BLACK: Final = 8
"""Levels that compression adds to black beside an edge."""
_BAR: Final = 0.01
"""Share of the rows, above and below, from which on black ones are bars; narrower ones are a stitcher's margin."""

_ROUND_BLACK: Final = 20
_SAMPLES: Final = 64
_INSIDE, _OUTSIDE = 0.85, 1.1
"""Radii, in halves of the height: within the first there is picture, beyond the second there is none."""
_DARK_OUTSIDE, _LIT_INSIDE = 0.97, 0.6


class Emptiness(NamedTuple):
    """The share of a picture's pixels that carry nothing, and what it is suspected to be, if anything."""

    share: float
    suspect: str | None


def emptiness_of(
    rgb: UInt8[np.ndarray, "h w 3"], hidden: UInt8[np.ndarray, "h w"] | None, *, is_whole: bool
) -> Emptiness:
    """Look for pixels that carry nothing.

    Args:
        hidden: other than 0 where the picture is transparent.
        is_whole: whether the picture is a whole panorama; of a part of one, what lies beyond is known.
    """
    height = rgb.shape[0]
    above = _black_rows(rgb)
    below = _black_rows(rgb[::-1]) if above < height else 0
    bars = above + below
    if hidden is None:
        share = bars / height
    else:
        share = float(np.count_nonzero(hidden[above : height - below])) / hidden.size + bars / height
    if is_whole and hidden is None and _is_dual_fisheye(rgb):
        dark = _sampled(rgb) <= _ROUND_BLACK
        return Emptiness(float((dark & (_radii() > _INSIDE)).mean()), DUAL_FISHEYE)
    shown = (
        hidden is None
        or float(np.count_nonzero(hidden[:above])) + np.count_nonzero(hidden[height - below :])
        < 0.5 * bars * rgb.shape[1]
    )
    is_barred = above == height or min(above, below) >= _BAR * height
    return Emptiness(share, BLACK_BARS if is_barred and shown else None)


def _black_rows(rgb: UInt8[np.ndarray, "h w 3"]) -> int:
    """How many rows from the first on are black."""
    rows, step = 0, 1
    while rows < rgb.shape[0]:
        lit = np.flatnonzero((rgb[rows : rows + step] > _BLACK).any(axis=(1, 2)))
        if lit.size:
            return rows + int(lit[0])
        rows += min(step, rgb.shape[0] - rows)
        step = min(2 * step, 64)
    return rows


def _is_dual_fisheye(rgb: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether a picture is two circles side by side, each as high as the picture, with black round about."""
    light, radii = _sampled(rgb), _radii()
    dark = light <= _ROUND_BLACK
    halves = np.split(dark & (radii > _OUTSIDE), 2, axis=1), np.split(~dark & (radii < _INSIDE), 2, axis=1)
    outside, inside = (radii[:, :_SAMPLES] > _OUTSIDE).sum(), (radii[:, :_SAMPLES] < _INSIDE).sum()
    return all(
        round_about.sum() >= _DARK_OUTSIDE * outside and within.sum() >= _LIT_INSIDE * inside
        for round_about, within in zip(*halves, strict=True)
    )


def _sampled(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "64 128"]:
    """The largest channel at the points of a grid."""
    points = cv2.resize(rgb, (2 * _SAMPLES, _SAMPLES), interpolation=cv2.INTER_NEAREST)
    return points.max(axis=2)


@cache
def _radii() -> Bool[np.ndarray, "64 128"]:
    """Distance of those points from the middle of their half, in halves of the height."""
    places = (np.arange(_SAMPLES) + 0.5) / (_SAMPLES / 2) - 1
    half = np.hypot(*np.meshgrid(places, places, indexing="ij"))
    return np.hstack([half, half])
