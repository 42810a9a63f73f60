"""Pictures that come as a cubemap → the faces that the network takes, and → ERP, each in one interpolation.

Pixels of a picture are areas: those of an N-pixel face have their centres at (k + ½) / N of its width, while the
network's faces are sampled from edge to edge (:func:`pager_ray.geometry.erp_to_cubemap`). So a face of the same size is
sampled anew, too, and its edges come from both faces that meet there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.geometry.erp import check_erp_size, erp_rays
from pager_ray.geometry.faces import FACE_AXES, check_face_size, check_fov, half_extent
from pager_ray.geometry.level import check_rotation, levelled_cube_positions
from pager_ray.geometry.locking import built_once
from pager_ray.geometry.sampling import sample_bilinear
from pager_ray.limits import MAX_SIDE
from pager_ray.shapes import Bool, Float, Float32, Int64, UInt8

_BAND_PIXELS: Final = 1 << 18

Positions = tuple["Float32[np.ndarray, 'r w']", "Float32[np.ndarray, 'r w']"]


def resample_cubemap(
    faces: UInt8[np.ndarray, "6 n n c"] | Float32[np.ndarray, "6 n n c"],
    face_size: int,
    fov: float = 90.0,
    rotation: Float[np.ndarray, "3 3"] | None = None,
) -> UInt8[np.ndarray, "6 s s c"] | Float32[np.ndarray, "6 s s c"]:
    """Sample faces of the network's size and field of view from a cubemap's, bilinearly.

    Positions are those of :func:`pager_ray.geometry.erp_to_cubemap`. Nothing is antialiased: reduce faces of more than
    about 2·S pixels before.

    Args:
        faces: (6, N, N, C) uint8 or float32, 90 degrees each, pixel centres at (k + ½) / N, in the order and
            orientation of :data:`pager_ray.geometry.FACE_AXES`.
        face_size: S, pixels per side of a face that is made.
        fov: its field of view in degrees, in [90, 180).
        rotation: from the cubemap's frame to that of the faces that are made, as of
            :func:`pager_ray.geometry.erp_to_cubemap`.

    Returns:
        (6, S, S, C) with the dtype of ``faces``.

    Raises:
        ShapeError: wrong rank, dtype or size of ``faces``, ``face_size``, ``fov`` or ``rotation``.
    """
    count, size, fov = _check(faces), check_face_size(face_size), check_fov(fov)
    if rotation is None:
        positions = built_once(_face_positions, count, size, fov)
    else:
        positions = levelled_cube_positions(count, size, fov, check_rotation(rotation))
    return sample_bilinear(_padded(faces), *positions).reshape(6, size, size, faces.shape[3])


def cubemap_picture(
    faces: UInt8[np.ndarray, "6 n n c"] | Float32[np.ndarray, "6 n n c"], height: int, width: int
) -> UInt8[np.ndarray, "h w c"] | Float32[np.ndarray, "h w c"]:
    """The picture of a cubemap as an ERP, sampled bilinearly at the centres of its pixels.

    Unlike :func:`pager_ray.geometry.cubemap_to_erp`, which stitches what the network predicted, at the positions that
    its released results were made with.

    Args:
        faces: as of :func:`resample_cubemap`.
        height: H, rows of the panorama.
        width: W, columns of the panorama.

    Returns:
        (H, W, C) with the dtype of ``faces``.

    Raises:
        ShapeError: wrong rank, dtype or size of ``faces``, ``height`` or ``width``.
    """
    count = _check(faces)
    height, width = check_erp_size(height, width)
    return sample_bilinear(_padded(faces), *built_once(_picture_positions, count, height, width))


def cubemap_mask(faces: Bool[np.ndarray, "6 n n"], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """A mask of a cubemap as an ERP: that of the face's pixel in which the centre of each of its pixels lies.

    Args:
        faces: (6, N, N) bool, laid out as those of :func:`resample_cubemap`.
        height: H, rows of the panorama.
        width: W, columns of the panorama.

    Raises:
        ShapeError: wrong rank or size of ``faces``, ``height`` or ``width``.
    """
    count = _check(faces.view(np.uint8)[..., None])
    height, width = check_erp_size(height, width)
    rays, step = erp_rays(height, width), max(1, _BAND_PIXELS // width)
    mask = np.empty((height, width), bool)
    for top in range(0, height, step):
        face, across, down = _on_cube(rays[top : top + step].astype(np.float64))
        row, column = (np.clip((1 + at) * (count / 2), 0, count - 1).astype(np.int64) for at in (down, across))
        mask[top : top + step] = faces[face, row, column]
    return mask


def _check(faces: np.ndarray) -> int:
    """Give N, pixels per side of a face."""
    if (
        not isinstance(faces, np.ndarray)
        or faces.ndim != 4
        or faces.dtype not in (np.uint8, np.float32)
        or faces.shape[0] != 6
        or faces.shape[1] != faces.shape[2]
        or faces.shape[3] < 1
    ):
        got = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else type(faces).__name__
        raise ShapeError(f"faces must be a (6, N, N, C) array of uint8 or float32, got {got}")
    count = check_face_size(faces.shape[1])
    if 6 * (count + 2) > MAX_SIDE:
        raise ShapeError(f"faces must not exceed {MAX_SIDE // 6 - 2} pixels, got {count}")
    return count


def _padded(faces: np.ndarray) -> np.ndarray:
    """The faces below one another, each within a frame of pixels of its neighbours."""
    count, channels = faces.shape[1], faces.shape[3]
    atlas = np.empty((6, count + 2, count + 2, channels), faces.dtype)
    atlas[:, 1:-1, 1:-1] = faces
    face, row, column = built_once(_frame, count)
    beyond = faces[face, row, column].reshape(6, 4, count + 2, channels)
    atlas[:, 0], atlas[:, -1], atlas[:, :, 0], atlas[:, :, -1] = (beyond[:, side] for side in range(4))
    return atlas.reshape(6 * (count + 2), count + 2, channels)


@lru_cache(maxsize=8)
def _frame(count: int) -> tuple[Int64[np.ndarray, " f"], Int64[np.ndarray, " f"], Int64[np.ndarray, " f"]]:
    """Face, row and column of the pixel next to each of the frames': above, below, left, right, corners included."""
    along = (np.arange(-1, count + 1) + 0.5) * 2 / count - 1
    beyond = np.full(count + 2, 1 + 1 / count)
    across = np.concatenate([along, along, -beyond, beyond])
    down = np.concatenate([-beyond, beyond, along, along])
    face, x, y = _on_cube(np.concatenate([_rays(one, across, down) for one in range(6)]))
    row, column = (np.clip(np.rint((1 + at) * count / 2 - 0.5), 0, count - 1).astype(np.int64) for at in (y, x))
    return face, row, column


