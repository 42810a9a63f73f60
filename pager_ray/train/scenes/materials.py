"""Surfaces of training scenes: the samples' textures with random colours and scales, and some that they lack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.samples.noise import fractal_noise, lattice
from pager_ray.samples.textures import Bricks, Checker, Color, Mottled, Plain, Planks, Stripes, Texture, Wainscot
from pager_ray.train.scenes.draw import chance, color, near, pick, scaled, seed, spread, uniform

if TYPE_CHECKING:
    from numpy import ndarray

WOODS: tuple[Color, ...] = (
    (0.3, 0.16, 0.08),
    (0.42, 0.27, 0.14),
    (0.52, 0.38, 0.24),
    (0.14, 0.08, 0.05),
    (0.5, 0.25, 0.08),
    (0.3, 0.27, 0.23),
)
STONES: tuple[Color, ...] = (
    (0.45, 0.42, 0.38),
    (0.3, 0.29, 0.28),
    (0.58, 0.5, 0.38),
    (0.5, 0.5, 0.5),
    (0.22, 0.2, 0.18),
    (0.6, 0.56, 0.48),
)
LEAVES: tuple[Color, ...] = (
    (0.05, 0.12, 0.025),
    (0.08, 0.16, 0.04),
    (0.12, 0.2, 0.05),
    (0.04, 0.09, 0.03),
    (0.2, 0.2, 0.05),
)


@dataclass(frozen=True)
class Weathered:
    """Another texture under stains and uneven light of size ``scale``."""

    base: Texture
    amount: float = 0.2
    scale: float = 1.5
    seed: int = 0

    @property
    def emission(self) -> float:
        """That of the texture below."""
        return self.base.emission

    @property
    def feature(self) -> float:
        """Detail of the texture below."""
        return self.base.feature

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`pager_ray.samples.textures.Texture`."""
        stain = fractal_noise(p[0] / self.scale, p[1] / self.scale, p[2] / self.scale, seed=self.seed, octaves=4)
        return self.base.sample(u, v, p) * (1 + self.amount * (2.6 * stain - 1.3))[:, None]


@dataclass(frozen=True)
class Rubble:
    """Stones of irregular outline in joints: the cells of the nearest of jittered points, ``size`` metres apart."""

    color: Color
    joint: Color
    size: float = 0.3
    variation: float = 0.5
    stretch: float = 1.0
    seed: int = 0
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Size of a stone."""
        return self.size / max(1.0, self.stretch)

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`pager_ray.samples.textures.Texture`."""
        x, y = u / self.size, v / self.size * self.stretch
        column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        first, second, own = np.full(u.size, 9.0), np.full(u.size, 9.0), np.zeros(u.size)
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                a, b = column + i, row + j
                dx = a + 0.15 + 0.7 * lattice(a, b, seed=self.seed) - x
                dy = b + 0.15 + 0.7 * lattice(a, b, seed=self.seed + 1) - y
                away = np.hypot(dx, dy)
                closer = away < first
                second = np.where(closer, first, np.minimum(second, away))
                own = np.where(closer, lattice(a, b, seed=self.seed + 2), own)
                first = np.where(closer, away, first)
        grain = fractal_noise(u * 14, v * 14, seed=self.seed + 3, octaves=2)
        tone = (1 + self.variation * (own - 0.5)) * (0.85 + 0.3 * grain)
        stone = np.asarray(self.color) * tone[:, None]
        return np.where((second - first < 0.09)[:, None], np.asarray(self.joint), stone)


@dataclass(frozen=True)
class Veined:
    """Wood grain, marble or brushed metal: bands along u that noise bends."""

    color: Color
    vein: Color
    scale: float = 0.08
    bend: float = 1.0
    seed: int = 0
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Distance of the bands."""
        return self.scale

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`pager_ray.samples.textures.Texture`."""
        wave = v / self.scale + self.bend * 4 * fractal_noise(u * 1.5, v * 4, seed=self.seed)
        share = 0.5 + 0.5 * np.sin(2 * np.pi * wave)
        share *= 0.4 + 0.6 * fractal_noise(u * 3, v * 30, seed=self.seed + 1, octaves=2)
        return np.asarray(self.color) + (np.asarray(self.vein) - np.asarray(self.color)) * share[:, None]


