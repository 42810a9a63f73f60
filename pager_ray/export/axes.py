"""Which way the axes of a file point: a turn of the package's own frame, for programs that expect another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from pager_ray.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

Axes = Literal["y-up", "z-up", "y-down"]

FRAMES: Final[Mapping[str, str]] = {
    "y-up": "x forward (ERP centre), y up, z right",
    "z-up": "x forward (ERP centre), y left, z up",
    "y-down": "x right, y down, z forward (ERP centre)",
}
"""What each says in a file: the package's own, as glTF has up; that of maps, GIS and ROS; that of cameras."""

FRAME: Final = FRAMES["y-up"]

# Of each new axis: which of the old ones it is, and its sign. Each is a rotation: its determinant is 1.
_TAKEN: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "y-up": ((0, 1), (1, 1), (2, 1)),
    "z-up": ((0, 1), (2, -1), (1, 1)),
    "y-down": ((2, 1), (1, -1), (0, 1)),
}


def check_axes(axes: str) -> None:
    """Refuse a name that none has.

    Raises:
        ConfigError: ``axes`` is unknown.
    """
    if axes not in FRAMES:
        raise ConfigError(f"--axes: got {axes!r}; takes {', '.join(get_args(Axes))}")


def rotation(axes: str) -> Float64[np.ndarray, "3 3"]:
    """The rotation from the package's frame to that of ``axes``."""
    matrix = np.zeros((3, 3))
    for row, (column, sign) in enumerate(_TAKEN[axes]):
        matrix[row, column] = sign
    return matrix


def turn(vectors: Float[np.ndarray, "... 3"], axes: str) -> Float[np.ndarray, "... 3"]:
    """Points or directions in the frame of ``axes``: exact, numbers change places and signs alone."""
    if axes == "y-up":
        return vectors
    turned = np.empty_like(vectors)
    for axis, (old, sign) in enumerate(_TAKEN[axes]):
        # Not multiplied: minus zero would become of zero.
        turned[..., axis] = vectors[..., old] if sign > 0 else 0 - vectors[..., old]
    return turned


def turn_components(
    components: tuple[np.ndarray, np.ndarray, np.ndarray], axes: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`turn`, of vectors whose components are arrays of their own."""
    x, y, z = (components[old] if sign > 0 else -components[old] for old, sign in _TAKEN[axes])
    return x, y, z
