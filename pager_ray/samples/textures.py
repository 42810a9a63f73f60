"""Procedural surface colours: each texture turns positions on a surface into linear RGB albedo.

A texture is sampled at surface coordinates u, v (metres along the surface; v is height on upright faces) and the world
point, and fades to its mean colour where one pixel covers more than its smallest feature, which keeps distant bricks
from turning into moiré.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pager_ray.samples.noise import fractal_noise, lattice, value_noise

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray

Color = tuple[float, float, float]


class Texture(Protocol):
    """A surface's colour; ``emission`` > 0 adds that multiple of the colour as light of its own."""

    def __hash__(self) -> int: ...

    @property
    def emission(self) -> float:
        """Radiance per unit of colour."""

    @property
    def feature(self) -> float:
        """Size in metres of the smallest detail."""

    def sample(self, u: Float[ndarray, "n"], v: Float[ndarray, "n"], p: Float[ndarray, "3 n"]) -> Float[ndarray, "n 3"]:
        """Linear RGB albedo at surface coordinates u, v in metres and world points p."""


def shade_texture(
    texture: Texture,
    u: Float[ndarray, "n"],
    v: Float[ndarray, "n"],
    p: Float[ndarray, "3 n"],
    footprint: Float[ndarray, "n"],
) -> Float[ndarray, "n 3"]:
    """Sample a texture, faded to its mean where a pixel's ``footprint`` in metres exceeds its features."""
    keep = 1.5 - footprint / texture.feature
    if keep.min() >= 1:
        return texture.sample(u, v, p)
    mean = _mean_color(texture)
    color = np.empty((u.size, 3))
    color[:] = mean
    near = np.flatnonzero(keep > 0)
    if near.size:
        detail = texture.sample(u[near], v[near], p[:, near]) - mean
        detail *= np.minimum(keep[near], 1.0)[:, None]
        color[near] += detail
    return color


@lru_cache(maxsize=512)
def _mean_color(texture: Texture) -> Float[ndarray, "3"]:
    side = np.linspace(0.013, 0.987, 16) * 8
    u, v = (axis.ravel() for axis in np.meshgrid(side - 4, side))
    return texture.sample(u, v, np.stack([u, v, u + v])).mean(axis=0)


def _mix(a: Color | ndarray, b: Color | ndarray, share: Float[ndarray, "n"]) -> Float[ndarray, "n 3"]:
    return np.asarray(a) + (np.asarray(b) - np.asarray(a)) * share[:, None]


def _band(x: Float[ndarray, "n"], period: float, line: float) -> Float[ndarray, "n"]:
    """1.0 on lines of width ``line`` at the borders of periods, else 0.0."""
    inside = np.mod(x, period)
    return ((inside < line / 2) | (inside > period - line / 2)).astype(np.float64)


@dataclass(frozen=True)
class Plain:
    """One colour."""

    color: Color
    emission: float = 0.0
    feature: float = 1e9

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        return np.broadcast_to(np.asarray(self.color), (u.size, 3))


@dataclass(frozen=True)
class Mottled:
    """A colour with soft irregularities of size ``scale``: plaster, cloth, asphalt, grass, foliage (``solid``)."""

    color: Color
    amount: float = 0.08
    scale: float = 0.5
    seed: int = 0
    solid: bool = False
    tint: Color | None = None
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Size of the coarsest blotches, the ones that remain visible."""
        return self.scale

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        axes = tuple(p / self.scale) if self.solid else (u / self.scale, v / self.scale)
        noise = fractal_noise(*axes, seed=self.seed)
        base = np.asarray(self.color)
        if self.tint is not None:
            base = _mix(self.color, self.tint, np.clip(noise * 2.4 - 0.7, 0, 1))
        return base * (1 + self.amount * (2 * noise[:, None] - 1))


@dataclass(frozen=True)
class Checker:
    """Squares of two colours, with veins as in marble."""

    a: Color
    b: Color
    size: float = 0.6
    seed: int = 0
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Size of a square."""
        return self.size

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        odd = np.mod(np.floor(u / self.size) + np.floor(v / self.size), 2)
        vein = np.abs(2 * fractal_noise(u * 3, v * 3, seed=self.seed) - 1)
        return _mix(self.a, self.b, odd) * (0.86 + 0.2 * np.sqrt(vein))[:, None]


@dataclass(frozen=True)
class Planks:
    """Boards along u with grain and dark joints."""

    color: Color
    width: float = 0.14
    length: float = 1.6
    seed: int = 0
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Width of a board."""
        return self.width

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        row = np.floor(v / self.width).astype(np.int64)
        shifted = u + self.length * lattice(row, seed=self.seed)
        board = np.floor(shifted / self.length).astype(np.int64)
        tone = 0.72 + 0.5 * lattice(row, board, seed=self.seed + 1)
        grain = fractal_noise(shifted * 3 + 17 * row, v * 60, seed=self.seed + 2, octaves=2)
        joint = np.maximum(_band(v, self.width, 0.006), _band(shifted, self.length, 0.006))
        return np.asarray(self.color) * (tone * (0.85 + 0.3 * grain) * (1 - 0.6 * joint))[:, None]


@dataclass(frozen=True)
class Bricks:
    """Blocks of varying tone in mortar; ``shift`` 0 lays them in a grid (tiles), 0.5 in running bond."""

    color: Color
    mortar: Color
    width: float = 0.25
    height: float = 0.08
    joint: float = 0.012
    shift: float = 0.5
    variation: float = 0.35
    seed: int = 0
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Height of a block."""
        return min(self.height, self.width)

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        row = np.floor(v / self.height).astype(np.int64)
        along = u + self.width * self.shift * (row & 1)
        column = np.floor(along / self.width).astype(np.int64)
        tone = 1 + self.variation * (lattice(row, column, seed=self.seed) - 0.5)
        tone *= 0.92 + 0.16 * value_noise(u * 25, v * 25, seed=self.seed + 1)
        joint = np.maximum(_band(v, self.height, self.joint), _band(along, self.width, self.joint))
        return _mix(np.asarray(self.color) * tone[:, None], np.broadcast_to(self.mortar, (u.size, 3)), joint)


@dataclass(frozen=True)
class Stripes:
    """Vertical stripes, as on wallpaper or an awning."""

    a: Color
    b: Color
    width: float = 0.2
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Width of a stripe."""
        return self.width

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        return _mix(self.a, self.b, np.mod(np.floor(u / self.width), 2))


@dataclass(frozen=True)
class Wainscot:
    """A wall with ``below`` up to ``height`` metres, a rail there, and ``above`` over it."""

    below: Texture
    above: Texture
    rail: Color
    height: float = 0.95
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Detail of the finer half."""
        return min(self.below.feature, self.above.feature)

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        color = np.where((v < self.height)[:, None], self.below.sample(u, v, p), self.above.sample(u, v, p))
        return np.where((np.abs(v - self.height) < 0.03)[:, None], np.asarray(self.rail), color)