@lru_cache(maxsize=4)
def _face_positions(count: int, size: int, fov: float) -> Positions:
    plane = np.linspace(-half_extent(fov), half_extent(fov), size)
    across, down = np.meshgrid(plane, plane)
    return _kept([_positions(_rays(face, across, down), count) for face in range(6)])


@lru_cache(maxsize=4)
def _picture_positions(count: int, height: int, width: int) -> Positions:
    # In double precision a band of rows at a time: of a whole panorama it would be hundreds of megabytes.
    rays, step = erp_rays(height, width), max(1, _BAND_PIXELS // width)
    return _kept([_positions(rays[top : top + step].astype(np.float64), count) for top in range(0, height, step)])


def _kept(parts: list[Positions]) -> Positions:
    map_x, map_y = (np.concatenate([part[axis] for part in parts]) for axis in range(2))
    for positions in (map_x, map_y):
        positions.setflags(write=False)
    return map_x, map_y


def _rays(face: int, across: Float[np.ndarray, "*n"], down: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 3"]:
    right, below, forward = FACE_AXES[face]
    return forward + across[..., None] * right + down[..., None] * below


def _on_cube(
    rays: Float[np.ndarray, "*n 3"],
) -> tuple[Int64[np.ndarray, "*n"], Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """The face that each ray meets, and where on its plane, from −1 to 1 rightwards and downwards."""
    along = rays @ FACE_AXES[:, 2].T
    face = along.argmax(-1)
    depth = np.take_along_axis(along, face[..., None], -1)[..., 0]
    across, down = (
        np.take_along_axis(rays @ FACE_AXES[:, axis].T, face[..., None], -1)[..., 0] / depth for axis in (0, 1)
    )
    return face, across, down


def _positions(rays: Float[np.ndarray, "r w 3"], count: int) -> Positions:
    """Columns and rows of :func:`_padded` that rays are sampled at."""
    face, across, down = _on_cube(rays)
    # The frame's pixel is before a face's first one.
    map_x = (1 + np.clip(across, -1, 1)) * (count / 2) + 0.5
    map_y = (1 + np.clip(down, -1, 1)) * (count / 2) + 0.5 + face * (count + 2)
    return map_x.astype(np.float32), map_y.astype(np.float32)
