"""Bilinear sampling with float32 weights, the one operation behind both directions.

OpenCV 5 interpolates one, three and four channels at the positions it is given; OpenCV 4 (and 5 with any other
number of channels) rounds every position to 1/32 pixel, which moves a depth edge by up to 2 % of its height. Which
kind is installed is measured once per process; where it rounds, four gathers in NumPy take its place: exact, and
several times slower.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.limits import MAX_SIDE
from pager_ray.shapes import Float32, UInt8

if TYPE_CHECKING:
    from collections.abc import Iterator


_BAND_PIXELS: Final = 1 << 16


def sample_bilinear(
    image: Float32[np.ndarray, "h w c"] | UInt8[np.ndarray, "h w c"],
    map_x: Float32[np.ndarray, "rows cols"],
    map_y: Float32[np.ndarray, "rows cols"],
    out: Float32[np.ndarray, "rows cols c"] | UInt8[np.ndarray, "rows cols c"] | None = None,
    *,
    tile: tuple[int, int] | None = None,
) -> Float32[np.ndarray, "rows cols c"] | UInt8[np.ndarray, "rows cols c"]:
    """Sample an image at fractional pixel positions; integer positions are pixel centres.

    Args:
        image: (H, W, C) uint8 or float32, finite, at least 2×2 pixels.
        map_x: float32 (rows, cols), columns in [0, W − 1].
        map_y: float32 (rows, cols), rows in [0, H − 1].
        out: where the samples go, C-contiguous, in the dtype of ``image``; by default a new array.
        tile: rows and columns of the result that are sampled together; by default all. The samples are the same. It
            helps where a row of the result crosses more of the image than a core's cache holds.

    Returns:
        (rows, cols, C) in the dtype of ``image``, ``out`` if given; uint8 is rounded to the nearest level.

    Raises:
        ShapeError: a side of the image or of the maps exceeds 32766.
    """
    for name, (rows, cols) in {"image": image.shape[:2], "result": map_x.shape}.items():
        if max(rows, cols) > MAX_SIDE:
            raise ShapeError(f"{name} of {rows}x{cols} is too large to sample: no side may exceed {MAX_SIDE} pixels")
    sample = _remap if opencv_is_exact() else _gather
    channels = image.shape[2]
    result = np.empty((*map_x.shape, channels), image.dtype) if out is None else out
    for part in _channel_slices(channels):
        source = np.ascontiguousarray(image[..., part])
        whole = source.shape[2] == channels
        target = result if whole else np.empty((*map_x.shape, source.shape[2]), image.dtype)
        for area in _tiles(map_x.shape, tile or map_x.shape):
            sample(source, map_x[area], map_y[area], target[area])
        if not whole:
            result[..., part] = target
    return result


def _tiles(shape: tuple[int, ...], tile: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    for top in range(0, shape[0], tile[0]):
        for left in range(0, shape[1], tile[1]):
            yield slice(top, top + tile[0]), slice(left, left + tile[1])


_EXACT_CHANNELS: Final = (1, 3, 4)


def _channel_slices(channels: int) -> Iterator[slice]:
    start = 0
    while start < channels:
        size = next(size for size in reversed(_EXACT_CHANNELS) if size <= channels - start)
        yield slice(start, start + size)
        start += size


@cache
def opencv_is_exact() -> bool:
    """Whether the installed OpenCV samples uint8 and float32 at the given positions rather than at 1/32 steps."""
    rows, cols = 5, 37
    step = np.arange(rows * cols, dtype=np.float32).reshape(rows, cols)
    map_x, map_y = 0.5 + step / 15.0, 0.5 + (step * 7 % 185) / 15.0
    ramp = np.add.outer(np.arange(16.0), 0.5 * np.arange(16.0))
    expected = map_y + 0.5 * map_x
    for dtype, bound in ((np.float32, 1e-4), (np.uint8, 0.51)):
        scale = 1 if dtype is np.float32 else 10
        for channels in _EXACT_CHANNELS:
            image = np.repeat((ramp * scale)[..., None], channels, axis=2).astype(dtype)
            sampled = np.empty((rows, cols, channels), dtype)
            _remap(image, map_x, map_y, sampled)
            if np.abs(sampled - scale * expected[..., None]).max() > bound:
                return False
    return True


def _remap(image: np.ndarray, map_x: np.ndarray, map_y: np.ndarray, out: np.ndarray) -> None:
    cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)


def _gather(image: np.ndarray, map_x: np.ndarray, map_y: np.ndarray, out: np.ndarray) -> None:
    height, width, channels = image.shape
    pixels = image.reshape(height * width, channels)
    rows, cols = map_x.shape
    result = np.empty((rows * cols, channels), image.dtype)
    flat_x, flat_y = map_x.reshape(-1), map_y.reshape(-1)
    for start in range(0, rows * cols, _BAND_PIXELS):
        band = slice(start, start + _BAND_PIXELS)
        # The last row and column have no neighbour beyond them: reach them with a weight of one.
        left = np.minimum(flat_x[band].astype(np.int32), width - 2)
        top = np.minimum(flat_y[band].astype(np.int32), height - 2)
        weight_x, weight_y = (flat_x[band] - left)[:, None], (flat_y[band] - top)[:, None]
        corner = top * width + left
        taps = [pixels.take(corner + offset, axis=0).astype(np.float32) for offset in (0, 1, width, width + 1)]
        upper = taps[0] + weight_x * (taps[1] - taps[0])
        lower = taps[2] + weight_x * (taps[3] - taps[2])
        upper += weight_y * (lower - upper)
        result[band] = upper if image.dtype == np.float32 else np.rint(upper)
    out[...] = result.reshape(rows, cols, channels)
