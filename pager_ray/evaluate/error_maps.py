"""Where a prediction is wrong: picture, truth, prediction and errors of one panorama side by side."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from pager_ray.preview import (
    bar_caption,
    colorize_depth,
    compose_panels,
    depth_caption,
    depth_limits,
    encode_jpeg,
    panel_size,
    plain_caption,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Shaped, UInt8

MOST_RELATIVE: Final = 0.25
"""Relative depth error at the ends of its colours."""

MOST_DEGREES: Final = 45.0
"""Angle between normals at the end of its colours."""

# Ticks stand where their value has its colour, and off the ends, where their words would leave the strip.
_RELATIVE_TICKS: Final = ((-0.2, "-20%, too near"), (0.0, "0"), (0.2, "+20%, too far"))
_DEGREE_TICKS: Final = (5, 15, 25, 35)

_INVALID: Final = (96, 96, 96)

# ColorBrewer's 11-class RdBu, from too near (blue) to too far (red); https://colorbrewer2.org.
_BLUE_TO_RED: Final = (
    (5, 48, 97),
    (33, 102, 172),
    (67, 147, 195),
    (146, 197, 222),
    (209, 229, 240),
    (247, 247, 247),
    (253, 219, 199),
    (244, 165, 130),
    (214, 96, 77),
    (178, 24, 43),
    (103, 0, 31),
)


def draw_error_maps(
    rgb: UInt8[np.ndarray, "h2 w2 3"] | None,
    truth: Float32[np.ndarray, "h w"],
    prediction: Float32[np.ndarray, "h w"] | None,
    mask: Bool[np.ndarray, "h w"],
    normals: tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]] | None,
    *,
    title: str,
    width: int = 1024,
) -> bytes:
    """Draw one panorama's errors as a JPEG, two panels to a row.

    Maps are point-sampled to the panels before anything is computed on them.

    Args:
        rgb: the picture; None leaves its panel out.
        truth: metres along the ray.
        prediction: metres as they were scored, aligned; None leaves the three depth panels out.
        mask: which pixels of the truth count; the others are grey.
        normals: true and predicted, any length; None leaves their panel out.
        title: a line above the panels.
        width: of the whole picture in pixels, at least 320.
    """
    size = panel_size(width)
    valid = _sampled(mask, size)
    panels = []
    if rgb is not None:
        # Averaging every pixel of a large picture would take longer than all else here.
        double = (2 * size[0], 2 * size[1])
        near = _sampled(rgb, double) if rgb.shape[0] > double[0] and rgb.shape[1] > double[1] else rgb
        panels.append((cv2.resize(near, size[::-1], interpolation=cv2.INTER_AREA), plain_caption(width, "panorama")))
    if prediction is not None:
        true, predicted = (_sampled(array, size) for array in (truth, prediction))
        shown = np.where(valid, true, np.float32(np.nan))
        limits = depth_limits(shown)
        panels.append((colorize_depth(shown, limits=limits), depth_caption(width, "ground truth (m)", limits)))
        panels.append((colorize_depth(predicted, limits=limits), depth_caption(width, "prediction (m)", limits)))
        relative = np.divide(predicted - true, true, out=np.zeros_like(true), where=valid)
        ticks = [(0.5 + at / (2 * MOST_RELATIVE), name) for at, name in _RELATIVE_TICKS]
        panels.append(
            (
                _painted(0.5 + relative / (2 * MOST_RELATIVE), _signed_colours(), valid),
                bar_caption(width, "relative error", _signed_colours()[None], ticks),
            )
        )
    if normals is not None:
        degrees = _angle(*(_sampled(array, size) for array in normals))
        ticks = [(at / MOST_DEGREES, f"{at}°") for at in _DEGREE_TICKS]
        panels.append(
            (
                _painted(degrees / np.float32(MOST_DEGREES), _heat_colours(), valid),
                bar_caption(width, "error of normals", _heat_colours()[None], ticks),
            )
        )
    return encode_jpeg(compose_panels(panels, width, title))


def _sampled(array: Shaped[np.ndarray, "h w *c"], size: tuple[int, int]) -> Shaped[np.ndarray, "h2 w2 *c"]:
    rows = (np.arange(size[0]) * 2 + 1) * array.shape[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * array.shape[1] // (2 * size[1])
    return array[rows[:, None], columns]


def _angle(first: np.ndarray, second: np.ndarray) -> Float32[np.ndarray, "h w"]:
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    cosine = np.einsum("hwc,hwc->hw", first, second) / np.maximum(lengths, np.float32(1e-6))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _painted(share: np.ndarray, colours: np.ndarray, valid: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    # A prediction may be infinite where no truth says so.
    finite = np.nan_to_num(share, nan=0.5, posinf=1, neginf=0)
    painted = colours[np.rint(np.clip(finite, 0, 1) * 255).astype(np.uint8)]
    painted[~valid] = _INVALID
    return painted


@lru_cache(maxsize=1)
def _signed_colours() -> UInt8[np.ndarray, "256 3"]:
    points = np.asarray(_BLUE_TO_RED, np.float64)
    where, knots = np.linspace(0, 1, 256), np.linspace(0, 1, len(points))
    return np.stack([np.interp(where, knots, points[:, c]) for c in range(3)], axis=1).astype(np.uint8)


@lru_cache(maxsize=1)
def _heat_colours() -> UInt8[np.ndarray, "256 3"]:
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(ramp[:, 0, ::-1])
