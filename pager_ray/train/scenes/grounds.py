"""What places outdoors are built on and from: the lay of the land, rows of buildings, trees, clutter, the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pager_ray.samples.solids import Ground, Solid, Sphere
from pager_ray.train.scenes import buildings, furniture, materials, things
from pager_ray.train.scenes.draw import angle, chance, pick, spread, uniform, whole
from pager_ray.train.scenes.shapes import attitude, block, drawn_out
from pager_ray.train.scenes.stage import Spot, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from pager_ray.samples.textures import Texture
    from pager_ray.train.scenes.shapes import Axes


# Nearer than this, fronts get relief and trees more leaves, metres.
_NEAR = 24.0


@dataclass(frozen=True)
class Lay:
    """The lay of the land: it rises by ``x`` and ``z`` per metre, and is level with the camera's feet at the origin."""

    x: float = 0.0
    z: float = 0.0

    def spot(self, x: float, z: float, yaw: float = 0.0) -> Spot:
        """A spot on the ground."""
        return Spot(x, self.x * x + self.z * z, z, yaw)


def horizon(rng: Generator, stage: Stage) -> None:
    """What the horizon consists of: wooded hills, mountains, distant houses and towers, or nothing."""
    kind = pick(rng, ("hills", "town", "both", "bare"), (35, 25, 20, 20))
    if kind in ("hills", "both"):
        for _ in range(whole(rng, 3, 9)):
            a, away = angle(rng), uniform(rng, 150, 420)
            radius, high = uniform(rng, 80, 300), spread(rng, 6, 60)
            wood = materials.leaves(rng, spread(rng, 4, 12))
            center = (away * math.cos(a), high - radius, away * math.sin(a))
            if math.hypot(center[0], center[2]) > math.sqrt(max(0, radius**2 - (radius - high) ** 2)) + 60:
                stage.build(Sphere(center, radius, wood, shadow=False))
    if kind in ("town", "both"):
        for _ in range(whole(rng, 6, 30)):
            a, away = angle(rng), uniform(rng, 75, 260)
            wide, tall = spread(rng, 8, 40), spread(rng, 5, 45)
            front = buildings.front_of(rng, materials.plaster(rng), wide)
            stage.build(block((away * math.cos(a), 0, away * math.sin(a)), (wide, tall, wide * 0.7), front, angle(rng)))


def row(
    rng: Generator,
    stage: Stage,
    lay: Lay,
    start: tuple[float, float],
    yaw: float,
    length: float,
    storeys: tuple[int, int],
    *,
    gaps: float = 0.25,
) -> None:
    """A row of buildings along a line; their fronts look to the left of its direction (local +z)."""
    line, at = Spot(start[0], 0.0, start[1], yaw), 0.0
    attached = chance(rng, 0.6)
    arcaded = chance(rng, 0.12)
    usual = whole(rng, *storeys)
    while at < length:
        wide = spread(rng, 6, 26)
        wide = min(wide, max(5.0, length - at))
        x, _, z = line.at(at + wide / 2, 0, 0 if attached else -uniform(rng, 0, 3))
        # On a slope a building's foot is that of its lowest corner.
        foot = min(lay.spot(*line.at(at + t * wide, 0, 0)[::2]).y for t in (0, 1))
        spot = Spot(x, foot, z, yaw)
        near = math.hypot(x, z) < _NEAR + wide / 2
        count = max(1, usual + whole(rng, -1, 1))
        if chance(rng, 0.93):
            if arcaded and near:
                stage.add(buildings.arcade(rng, spot, wide, max(1, count - 1)))
            else:
                deep = uniform(rng, 7, 14)
                stage.add(buildings.building(rng, spot, wide, deep, count, detail=near))
        at += wide + (0.0 if attached and chance(rng, 1 - gaps) else uniform(rng, 1, 12) * gaps * 2)


