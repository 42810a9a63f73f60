"""The six cube faces: their order, their axes and the rays through their pixels.

Frame: x forward (centre of the panorama), y up, z right; right-handed.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.shapes import Float, Float64

FACE_NAMES: Final = ("front", "right", "back", "left", "up", "down")
"""Faces in the order that every array with a face axis uses."""


def _face_axes() -> Float64[np.ndarray, "6 3 3"]:
    forward, up, right = np.eye(3)
    axes = np.stack(
        [
            (right, -up, forward),
            (-forward, -up, right),
            (-right, -up, -forward),
            (forward, -up, -right),
            (right, forward, up),
            (right, -forward, -up),
        ]
    )
    axes.setflags(write=False)
    return axes


FACE_AXES: Final = _face_axes()
"""(6, 3, 3) float64: for each face the unit vectors of its columns (image right), rows (image down) and viewing
direction. A pixel at plane coordinates (a, b) looks along ``axes[2] + a · axes[0] + b · axes[1]``; the up face has the
front face below its bottom edge, the down face above its top edge."""


def check_fov(fov: float) -> float:
    """Return ``fov`` as a float.

    Raises:
        ShapeError: ``fov`` is not in [90, 180) degrees; narrower faces leave gaps between them.
    """
    fov = float(fov)
    if not 90.0 <= fov < 180.0:
        raise ShapeError(f"fov must be at least 90 and below 180 degrees, got {fov:g}")
    return fov


def check_face_size(face_size: int) -> int:
    """Return ``face_size`` as an int.

    Raises:
        ShapeError: fewer than 2 pixels, which leaves nothing to interpolate between.
    """
    if face_size < 2:
        raise ShapeError(f"face_size must be at least 2 pixels, got {face_size}")
    return int(face_size)


def half_extent(fov: float) -> float:
    """Half the width of a face on the plane at distance 1: tan(fov / 2), and exactly 1 at 90 degrees."""
    return 1.0 if fov == 90.0 else math.tan(math.radians(fov) / 2)


def inner_size(face_size: int, fov: float) -> int:
    """Pixels per side of the centre crop of a face that covers 90 degrees: round(face_size / tan(fov / 2))."""
    return round(face_size / half_extent(fov))


def ray_length_factor(face_size: int, fov: float = 90.0) -> Float[np.ndarray, "s s"]:
    """Euclidean ray length per unit of z-depth, √(x² + y² + 1), for every pixel of a face.

    x = (u − S/2) / f with *integer* u = 0 … S−1 and f = S / (2·tan(fov/2)), y likewise from the row. A pixel centre
    would be at u + 0.5; the released metric results are made with the integer, so it stays.

    Args:
        face_size: S, pixels per side.
        fov: field of view of a face in degrees.

    Returns:
        float32, (S, S).

    Raises:
        ShapeError: ``face_size`` below 2 or ``fov`` outside [90, 180).
    """
    size, extent = check_face_size(face_size), half_extent(check_fov(fov))
    squared = ((np.arange(size) - size / 2) * (2 * extent / size)) ** 2
    return np.sqrt(squared[None, :] + squared[:, None] + 1.0).astype(np.float32)
