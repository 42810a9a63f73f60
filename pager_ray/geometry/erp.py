"""The equirectangular panorama (ERP): rays of its pixels, and which cube face each pixel is stitched from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.shapes import Float, Float32, Float64, Int64, UInt8

UP, DOWN = 4, 5


@dataclass(frozen=True)
class ErpColumns:
    """What a stitched ERP's columns share over all rows.

    Attributes:
        longitude: radians, −π at the first column to π at the last, end points included.
        side: the side face (0 front, 1 right, 2 back, 3 left) that the column crosses at the horizon.
        from_side: radians, longitude relative to the axis of that face.
        polar_rows: rows from the top that belong to the up face, and as many from the bottom to the down face.
    """

    longitude: Float64[np.ndarray, " w"]
    side: Int64[np.ndarray, " w"]
    from_side: Float64[np.ndarray, " w"]
    polar_rows: Int64[np.ndarray, " w"]


def check_erp_size(height: int, width: int) -> tuple[int, int]:
    """Return ``(height, width)`` as ints.

    Raises:
        ShapeError: less than 2 rows or 8 columns, which no cube can be stitched to.
    """
    if height < 2 or width < 8:
        raise ShapeError(f"an ERP takes at least 2 rows and 8 columns, got {height}x{width}")
    return int(height), int(width)


def stitched_angles(extent: float, count: int) -> Float32[np.ndarray, " n"]:
    """Angles of a stitched ERP's columns or rows: from −extent to extent, end points included.

    Single precision, in steps counted from the nearer end with one rounding each: the angles of the reference to the
    last bit. Double precision would move its values by more than 1e-5 of their range at places.
    """
    first = float(np.float32(-extent))
    step = float(np.float32((np.float32(extent) - np.float32(-extent)) / np.float32(count - 1)))
    index = np.arange(count)
    return np.where(index < count // 2, first + step * index, -first - step * (count - 1 - index)).astype(np.float32)


@lru_cache(maxsize=8)
def erp_columns(height: int, width: int) -> ErpColumns:
    """Faces of a stitched ERP's columns, with the rounding of the released results.

    Those are defined for widths that are multiples of 4, where each side face has a quarter of the columns and the
    front face starts at ``3·(width // 8)``; at any other width a column belongs to the face whose axis is nearest.
    """
    height, width = check_erp_size(height, width)
    longitude = stitched_angles(np.pi, width)
    if width % 4 == 0:
        per_face, shift = width // 4, 3 * (width // 8)
        side = np.roll(np.repeat(np.arange(4), per_face), shift)
        border_angle = np.roll(np.tile(np.linspace(-np.pi / 4, np.pi / 4, per_face), 4), shift).astype(np.float32)
    else:
        side = np.rint(longitude / (np.pi / 2)).astype(np.int64) % 4
        border_angle = np.remainder(longitude + np.pi / 4, np.pi / 2).astype(np.float32) - np.float32(np.pi / 4)
    from_side = longitude - (side * (np.pi / 2)).astype(np.float32)
    # Single precision like the reference: where the border falls on half a row, its rounding decides.
    latitude = np.arctan(np.cos(border_angle))
    polar_rows = np.rint(np.float32(height / 2) - latitude * np.float32(height) / np.float32(np.pi)).astype(np.int64)
    columns = ErpColumns(longitude.astype(np.float64), side, from_side.astype(np.float64), polar_rows)
    for array in (columns.longitude, columns.side, columns.from_side, columns.polar_rows):
        array.setflags(write=False)
    return columns


def face_map(height: int, width: int) -> UInt8[np.ndarray, "h w"]:
    """Index of the cube face (order front, right, back, left, up, down) that each pixel of an ERP is stitched from.

    Raises:
        ShapeError: less than 2 rows or 8 columns.
    """
    columns = erp_columns(height, width)
    row = np.arange(height)[:, None]
    faces = np.broadcast_to(columns.side.astype(np.uint8), (height, width)).copy()
    faces[row < columns.polar_rows] = UP
    faces[row >= height - columns.polar_rows] = DOWN
    return faces


def erp_rays(height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    """Unit rays through the pixel centres of an ERP; depth times ray is a point in metres.

    Ray (cos φ cos θ, sin φ, cos φ sin θ), with the longitude from the centre θ = ((column + ½)/W − ½)·2π and the
    latitude φ = (½ − (row + ½)/H)·π. Frame: x forward (centre of the panorama), y up, z right.

    Returns:
        float32, (H, W, 3).

    Raises:
        ShapeError: less than 2 rows or 8 columns.
    """
    height, width = check_erp_size(height, width)
    theta = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    phi = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    rays = np.empty((height, width, 3), np.float32)
    np.multiply.outer(np.cos(phi).astype(np.float32), np.cos(theta).astype(np.float32), out=rays[..., 0])
    rays[..., 1] = np.sin(phi)[:, None]
    np.multiply.outer(np.cos(phi).astype(np.float32), np.sin(theta).astype(np.float32), out=rays[..., 2])
    return rays
