"""Rooms: a living room, a corridor and a gallery with columns, each furnished by its seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pager_ray.samples.pictures import Books, Door, Painting, Panes, Rug
from pager_ray.samples.scene import Lamp, Scene
from pager_ray.samples.solids import Cylinder, Solid, Sphere, box, pyramid
from pager_ray.samples.textures import Bricks, Checker, Color, Mottled, Plain, Planks, Stripes, Texture, Wainscot

if TYPE_CHECKING:
    import numpy as np

_WHITE = (0.78, 0.77, 0.74)
_WALLS: tuple[Color, ...] = (
    (0.72, 0.66, 0.55),
    (0.45, 0.55, 0.56),
    (0.62, 0.46, 0.38),
    (0.5, 0.56, 0.43),
    (0.68, 0.68, 0.66),
    (0.32, 0.4, 0.52),
)
_FABRICS: tuple[Color, ...] = (
    (0.32, 0.1, 0.08),
    (0.1, 0.2, 0.3),
    (0.5, 0.42, 0.3),
    (0.12, 0.24, 0.16),
    (0.3, 0.3, 0.32),
)
_WOODS: tuple[Color, ...] = ((0.3, 0.16, 0.08), (0.42, 0.27, 0.14), (0.5, 0.38, 0.24), (0.16, 0.09, 0.06))


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def _wall_item(
    side: int,
    along: float,
    low: float,
    size: tuple[float, float],
    room: tuple[float, float],
    texture: Texture,
    edge: Texture,
) -> Solid:
    """A flat item of ``size`` (width, height) on wall 0 +x, 1 +z, 2 −x or 3 −z, ``along`` metres from its middle."""
    thick = 0.05
    x, z = room[0] / 2 - thick / 2, room[1] / 2 - thick / 2
    foot = {0: (x, low, along), 1: (along, low, z), 2: (-x, low, along), 3: (along, low, -z)}[side]
    # Local −x and +x carry the texture, so that it faces the room whichever wall the item hangs on.
    yaw = 0.0 if side in (0, 2) else math.pi / 2
    return box(foot, (thick, size[1], size[0]), edge, yaw=yaw, ends=(texture, texture), shadow=False)


def _shell(
    size: tuple[float, float, float], floor: Texture, wall: Texture, ceiling: Texture, skirting: Color
) -> list[Solid]:
    """The room's own box and skirting boards along its walls."""
    x, y, z = size
    board = Plain(skirting)
    return [
        box((0, 0, 0), (x, y, z), wall, top=ceiling, bottom=floor, room=True),
        box((0, 0, z / 2 - 0.01), (x, 0.1, 0.02), board, shadow=False),
        box((0, 0, 0.01 - z / 2), (x, 0.1, 0.02), board, shadow=False),
        box((x / 2 - 0.01, 0, 0), (0.02, 0.1, z), board, shadow=False),
        box((0.01 - x / 2, 0, 0), (0.02, 0.1, z), board, shadow=False),
    ]