@dataclass(frozen=True)
class Goods:
    """Shelves full of things of many colours and sizes, as in a shop, a pantry or a workshop."""

    shelf: float = 0.4
    item: float = 0.12
    board: Color = (0.5, 0.5, 0.48)
    back: Color = (0.06, 0.06, 0.06)
    vivid: float = 0.9
    seed: int = 0
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Width of a thing."""
        return self.item

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`pager_ray.samples.textures.Texture`."""
        row = np.floor(v / self.shelf).astype(np.int64)
        group = np.floor(u / (self.item * 5) + 7 * lattice(row, seed=self.seed)).astype(np.int64)
        wide = self.item * (0.5 + lattice(group, row, seed=self.seed + 9))
        thing = np.floor(u / wide).astype(np.int64)
        tall = (0.35 + 0.55 * lattice(group, row, seed=self.seed + 1)) * self.shelf
        tall = tall * (0.85 + 0.15 * lattice(thing, row, seed=self.seed + 8))
        base = np.stack([lattice(group, row, seed=self.seed + 2 + k) for k in range(3)], axis=1)
        gray = base.mean(axis=1, keepdims=True)
        stuff = 0.04 + 0.6 * np.clip(gray + self.vivid * (base - gray), 0, 1) ** 1.6
        up = v - row * self.shelf
        stuff = stuff * np.where(np.mod(up / np.maximum(tall, 0.01), 0.5) < 0.18, 1.5, 0.9)[:, None]
        gap = np.mod(u, wide) > 0.9 * wide
        shown = np.where(((up > tall) | gap)[:, None], np.asarray(self.back), stuff)
        return np.where((up < 0.03)[:, None], np.asarray(self.board), shown)


@dataclass(frozen=True)
class Fenestration:
    """A front with storeys of windows: any proportion, with trim, shutters, lintels, or a curtain wall of glass.

    Upright with u = 0 in the middle and v = 0 at its foot, ``width`` metres wide. ``shop`` gives the ground floor a
    band of large panes under a sign.
    """

    wall: Texture
    width: float
    storey: float = 3.2
    pitch: float = 2.4
    window: tuple[float, float] = (1.1, 1.6)
    sill: float = 0.9
    trim: Color = (0.7, 0.68, 0.62)
    border: float = 0.12
    shutters: Color | None = None
    glass: Color = (0.05, 0.08, 0.11)
    sky: Color = (0.3, 0.4, 0.5)
    bars: int = 2
    shop: Color | None = None
    seed: int = 0
    emission: float = 0.0

    @property
    def feature(self) -> float:
        """Half of a window: its frame may alias, which cameras do too, so that far fronts keep their windows."""
        return self.window[0] / 2

    def sample(self, u: ndarray, v: ndarray, p: ndarray) -> ndarray:
        """Albedo, see :class:`pager_ray.samples.textures.Texture`."""
        bays = max(1, int(self.width / self.pitch))
        pitch = self.width / bays
        along = u + self.width / 2
        bay, storey = np.floor(along / pitch), np.floor(v / self.storey)
        x, y = along - (bay + 0.5) * pitch, v - storey * self.storey - self.sill
        half, tall = min(self.window[0], pitch * 0.94) / 2, min(self.window[1], self.storey - self.sill - 0.1)
        inside = np.minimum(half - np.abs(x), np.minimum(y, tall - y))
        cell = [lattice(bay.astype(np.int64), storey.astype(np.int64), seed=self.seed + k) for k in range(3)]
        pane = np.asarray(self.glass) + np.outer(np.clip(y / tall, 0, 1) * cell[0], self.sky)
        drawn = (cell[1] < 0.3) & (y > tall * (1 - 1.2 * cell[2]))
        pane = np.where(drawn[:, None], np.asarray((0.55, 0.52, 0.47)) * (0.6 + 0.5 * cell[2])[:, None], pane)
        across = np.abs(np.mod((x + half) / (2 * half) * self.bars + 0.5, 1) - 0.5) * 2 * half / self.bars
        frame = (across < 0.03) | (np.abs(y - tall * 0.68) < 0.03) | (inside < 0.05)
        pane = np.where(frame[:, None], np.asarray(self.trim), pane)
        color = self.wall.sample(u, v, p)
        if self.shutters is not None:
            leaf = (np.abs(x) > half) & (np.abs(x) < half * 1.9) & (y > 0) & (y < tall)
            slats = np.where(np.mod(y, 0.09) < 0.03, 0.7, 1.0)
            color = np.where(leaf[:, None], np.asarray(self.shutters) * slats[:, None], color)
        rim = (inside > -self.border) & (inside <= 0)
        color = np.where(rim[:, None], np.asarray(self.trim), color)
        color = np.where((inside > 0)[:, None], pane, color)
        band = np.abs(v - np.round(v / self.storey) * self.storey) < self.border / 2
        color = np.where((band & (v > 1))[:, None], np.asarray(self.trim) * 0.9, color)
        if self.shop is None:
            return color
        return np.where((v < self.storey)[:, None], self._shop(x, v, pitch, cell[2]), color)

    def _shop(self, x: ndarray, v: ndarray, pitch: float, draw: ndarray) -> ndarray:
        sign = v > self.storey - 0.8
        post = (pitch / 2 - np.abs(x) < 0.12) | (v < 0.35) | (v > self.storey - 0.1)
        shown = np.asarray(self.glass) + np.outer(draw * np.clip(v / 2, 0, 1), (0.3, 0.27, 0.2))
        letters = sign & (np.abs(v - self.storey + 0.45) < 0.17) & (np.mod(x * 3.1, 1) < 0.55) & (draw < 0.7)
        face = np.asarray(self.shop)
        color = np.where((sign | post)[:, None], face, shown)
        return np.where(letters[:, None], np.clip(1.0 - face, 0.05, 0.9), color)


