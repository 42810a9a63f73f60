"""Cubemap → ERP: what the write side of the job and the reader of cubemap outputs compute."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.geometry.erp import DOWN, UP, check_erp_size, erp_columns, stitched_angles
from pager_ray.geometry.faces import check_face_size, check_fov, inner_size
from pager_ray.geometry.locking import built_once
from pager_ray.geometry.sampling import MAX_SIDE, sample_bilinear

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

_MAX_KEPT_PIXELS: Final = 1 << 25
_BAND_PIXELS: Final = 1 << 18

Positions = tuple["Float[np.ndarray, 'rows w']", "Float[np.ndarray, 'rows w']"]


def cubemap_to_erp(
    faces: Float32[np.ndarray, "6 s s c"], height: int, width: int, fov: float = 90.0
) -> Float32[np.ndarray, "h w c"]:
    """Stitch six faces to a panorama, bilinearly, in float32.

    Sample positions are those of ``c2e`` of pytorch360convert, which the released results are stitched with: ERP
    pixels lie at linspace(−π, π, W) × linspace(π/2, −π/2, H), end points included, and face coordinate ½ on the unit
    cube is sampled at pixel S, half a pixel right of and below the last centre. A face is continued by the edge
    pixels of its neighbours; the pixel beyond its corner, which the reference leaves at zero, is the mean of the two
    edge pixels that meet there, so output pixels at the cube corners are not darkened. Faces wider than 90 degrees
    are first centre-cropped to round(S / tan(fov/2)) pixels.

    Args:
        faces: (6, S, S, C) float32, finite, in the order front, right, back, left, up, down.
        height: H, rows of the panorama.
        width: W, columns of the panorama.
        fov: field of view of a face in degrees, in [90, 180).

    Returns:
        (H, W, C) float32.

    Raises:
        ShapeError: wrong rank, dtype or size of ``faces``, ``height``, ``width`` or ``fov``.

    The sample positions of a (H, W, S, fov) take 8 bytes per output pixel (67 MB at 2048×4096) and are kept for the
    last two sizes of the process, so keep few worker processes per size; above 33.5 million pixels they are computed
    anew, band by band, and never held as a whole.
    """
    if (
        not isinstance(faces, np.ndarray)
        or faces.dtype != np.float32
        or faces.ndim != 4
        or faces.shape[0] != 6
        or faces.shape[1] != faces.shape[2]
        or faces.shape[3] < 1
    ):
        got = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else type(faces).__name__
        raise ShapeError(f"faces must be a (6, S, S, C) array of float32, got {got}")
    height, width = check_erp_size(height, width)
    if max(height, width) > MAX_SIDE:
        raise ShapeError(f"no side of the panorama may exceed {MAX_SIDE} pixels, got {height}x{width}")
    inner = check_face_size(inner_size(faces.shape[1], check_fov(fov)))
    if 6 * (inner + 1) > MAX_SIDE:
        raise ShapeError(f"faces must not exceed {MAX_SIDE // 6 - 1} pixels per 90 degrees, got {inner}")
    atlas = _face_atlas(faces, inner)
    if height * width <= _MAX_KEPT_PIXELS:
        return sample_bilinear(atlas, *built_once(_erp_positions, height, width, inner))
    erp = np.empty((height, width, faces.shape[3]), np.float32)
    for rows in _row_bands(height, width):
        erp[rows] = sample_bilinear(atlas, *_band_positions(height, width, inner, rows))
    return erp


def normalise_normals(normals: Float32[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
    """Scale vectors to length 1 after interpolation; lengths are clamped at 1e-6, so zero (sky) stays zero.

    Args:
        normals: (…, 3) float32.

    Returns:
        A new array of the same shape.

    Raises:
        ShapeError: the last axis is not 3 long.
    """
    if normals.ndim < 1 or normals.shape[-1] != 3:
        raise ShapeError(f"normals must be an (…, 3) array, got shape {normals.shape}")
    length = np.sqrt(np.einsum("...c,...c->...", normals, normals))
    return normals / np.maximum(length, np.float32(1e-6))[..., None]


def _face_atlas(faces: Float32[np.ndarray, "6 s s c"], inner: int) -> Float32[np.ndarray, "rows cols c"]:
    """Stack the cropped faces below one another, each with one more column and row from its neighbours.

    No sample position is left of or above a face's first pixel, so the other two sides need no continuation.
    """
    size, channels = faces.shape[1], faces.shape[3]
    start = (size - inner) // 2
    atlas = np.empty((6, inner + 1, inner + 1, channels), np.float32)
    atlas[:, :inner, :inner] = faces[:, start : start + inner, start : start + inner]
    front, right, back, left, up, down = range(6)
    core = atlas[:, :inner, :inner]
    beyond_right = {
        front: core[right, :, 0],
        right: core[back, :, 0],
        back: core[left, :, 0],
        left: core[front, :, 0],
        up: core[right, 0, ::-1],
        down: core[right, -1, :],
    }
    beyond_bottom = {
        front: core[down, 0, :],
        right: core[down, :, -1],
        back: core[down, -1, ::-1],
        left: core[down, ::-1, 0],
        up: core[front, 0, :],
        down: core[back, -1, ::-1],
    }
    for face in range(6):
        atlas[face, :inner, inner] = beyond_right[face]
        atlas[face, inner, :inner] = beyond_bottom[face]
    atlas[:, inner, inner] = 0.5 * (atlas[:, inner - 1, inner] + atlas[:, inner, inner - 1])
    return atlas.reshape(6 * (inner + 1), inner + 1, channels)


def _row_bands(height: int, width: int) -> list[slice]:
    step = max(1, _BAND_PIXELS // width)
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


@lru_cache(maxsize=2)
def _erp_positions(height: int, width: int, inner: int) -> Positions:
    map_x = np.empty((height, width), np.float32)
    map_y = np.empty((height, width), np.float32)
    for rows in _row_bands(height, width):
        map_x[rows], map_y[rows] = _band_positions(height, width, inner, rows)
    for positions in (map_x, map_y):
        positions.setflags(write=False)
    return map_x, map_y


def _band_positions(height: int, width: int, inner: int, rows: slice) -> Positions:
    """Positions in the atlas of some rows of an ERP: outer products, no trigonometry per pixel."""
    columns = erp_columns(height, width)
    row = np.arange(height)[rows, None]
    latitude = (stitched_angles(np.pi, height) / -2)[rows, None].astype(np.float64)
    is_up, is_down = row < columns.polar_rows, row >= height - columns.polar_rows
    polar = is_up | is_down
    # Distance from the axis on the plane of the up or down face.
    radius = 0.5 * np.tan(float(np.float32(np.pi / 2)) - np.abs(latitude))
    x = np.where(polar, radius * np.sin(columns.longitude), 0.5 * np.tan(columns.from_side))
    y = np.where(
        polar,
        radius * np.sign(latitude) * np.cos(columns.longitude),
        -0.5 * np.tan(latitude) / np.cos(columns.from_side),
    )
    face = np.where(is_up, UP, np.where(is_down, DOWN, columns.side))
    map_x = (np.clip(x, -0.5, 0.5) + 0.5) * inner
    map_y = (np.clip(y, -0.5, 0.5) + 0.5) * inner + face * (inner + 1)
    return map_x.astype(np.float32), map_y.astype(np.float32)
