"""Textures with a layout of their own size: paintings, windows, façades, rugs, shelves, doors and roads.

Upright ones have u = 0 in the middle of the face and v = 0 at its foot, in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.samples.noise import fractal_noise, lattice
from pager_ray.samples.textures import Color, Texture

if TYPE_CHECKING:
    from numpy import ndarray


def _where(mask: ndarray, inside: Color | ndarray, outside: Color | ndarray) -> ndarray:
    return np.where(mask[:, None], np.asarray(inside), np.asarray(outside))


def _muted(color: ndarray, saturation: float) -> ndarray:
    gray = color.mean(axis=-1, keepdims=True)
    return gray + saturation * (color - gray)


@dataclass(frozen=True)
class Painting:
    """A framed picture of ``width`` × ``height``: hills under a sky, a grid of colours, or circles, by its seed."""

    width: float
    height: float
    seed: int
    frame: Color = (0.12, 0.07, 0.03)
    feature: float = 0.08
    emission: float = 0.0

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        rng = np.random.default_rng(self.seed)
        x, y = u / self.width + 0.5, v / self.height
        palette = _muted(rng.uniform(0.03, 0.85, (6, 3)) ** 1.4, 0.55)
        motif = rng.integers(3)
        if motif == 0:
            color = self._hills(x, y, palette)
        elif motif == 1:
            cells = (np.floor(x * 5 + 0.7 * np.floor(y * 3)), np.floor(y * 4))
            color = palette[(lattice(*(c.astype(np.int64) for c in cells), seed=self.seed) * 6).astype(int)]
        else:
            swirl = np.hypot(x - 0.35 - 0.2 * y, (y - 0.5) * self.height / self.width)
            color = palette[np.mod(np.floor(swirl * 14), 6).astype(int)]
        border = np.minimum(np.minimum(x, 1 - x) * self.width, np.minimum(y, 1 - y) * self.height)
        color = _where(border < 0.11, (0.78, 0.76, 0.7), color)
        return _where(border < 0.05, self.frame, color)

    def _hills(self, x: ndarray, y: ndarray, palette: ndarray) -> ndarray:
        color = palette[0] + (palette[1] - palette[0]) * np.clip(y, 0, 1)[:, None]
        color = _where(np.hypot(x - 0.7, (y - 0.72) * self.height / self.width) < 0.07, (0.95, 0.75, 0.3), color)
        for k, level in enumerate((0.55, 0.4, 0.25)):
            ridge = level + 0.25 * (fractal_noise(x * 4 + 9 * k, seed=self.seed + k) - 0.5)
            color = _where(y < ridge, palette[2 + k], color)
        return color


@dataclass(frozen=True)
class Panes:
    """A bright window of ``width`` × ``height`` with a frame and ``columns`` × ``rows`` frosted panes."""

    width: float
    height: float
    columns: int = 2
    rows: int = 2
    glow: Color = (0.75, 0.87, 1.0)
    frame: Color = (0.5, 0.5, 0.48)
    emission: float = 1.1
    feature: float = 0.1

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        x, y = (u / self.width + 0.5) * self.columns, v / self.height * self.rows
        bar_x = np.abs(x - np.round(x)) * self.width / self.columns
        bar_y = np.abs(y - np.round(y)) * self.height / self.rows
        glow = np.asarray(self.glow) * (0.62 + 0.38 * np.clip(v / self.height, 0, 1))[:, None]
        return _where(np.minimum(bar_x, bar_y) < 0.035, np.asarray(self.frame) * 0.35, glow)


@dataclass(frozen=True)
class Facade:
    """A wall with storeys of windows, some of them lit, and a door at street level."""

    wall: Texture
    width: float
    storey: float = 2.9
    pitch: float = 2.4
    trim: Color = (0.75, 0.73, 0.68)
    door: Color | None = (0.2, 0.08, 0.05)
    seed: int = 0
    feature: float = 0.12
    emission: float = 0.0

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        bays = max(1, int(self.width / self.pitch))
        pitch = self.width / bays
        along = u + self.width / 2
        bay, storey = np.floor(along / pitch), np.floor(v / self.storey)
        x, y = along - (bay + 0.5) * pitch, v - storey * self.storey
        is_door = (bay == bays // 2) & (storey == 0) & (self.door is not None)
        half, low, high = 0.27 * pitch, np.where(is_door, 0.0, 0.85), np.where(is_door, 2.15, 2.25)
        inside = np.minimum(half - np.abs(x), np.minimum(y - low, high - y))
        inside = np.where(is_door & (y < 1), np.minimum(half - np.abs(x), high - y), inside)
        cell = lattice(bay.astype(np.int64), storey.astype(np.int64), seed=self.seed)
        glass = np.array([0.05, 0.09, 0.14]) + np.outer(np.clip((y - low) / 1.4, 0, 1), (0.16, 0.22, 0.28))
        glass = _where(cell > 0.8, (0.8, 0.62, 0.32), glass)
        glass = _where((cell < 0.25) & (np.mod(x * 8, 1) < 0.5), (0.55, 0.5, 0.46), glass)
        glass = _where((np.abs(x) < 0.025) | (np.abs(y - 1.55) < 0.025), self.trim, glass)
        panel = _where(np.abs(np.abs(x) - half / 2) < 0.02, (0.02, 0.02, 0.02), self.door or self.trim)
        color = _where(inside > 0, _where(is_door, panel, glass), self.wall.sample(u, v, p))
        color = _where((inside > -0.09) & (inside <= 0), self.trim, color)
        return _where((np.abs(v - np.round(v / self.storey) * self.storey) < 0.06) & (v > 1), self.trim, color)


@dataclass(frozen=True)
class Rug:
    """A bordered, patterned rug of ``width`` (u) × ``length`` (v), both centred on zero."""

    width: float
    length: float
    colors: tuple[Color, Color, Color]
    feature: float = 0.07
    emission: float = 0.0

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        edge = np.minimum(self.width / 2 - np.abs(u), self.length / 2 - np.abs(v))
        diamonds = np.mod(np.floor((np.abs(u) + np.abs(v)) / 0.14), 3)
        a, b, c = self.colors
        field = _where(diamonds == 0, b, _where(diamonds == 1, c, a))
        border = _where(np.mod(np.floor((u + v) / 0.07), 2) == 0, a, b)
        return _where(edge < 0.05, c, _where(edge < 0.22, border, _where(edge < 0.27, c, field)))


@dataclass(frozen=True)
class Books:
    """Shelves of book spines, ``shelf`` metres apart, in a wooden carcase of ``width``."""

    width: float
    shelf: float = 0.36
    wood: Color = (0.22, 0.12, 0.06)
    seed: int = 0
    feature: float = 0.05
    emission: float = 0.0

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        row = np.floor(v / self.shelf).astype(np.int64)
        book = np.floor(u / 0.045 + 3 * fractal_noise(u * 4, row * 5.0, seed=self.seed)).astype(np.int64)
        top = (0.6 + 0.34 * lattice(book, row, seed=self.seed + 1)) * self.shelf
        hue = np.stack([lattice(book, row, seed=self.seed + 2 + k) for k in range(3)], axis=1)
        color = _muted(0.04 + 0.42 * hue**2, 0.6)
        color = color * (0.8 + 0.4 * (np.mod(v - row * self.shelf, 0.12) < 0.015))[:, None]
        color = _where(v - row * self.shelf > top + 0.03, np.asarray(self.wood) * 0.25, color)
        board = (v - row * self.shelf < 0.03) | (np.abs(u) > self.width / 2 - 0.04)
        return _where(board, self.wood, color)


@dataclass(frozen=True)
class Door:
    """A panelled door leaf of ``width`` × ``height`` in its architrave, with a brass knob."""

    width: float = 0.95
    height: float = 2.1
    leaf: Color = (0.38, 0.24, 0.13)
    trim: Color = (0.7, 0.68, 0.62)
    feature: float = 0.08
    emission: float = 0.0

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        edge = np.minimum(self.width / 2 - np.abs(u), self.height - v)
        inner = np.minimum(np.abs(np.abs(u) - 0.19) - 0.13, np.abs(np.abs(v - 1.05) - 0.48) - 0.36)
        rim = np.abs(np.maximum(np.abs(np.abs(u) - 0.19) - 0.13, np.abs(np.abs(v - 1.05) - 0.48) - 0.36)) < 0.014
        grain = 0.9 + 0.2 * fractal_noise(u * 40, v * 2, seed=3, octaves=2)
        color = np.asarray(self.leaf) * (grain * np.where(inner < 0, 1.0, 0.92) * np.where(rim, 0.55, 1.0))[:, None]
        color = _where(np.hypot(u - self.width * 0.36, v - 1.02) < 0.035, (0.75, 0.55, 0.2), color)
        return _where(edge < 0.07, self.trim, color)


@dataclass(frozen=True)
class Road:
    """Asphalt along u with a dashed centre line and edge lines, ``width`` wide and centred on v = 0."""

    width: float
    surface: Texture
    paint: Color = (0.75, 0.74, 0.7)
    feature: float = 0.2
    emission: float = 0.0

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`Texture`."""
        dash = (np.abs(v) < 0.07) & (np.mod(u, 4.0) < 2.2)
        edge = np.abs(np.abs(v) - (self.width / 2 - 0.25)) < 0.05
        return _where(dash | edge, self.paint, self.surface.sample(u, v, p))
