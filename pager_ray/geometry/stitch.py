"""Cubemap → ERP: what the write side of the job and the reader of cubemap outputs compute."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.geometry.erp import DOWN, UP, check_erp_size, erp_columns, stitched_angles
from pager_ray.geometry.faces import check_face_size, check_fov, inner_size
from pager_ray.geometry.level import LevelledAtlas, check_rotation, turned_back
from pager_ray.geometry.locking import built_once
from pager_ray.geometry.sampling import sample_bilinear
from pager_ray.limits import MAX_SIDE
from pager_ray.shapes import Float, Float16, Float32, Float64

_MAX_KEPT_PIXELS: Final = 1 << 25
# Samples of this many pixels stay in a core's cache between stitching, splitting and scaling.
_BAND_PIXELS: Final = 1 << 16
_MIN_LENGTH: Final = np.float32(1e-6)

Positions = tuple["Float[np.ndarray, 'rows w']", "Float[np.ndarray, 'rows w']"]


def cubemap_to_erp(
    faces: Float32[np.ndarray, "6 s s c"],
    height: int,
    width: int,
    fov: float = 90.0,
    rotation: Float[np.ndarray, "3 3"] | None = None,
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
        rotation: from the panorama's frame to that of the faces, as of :func:`pager_ray.geometry.erp_to_cubemap`;
            values stay as they are, so vectors are the caller's to turn back.

    Returns:
        (H, W, C) float32.

    Raises:
        ShapeError: wrong rank, dtype or size of ``faces``, ``height``, ``width``, ``fov`` or ``rotation``.

    The sample positions of a (H, W, S, fov) take 8 bytes per output pixel (67 MB at 2048×4096) and are kept for the
    last two sizes of the process, so keep few worker processes per size; above 33.5 million pixels, and with a
    rotation, they are computed anew, band by band, and never held as a whole.
    """
    _check_faces("faces", faces, (None,), (np.float32,))
    height, width, inner = _check_sizes(faces.shape[1], height, width, fov)
    erp = np.empty((height, width, faces.shape[3]), np.float32)
    atlas = _face_atlas(faces, inner)
    for rows, map_x, map_y in _position_bands(height, width, inner, rotation):
        sample_bilinear(atlas, map_x, map_y, erp[rows])
    return erp


def stitch_maps(
    depth: Float32[np.ndarray, "6 s s"] | None,
    normals: Float32[np.ndarray, "6 s s 3"] | Float16[np.ndarray, "6 s s 3"] | None,
    sky: Float32[np.ndarray, "6 s s"] | None,
    height: int,
    width: int,
    fov: float = 90.0,
    rotation: Float[np.ndarray, "3 3"] | None = None,
) -> tuple[Float32[np.ndarray, "h w"] | None, Float32[np.ndarray, "h w 3"] | None, Float32[np.ndarray, "h w"] | None]:
    """Stitch what a network predicts in one pass: :func:`cubemap_to_erp` of each map, normals scaled to length 1.

    Depth, or sky without it, is sampled as a fourth component of the normals, which takes less time than three alone,
    and normals are scaled while they are in the cache.

    Args:
        depth: (6, S, S) float32, or None.
        normals: (6, S, S, 3) float32 or float16, or None.
        sky: (6, S, S) float32, or None.
        height: H, rows of the panorama.
        width: W, columns of the panorama.
        fov: field of view of a face in degrees, in [90, 180).
        rotation: from the panorama's frame to that of the faces and their normals, which are turned back; None where
            both are one.

    Returns:
        Depth, normals and sky, float32, (H, W) and (H, W, 3); None where None came. Normals as from
        :func:`normalise_normals`.

    Raises:
        ShapeError: wrong rank, dtype or size of a map, maps of different sizes, or a wrong ``height``, ``width``,
            ``fov`` or ``rotation``.
    """
    given = {name: faces for name, faces in {"depth": depth, "sky": sky}.items() if faces is not None}
    for name, faces in given.items():
        _check_faces(name, faces, (), (np.float32,))
    sizes = {faces.shape[1] for faces in given.values()}
    if normals is not None:
        _check_faces("normals", normals, (3,), (np.float32, np.float16))
        sizes.add(normals.shape[1])
    if not sizes:
        return None, None, None
    if len(sizes) > 1:
        raise ShapeError(f"depth, normals and sky must have faces of one size, got {sorted(sizes)} pixels")
    height, width, inner = _check_sizes(sizes.pop(), height, width, fov)
    erps = {name: np.empty((height, width), np.float32) for name in given}
    fourth = next(iter(given), None)
    unit = atlas = None
    if normals is not None:
        unit = np.empty((height, width, 3), np.float32)
        beside = np.zeros(normals.shape[:3], np.float32) if fourth is None else given.pop(fourth)
        atlas = _face_atlas(normals if rotation is None else turned_back(normals, rotation), inner, beside)
    atlases = {name: _face_atlas(faces[..., None], inner) for name, faces in given.items()}
    for rows, map_x, map_y in _position_bands(height, width, inner, rotation):
        if unit is not None and atlas is not None:
            *components, scalar = cv2.split(sample_bilinear(atlas, map_x, map_y))
            _scale_to_unit(*components)
            cv2.merge(components, unit[rows])
            if fourth is not None:
                erps[fourth][rows] = scalar
        for name, scalar_atlas in atlases.items():
            sample_bilinear(scalar_atlas, map_x, map_y, erps[name][rows, :, None])
    return erps.get("depth"), unit, erps.get("sky")


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
    vectors = np.ascontiguousarray(normals, np.float32).reshape(-1, 1, 3)
    unit = np.empty_like(vectors)
    for start in range(0, len(vectors), _BAND_PIXELS):
        band = slice(start, start + _BAND_PIXELS)
        components = cv2.split(vectors[band])
        _scale_to_unit(*components)
        cv2.merge(components, unit[band])
    return unit.reshape(normals.shape)


