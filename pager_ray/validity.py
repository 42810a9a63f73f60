"""Which pixels of a panorama mean something: what its file covers, less what lies in the caps and under the mask.

It is told in pixels of the full source panorama, in the frame of the picture as it is stored. A pixel of any other map
or face is valid where the source pixel nearest to its direction is: of a map of another size the one in which its
centre lies, of a cube face the one nearest to where the face was sampled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray.errors import StorageError
from pager_ray.geometry.face_positions import face_positions
from pager_ray.geometry.level import check_rotation, levelled_face_positions
from pager_ray.geometry.locking import built_once
from pager_ray.limits import MAX_PANORAMA_PIXELS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64

_MAX_SAMPLED: Final = 2048
"""Rows of the panorama that faces are sampled from at most; the tables for it are there already."""


@dataclass(frozen=True, eq=False)
class Validity:
    """The valid pixels of one panorama.

    Attributes:
        panorama_height, panorama_width: of the full source panorama, pixels.
        left, top, width, height: the rectangle of it that the file covers, pixels.
        nadir_degrees: pixels whose centres are less than this from straight down are not valid.
        zenith_degrees: the same for straight up.
        mask: (h, w) bool over the rectangle, of whatever size the file has; None where all of it is valid.
    """

    panorama_height: int
    panorama_width: int
    left: int
    top: int
    width: int
    height: int
    nadir_degrees: float = 0.0
    zenith_degrees: float = 0.0
    mask: Bool[np.ndarray, "h w"] | None = None

    @classmethod
    def whole(cls, height: int, width: int) -> Validity:
        """All pixels of a panorama."""
        return cls(height, width, 0, 0, width, height)

    @property
    def is_whole(self) -> bool:
        """Whether every pixel is valid for certain: no crop, no cap and no mask."""
        return (
            (self.left, self.top, self.width, self.height) == (0, 0, self.panorama_width, self.panorama_height)
            and not self.nadir_degrees
            and not self.zenith_degrees
            and self.mask is None
        )

    def capped(self, nadir_degrees: float, zenith_degrees: float) -> Validity:
        """Less the caps."""
        return replace(self, nadir_degrees=nadir_degrees, zenith_degrees=zenith_degrees)

    def masked(self, mask: Bool[np.ndarray, "h w"]) -> Validity:
        """Less what is false in a mask of the file's size."""
        return replace(self, mask=mask if self.mask is None else self.mask & mask)

    @cached_property
    def rows(self) -> Bool[np.ndarray, " h"]:
        """Which rows of the source are within the rectangle and outside of the caps."""
        row = np.arange(self.panorama_height)
        latitude = 90 - (row + 0.5) * (180 / self.panorama_height)
        inside = (row >= self.top) & (row < self.top + self.height)
        return inside & (latitude >= self.nadir_degrees - 90) & (latitude <= 90 - self.zenith_degrees)

    @cached_property
    def columns(self) -> Bool[np.ndarray, " w"]:
        """Which columns of the source are within the rectangle."""
        column = np.arange(self.panorama_width)
        return (column >= self.left) & (column < self.left + self.width)

    def erp(self, height: int, width: int) -> Bool[np.ndarray, "h w"]:
        """The valid pixels of an ERP map of the whole sphere."""
        rows, columns = _nearest(height, self.panorama_height), _nearest(width, self.panorama_width)
        row_is_valid, column_is_valid = self.rows[rows], self.columns[columns]
        if self.mask is None:
            return row_is_valid[:, None] & column_is_valid
        valid = np.zeros((height, width), bool)
        # Both are ranges without a gap.
        if row_is_valid.any() and column_is_valid.any():
            some_rows, some_columns = _span(row_is_valid), _span(column_is_valid)
            at_rows, at_columns = self._in_mask(rows[some_rows], columns[some_columns])
            valid[some_rows, some_columns] = _picked(self.mask, at_rows, at_columns)
        return valid

    def faces(
        self, size: int, fov: float, rotation: Float[np.ndarray, "3 3"] | None = None
    ) -> Bool[np.ndarray, "6 s s"]:
        """The valid pixels of the six faces that :func:`pager_ray.geometry.erp_to_cubemap` samples."""
        height = min(self.panorama_height, _MAX_SAMPLED)
        if rotation is None:
            map_x, map_y = built_once(face_positions, height, 2 * height, size, float(fov))
        else:
            map_x, map_y = levelled_face_positions(height, 2 * height, size, float(fov), check_rotation(rotation))
        row = _source_pixel(map_y, height, self.panorama_height)
        column = _source_pixel(map_x, 2 * height, self.panorama_width)
        valid = self.rows[row] & self.columns[column]
        if self.mask is not None:
            at_rows, at_columns = self._in_mask(row[valid], column[valid])
            valid[valid] = self.mask[at_rows, at_columns]
        return valid.reshape(6, size, size)

    @cached_property
    def fraction(self) -> float:
        """Share of the source's pixels that are valid."""
        if self.is_whole:
            return 1.0
        if self.mask is None:
            count = int(self.rows.sum()) * int(self.columns.sum())
        else:
            count = int(np.count_nonzero(self.erp(self.panorama_height, self.panorama_width)))
        return count / (self.panorama_height * self.panorama_width)

    def rectangle(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of what the file covers of an ERP map of the whole sphere, at least a pixel."""
        row = np.arange(self.panorama_height)
        inside = (row >= self.top) & (row < self.top + self.height)
        spans = (
            _span(self.columns[_nearest(width, self.panorama_width)]),
            _span(inside[_nearest(height, self.panorama_height)]),
        )
        (left, across), (top, down) = ((one.start, max(one.stop - one.start, 1)) for one in spans)
        return left, top, across, down

    def _in_mask(
        self, rows: Int64[np.ndarray, " n"], columns: Int64[np.ndarray, " m"]
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " m"]]:
        """Rows and columns of the mask at rows and columns of the source within the rectangle."""
        assert self.mask is not None
        height, width = self.mask.shape
        if (height, width) == (self.height, self.width):
            return rows - self.top, columns - self.left
        return (
            (2 * (rows - self.top) + 1) * height // (2 * self.height),
            (2 * (columns - self.left) + 1) * width // (2 * self.width),
        )

    def to_row(self) -> dict[str, Any] | None:
        """The value of :data:`pager_ray.runs.valid_column.VALID`."""
        if self.is_whole:
            return None
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.mask is None:
            return values
        # The network's own machine has neither of the libraries that pictures take.
        from pager_ray.encode.bilevel import encode_mask

        return values | {"mask": encode_mask(self.mask)}


def validity_of(value: Any) -> Validity | None:
    """What :meth:`Validity.to_row` made, by whatever reader of Parquet it comes back; None where all is valid.

    Raises:
        StorageError: it is no such value, or its mask is damaged.
    """
    if not isinstance(value, Mapping):
        # Null, whatever a reader makes of it.
        return None
    try:
        size = int(value["panorama_height"]), int(value["panorama_width"])
        left, top, width, height = (int(value[name]) for name in ("left", "top", "width", "height"))
        found = Validity(*size, left, top, width, height, float(value["nadir_degrees"]), float(value["zenith_degrees"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StorageError(f"valid cannot be understood ({type(error).__name__})") from error
    _check(found)
    if value.get("mask") is None:
        return found
    from pager_ray.encode.bilevel import decode_mask

    return replace(found, mask=decode_mask(bytes(value["mask"])))


def _check(found: Validity) -> None:
    fits = (
        found.panorama_height >= 1
        and found.panorama_width == 2 * found.panorama_height
        and found.panorama_height * found.panorama_width <= MAX_PANORAMA_PIXELS
        and found.left >= 0
        and found.top >= 0
        and found.width >= 1
        and found.height >= 1
        and found.left + found.width <= found.panorama_width
        and found.top + found.height <= found.panorama_height
        and all(math.isfinite(cap) and 0 <= cap <= 180 for cap in (found.nadir_degrees, found.zenith_degrees))
    )
    if not fits:
        raise StorageError(
            f"valid is {found.width}×{found.height} at {found.left}, {found.top} of a panorama of "
            f"{found.panorama_width}×{found.panorama_height}, caps of {found.nadir_degrees:g} and "
            f"{found.zenith_degrees:g} degrees, which no panorama has"
        )


def _nearest(count: int, source: int) -> Int64[np.ndarray, " n"]:
    """The source's pixels in which the centres of another number of pixels lie."""
    return (2 * np.arange(count) + 1) * source // (2 * count)


def _source_pixel(positions: np.ndarray, count: int, source: int) -> Int64[np.ndarray, " n"]:
    """The source's pixels nearest to positions in an image of ``count`` pixels, whose centres are whole numbers."""
    pixel = np.floor((positions + np.float32(0.5)) * (source / count)).astype(np.int64)
    return np.clip(pixel, 0, source - 1)


def _span(flags: Bool[np.ndarray, " n"]) -> slice:
    """From the first flag that is set to the last."""
    where = np.flatnonzero(flags)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def _picked(
    mask: Bool[np.ndarray, "h w"], rows: Int64[np.ndarray, " n"], columns: Int64[np.ndarray, " m"]
) -> Bool[np.ndarray, "n m"]:
    """Some rows and columns of a mask, both ascending."""
    for axis, wanted in enumerate((rows, columns)):
        if (np.diff(wanted) == 1).all():
            mask = mask[(slice(None),) * axis + (slice(int(wanted[0]), int(wanted[-1]) + 1),)]
        else:
            mask = mask.take(wanted, axis)
    return mask
