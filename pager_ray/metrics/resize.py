"""Predictions of another size than the ground truth, brought to it as the released evaluation does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from pager_ray.errors import ShapeError

if TYPE_CHECKING:
    from jaxtyping import Float32

_MOST_SIDE = 32766  # of OpenCV, whose coordinates have 16 bits in places


def resize_bilinear(array: Float32[np.ndarray, "h w *c"], height: int, width: int) -> Float32[np.ndarray, "H W *c"]:
    """Resize a map bilinearly, without averaging where it shrinks.

    Pixel (row, column) of the result is sampled at ((row + ½)·h/height − ½, (column + ½)·w/width − ½), clamped to
    the outermost pixels (columns do not wrap): ``interpolate(mode="bilinear", align_corners=False)`` of torch, to
    within 1e-5 of the values' range, because both round positions in their own way. Normals are not renormalised;
    :func:`~pager_ray.metrics.normals.normal_scores` divides by lengths itself.

    Args:
        array: (h, w) or (h, w, 3) float32.
        height: rows of the result.
        width: columns of the result.

    Returns:
        float32; ``array`` itself, not a copy, where it has that size.

    Raises:
        ShapeError: another rank, dtype or size.
    """
    fits = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.size > 0
    if not fits or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ShapeError(f"array must be an (H, W) or (H, W, 3) array of float32, got {got}")
    if min(height, width) < 1 or max(height, width, *array.shape[:2]) > _MOST_SIDE:
        sizes = f"{array.shape[0]}x{array.shape[1]} -> {height}x{width}"
        raise ShapeError(f"sides must lie between 1 and {_MOST_SIDE} pixels, got {sizes}")
    if array.shape[:2] == (height, width):
        return array
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR)
