"""Where in a panorama the pixels of its faces lie; NumPy alone, for processors and accelerators alike."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.geometry.faces import FACE_AXES, half_extent

if TYPE_CHECKING:
    from jaxtyping import Float32


@lru_cache(maxsize=8)
def face_positions(
    height: int, width: int, size: int, fov: float
) -> tuple[Float32[np.ndarray, "6*s s"], Float32[np.ndarray, "6*s s"]]:
    """Columns and rows of a (height, width) panorama that :func:`pager_ray.geometry.erp_to_cubemap` samples at.

    Args:
        height: of the panorama.
        width: of the panorama.
        size: S, pixels per side of a face.
        fov: field of view of a face in degrees.

    Returns:
        Columns in [0, width − 1] and rows in [0, height − 1], the faces below each other; read-only.
    """
    plane = np.linspace(-half_extent(fov), half_extent(fov), size)
    map_x = np.empty((6, size, size), np.float32)
    map_y = np.empty((6, size, size), np.float32)
    for face, (right, down, forward) in enumerate(FACE_AXES):
        x, y, z = (forward[i] + plane[None, :] * right[i] + plane[:, None] * down[i] for i in range(3))
        column = (np.arctan2(z, x) / (2 * np.pi) + 0.5) * width - 0.5
        row = (0.5 - np.arctan2(y, np.hypot(x, z)) / np.pi) * height - 0.5
        map_x[face] = np.minimum(np.remainder(column, width), width - 1)
        map_y[face] = np.clip(row, 0, height - 1)
    for positions in (map_x, map_y):
        positions.setflags(write=False)
    return map_x.reshape(6 * size, size), map_y.reshape(6 * size, size)
