"""ERP → cubemap: what the read side of the job feeds the network with."""

from __future__ import annotations

from typing import Final

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.geometry.erp import check_erp_size
from pager_ray.geometry.face_positions import face_positions
from pager_ray.geometry.faces import check_face_size, check_fov
from pager_ray.geometry.level import check_rotation, levelled_face_positions
from pager_ray.geometry.locking import built_once
from pager_ray.geometry.sampling import sample_bilinear
from pager_ray.limits import MAX_SIDE
from pager_ray.shapes import Float, Float32, UInt8

# A whole row of a face crosses so many rows of a 4K panorama that they leave the cache before the next one needs them.
_STRIP_COLUMNS: Final = 64


def erp_to_cubemap(
    erp: UInt8[np.ndarray, "h w c"] | Float32[np.ndarray, "h w c"],
    face_size: int,
    fov: float = 90.0,
    rotation: Float[np.ndarray, "3 3"] | None = None,
) -> UInt8[np.ndarray, "6 s s c"] | Float32[np.ndarray, "6 s s c"]:
    """Sample the six faces of a panorama bilinearly.

    Face pixels lie at linspace(−tan(fov/2), tan(fov/2), S) on the plane at distance 1, *end points included*, so that
    neighbouring faces share their edge at 90 degrees. Longitudes wrap, but between the last and the first column
    nothing is interpolated: positions there take the last column, and positions beyond the first or last row take
    that row. These are the sample positions of the ``e2c`` (90 degrees) and ``e2p`` functions of pytorch360convert,
    with which the released weights were trained.

    Nothing is antialiased: reduce panoramas wider than about 8·S pixels before.

    Args:
        erp: (H, W, C) uint8 or float32, the whole sphere: longitude −180…180° over the width, latitude 90…−90° over the
            height, front at the centre.
        face_size: S, pixels per side of a face.
        fov: field of view of a face in degrees, in [90, 180).
        rotation: from the panorama's frame to that of the faces, such as
            :func:`~pager_ray.geometry.level.level_rotation`; None for faces that lie as the panorama does.

    Returns:
        (6, S, S, C) in the order front, right, back, left, up, down, with the dtype of ``erp``; uint8 is within half
        a grey level (rounding) of sampling in float32.

    Raises:
        ShapeError: wrong rank, dtype or size of ``erp``, ``face_size``, ``fov`` or ``rotation``.

    The sample positions of a (H, W, S, fov) take 48·S² bytes (12 MB at S = 504) and are kept for the last eight sizes
    of the process; with a rotation they are computed anew.
    """
    if not isinstance(erp, np.ndarray) or erp.ndim != 3 or erp.dtype not in (np.uint8, np.float32) or erp.shape[2] < 1:
        raise ShapeError(f"erp must be an (H, W, C) array of uint8 or float32, got {_describe(erp)}")
    height, width = check_erp_size(*erp.shape[:2])
    size, fov = check_face_size(face_size), check_fov(fov)
    if 6 * size > MAX_SIDE:
        raise ShapeError(f"face_size must not exceed {MAX_SIDE // 6} pixels, got {size}")
    if rotation is None:
        positions = built_once(face_positions, height, width, size, fov)
    else:
        positions = levelled_face_positions(height, width, size, fov, check_rotation(rotation))
    faces = sample_bilinear(erp, *positions, tile=(size, _STRIP_COLUMNS))
    return faces.reshape(6, size, size, erp.shape[2])


def _describe(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
