"""Outdoor places: a street with houses, a park with trees and a pond, a plaza with a colonnade, each by its seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pager_ray.samples.pictures import Facade, Road
from pager_ray.samples.scene import Scene, Sky, Sun
from pager_ray.samples.solids import Cylinder, Ground, Solid, Sphere, Vector, box, gable_roof, pyramid
from pager_ray.samples.textures import Bricks, Color, Mottled, Plain, Planks, Stripes, Texture

if TYPE_CHECKING:
    import numpy as np

_PLASTERS: tuple[Color, ...] = (
    (0.72, 0.6, 0.4),
    (0.68, 0.66, 0.6),
    (0.6, 0.4, 0.32),
    (0.42, 0.5, 0.52),
    (0.66, 0.52, 0.46),
    (0.5, 0.55, 0.42),
)
_ROOFS: tuple[Color, ...] = ((0.4, 0.15, 0.09), (0.2, 0.19, 0.2), (0.3, 0.2, 0.15))
_PAINTS: tuple[Color, ...] = (
    (0.5, 0.04, 0.03),
    (0.06, 0.13, 0.36),
    (0.6, 0.6, 0.6),
    (0.04, 0.04, 0.05),
    (0.1, 0.26, 0.16),
)
_GRASS, _DRY_GRASS = (0.1, 0.2, 0.05), (0.22, 0.26, 0.08)
_DARK = Plain((0.03, 0.03, 0.035))


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def _daylight(rng: np.random.Generator) -> tuple[Sky, Sun | None, tuple[Color, Color]]:
    """Sky, sun and ambient light of one of three kinds of day: clear noon, low golden sun, overcast."""
    azimuth = float(rng.uniform(-math.pi, math.pi))
    mood = rng.random()

    def toward(elevation: float) -> Vector:
        across = math.cos(elevation)
        return across * math.cos(azimuth), math.sin(elevation), across * math.sin(azimuth)

    if mood < 0.5:
        sky = Sky((0.62, 0.76, 0.92), (0.1, 0.26, 0.62), cover=float(rng.uniform(0.1, 0.7)), seed=_seed(rng))
        sun = Sun(toward(float(rng.uniform(0.6, 1.1))), (1.7, 1.6, 1.42))
        return sky, sun, ((0.42, 0.5, 0.64), (0.2, 0.19, 0.16))
    if mood < 0.8:
        sky = Sky((0.95, 0.66, 0.42), (0.16, 0.26, 0.52), (0.98, 0.8, 0.68), float(rng.uniform(0.2, 0.8)), _seed(rng))
        sun = Sun(toward(float(rng.uniform(0.25, 0.42))), (1.9, 1.3, 0.75))
        return sky, sun, ((0.4, 0.41, 0.5), (0.22, 0.17, 0.13))
    sky = Sky((0.74, 0.77, 0.8), (0.5, 0.55, 0.62), (0.72, 0.74, 0.77), cover=1.0, seed=_seed(rng))
    return sky, None, ((1.0, 1.03, 1.08), (0.36, 0.36, 0.34))


def _leafy(x: float, z: float, height: float, rng: np.random.Generator) -> list[Solid]:
    """A broad-leaved tree: a trunk under a cluster of balls."""
    bark = Mottled((0.17, 0.12, 0.08), 0.5, 0.08, _seed(rng))
    tone = float(rng.uniform(0.75, 1.25))
    autumn = rng.random() < 0.15
    low, high = ((0.3, 0.12, 0.02), (0.5, 0.28, 0.05)) if autumn else ((0.045, 0.12, 0.025), (0.15, 0.27, 0.06))
    low, high = ((low[0] * tone, low[1], low[2]), (high[0] * tone, high[1], high[2]))
    leaves = Mottled(low, 0.55, height * 0.05, _seed(rng), solid=True, tint=high)
    crown = height * float(rng.uniform(0.24, 0.3))
    solids: list[Solid] = [Cylinder((x, 0, z), height * 0.035, height * 0.6, bark)]
    solids.append(Sphere((x, height - crown, z), crown, leaves))
    for k in range(5):
        angle = 2 * math.pi * (k + float(rng.uniform(-0.25, 0.25))) / 5
        radius = crown * float(rng.uniform(0.6, 0.8))
        out, up = crown * 0.75, height - crown * float(rng.uniform(1.2, 1.6))
        solids.append(Sphere((x + out * math.cos(angle), up, z + out * math.sin(angle)), radius, leaves))
    return solids


def _conifer(x: float, z: float, height: float, rng: np.random.Generator) -> list[Solid]:
    """A conifer: a short trunk under three stacked pyramids."""
    needles = Mottled((0.03, 0.085, 0.035), 0.6, 0.2, _seed(rng), solid=True, tint=(0.07, 0.15, 0.06))
    solids: list[Solid] = [Cylinder((x, 0, z), height * 0.03, height * 0.25, Mottled((0.15, 0.1, 0.07), 0.4, 0.1))]
    for k, (low, radius, tall) in enumerate(((0.14, 0.2, 0.45), (0.36, 0.155, 0.4), (0.58, 0.11, 0.42))):
        turn = float(rng.uniform(0, 1)) + k
        solids.append(pyramid((x, low * height, z), radius * height, tall * height, 9, needles, yaw=turn))
    return solids


def _lamp_post(x: float, z: float) -> list[Solid]:
    iron = Plain((0.06, 0.07, 0.07))
    globe = Plain((0.9, 0.88, 0.8), emission=0.25)
    return [
        Cylinder((x, 0, z), 0.1, 0.5, iron),
        Cylinder((x, 0.5, z), 0.045, 2.9, iron),
        Sphere((x, 3.58, z), 0.2, globe),
    ]


def _bench(x: float, z: float, yaw: float, rng: np.random.Generator) -> list[Solid]:
    wood = Planks((0.34, 0.2, 0.1), 0.1, 3.0, _seed(rng))
    c, s = math.cos(yaw), math.sin(yaw)
    back = (x - s * 0.24, 0.45, z + c * 0.24)
    legs: list[Solid] = [box((x + c * e, 0, z + s * e), (0.07, 0.43, 0.42), _DARK, yaw=yaw) for e in (-0.65, 0.65)]
    return [*legs, box((x, 0.43, z), (1.7, 0.06, 0.48), wood, yaw=yaw), box(back, (1.7, 0.45, 0.05), wood, yaw=yaw)]


def _car(x: float, z: float, rng: np.random.Generator) -> list[Solid]:
    """A parked car along x."""
    paint, glass = Plain(_pick(rng, _PAINTS)), Plain((0.07, 0.1, 0.13))
    solids: list[Solid] = [
        box((x, 0.3, z), (4.2, 0.55, 1.75), paint),
        box((x - 0.15, 0.85, z), (2.1, 0.48, 1.55), glass),
        box((x - 0.15, 1.33, z), (1.9, 0.06, 1.5), paint),
    ]
    for side in (-1, 1):
        for lamp, color in ((2.1, (0.85, 0.83, 0.7)), (-2.1, (0.5, 0.02, 0.02))):
            solids.append(box((x + lamp, 0.58, z + side * 0.62), (0.03, 0.13, 0.3), Plain(color), shadow=False))
        for axle in (-1.3, 1.3):
            solids.append(Sphere((x + axle, 0.32, z + side * 0.62), 0.32, _DARK))
    return solids


def _hills(rng: np.random.Generator) -> list[Solid]:
    """Wooded hills all round, so that the horizon is no bare line."""
    solids: list[Solid] = []
    for k in range(7):
        angle, away = 2 * math.pi * (k + float(rng.uniform(-0.3, 0.3))) / 7, float(rng.uniform(240, 330))
        radius, height = float(rng.uniform(150, 260)), float(rng.uniform(9, 26))
        wood = Mottled((0.05, 0.11, 0.04), 0.5, 9.0, _seed(rng), solid=True, tint=(0.12, 0.17, 0.06))
        center = (away * math.cos(angle), height - radius, away * math.sin(angle))
        solids.append(Sphere(center, radius, wood, shadow=False))
    return solids


def _house(x: float, z: float, width: float, yaw: float, rng: np.random.Generator, storeys: int) -> list[Solid]:
    """A house with its front along x at ``z``, its body behind it (away from z = 0), under a saddle roof or parapet."""
    deep, tall = float(rng.uniform(7, 9)), 2.9 * storeys + 0.25
    color = _pick(rng, _PLASTERS)
    wall: Texture = Mottled(color, 0.1, 0.6, _seed(rng))
    if rng.random() < 0.35:
        wall = Bricks((0.42, 0.19, 0.13), (0.5, 0.47, 0.43), 0.3, 0.1, 0.015, seed=_seed(rng))
    middle = z + math.copysign(deep / 2, z)
    front = Facade(wall, width, door=_pick(rng, _PAINTS), seed=_seed(rng))
    plain = Facade(wall, deep, door=None, seed=_seed(rng))
    tiles = Bricks(_pick(rng, _ROOFS), (0.06, 0.05, 0.05), 0.3, 0.35, 0.03, seed=_seed(rng))
    solids: list[Solid] = [box((x, 0, middle), (width, tall, deep), front, yaw=yaw, ends=(plain, plain), top=tiles)]
    if rng.random() < 0.75:
        rise = float(rng.uniform(2.2, 3.4))
        solids.append(gable_roof((x, tall, middle), (width + 0.3, rise, deep + 0.9), tiles, wall, yaw=yaw))
        chimney = Bricks((0.38, 0.17, 0.12), (0.45, 0.42, 0.4), 0.25, 0.09)
        solids.append(box((x + width * 0.28, tall + rise * 0.4, middle + 0.8), (0.7, rise * 0.6 + 0.7, 0.6), chimney))
    else:
        solids.append(box((x, tall, middle), (width + 0.3, 0.35, deep + 0.3), Plain((0.62, 0.6, 0.56)), yaw=yaw))
    return solids


def street(rng: np.random.Generator) -> Scene:
    """A residential street along x: houses, trees, parked cars and lamp posts on both sides."""
    sky, sun, ambient = _daylight(rng)
    paving = Bricks((0.46, 0.44, 0.41), (0.28, 0.27, 0.25), 0.5, 0.5, 0.02, 0.0, 0.2, _seed(rng))
    asphalt = Road(7.0, Mottled((0.13, 0.13, 0.14), 0.14, 0.18, _seed(rng)))
    kerb = Mottled((0.5, 0.49, 0.47), 0.1, 0.3)
    solids: list[Solid] = [Ground(Mottled(_GRASS, 0.4, 0.4, _seed(rng), tint=_DRY_GRASS)), *_hills(rng)]
    solids.append(box((0, 0, 0), (320, 0.02, 7.0), asphalt, top=asphalt, shadow=False))
    for side in (-1, 1):
        solids.append(box((0, 0, side * 5.0), (320, 0.12, 3.0), kerb, top=paving, shadow=False))
        at = -62.0
        while at < 62:
            width = float(rng.uniform(8, 14))
            gap = float(rng.uniform(0, 1)) ** 2 * 6
            if rng.random() < 0.9:
                setback = float(rng.uniform(7.0, 9.5))
                solids += _house(at + width / 2, side * setback, width, 0.0, rng, int(rng.integers(1, 4)))
            at += width + gap
        for k in range(-3, 4):
            spot = k * 15.0 + side * 3.7 + float(rng.uniform(-1.5, 1.5))
            if rng.random() < 0.75 and abs(spot) > 3:
                solids += _leafy(spot, side * 6.0, float(rng.uniform(4.5, 7)), rng)
            if k % 2:
                solids += _lamp_post(k * 15.0 - 4.5, side * 3.85)
            if rng.random() < 0.6 and abs(k * 15 + 6 * side) > 5:
                solids += _car(k * 15.0 + 6 * side, side * 2.55, rng)
    for end in (-1, 1):
        for k in range(5):
            solids += _leafy(
                end * float(rng.uniform(90, 120)), (k - 2) * 14.0 + end * 5, float(rng.uniform(9, 14)), rng
            )
    return Scene(
        kind="outdoor",
        style="street",
        eye=(float(rng.uniform(-1.5, 1.5)), float(rng.uniform(1.7, 2.3)), float(rng.choice([-4.8, -0.8, 0.7, 4.8]))),
        heading=float(rng.uniform(-math.pi, math.pi)),
        solids=tuple(solids),
        sun=sun,
        sky=sky,
        ambient=ambient,
        exposure=0.9,
    )


def park(rng: np.random.Generator) -> Scene:
    """A park: lawn, paths, a pond, broad-leaved trees and conifers, benches and lamp posts, hills beyond."""
    sky, sun, ambient = _daylight(rng)
    gravel = Mottled((0.42, 0.36, 0.27), 0.25, 0.09, _seed(rng))
    solids: list[Solid] = [Ground(Mottled(_GRASS, 0.4, 0.5, _seed(rng), tint=_DRY_GRASS)), *_hills(rng)]
    turn = float(rng.uniform(-0.4, 0.4))
    solids.append(box((0, 0, 0), (120, 0.015, 2.6), gravel, yaw=turn, shadow=False))
    solids.append(box((0, 0, 0), (2.2, 0.012, 120), gravel, yaw=turn, shadow=False))
    solids.append(Cylinder((0, 0, 0), 2.7, 0.02, gravel, shadow=False))
    pond = (float(rng.uniform(9, 14)), float(rng.uniform(7, 11)) * float(rng.choice([-1.0, 1.0])))
    water = Mottled((0.09, 0.16, 0.2), 0.35, 1.2, _seed(rng), tint=(0.2, 0.3, 0.36))
    rim = Mottled((0.42, 0.4, 0.37), 0.3, 0.3, _seed(rng))
    solids.append(Cylinder((pond[0], 0, pond[1]), 5.0, 0.14, rim, shadow=False))
    solids.append(Cylinder((pond[0], 0, pond[1]), 4.6, 0.15, water, shadow=False))
    c, s = math.cos(turn), math.sin(turn)
    planted = 0
    while planted < 26:
        away, angle = 4.5 + 36 * float(rng.random()) ** 1.3, float(rng.uniform(-math.pi, math.pi))
        x, z = away * math.cos(angle), away * math.sin(angle)
        off_paths = min(abs(-s * x + c * z), abs(c * x + s * z))
        if off_paths < 2.6 or math.hypot(x - pond[0], z - pond[1]) < 6.5:
            continue
        tall = float(rng.uniform(5, 10))
        solids += _leafy(x, z, tall, rng) if rng.random() < 0.62 else _conifer(x, z, tall * 1.2, rng)
        planted += 1
    for k in range(14):
        angle, away = 2 * math.pi * k / 14 + float(rng.uniform(-0.15, 0.15)), float(rng.uniform(58, 85))
        solids += _conifer(away * math.cos(angle), away * math.sin(angle), float(rng.uniform(10, 17)), rng)
    for k, along in enumerate((-9.0, -4.8, 5.2, 10.0)):
        side = 1 if k % 2 else -1
        x, z = c * along - s * side * 1.9, s * along + c * side * 1.9
        solids += _bench(x, z, turn + (0 if side > 0 else math.pi), rng)
        solids += _lamp_post(x + c * 1.6, z + s * 1.6)
    for _ in range(7):
        x, z = float(rng.uniform(-9, 9)), float(rng.choice([-1.0, 1.0])) * float(rng.uniform(4.6, 7))
        rock = Mottled((0.34, 0.33, 0.31), 0.4, 0.2, _seed(rng), solid=True)
        solids.append(Sphere((x, 0.05, z), float(rng.uniform(0.2, 0.5)), rock))
    return Scene(
        kind="outdoor",
        style="park",
        eye=(float(rng.uniform(-2, 2)), float(rng.uniform(1.5, 1.9)), float(rng.uniform(-2, 2))),
        heading=float(rng.uniform(-math.pi, math.pi)),
        solids=tuple(solids),
        sun=sun,
        sky=sky,
        ambient=ambient,
        exposure=0.9,
    )


def _fountain(x: float, z: float, stone: Texture) -> list[Solid]:
    water = Mottled((0.12, 0.24, 0.3), 0.3, 0.5, 11, tint=(0.32, 0.46, 0.52))
    return [
        Cylinder((x, 0, z), 2.4, 0.5, stone),
        Cylinder((x, 0.0, z), 2.15, 0.52, water, shadow=False),
        Cylinder((x, 0.5, z), 0.3, 1.1, stone),
        Cylinder((x, 1.55, z), 1.0, 0.16, stone, water),
        Cylinder((x, 1.7, z), 0.15, 0.7, stone),
        Sphere((x, 2.55, z), 0.28, stone),
    ]


def plaza(rng: np.random.Generator) -> Scene:
    """A paved plaza: a colonnade with an architrave, a fountain, an obelisk, market stalls and buildings around."""
    sky, sun, ambient = _daylight(rng)
    ground = Bricks(
        _pick(rng, ((0.4, 0.36, 0.31), (0.33, 0.32, 0.32), (0.4, 0.29, 0.22))),
        (0.18, 0.17, 0.15),
        0.7,
        0.35,
        0.02,
        0.5,
        0.35,
        _seed(rng),
    )
    stone = Mottled((0.64, 0.6, 0.52), 0.22, 0.4, _seed(rng), solid=True)
    solids: list[Solid] = [Ground(ground), *_hills(rng)]
    row, step = float(rng.uniform(6.5, 8.5)), float(rng.uniform(2.6, 3.2))
    count, tall = int(rng.integers(7, 10)), float(rng.uniform(4.2, 5.5))
    length = (count - 1) * step
    for z in (row, row + 3.0):
        for k in range(count):
            x = k * step - length / 2
            solids.append(box((x, 0.36, z), (0.85, 0.2, 0.85), stone))
            solids.append(Cylinder((x, 0.56, z), 0.3, tall - 0.2, stone))
            solids.append(box((x, 0.36 + tall, z), (0.8, 0.22, 0.8), stone))
    for k in range(2):
        solids.append(box((0, 0.18 * k, row + 1.5), (length + 2.6 - 0.6 * k, 0.18, 5.0 - 0.6 * k), stone))
    solids.append(box((0, 0.58 + tall, row + 1.5), (length + 1.2, 0.7, 4.1), stone))
    roof = Bricks(_pick(rng, _ROOFS), (0.06, 0.05, 0.05), 0.3, 0.35, 0.03)
    solids.append(gable_roof((0, 1.28 + tall, row + 1.5), (length + 1.6, 1.5, 4.6), roof, stone))
    solids += _fountain(float(rng.uniform(5.0, 6.5)), float(rng.uniform(-3.5, -1.0)), stone)
    tower = (float(rng.uniform(-8, -5.5)), float(rng.uniform(-4, 1)))
    solids.append(box((tower[0], 0, tower[1]), (1.8, 0.9, 1.8), stone))
    solids.append(box((tower[0], 0.9, tower[1]), (1.2, 4.2, 1.2), stone))
    solids.append(pyramid((tower[0], 5.1, tower[1]), 0.6, 1.1, 4, stone))
    for k in range(int(rng.integers(2, 4))):
        x, z = -3.5 + 4.2 * k, float(rng.uniform(-7.5, -6.5))
        awning = Stripes(_pick(rng, _PAINTS), (0.75, 0.72, 0.66), 0.3)
        solids.append(box((x, 0, z), (2.3, 0.95, 1.0), Planks((0.4, 0.26, 0.14), 0.15, 2.3, k)))
        solids.append(gable_roof((x, 2.2, z), (2.7, 0.6, 1.9), awning, awning))
        for dx, dz in ((-1.2, -0.7), (1.2, -0.7), (-1.2, 0.7), (1.2, 0.7)):
            solids.append(Cylinder((x + dx, 0, z + dz), 0.035, 2.2, _DARK))
        for n in range(5):
            fruit = Plain(_pick(rng, ((0.7, 0.25, 0.03), (0.55, 0.05, 0.04), (0.25, 0.4, 0.06))))
            solids.append(Sphere((x - 0.8 + 0.4 * n, 1.07, z), 0.14, fruit))
    for side in (-1, 1):
        at = -34.0
        while at < 34:
            width = float(rng.uniform(9, 16))
            away = 20.0 if side > 0 else 15.0
            solids += _house(at + width / 2, side * away, width, 0.0, rng, int(rng.integers(2, 5)))
            at += width + (0.0 if rng.random() < 0.75 else 3.0)
    for end in (-1, 1):
        for k in range(3):
            solids += _leafy(end * float(rng.uniform(17, 24)), (k - 1) * 7.0 + 1, float(rng.uniform(6, 9)), rng)
        solids += _lamp_post(end * 3.4, 3.6)
        solids += _bench(end * 6.8, 4.4, 0.0, rng)
    return Scene(
        kind="outdoor",
        style="plaza",
        eye=(float(rng.uniform(-1.5, 1.5)), float(rng.uniform(1.55, 1.85)), float(rng.uniform(-1.2, 1.2))),
        heading=float(rng.uniform(-math.pi, math.pi)),
        solids=tuple(solids),
        sun=sun,
        sky=sky,
        ambient=ambient,
        exposure=0.9,
    )