def glowing(texture: Texture, emission: float) -> Texture:
    """The same texture with light of its own, for daylight that is seen from indoors."""
    if isinstance(texture, Weathered):
        return replace(texture, base=glowing(texture.base, emission))
    return replace(texture, emission=emission)  # type: ignore[type-var]


def worn(rng: np.random.Generator, texture: Texture, share: float = 0.5) -> Texture:
    """A texture, in that share of draws with stains."""
    if not chance(rng, share):
        return texture
    return Weathered(texture, uniform(rng, 0.08, 0.45), spread(rng, 0.4, 4.0), seed(rng))


def wood(rng: np.random.Generator) -> Texture:
    """Boards or grain of one of many woods, seldom painted."""
    base = near(rng, pick(rng, WOODS)) if chance(rng, 0.8) else color(rng, 0.1, 0.8, 0.6)
    dark = (base[0] * 0.6, base[1] * 0.55, base[2] * 0.5)
    if chance(rng, 0.5):
        return Veined(base, dark, spread(rng, 0.02, 0.12), uniform(rng, 0.3, 1.5), seed(rng))
    return Planks(base, spread(rng, 0.06, 0.3), uniform(rng, 0.8, 3.0), seed(rng))


def stone(rng: np.random.Generator) -> Texture:
    """Stone or concrete: smooth, in blocks, or rubble."""
    base = near(rng, pick(rng, STONES))
    joint = scaled(base, uniform(rng, 0.35, 1.3))
    kind = int(rng.integers(4))
    if kind == 0:
        return Mottled(base, uniform(rng, 0.1, 0.5), spread(rng, 0.05, 0.8), seed(rng), solid=True)
    if kind == 1:
        return Rubble(base, joint, spread(rng, 0.12, 0.6), uniform(rng, 0.2, 0.9), uniform(rng, 1, 2), seed(rng))
    if kind == 2:
        high = spread(rng, 0.15, 0.6)
        wide, line = high * uniform(rng, 1, 2.5), spread(rng, 0.006, 0.03)
        return Bricks(base, joint, wide, high, line, 0.5, uniform(rng, 0.1, 0.5), seed(rng))
    vein = near(rng, base, 0.6)
    return Veined(base, vein, spread(rng, 0.1, 0.6), uniform(rng, 1.0, 3.0), seed(rng))


