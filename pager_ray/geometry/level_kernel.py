"""Directions to places on the faces of a cube, compiled: the loop that levelling adds to every pixel of a panorama.

NumPy takes forty passes for what the processor does in one, ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numba import njit
from numpy import ndarray


def _positions_on_faces(
    of_columns: ndarray, of_rows: ndarray, pixels: float, pitch: float, first: float, map_x: ndarray, map_y: ndarray
) -> None:
    """Fill in where directions of any length, sums of one of a column and one of a row, meet faces below each other.

    Args:
        of_columns: (3, w) float32: forward, up and right.
        of_rows: (3, h) float32.
        pixels: from one edge of a face to the other.
        pitch: from one face to the next, in the order of :data:`pager_ray.geometry.FACE_NAMES`.
        first: where the left and upper edges of the first face are.
        map_x, map_y: (h, w) float32.
    """
    half, edge, step = np.float32(pixels / 2), np.float32(pixels / 2 + first), np.float32(pitch)
    zero, one, two, four, five = np.float32(0), np.float32(1), np.float32(2), np.float32(4), np.float32(5)
    for row in range(map_x.shape[0]):
        row_forward, row_up, row_right = of_rows[0, row], of_rows[1, row], of_rows[2, row]
        for column in range(map_x.shape[1]):
            forward = of_columns[0, column] + row_forward
            up = of_columns[1, column] + row_up
            right = of_columns[2, column] + row_right
            ahead, aside, upright = abs(forward), abs(right), abs(up)
            # Everything is computed, then chosen: without a branch the compiler takes several pixels at once.
            is_side = aside > ahead
            around = aside if is_side else ahead
            is_polar = upright > around
            scale = half / (upright if is_polar else around)
            f, u, r = forward * scale, up * scale, right * scale
            side_x = -f if right > zero else f
            front_x = r if forward > zero else -r
            x = side_x if is_side else front_x
            x = r if is_polar else x
            polar_y = f if up > zero else -f
            y = polar_y if is_polar else -u
            # 0 front, 1 right, 2 back, 3 left, 4 up, 5 down.
            looked_along = right if is_side else forward
            face = (one if is_side else zero) + (two if looked_along < zero else zero)
            polar_face = four if up > zero else five
            face = polar_face if is_polar else face
            map_x[row, column] = x + edge
            map_y[row, column] = y + edge + face * step


_SIGNATURE: Final = "void(f4[:,::1], f4[:,::1], f8, f8, f8, f4[:,::1], f4[:,::1])"


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        kept: Callable[..., None] = njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy")(function)
        return kept
    except (RuntimeError, OSError):
        # No folder to keep the code in, as where a package is not its user's and there is no home: half a second.
        fresh: Callable[..., None] = njit(_SIGNATURE, nogil=True, error_model="numpy")(function)
        return fresh


positions_on_faces = _compiled(_positions_on_faces)
