"""How a panorama was held, as a rotation; and where the pixels of a levelled cubemap and of its panorama meet.

Two frames share the axes x forward, y up, z right: the picture's, in which its pixels lie, and the levelled one, whose
y is up in the world and whose x is level and below or above the picture's centre. A *rotation* takes directions of the
picture's frame to the levelled one: ``levelled = rotation @ direction``.

Tables of these positions would serve one panorama, so there are none: what an ERP is stitched from is computed band by
band, in single precision, by code that is compiled for the processor (:mod:`pager_ray.geometry.level_kernel`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.geometry.faces import FACE_AXES, half_extent
from pager_ray.shapes import Float, Float32, Float64

MAX_PITCH: Final = 90.0
MAX_ROLL: Final = 180.0

Positions = tuple["Float32[np.ndarray, 'r w']", "Float32[np.ndarray, 'r w']"]

# So near the poles a tangent in single precision says no more.
_STEEPEST: Final = math.pi / 2 - 1e-6


def level_rotation(pitch_degrees: float, roll_degrees: float) -> Float64[np.ndarray, "3 3"]:
    """The rotation from a picture's frame to the levelled one.

    Signs and order are those of Photo Sphere XMP (GPano ``PosePitchDegrees`` and ``PoseRollDegrees``,
    https://developers.google.com/streetview/spherical-metadata): the picture's centre is ``pitch`` above the horizon;
    with growing ``roll`` the horizon turns counterclockwise in the picture, as the camera's right side sinks. The
    camera is pitched first and rolled about its own forward axis then. The heading plays no part: the levelled frame
    has the picture's.

    Args:
        pitch_degrees: in [−90, 90].
        roll_degrees: in [−180, 180].

    Raises:
        ShapeError: an angle is out of its range, or no number.
    """
    for name, angle, most in (("pitch", pitch_degrees, MAX_PITCH), ("roll", roll_degrees, MAX_ROLL)):
        # No comparison holds with NaN.
        if not -most <= angle <= most:
            raise ShapeError(f"{name} must be from −{most:g} to {most:g} degrees, got {angle:g}")
    (c, s), (d, t) = ((math.cos(angle), math.sin(angle)) for angle in map(math.radians, (pitch_degrees, roll_degrees)))
    pitched = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    rolled = np.array([[1.0, 0.0, 0.0], [0.0, d, -t], [0.0, t, d]])
    return pitched @ rolled


def levelling(pitch_degrees: float | None, roll_degrees: float | None) -> Float64[np.ndarray, "3 3"] | None:
    """:func:`level_rotation` of a tilt as a row of a run tells it; None where there is none, or one of 0°.

    Of the angles in single precision, which that row keeps: whoever stitches its faces later turns back by the same.
    """
    if not pitch_degrees and not roll_degrees:
        return None
    return level_rotation(float(np.float32(pitch_degrees or 0.0)), float(np.float32(roll_degrees or 0.0)))


def check_rotation(rotation: Float[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """Return ``rotation`` in float64.

    Raises:
        ShapeError: it is no rotation.
    """
    matrix = np.asarray(rotation, np.float64)
    is_one = matrix.shape == (3, 3) and np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
    if not is_one or np.linalg.det(matrix) < 0:
        raise ShapeError(f"rotation must be a (3, 3) rotation matrix, got {np.array2string(matrix, threshold=9)}")
    return matrix


def turned_back(
    vectors: Float32[np.ndarray, "*n 3"], rotation: Float[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "*n 3"]:
    """Vectors of the levelled frame in the picture's; a new array."""
    # Rows of vectors: the inverse of a rotation is its transpose, and stands on the other side here.
    turned: np.ndarray = np.asarray(vectors, np.float32) @ check_rotation(rotation).astype(np.float32)
    return turned


def levelled_face_positions(
    height: int, width: int, size: int, fov: float, rotation: Float64[np.ndarray, "3 3"]
) -> Positions:
    """Columns and rows of a (height, width) panorama at which the pixels of its levelled faces lie.

    As :func:`pager_ray.geometry.face_positions.face_positions` of rays that are turned into the picture's frame.

    Returns:
        (6·S, S) float32 each, the faces below each other.
    """
    map_x = np.empty((6, size, size), np.float32)
    map_y = np.empty((6, size, size), np.float32)
    for face in range(6):
        across, along = _face_rays(face, size, fov, rotation)
        x, y, z = (along[axis][:, None] + across[axis] for axis in range(3))
        column = np.arctan2(z, x)
        column *= np.float32(width / (2 * np.pi))
        column += np.float32(width / 2 - 0.5)
        # From half a pixel left of the first column to half a pixel right of the last one.
        column += np.float32(width) * (column < 0)
        np.minimum(column, np.float32(width - 1), out=map_x[face])
        x *= x
        z *= z
        x += z
        row = np.arctan2(y, np.sqrt(x, out=x), out=y)
        row *= np.float32(-height / np.pi)
        row += np.float32(height / 2 - 0.5)
        np.clip(row, np.float32(0), np.float32(height - 1), out=map_y[face])
    return map_x.reshape(6 * size, size), map_y.reshape(6 * size, size)


def levelled_cube_positions(count: int, size: int, fov: float, rotation: Float64[np.ndarray, "3 3"]) -> Positions:
    """As :func:`levelled_face_positions`, among the N-pixel faces of a cubemap that stand below each other, each within
    a frame of one pixel.

    Args:
        count: N.
        size, fov: of the levelled faces.
        rotation: from the cubemap's frame to the levelled one.
    """
    kernel = _kernel()
    map_x, map_y = (np.empty((6 * size, size), np.float32) for _ in range(2))
    for face in range(6):
        part = slice(face * size, (face + 1) * size)
        across, along = _face_rays(face, size, fov, rotation)
        kernel(across, along, count, count + 2, 0.5, map_x[part], map_y[part])
    return map_x, map_y


def _face_rays(
    face: int, size: int, fov: float, rotation: Float64[np.ndarray, "3 3"]
) -> tuple[Float32[np.ndarray, "3 s"], Float32[np.ndarray, "3 s"]]:
    """Rays through a levelled face's pixels, end points included, in the picture's frame: the sums of what belongs to a
    column and what belongs to a row."""
    plane = np.linspace(-half_extent(fov), half_extent(fov), size)
    right, down, forward = FACE_AXES[face] @ rotation
    across = forward[:, None] + right[:, None] * plane
    return across.astype(np.float32), (down[:, None] * plane).astype(np.float32)


class LevelledAtlas:
    """Where the pixels of a stitched panorama lie among levelled faces that stand below each other.

    A pixel's place on its face is the one that :func:`pager_ray.geometry.cubemap_to_erp` gives its direction: without
    tilt both agree, but for pixels on the border of two faces.

    Args:
        longitude: radians, of the panorama's columns.
        latitude: radians, of its rows.
        rotation: from the panorama's frame to the faces'.
        inner: pixels of a face, which is how far its edges are apart.
    """

    def __init__(
        self,
        longitude: Float64[np.ndarray, " w"],
        latitude: Float64[np.ndarray, " h"],
        rotation: Float64[np.ndarray, "3 3"],
        inner: int,
    ) -> None:
        # A direction's length does not matter: divided by the cosine of its latitude it is a sum, too.
        of_columns = rotation[:, 0, None] * np.cos(longitude) + rotation[:, 2, None] * np.sin(longitude)
        self._of_columns = of_columns.astype(np.float32)
        steepness = np.tan(np.clip(latitude, -_STEEPEST, _STEEPEST))
        self._of_rows = (rotation[:, 1, None] * steepness).astype(np.float32)
        self._inner = inner

    def positions(self, rows: slice) -> Positions:
        """Columns and rows at which some of the panorama's rows are sampled; each face has a pixel more below it."""
        of_rows = np.ascontiguousarray(self._of_rows[:, rows])
        map_x, map_y = (np.empty((of_rows.shape[1], self._of_columns.shape[1]), np.float32) for _ in range(2))
        _kernel()(self._of_columns, of_rows, self._inner, self._inner + 1, 0.0, map_x, map_y)
        return map_x, map_y


@cache
def _kernel() -> Callable[..., None]:
    # Its compiler is loaded where something is tilted.
    from pager_ray.geometry.level_kernel import positions_on_faces

    return positions_on_faces
