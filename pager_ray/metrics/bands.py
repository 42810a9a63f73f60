"""What every score does with a panorama: check it, cut it into bands that fit a core's cache, weigh its rows."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.metrics.catalogue import LATITUDE_EDGES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64, UInt32

Scores = dict[str, "float | int | np.ndarray"]
"""What one sample scored, by column of the per-sample table."""

BAND_PIXELS: Final = 1 << 16
"""Pixels of a band: its temporaries stay in cache, where a pass costs a fraction of what it costs in RAM, and the
hundred bands of a large panorama are few enough that calling NumPy for each pass costs next to nothing."""


def row_bands(height: int, width: int) -> list[slice]:
    """Cut ``height`` rows into bands of at most :data:`BAND_PIXELS` pixels, but of one row at least."""
    step = max(1, BAND_PIXELS // width)
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


@lru_cache(maxsize=8)
def solid_angle_weights(height: int) -> Float64[np.ndarray, " h"]:
    """Weights of a panorama's rows: cosine of the latitude at pixel centres, (½ − (row + ½)/H)·π; read-only."""
    weights = np.sin((np.arange(height) + 0.5) * (np.pi / height))
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=8)
def latitude_bands(height: int) -> Int64[np.ndarray, " h"]:
    """Index of the band between :data:`~pager_ray.metrics.catalogue.LATITUDE_EDGES` of each row; read-only.

    Rows count from the top and bands from the south; a row whose centre lies on an edge belongs to the band north
    of it.
    """
    bands = (len(LATITUDE_EDGES) - 1) * (2 * height - 2 * np.arange(height, dtype=np.int64) - 1) // (2 * height)
    bands.setflags(write=False)
    return bands


def count_rows(flags: Bool[np.ndarray, "rows w"]) -> UInt32[np.ndarray, " rows"]:
    """Count the flags that are set in each row."""
    return np.add.reduce(flags.view(np.uint8), axis=1, dtype=np.uint32)


def weighted_sum(rows: np.ndarray, weights: Float64[np.ndarray, " h"] | None) -> float:
    """Sum one value per row, in NumPy's own fixed order (``dot`` would leave it to the BLAS at hand)."""
    return float((rows if weights is None else rows * weights).sum())


def by_latitude(rows: np.ndarray) -> np.ndarray:
    """Sum one value per row, (H,) of any number type, over the latitude bands."""
    sums = np.zeros(len(LATITUDE_EDGES) - 1, rows.dtype)
    np.add.at(sums, latitude_bands(len(rows)), rows)
    return sums


def ratio(sums: np.ndarray, counts: np.ndarray) -> Float64[np.ndarray, " n"]:
    """Means of bins from their sums and counts; NaN where a bin is empty."""
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def check_map(name: str, array: np.ndarray, shape: tuple[int, ...] | None = None, dtype: type = np.float32) -> None:
    """Refuse what is no array of ``dtype`` and of ``shape`` (any non-empty (H, W) where None).

    Raises:
        ShapeError: what came and what is taken.
    """
    wanted = "(H, W)" if shape is None else str(shape)
    got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
    fits = isinstance(array, np.ndarray) and array.dtype == dtype
    if not fits or (array.ndim != 2 or array.size == 0 if shape is None else array.shape != shape):
        raise ShapeError(f"{name} must be a {wanted} array of {np.dtype(dtype).name}, got {got}")