def grove(rng: Generator, stage: Stage, lay: Lay, count: int, near: float, far: float, *, wild: bool = False) -> None:
    """Trees at random, ever fewer details the farther they are; ``wild`` ones may grow into each other."""
    for _ in range(count):
        a, away = angle(rng), spread(rng, near, far)
        x, z = away * math.cos(a), away * math.sin(a)
        tall = spread(rng, 3, 16)
        if stage.free(x, z, 0.5 if wild else tall * 0.12):
            detail = 1.0 if away < 14 else 0.4 if away < 35 else 0.0
            stage.put(things.tree(rng, lay.spot(x, z, angle(rng)), tall, detail), x, z, 0.4)


def clutter(rng: Generator, stage: Stage, lay: Lay, count: int, far: float, urban: bool) -> None:
    """Cars, people, lamps, benches and the rest, anywhere that is free."""
    kinds: dict[str, tuple[float, float, Callable[[Generator, Spot], list[Solid]]]] = {
        "car": (16 if urban else 5, 2.2, things.car),
        "person": (18, 0.4, furniture.person),
        "lamp": (12, 0.4, lambda r, s: things.lamp_post(r, s, uniform(r, 3.2, 7.5))),
        "sign": (9 if urban else 3, 0.4, things.sign),
        "bench": (9, 1.0, things.bench),
        "thing": (18 if urban else 8, 1.0, things.street_thing),
        "bicycle": (5, 0.8, things.bicycle),
        "bush": (6 if urban else 22, 0.8, lambda r, s: things.tree(r, s, uniform(r, 0.6, 2.2), 0.5)),
        "stone": (
            3 if urban else 12,
            0.7,
            lambda r, s: [s.ball((0, 0.1, 0), spread(r, 0.15, 0.8), materials.stone(r))],
        ),
    }
    for _ in range(count):
        _, radius, make = kinds[name := pick(rng, tuple(kinds), [row[0] for row in kinds.values()])]
        a, away = angle(rng), spread(rng, 1.4 + radius, far)
        x, z = away * math.cos(a), away * math.sin(a)
        if stage.free(x, z, radius):
            turn = pick(rng, (0.0, math.pi / 2, math.pi)) if name == "car" and chance(rng, 0.7) else angle(rng)
            stage.put(make(rng, lay.spot(x, z, turn)), x, z, radius)


def strip(stage: Stage, lay: Lay, z: float, width: float, level: float, top: Texture, edge: Texture) -> None:
    """A long strip of ground along x, ``level`` metres above the rest."""
    axes = attitude(0.0, math.atan(lay.x), 0.0)
    y = lay.z * z
    stage.build(block((0.0, y - 0.3, z), (320.0, 0.3 + level, width), edge, axes, top=top, shadow=False))


def land(stage: Stage, lay: Lay, soil: Texture, level: float = 0.0) -> None:
    """The ground itself: the plane, or a tilted slab of it above a valley."""
    if lay == Lay():
        stage.build(Ground(soil, level))
        return
    pitch, roll = math.atan(lay.x), -math.atan(lay.z * math.cos(math.atan(lay.x)))
    stage.build(_slab(soil, attitude(0.0, pitch, roll), level))
    stage.build(Ground(soil, -60.0))


def _slab(soil: Texture, axes: Axes, level: float) -> Solid:
    """A slab of land 500 m wide whose upper side goes through the point ``level`` above the origin."""
    side = 250.0
    outline = ((-side, -4.0), (side, -4.0), (side, 0.0), (-side, 0.0))
    return drawn_out(outline, 2 * side, (0.0, level, 0.0), axes, soil, shadow=False)


def around(rng: Generator, near: float, far: float) -> tuple[float, float]:
    """A place in any direction, ``near`` to ``far`` metres away."""
    a, away = angle(rng), spread(rng, near, far)
    return away * math.cos(a), away * math.sin(a)


def keep_clear(stage: Stage) -> None:
    """Leave a circle around the camera to what comes near it on purpose."""
    stage.taken.append((stage.eye[0], stage.eye[2], 0.6))