def brick(rng: np.random.Generator) -> Texture:
    """A wall of bricks."""
    base = near(rng, pick(rng, ((0.42, 0.19, 0.13), (0.5, 0.36, 0.22), (0.3, 0.14, 0.1), (0.6, 0.58, 0.54))))
    mortar = color(rng, 0.3, 0.6, 0.15)
    return Bricks(base, mortar, uniform(rng, 0.2, 0.32), uniform(rng, 0.06, 0.11), 0.012, seed=seed(rng))


def anything(rng: np.random.Generator) -> Texture:
    """Any texture at all, in any colour."""
    base = color(rng)
    kind = int(rng.integers(11))
    if kind < 3:
        return Plain(base)
    if kind < 5:
        tint = color(rng) if chance(rng, 0.3) else None
        return Mottled(base, uniform(rng, 0.05, 0.6), spread(rng, 0.03, 0.8), seed(rng), chance(rng, 0.5), tint)
    if kind == 5:
        return Checker(base, color(rng), spread(rng, 0.08, 0.9), seed(rng))
    if kind == 6:
        return Stripes(base, color(rng), spread(rng, 0.03, 0.3))
    if kind == 7:
        return stone(rng)
    if kind == 8:
        return Goods(spread(rng, 0.15, 0.5), spread(rng, 0.04, 0.2), color(rng), seed=seed(rng))
    return wood(rng)


def wall(rng: np.random.Generator) -> Texture:
    """A wall indoors: mostly light and plain, else papered, panelled, tiled or of stone."""
    light = color(rng, 0.35, 0.88, 0.45) if chance(rng, 0.75) else color(rng, 0.06, 0.5)
    plain: Texture = (
        Plain(light) if chance(rng, 0.4) else Mottled(light, uniform(rng, 0.03, 0.2), spread(rng, 0.1, 1), seed(rng))
    )
    kind = pick(rng, ("plain", "half", "paper", "wood", "stone", "tiles", "brick"), (48, 12, 10, 8, 9, 6, 7))
    if kind == "half":
        below = wood(rng) if chance(rng, 0.5) else Plain(color(rng))
        return Wainscot(below, plain, color(rng, 0.1, 0.8, 0.3), uniform(rng, 0.7, 1.7))
    if kind == "paper":
        return Stripes(light, near(rng, light, 0.2), spread(rng, 0.04, 0.4))
    if kind == "tiles":
        size = spread(rng, 0.08, 0.5)
        return Bricks(light, color(rng, 0.2, 0.8, 0.2), size * uniform(rng, 1, 2), size, 0.008, 0.0, 0.12, seed(rng))
    made = {"wood": wood, "stone": stone, "brick": brick}
    return worn(rng, made[kind](rng) if kind in made else plain, 0.35)


def ceiling(rng: np.random.Generator) -> Texture:
    """A ceiling: nearly always light plaster, else panels or boards."""
    white = color(rng, 0.55, 0.92, 0.15)
    kind = pick(rng, ("plain", "mottled", "panels", "wood", "dark"), (40, 25, 15, 14, 6))
    if kind == "plain":
        return Plain(white)
    if kind == "panels":
        return Bricks(white, color(rng, 0.2, 0.6, 0.1), 0.6, uniform(rng, 0.6, 1.2), 0.02, 0.0, 0.05, seed(rng))
    if kind == "wood":
        return wood(rng)
    return Mottled(white if kind == "mottled" else color(rng, 0.05, 0.3), 0.08, spread(rng, 0.2, 1.0), seed(rng))


def floor(rng: np.random.Generator) -> Texture:
    """A floor indoors: boards, tiles, carpet, stone or concrete."""
    kind = pick(rng, ("wood", "tiles", "carpet", "checker", "stone", "smooth"), (38, 14, 18, 6, 12, 12))
    if kind == "wood":
        return worn(
            rng, Planks(near(rng, pick(rng, WOODS)), spread(rng, 0.06, 0.25), uniform(rng, 0.8, 3), seed(rng)), 0.3
        )
    if kind == "tiles":
        size = spread(rng, 0.15, 1.0)
        base, line = color(rng, 0.1, 0.75, 0.4), color(rng, 0.05, 0.6, 0.1)
        return worn(rng, Bricks(base, line, size, size * uniform(rng, 0.5, 1), 0.01, 0.0, 0.2, seed(rng)), 0.4)
    if kind == "checker":
        return Checker(color(rng, 0.3, 0.8, 0.2), color(rng, 0.03, 0.4, 0.5), spread(rng, 0.2, 1.0), seed(rng))
    if kind == "stone":
        return worn(rng, stone(rng))
    base = color(rng, 0.05, 0.6, 0.7 if kind == "carpet" else 0.2)
    tint = near(rng, base, 0.5) if chance(rng, 0.4) else None
    return worn(rng, Mottled(base, uniform(rng, 0.1, 0.5), spread(rng, 0.03, 0.6), seed(rng), tint=tint), 0.4)