def _scale_to_unit(x: Float32[np.ndarray, "r w"], y: Float32[np.ndarray, "r w"], z: Float32[np.ndarray, "r w"]) -> None:
    length = x * x
    length += y * y
    length += z * z
    np.sqrt(length, out=length)
    np.maximum(length, _MIN_LENGTH, out=length)
    for component in (x, y, z):
        component /= length


def _check_faces(name: str, faces: object, channels: tuple[int | None, ...], dtypes: tuple[type, ...]) -> None:
    """Check that ``faces`` is a (6, S, S, …) array with the last axes of ``channels``, of which None is any number."""
    if (
        isinstance(faces, np.ndarray)
        and faces.dtype in dtypes
        and faces.ndim == 3 + len(channels)
        and faces.shape[0] == 6
        and faces.shape[1] == faces.shape[2]
        and all(
            length == (channel or max(length, 1)) for length, channel in zip(faces.shape[3:], channels, strict=True)
        )
    ):
        return
    shape = ", ".join(["6", "S", "S", *(str(channel or "C") for channel in channels)])
    kinds = " or ".join(np.dtype(kind).name for kind in dtypes)
    got = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else type(faces).__name__
    raise ShapeError(f"{name} must be a ({shape}) array of {kinds}, got {got}")


def _check_sizes(size: int, height: int, width: int, fov: float) -> tuple[int, int, int]:
    """Give height and width of the panorama, and pixels per 90 degrees of a face."""
    height, width = check_erp_size(height, width)
    if max(height, width) > MAX_SIDE:
        raise ShapeError(f"no side of the panorama may exceed {MAX_SIDE} pixels, got {height}x{width}")
    inner = check_face_size(inner_size(size, check_fov(fov)))
    if 6 * (inner + 1) > MAX_SIDE:
        raise ShapeError(f"faces must not exceed {MAX_SIDE // 6 - 1} pixels per 90 degrees, got {inner}")
    return height, width, inner


def _face_atlas(
    faces: Float[np.ndarray, "6 s s c"], inner: int, beside: Float32[np.ndarray, "6 s s"] | None = None
) -> Float32[np.ndarray, "rows cols k"]:
    """Stack the cropped faces below one another, each with one more column and row from its neighbours.

    No sample position is left of or above a face's first pixel, so the other two sides need no continuation. ``beside``
    becomes one more channel.
    """
    start, channels = (faces.shape[1] - inner) // 2, faces.shape[3] + (beside is not None)
    crop = slice(None), slice(start, start + inner), slice(start, start + inner)
    atlas = np.empty((6, inner + 1, inner + 1, channels), np.float32)
    core = atlas[:, :inner, :inner]
    if beside is None:
        core[...] = faces[crop]
    else:
        # Half the time of assigning to three channels of four.
        for target, face, scalar in zip(core, faces[crop], beside[crop], strict=True):
            components = cv2.split(np.ascontiguousarray(face, np.float32))
            cv2.merge([*components, np.ascontiguousarray(scalar)], target)
    front, right, back, left, up, down = range(6)
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


def _position_bands(
    height: int, width: int, inner: int, rotation: Float[np.ndarray, "3 3"] | None
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Sample positions of an ERP, some rows at a time: kept ones, or computed on the way where they are too many, or
    another panorama's differ."""
    if rotation is not None:
        longitude = stitched_angles(np.pi, width).astype(np.float64)
        levelled = LevelledAtlas(longitude, _latitudes(height), check_rotation(rotation), inner)
        for rows in _row_bands(height, width):
            yield rows, *levelled.positions(rows)
        return
    kept = built_once(_erp_positions, height, width, inner) if height * width <= _MAX_KEPT_PIXELS else None
    for rows in _row_bands(height, width):
        map_x, map_y = (kept[0][rows], kept[1][rows]) if kept else _band_positions(height, width, inner, rows)
        yield rows, map_x, map_y


@lru_cache(maxsize=2)
def _erp_positions(height: int, width: int, inner: int) -> Positions:
    map_x = np.empty((height, width), np.float32)
    map_y = np.empty((height, width), np.float32)
    for rows in _row_bands(height, width):
        map_x[rows], map_y[rows] = _band_positions(height, width, inner, rows)
    for positions in (map_x, map_y):
        positions.setflags(write=False)
    return map_x, map_y


def _latitudes(height: int) -> Float64[np.ndarray, " h"]:
    return (stitched_angles(np.pi, height) / -2).astype(np.float64)


def _band_positions(height: int, width: int, inner: int, rows: slice) -> Positions:
    """Positions in the atlas of some rows of an ERP: outer products, no trigonometry per pixel."""
    columns = erp_columns(height, width)
    row = np.arange(height)[rows, None]
    latitude = _latitudes(height)[rows, None]
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