def _bounds(size: tuple[float, float, float]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    return (-size[0] / 2, 0.0, -size[2] / 2), (size[0] / 2, size[1], size[2] / 2)


def _plant(x: float, z: float, height: float, rng: np.random.Generator) -> list[Solid]:
    pot = Mottled((0.5, 0.24, 0.14), 0.2, 0.1, _seed(rng))
    solids: list[Solid] = [Cylinder((x, 0, z), 0.17, 0.34, pot, Plain((0.05, 0.03, 0.02)))]
    solids.append(Cylinder((x, 0.3, z), 0.025, height - 0.6, Plain((0.16, 0.1, 0.05))))
    for k in range(6):
        angle, out = k * 2.4, 0.16 * (k > 0)
        leaf = Mottled((0.05, 0.16, 0.04), 0.5, 0.07, _seed(rng), solid=True, tint=(0.16, 0.36, 0.08))
        center = (x + out * math.cos(angle), height - 0.25 - 0.09 * k, z + out * math.sin(angle))
        solids.append(Sphere(center, 0.2, leaf))
    return solids


def _table(x: float, z: float, size: tuple[float, float, float], wood: Texture, yaw: float) -> list[Solid]:
    c, s = math.cos(yaw), math.sin(yaw)
    solids: list[Solid] = [box((x, size[1] - 0.05, z), (size[0], 0.05, size[2]), wood, yaw=yaw)]
    for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        dx, dz = a * (size[0] / 2 - 0.08), b * (size[2] / 2 - 0.08)
        solids.append(Cylinder((x + c * dx - s * dz, 0, z + s * dx + c * dz), 0.03, size[1] - 0.05, wood))
    return solids


def _sofa(x: float, z: float, yaw: float, fabric: Color, cushion: Color, rng: np.random.Generator) -> list[Solid]:
    """A sofa that looks along local −x."""
    cloth = Mottled(fabric, 0.25, 0.05, _seed(rng))
    c, s = math.cos(yaw), math.sin(yaw)

    def part(dx: float, y: float, dz: float, size: tuple[float, float, float], texture: Texture) -> Solid:
        return box((x + c * dx - s * dz, y, z + s * dx + c * dz), size, texture, yaw=yaw)

    solids = [
        part(0, 0.08, 0, (0.9, 0.22, 2.1), cloth),
        part(0.36, 0.08, 0, (0.2, 0.74, 2.1), cloth),
        part(0, 0.08, 1.1, (0.9, 0.5, 0.18), cloth),
        part(0, 0.08, -1.1, (0.9, 0.5, 0.18), cloth),
        part(-0.08, 0.3, 0.5, (0.74, 0.16, 0.96), cloth),
        part(-0.08, 0.3, -0.5, (0.74, 0.16, 0.96), cloth),
    ]
    for dz in (-0.75, 0.72):
        solids.append(part(0.16, 0.46, dz, (0.16, 0.42, 0.42), Stripes(cushion, _WHITE, 0.06)))
    return solids


def living_room(rng: np.random.Generator) -> Scene:
    """A living room: sofa on a rug, table, bookcase, screen, windows, plants, a standing lamp and a hanging one."""
    size = (float(rng.uniform(5.2, 7.0)), float(rng.uniform(2.5, 2.9)), float(rng.uniform(4.4, 5.8)))
    x, y, z = size
    wall_color, wood, fabric = _pick(rng, _WALLS), _pick(rng, _WOODS), _pick(rng, _FABRICS)
    wall: Texture = Mottled(wall_color, 0.06, 0.4, _seed(rng))
    if rng.random() < 0.4:
        lighter = (min(1.0, wall_color[0] * 1.14), min(1.0, wall_color[1] * 1.14), min(1.0, wall_color[2] * 1.14))
        wall = Wainscot(Plain(_WHITE), Stripes(wall_color, lighter, 0.11), _WHITE)
    floor = Planks(_pick(rng, _WOODS), seed=_seed(rng))
    solids = _shell(size, floor, wall, Mottled(_WHITE, 0.03, 0.3), _WHITE)
    dark, grain = Plain((0.03, 0.03, 0.035)), Planks(wood, 0.3, 2.0, _seed(rng))
    sofa_x = x / 2 - 0.85
    solids += _sofa(sofa_x, 0.2, 0.0, fabric, _pick(rng, _FABRICS), rng)
    rug = Rug(2.4, 2.9, (_pick(rng, _FABRICS), _pick(rng, _WALLS), (0.7, 0.62, 0.48)))
    solids.append(box((sofa_x - 1.35, 0, 0.2), (2.4, 0.015, 2.9), dark, top=rug, shadow=False))
    solids += _table(sofa_x - 1.15, 0.2, (0.65, 0.42, 1.15), grain, 0.0)
    solids.append(Cylinder((sofa_x - 1.15, 0.42, 0.45), 0.09, 0.2, Stripes((0.1, 0.2, 0.4), _WHITE, 0.05), dark))
    solids.append(Sphere((sofa_x - 1.1, 0.53, -0.05), 0.11, Mottled((0.7, 0.3, 0.06), 0.2, 0.05, 5, solid=True)))
    case = float(rng.uniform(-0.6, 0.6))
    solids.append(
        box((case, 0, -z / 2 + 0.18), (1.8, 2.0, 0.36), Books(1.8, seed=_seed(rng)), top=grain, ends=(grain, grain))
    )
    solids.append(box((-x / 2 + 0.22, 0, 0), (0.44, 0.5, 1.9), grain))
    screen = Painting(1.36, 0.78, 3 * _seed(rng), frame=(0.01, 0.01, 0.012), emission=0.4)
    solids.append(_wall_item(2, 0.0, 0.85, (1.36, 0.78), (x, z), screen, dark))
    panes = Panes(1.5, 1.35, columns=int(rng.integers(2, 4)))
    for along in (-x / 4, x / 4):
        solids.append(_wall_item(1, along, 0.85, (1.5, 1.35), (x, z), panes, Plain(_WHITE)))
        for edge in (-0.95, 0.95):
            curtain = Stripes(fabric, (fabric[0] * 0.75, fabric[1] * 0.75, fabric[2] * 0.75), 0.06)
            solids.append(box((along + edge, 0.12, z / 2 - 0.06), (0.34, 2.2, 0.1), curtain))
    solids.append(_wall_item(0, 0.25, 1.25, (1.5, 0.85), (x, z), Painting(1.5, 0.85, _seed(rng)), dark))
    solids.append(_wall_item(3, x / 2 - 0.9, 0, (0.95, 2.1), (x, z), Door(), Plain(_WHITE)))
    solids += _plant(-x / 2 + 0.45, z / 2 - 0.5, float(rng.uniform(1.1, 1.6)), rng)
    shade = Plain((1.0, 0.82, 0.55), emission=1.6)
    lamp = (x / 2 - 0.4, 1.5, -z / 2 + 0.45)
    solids.append(Cylinder((lamp[0], 0, lamp[2]), 0.15, 0.03, dark))
    solids.append(Cylinder((lamp[0], 0, lamp[2]), 0.015, 1.4, dark))
    solids.append(Cylinder((lamp[0], 1.36, lamp[2]), 0.2, 0.3, shade, shadow=False))
    solids.append(Cylinder((0, y - 0.5, 0), 0.008, 0.5, dark, shadow=False))
    solids.append(Sphere((0, y - 0.55, 0), 0.16, Plain((1.0, 0.93, 0.8), emission=1.6), shadow=False))
    warm = float(rng.uniform(0.7, 1.0))
    return Scene(
        kind="indoor",
        style="living_room",
        eye=(float(rng.uniform(-x / 4, -0.1)), float(rng.uniform(1.35, 1.6)), float(rng.uniform(-0.5, 0.7))),
        heading=float(rng.uniform(-math.pi, math.pi)),
        solids=tuple(solids),
        lamps=(
            Lamp((0, y - 0.55, 0), (2.6, 2.6 * (0.75 + 0.25 * warm), 2.6 * (0.5 + 0.35 * warm)), spread=0.2),
            Lamp(lamp, (0.8, 0.6, 0.34)),
            Lamp((0, 1.6, z / 2 - 1.3), (0.75, 0.88, 1.05), shadows=False),
        ),
        ambient=((0.3, 0.3, 0.31), (0.22, 0.2, 0.18)),
        room=_bounds(size),
    )


def corridor(rng: np.random.Generator) -> Scene:
    """A corridor: doors on both sides, a tiled or checkered floor, light panels, benches, plants and pictures."""
    size = (float(rng.uniform(14, 24)), float(rng.uniform(2.5, 2.9)), float(rng.uniform(2.1, 2.8)))
    x, y, z = size
    color = _pick(rng, _WALLS)
    below = Mottled((color[0] * 0.55, color[1] * 0.55, color[2] * 0.6), 0.08, 0.3, _seed(rng))
    wall = Wainscot(below, Mottled(_WHITE, 0.05, 0.4, _seed(rng)), _WHITE, height=float(rng.uniform(0.9, 1.3)))
    floors: tuple[Texture, ...] = (
        Checker((0.6, 0.58, 0.54), (0.12, 0.13, 0.15), 0.45, _seed(rng)),
        Bricks((0.42, 0.4, 0.38), (0.2, 0.2, 0.2), 0.6, 0.6, 0.012, 0.0, 0.2, _seed(rng)),
        Planks(_pick(rng, _WOODS), 0.12, 1.4, _seed(rng)),
    )
    ceiling = Bricks((0.74, 0.74, 0.73), (0.4, 0.4, 0.4), 0.6, 0.6, 0.02, 0.0, 0.05, _seed(rng))
    solids = _shell(size, floors[int(rng.integers(3))], wall, ceiling, (0.2, 0.2, 0.21))
    leaf = _pick(rng, (*_WOODS, (0.12, 0.22, 0.3)))
    step = float(rng.uniform(3.0, 3.8))
    count = int(x / 2 / step)
    lamps = []
    steel, dark = Plain((0.45, 0.46, 0.48)), Plain((0.05, 0.05, 0.05))
    for k in range(-count, count + 1):
        at = k * step
        for side in (1, 3):
            door_at = at + (0.4 if side == 3 else 0.0)
            solids.append(_wall_item(side, door_at, 0, (0.95, 2.1), (x, z), Door(leaf=leaf), Plain(_WHITE)))
            if rng.random() < 0.55 and abs(door_at + step / 2) < x / 2 - 1:
                picture = Painting(0.9, 0.65, _seed(rng))
                solids.append(_wall_item(side, door_at + step / 2, 1.4, (0.9, 0.65), (x, z), picture, dark))
        panel = Plain((1.0, 0.98, 0.93), emission=1.8)
        solids.append(box((at + step / 2, y - 0.03, 0), (1.2, 0.03, 0.32), panel, top=steel, shadow=False))
        if abs(at + step / 2) < min(x / 2, 9.0):
            lamps.append(Lamp((at + step / 2, y - 0.06, 0), (1.15, 1.12, 1.03)))
    for side in (-1, 1):
        solids.append(_wall_item(1 - side, 0, 0, (1.7, 2.1), (x, z), Door(1.7, 2.1, leaf, (0.4, 0.4, 0.4)), steel))
        bench = side * float(rng.uniform(2.2, 3.2))
        wood = Planks(_pick(rng, _WOODS), 0.1, 3.0, _seed(rng))
        solids.append(box((bench, 0.4, side * (z / 2 - 0.27)), (1.3, 0.06, 0.4), wood))
        solids += [box((bench + e, 0, side * (z / 2 - 0.27)), (0.06, 0.4, 0.36), steel) for e in (-0.5, 0.5)]
        solids += _plant(side * (x / 2 - 0.5), side * (0.4 - z / 2), 1.3, rng)
    red = step / 2 + 0.85
    solids.append(Cylinder((red, 0.55, 0.12 - z / 2), 0.08, 0.45, Plain((0.6, 0.03, 0.02)), dark))
    solids.append(Cylinder((red, 1.0, 0.12 - z / 2), 0.03, 0.1, dark))
    return Scene(
        kind="indoor",
        style="corridor",
        eye=(float(rng.uniform(-1.5, 1.5)), float(rng.uniform(1.4, 1.65)), float(rng.uniform(-0.25, 0.25))),
        heading=float(rng.uniform(-math.pi, math.pi)),
        solids=tuple(solids),
        lamps=tuple(lamps),
        ambient=((0.26, 0.26, 0.26), (0.2, 0.19, 0.18)),
        room=_bounds(size),
    )


def gallery(rng: np.random.Generator) -> Scene:
    """A gallery hall: two rows of columns, marble floor, paintings all round, sculptures on plinths, benches."""
    size = (float(rng.uniform(13, 18)), float(rng.uniform(4.2, 5.4)), float(rng.uniform(9, 12)))
    x, y, z = size
    wall = Mottled(
        _pick(rng, ((0.36, 0.1, 0.09), (0.12, 0.2, 0.27), (0.68, 0.66, 0.62), (0.2, 0.26, 0.18))), 0.1, 0.5, _seed(rng)
    )
    light, deep = (0.66, 0.63, 0.58), _pick(rng, ((0.13, 0.13, 0.14), (0.32, 0.17, 0.12), (0.16, 0.22, 0.2)))
    floor = Checker(light, deep, float(rng.uniform(0.7, 1.1)), _seed(rng))
    solids = _shell(size, floor, wall, Mottled(_WHITE, 0.04, 0.6), (0.6, 0.58, 0.54))
    stone = Mottled((0.66, 0.63, 0.57), 0.2, 0.35, _seed(rng), solid=True)
    dark, gold = Plain((0.05, 0.04, 0.03)), (0.5, 0.36, 0.12)
    rows, spacing = int(rng.integers(2, 4)), float(rng.uniform(3.2, 4.0))
    for k in range(rows):
        at = (k - (rows - 1) / 2) * spacing
        for side in (-1, 1):
            spot = side * z * 0.27
            radius = 0.27
            solids.append(box((at, 0, spot), (0.8, 0.25, 0.8), stone))
            solids.append(Cylinder((at, 0.25, spot), 0.34, 0.12, stone))
            solids.append(Cylinder((at, 0.37, spot), radius, y - 0.97, stone))
            solids.append(Cylinder((at, y - 0.6, spot), 0.34, 0.1, stone))
            solids.append(box((at, y - 0.5, spot), (0.8, 0.2, 0.8), stone))
    for side in (-1, 1):
        solids.append(box((0, y - 0.3, side * z * 0.27), (x, 0.3, 0.5), stone))
    for wall_side, length in ((0, z), (1, x), (2, z), (3, x)):
        at = -length / 2 + 1.2
        while at < length / 2 - 1.2:
            width, height = float(rng.uniform(1.0, 2.2)), float(rng.uniform(0.8, 1.7))
            frame = gold if rng.random() < 0.7 else (0.05, 0.03, 0.02)
            if at + width < length / 2 - 0.5:
                picture = Painting(width, height, _seed(rng), frame)
                middle = at + width / 2
                solids.append(_wall_item(wall_side, middle, 1.75 - height / 2, (width, height), (x, z), picture, dark))
            at += width + float(rng.uniform(0.7, 1.3))
    for k in range(int(rng.integers(2, 5))):
        px, pz = (k - 1.5) * 2.6, float(rng.choice([-1.0, 1.0])) * float(rng.uniform(1.4, 1.8))
        solids.append(box((px, 0, pz), (0.5, 1.0, 0.5), Mottled(_WHITE, 0.05, 0.2)))
        bronze = Mottled(
            _pick(rng, ((0.25, 0.16, 0.08), (0.7, 0.68, 0.64), (0.08, 0.2, 0.18))), 0.3, 0.15, _seed(rng), solid=True
        )
        motif = int(rng.integers(3))
        if motif == 0:
            solids += [Sphere((px, 1.24, pz), 0.24, bronze), Sphere((px, 1.58, pz), 0.14, bronze)]
        elif motif == 1:
            solids.append(pyramid((px, 1.0, pz), 0.2, 0.75, int(rng.integers(3, 7)), bronze, yaw=0.4))
        else:
            solids += [Cylinder((px, 1.0, pz), 0.1, 0.5, bronze), Sphere((px, 1.62, pz), 0.17, bronze)]
    wood = Planks(_pick(rng, _WOODS), 0.12, 3.0, _seed(rng))
    for side in (-1, 1):
        solids.append(box((side * 3.0, 0.38, 0), (1.9, 0.08, 0.5), wood))
        solids += [box((side * 3.0 + e, 0, 0), (0.08, 0.38, 0.45), dark) for e in (-0.75, 0.75)]
    lamps = []
    for a in (-x / 3.2, 0.0, x / 3.2):
        glass = Plain((0.93, 0.97, 1.0), emission=1.7)
        solids.append(box((a, y - 0.04, 0), (2.2, 0.04, 1.5), glass, shadow=False))
        lamps.append(Lamp((a, y - 0.2, 0), (4.2, 4.1, 3.9)))
    return Scene(
        kind="indoor",
        style="gallery",
        eye=(float(rng.uniform(-1.2, 1.2)), float(rng.uniform(1.5, 1.75)), float(rng.uniform(-0.6, 0.6))),
        heading=float(rng.uniform(-math.pi, math.pi)),
        solids=tuple(solids),
        lamps=tuple(lamps),
        ambient=((0.26, 0.26, 0.27), (0.2, 0.19, 0.18)),
        room=_bounds(size),
    )