def pavement(rng: np.random.Generator) -> Texture:
    """Hard ground outdoors: asphalt, slabs, setts, gravel or concrete."""
    kind = pick(rng, ("asphalt", "slabs", "setts", "rubble", "gravel"), (38, 22, 14, 12, 14))
    if kind == "asphalt":
        level = uniform(rng, 0.07, 0.24)
        base = (level, level, level * uniform(rng, 0.95, 1.1))
        return worn(rng, Mottled(base, uniform(rng, 0.1, 0.35), spread(rng, 0.05, 0.4), seed(rng)), 0.8)
    base = near(rng, pick(rng, STONES))
    joint = scaled(base, uniform(rng, 0.3, 0.9))
    if kind == "rubble":
        return worn(rng, Rubble(base, joint, spread(rng, 0.15, 1.4), uniform(rng, 0.1, 0.6), 1.0, seed(rng)))
    if kind == "gravel":
        return worn(rng, Mottled(base, uniform(rng, 0.2, 0.6), spread(rng, 0.04, 0.15), seed(rng)))
    size = spread(rng, 0.3, 1.6) if kind == "slabs" else spread(rng, 0.08, 0.16)
    shift = pick(rng, (0.0, 0.5))
    return worn(
        rng, Bricks(base, joint, size, size * uniform(rng, 0.4, 1), 0.08 * size**0.5 * 0.3, shift, 0.3, seed(rng))
    )


def meadow(rng: np.random.Generator) -> Texture:
    """Soft ground outdoors: grass, earth, sand, fallen leaves or snow."""
    base = near(
        rng, pick(rng, ((0.1, 0.2, 0.05), (0.16, 0.22, 0.07), (0.22, 0.16, 0.1), (0.4, 0.34, 0.22)), (5, 4, 2, 1))
    )
    if chance(rng, 0.03):
        base = (0.75, 0.78, 0.82)
    tint = near(rng, (base[0] * 1.6, base[1] * 1.3, base[2] * 1.2), 0.2)
    return worn(rng, Mottled(base, uniform(rng, 0.25, 0.6), spread(rng, 0.08, 0.7), seed(rng), tint=tint), 0.7)


def leaves(rng: np.random.Generator, size: float) -> Texture:
    """Foliage whose clumps are about ``size`` metres wide."""
    low = near(rng, pick(rng, LEAVES), 0.3) if chance(rng, 0.87) else near(rng, (0.35, 0.15, 0.03), 0.4)
    high = (min(0.9, low[0] * 2.6), min(0.9, low[1] * 2.1), min(0.9, low[2] * 1.9))
    return Mottled(low, uniform(rng, 0.4, 0.75), size, seed(rng), solid=True, tint=high)


def plaster(rng: np.random.Generator) -> Texture:
    """The wall of a house outdoors."""
    kind = pick(rng, ("plaster", "brick", "stone", "concrete", "wood"), (50, 16, 18, 10, 6))
    if kind == "plaster":
        return worn(rng, Mottled(color(rng, 0.3, 0.8, 0.45), uniform(rng, 0.05, 0.2), spread(rng, 0.3, 1.5), seed(rng)))
    if kind == "concrete":
        level = uniform(rng, 0.25, 0.6)
        return worn(rng, Bricks((level,) * 3, (level * 0.6,) * 3, 2.4, 1.2, 0.02, 0.0, 0.1, seed(rng)), 0.8)
    return worn(rng, {"brick": brick, "stone": stone, "wood": wood}[kind](rng))
