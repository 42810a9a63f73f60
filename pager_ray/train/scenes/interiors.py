"""Rooms of many purposes: dwellings, offices, shops, halls, churches, libraries, passages, lofts and stairwells."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from pager_ray.samples.scene import Scene
from pager_ray.samples.solids import Ground
from pager_ray.samples.textures import Plain
from pager_ray.train.scenes import materials, shells
from pager_ray.train.scenes.daylight import daylight
from pager_ray.train.scenes.draw import angle, chance, color, pick, scaled, sign, spread, uniform, whole
from pager_ray.train.scenes.furnishing import FURNISH, people
from pager_ray.train.scenes.shells import Opening, Plan, Wall
from pager_ray.train.scenes.stage import Spot, Stage

if TYPE_CHECKING:
    from numpy.random import Generator

# Purpose: share of rooms, (x, z) from and to, height from and to, ceilings.
_DWELLING = ("flat", "flat", "flat", "flat", "gable", "attic", "shed", "vault")
_PURPOSES: dict[str, tuple[float, tuple[float, float], tuple[float, float], tuple[str, ...]]] = {
    "dwelling": (30, (2.6, 8.5), (2.2, 3.6), _DWELLING),
    "office": (10, (3.5, 14.0), (2.4, 3.8), ("flat",)),
    "kitchen": (7, (2.4, 6.5), (2.3, 3.4), ("flat", "flat", "vault", "gable")),
    "meeting": (9, (4.5, 13.0), (2.6, 5.0), ("flat", "vault", "gable")),
    "library": (6, (4.0, 12.0), (2.8, 5.5), ("flat", "vault", "attic")),
    "shop": (8, (4.5, 18.0), (2.6, 5.0), ("flat",)),
    "hall": (9, (10.0, 30.0), (5.0, 15.0), ("flat", "gable", "vault", "shed")),
    "church": (6, (9.0, 30.0), (5.0, 13.0), ("vault", "vault", "gable", "flat")),
    "passage": (6, (6.0, 24.0), (2.2, 4.0), ("flat", "flat", "vault")),
    "empty": (9, (2.6, 12.0), (2.3, 4.5), _DWELLING),
}
_WINDOWED = {"dwelling", "office", "kitchen", "meeting", "library", "hall", "church", "empty", "shop"}


def room(rng: Generator) -> Scene:
    """A room of any purpose, furnished, lit and perhaps open to others and to the day outside."""
    purpose = pick(rng, tuple(_PURPOSES), [row[0] for row in _PURPOSES.values()])
    plan = _plan(rng, purpose)
    height = plan.height
    thick = uniform(rng, 0.08, 0.45)
    x, z = plan.spot(rng, uniform(rng, 0.45, 1.2))
    eye = (x, _eye_height(rng, height), z)
    stage, walls = Stage(rng, eye), shells.walls_of(plan)
    outside = _open_walls(rng, stage, walls, plan, purpose)
    _shell(rng, stage, plan, walls, thick, purpose)
    frame = Plain(color(rng, 0.05, 0.9, 0.4)) if chance(rng, 0.7) else materials.wood(rng)
    for wall in walls:
        for hole in wall.openings:
            stage.add(shells.fill_opening(rng, wall, hole, thick, frame))
            if hole.kind in ("ajar", "open"):
                shells.annex(rng, stage, wall, hole, height, thick)
    if chance(rng, 0.75):
        shells.skirting(rng, stage, walls, height)
    shells.light_room(rng, stage, plan, height)
    FURNISH[purpose](rng, stage, plan, walls)
    shells.hang_pictures(rng, stage, walls, height, uniform(rng, 0.1, 0.8))
    people(rng, stage, plan)
    sky, sun, _ambient = daylight(rng)
    if outside:
        _outside(rng, stage, plan)
    level = spread(rng, 0.1, 0.55)
    cast = uniform(rng, -0.08, 0.08)
    above = (level * (1 + cast), level, level * (1 - cast))
    below = scaled(above, uniform(rng, 0.55, 0.95))
    (x0, z0), (x1, z1) = plan.low, plan.high
    if sun is not None:
        strong = uniform(rng, 0.8, 2.5)
        sun = replace(sun, color=(sun.color[0] * strong, sun.color[1] * strong, sun.color[2] * strong))
    return Scene(
        kind="indoor",
        style=purpose,
        eye=eye,
        heading=angle(rng),
        solids=tuple(stage.solids),
        # Shadows of many lamps wash each other out, and each lamp's cost as much as the picture.
        lamps=tuple(replace(lamp, shadows=lamp.shadows and k < 3) for k, lamp in enumerate(stage.lamps[:8])),
        sun=sun if outside else None,
        sky=sky if outside else None,
        ambient=(above, below),
        room=((x0, 0.0, z0), (x1, height, z1)),
        haze=5000.0,
    )


def _eye_height(rng: Generator, height: float) -> float:
    """Mostly a tripod's or an eye's height, at times as low as a table or as high as an arm reaches."""
    wanted = uniform(rng, 1.3, 1.75) if chance(rng, 0.7) else uniform(rng, 0.8, 3.0)
    return min(wanted, height - 0.45)


def _plan(rng: Generator, purpose: str) -> Plan:
    _, (small, large), (low, high), _ = _PURPOSES[purpose]
    x = spread(rng, small, large)
    z = min(large, max(small * 0.8, x * spread(rng, 0.55, 1.8)))
    height = spread(rng, low, high)
    if purpose == "passage":
        return Plan(_passage(rng, x), height)
    if purpose in ("church", "hall") and chance(rng, 0.8):
        a, b = x / 2, z / 2
        return Plan(((-a, -b), (a, -b), (a, b), (-a, b)), height)
    return Plan(shells.outline(rng, x, z), height)


def _passage(rng: Generator, length: float) -> tuple[shells.Point, ...]:
    """A corridor: straight, round a corner, or crossed by another."""
    w, a = uniform(rng, 1.1, 3.2), length / 2
    if chance(rng, 0.5):
        return ((-a, -w / 2), (a, -w / 2), (a, w / 2), (-a, w / 2))
    b, side = uniform(rng, 0.4, 1.0) * a + w, sign(rng)
    if chance(rng, 0.5):
        c = uniform(rng, -0.6, 0.6) * a
        points = [(-a, -w / 2), (a, -w / 2), (a, w / 2), (c + w, w / 2), (c + w, b), (c, b), (c, w / 2), (-a, w / 2)]
    else:
        points = [(-a, -w / 2), (a, -w / 2), (a, b), (a - w, b), (a - w, w / 2), (-a, w / 2)]
    return tuple(points) if side > 0 else tuple((x, -z) for x, z in reversed(points))


def _open_walls(rng: Generator, stage: Stage, walls: list[Wall], plan: Plan, purpose: str) -> bool:
    """Give the walls doors and windows; says whether a window is open to the day."""
    see_out = purpose in _WINDOWED and chance(rng, 0.35)
    windowed = [chance(rng, 0.45) and purpose in _WINDOWED for _ in walls]
    width, tall = spread(rng, 0.6, 2.6), spread(rng, 0.7, 2.4)
    low = uniform(rng, 0.5, 1.2) if chance(rng, 0.8) else 0.02
    if purpose in ("hall", "church"):
        low, tall = uniform(rng, 1.2, 3.0), spread(rng, 1.5, 5.0)
    low = min(low, plan.height * 0.5)
    tall = min(tall, plan.height - low - 0.15)
    opened = False
    for wall, has_windows in zip(walls, windowed, strict=True):
        if wall.length > 1.6 and chance(rng, 0.5 if len(walls) > 4 else 0.65):
            kind = pick(rng, ("door", "ajar", "open"), (55, 20, 25))
            size = uniform(rng, 0.75, 1.1) if kind != "open" else spread(rng, 0.8, 2.2)
            size, top = min(size, wall.length - 0.7), min(plan.height - 0.08, uniform(rng, 1.95, 2.6))
            start = uniform(rng, 0.3, max(0.31, wall.length - size - 0.3))
            wall.openings.append(Opening(start, start + size, 0.0, top, kind))
        if not has_windows:
            continue
        gap = uniform(rng, 0.15, 1.4)
        count = int((wall.length - 0.5) / (width + gap))
        margin = (wall.length - count * (width + gap) + gap) / 2
        for k in range(count):
            start = margin + k * (width + gap)
            if wall.free(start, start + width, 0.15):
                wall.openings.append(Opening(start, start + width, low, low + tall, "window" if see_out else "panes"))
                opened |= see_out
    return opened


def _shell(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall], thick: float, purpose: str) -> None:
    (x0, z0), (x1, z1) = plan.low, plan.high
    paints = [materials.wall(rng)] * len(walls)
    if chance(rng, 0.25):
        paints = [materials.wall(rng) if chance(rng, 0.4) else paint for paint in paints]
    kind = pick(rng, _PURPOSES[purpose][3])
    along_x = x1 - x0 > z1 - z0
    width = (z1 - z0) if along_x else (x1 - x0)
    profile = shells.ceiling_profile(rng, width, plan.height, kind)
    if not along_x and chance(rng, 0.5):
        profile = [(-x, y) for x, y in reversed(profile)]
    top = max(y for _, y in profile) + 0.2
    shells.build_walls(stage, plan, walls, top, thick, paints)
    cover = materials.wood(rng) if kind in ("gable", "vault") and chance(rng, 0.35) else materials.ceiling(rng)
    shells.build_ceiling(stage, plan, profile, cover, along_x, thick)
    if chance(rng, {"flat": 0.15, "vault": 0.5}.get(kind, 0.5)):
        shells.crossbeams(rng, stage, plan, profile, along_x)
    middle, size = ((x0 + x1) / 2, (z0 + z1) / 2), (x1 - x0 + 2 * thick, z1 - z0 + 2 * thick)
    stage.build(Spot(middle[0], -0.2, middle[1]).block((0, 0, 0), (size[0], 0.2, size[1]), materials.floor(rng)))


def _outside(rng: Generator, stage: Stage, plan: Plan) -> None:
    """What windows look out on: ground some storeys below, houses, trees and hedges in the light of the day."""
    bright = spread(rng, 0.5, 2.5)
    level = -pick(rng, (0.15, 3.0, 6.0, 12.0), (5, 3, 2, 1))
    soil = materials.meadow(rng) if chance(rng, 0.6) else materials.pavement(rng)
    stage.build(Ground(materials.glowing(soil, bright), level - 0.05))
    reach = max(*plan.high, *(-c for c in plan.low)) + 2
    for _ in range(whole(rng, 6, 22)):
        a, away = angle(rng), reach * 1.5 + spread(rng, 2, 50)
        spot = Spot(away * math.cos(a), level - 0.05, away * math.sin(a), angle(rng))
        if chance(rng, 0.5):
            tall, green = spread(rng, 2, 14), materials.glowing(materials.leaves(rng, 0.5), bright)
            stage.build(
                spot.post((0, 0, 0), tall * 0.03, tall * 0.6, materials.glowing(Plain((0.1, 0.07, 0.05)), bright))
            )
            for _ in range(5):
                place = (uniform(rng, -0.2, 0.2) * tall, uniform(rng, 0.5, 0.85) * tall, uniform(rng, -0.2, 0.2) * tall)
                stage.build(spot.ball(place, tall * uniform(rng, 0.13, 0.25), green))
        else:
            wide, tall = spread(rng, 4, 20), spread(rng, 3, 20)
            front = materials.Fenestration(materials.plaster(rng), wide, seed=whole(rng, 0, 1 << 30))
            stage.build(spot.block((0, 0, 0), (wide, tall, 8), materials.glowing(front, bright)))
