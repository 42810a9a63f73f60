"""Rooms of many purposes: dwellings, offices, shops, halls, churches, libraries, passages, lofts and stairwells."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from pager_ray.samples.pictures import Books, Rug
from pager_ray.samples.scene import Scene
from pager_ray.samples.solids import Ground, Solid
from pager_ray.samples.textures import Plain
from pager_ray.train.scenes import furniture, materials, shells
from pager_ray.train.scenes.daylight import daylight
from pager_ray.train.scenes.draw import angle, chance, color, pick, scaled, sign, spread, uniform, whole
from pager_ray.train.scenes.shapes import arch
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
    _FURNISH[purpose](rng, stage, plan, walls)
    shells.hang_pictures(rng, stage, walls, height, uniform(rng, 0.1, 0.8))
    _people(rng, stage, plan)
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


def _along_walls(rng: Generator, stage: Stage, walls: list[Wall], share: float, pieces: tuple[str, ...]) -> None:
    """Stand furniture against free stretches of the walls."""
    for wall in walls:
        at = uniform(rng, 0.1, 0.8)
        while at < wall.length - 0.5:
            kind = pick(rng, pieces)
            deep, tall, wide = uniform(rng, 0.25, 0.65), spread(rng, 0.4, 2.3), spread(rng, 0.5, 2.6)
            tall = min(tall, wall_height(stage, wall) - 0.1)
            if kind == "sofa":
                deep, wide = 1.0, uniform(rng, 0.85, 2.4)
            elif kind == "bed":
                deep, wide = 2.15, 1.7
            elif kind in ("tall", "shelves"):
                tall = uniform(rng, 1.6, max(1.7, min(2.8, tall + 1)))
            wide = min(wide, wall.length - at - 0.1)
            blocked = any(
                o.start < at + wide and o.end > at and (o.low < tall + 0.1 or o.low < 0.3) for o in wall.openings
            )
            if wide > 0.4 and chance(rng, share) and not blocked:
                spot = wall.spot.moved(at + wide / 2, 0, 0.015, math.pi / 2)
                solids = _piece(rng, kind, spot, (deep, tall, wide))
                center = spot.at(deep / 2, 0, 0)
                stage.put(solids, center[0], center[2], 0.5 * math.hypot(deep, wide * 0.6))
            at += wide + spread(rng, 0.05, 1.5)


def wall_height(stage: Stage, wall: Wall) -> float:
    """Height up to which furniture may stand at a wall: the eaves', as far as the stage knows them."""
    return max(2.1, stage.eye[1] + 0.45)


def _piece(rng: Generator, kind: str, spot: Spot, size: tuple[float, float, float]) -> list[Solid]:
    deep, tall, wide = size
    if kind == "sofa":
        return furniture.sofa(rng, spot.moved(0.5, 0, 0), wide)
    if kind == "bed":
        return furniture.bed(rng, spot.moved(1.07, 0, 0))
    if kind == "shelves":
        return furniture.open_shelves(rng, spot, (deep, tall, wide))
    if kind == "table":
        return furniture.table(rng, spot.moved(deep / 2, 0, 0), (deep, uniform(rng, 0.65, 0.95), wide))
    if kind == "plant":
        return furniture.plant(rng, spot.moved(0.3, 0, 0), uniform(rng, 0.5, 2.0))
    if kind == "fire":
        return furniture.fireplace(rng, spot, uniform(rng, 2.2, 3.0))
    if kind == "small":
        return furniture.anything_small(rng, spot.moved(deep / 2 + 0.1, 0, 0), min(wide, 0.7))
    return furniture.cabinet(rng, spot, (deep, tall if kind != "low" else min(tall, 0.95), wide))


def _table_group(rng: Generator, stage: Stage, plan: Plan, long: float, high: float, chairs: bool) -> None:
    """A table somewhere in the room, with chairs around it."""
    x, z = plan.spot(rng, 1.0)
    size = (spread(rng, 0.5, 1.2), high, spread(rng, 0.6, long))
    spot = Spot(x, 0, z, angle(rng) if chance(rng, 0.4) else pick(rng, (0.0, math.pi / 2)))
    if not stage.put(furniture.table(rng, spot, size), x, z, 0.5 * math.hypot(size[0], size[2]) * 0.8):
        return
    if not chairs:
        return
    frame, seat, style = materials.wood(rng), furniture.cloth(rng), whole(rng, 0, 4)
    if chance(rng, 0.4):
        seat = frame
    count = max(1, int(size[2] / uniform(rng, 0.55, 0.9)))
    for side in (-1, 1):
        for k in range(count):
            if chance(rng, 0.15):
                continue
            dz = (k - (count - 1) / 2) * size[2] / count
            place = spot.moved(side * (size[0] / 2 + uniform(rng, 0.0, 0.45)), 0, dz)
            turned = replace(place, yaw=place.yaw + (math.pi if side > 0 else 0.0) + uniform(rng, -0.4, 0.4))
            if plan.inside(place.x, place.z, 0.3):
                stage.add(furniture.chair(rng, turned, frame, seat, style=style))


def _scatter(rng: Generator, stage: Stage, plan: Plan, count: int) -> None:
    for _ in range(count):
        x, z = plan.spot(rng, 0.4)
        wide = spread(rng, 0.25, 1.2)
        spot = Spot(x, 0, z, angle(rng))
        kind = rng.random()
        if kind < 0.2:
            solids = furniture.plant(rng, spot, uniform(rng, 0.4, 1.8))
        elif kind < 0.35:
            solids, lamp = furniture.standing_lamp(rng, spot)
            if stage.put(solids, x, z, 0.25):
                stage.lamps.append(lamp)
            continue
        elif kind < 0.5:
            solids = furniture.chair(rng, spot, materials.wood(rng), furniture.cloth(rng), style=whole(rng, 0, 4))
            wide = 0.6
        else:
            solids = furniture.anything_small(rng, spot, wide)
        stage.put(solids, x, z, wide * 0.5)


def _carpet(rng: Generator, stage: Stage, plan: Plan) -> None:
    x, z = plan.spot(rng, 0.8)
    size = (spread(rng, 0.8, 4.0), spread(rng, 0.8, 4.0))
    colors = (color(rng), color(rng), color(rng))
    texture = Rug(size[0], size[1], colors) if chance(rng, 0.6) else furniture.cloth(rng)
    stage.build(shells.patch(rng, (x, 0.0, z), size, angle(rng) if chance(rng, 0.3) else 0.0, texture))


def _people(rng: Generator, stage: Stage, plan: Plan) -> None:
    for _ in range(whole(rng, 1, 3) if chance(rng, 0.2) else 0):
        x, z = plan.spot(rng, 0.5)
        stage.put(furniture.person(rng, Spot(x, 0, z, angle(rng))), x, z, 0.35)


def _dwelling(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    if chance(rng, 0.6):
        _carpet(rng, stage, plan)
    if chance(rng, 0.6):
        x, z = plan.spot(rng, 1.1)
        width = uniform(rng, 0.9, 2.6)
        stage.put(furniture.sofa(rng, Spot(x, 0, z, angle(rng)), width), x, z, width * 0.45)
    _table_group(rng, stage, plan, 1.6, uniform(rng, 0.32, 0.5), chairs=False)
    if chance(rng, 0.6):
        _table_group(rng, stage, plan, 2.2, uniform(rng, 0.7, 0.78), chairs=True)
    pieces = ("sofa", "low", "tall", "shelves", "table", "plant", "small", "bed", "fire", "low")
    _along_walls(rng, stage, walls, uniform(rng, 0.3, 0.9), pieces)
    _scatter(rng, stage, plan, whole(rng, 0, 5))


def _office(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    for _ in range(max(1, int(plan.area / uniform(rng, 6, 16)))):
        _table_group(rng, stage, plan, 1.8, 0.74, chairs=True)
    _along_walls(rng, stage, walls, uniform(rng, 0.3, 0.8), ("low", "tall", "shelves", "table", "plant", "small"))
    _scatter(rng, stage, plan, whole(rng, 0, 4))


def _kitchen(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    made, top = materials.wall(rng) if chance(rng, 0.4) else materials.wood(rng), materials.stone(rng)
    for wall in walls[: whole(rng, 1, len(walls))]:
        upper = chance(rng, 0.6)
        cursor = 0.05
        while cursor < wall.length - 0.5:
            wide = uniform(rng, 0.4, 0.9)
            if wall.free(cursor, cursor + wide, 0.0) or all(
                o.low > 0.92 for o in wall.openings if o.start < cursor + wide and o.end > cursor
            ):
                spot = wall.spot.moved(cursor + wide / 2, 0, 0.31)
                parts = [
                    spot.block((0, 0, 0), (wide - 0.01, 0.88, 0.6), made),
                    spot.block((0, 0.88, 0), (wide, 0.04, 0.63), top),
                ]
                if upper and wall.free(cursor, cursor + wide, 0.0):
                    parts.append(spot.block((0, 1.45, -0.13), (wide - 0.01, 0.7, 0.35), made))
                if chance(rng, 0.5):
                    parts += furniture.clutter(rng, spot.moved(0, 0.92, 0), 0.4)
                center = spot.at(0, 0, 0)
                stage.put(parts, center[0], center[2], 0.25)
            cursor += wide
    if chance(rng, 0.7):
        _table_group(rng, stage, plan, 2.4, uniform(rng, 0.72, 0.95), chairs=chance(rng, 0.8))
    _along_walls(rng, stage, walls, 0.4, ("tall", "shelves", "table", "small", "fire"))
    _scatter(rng, stage, plan, whole(rng, 0, 5))


def _meeting(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    if chance(rng, 0.3):
        _carpet(rng, stage, plan)
    _table_group(rng, stage, plan, min(6.0, plan.area**0.5), 0.75, chairs=True)
    made = materials.wood(rng)
    for wall in walls:
        if chance(rng, 0.4) and wall.length > 2 and not wall.openings:
            spot = wall.spot.moved(wall.length / 2, 0, 0.35, math.pi / 2)
            stage.add(furniture.pew(rng, spot, wall.length - 0.4, made))
    _along_walls(rng, stage, walls, 0.35, ("low", "tall", "shelves", "table", "plant", "small", "fire"))
    _scatter(rng, stage, plan, whole(rng, 0, 7))


def _library(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    case = materials.wood(rng)
    tall = min(plan.height - 0.1, spread(rng, 1.9, 4.5))
    for wall in walls:
        cursor = 0.1
        while cursor < wall.length - 0.6:
            wide = uniform(rng, 0.8, 2.0)
            end = min(cursor + wide, wall.length - 0.05)
            if wall.free(cursor, end, 0.02):
                spot = wall.spot.moved((cursor + end) / 2, 0, 0.02, math.pi / 2)
                books = Books(end - cursor, uniform(rng, 0.28, 0.4), seed=whole(rng, 0, 1 << 30))
                front = spot.block((0.3, 0.1, 0), (0.02, tall - 0.12, end - cursor - 0.06), books)
                stage.add([spot.block((0.15, 0, 0), (0.3, tall, end - cursor), case), front])
            cursor = end + 0.02
    _table_group(rng, stage, plan, 2.4, 0.76, chairs=True)
    if chance(rng, 0.6):
        _carpet(rng, stage, plan)
    _scatter(rng, stage, plan, whole(rng, 1, 6))


def _shop(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    tall, lane, along = spread(rng, 1.1, 2.2), uniform(rng, 1.6, 3.0), chance(rng, 0.5)
    (x0, z0), (x1, z1) = plan.low, plan.high
    body = Plain(color(rng, 0.1, 0.8, 0.4))
    for k in range(int(((z1 - z0) if along else (x1 - x0)) / lane)):
        across = (z0 if along else x0) + (k + 0.8) * lane
        cursor = (x0 if along else z0) + 1.0
        while cursor < (x1 if along else z1) - 1.5:
            long = uniform(rng, 1.0, 3.0)
            x, z = (cursor + long / 2, across) if along else (across, cursor + long / 2)
            spot = Spot(x, 0, z, 0.0 if along else math.pi / 2)
            goods = materials.Goods(spread(rng, 0.2, 0.5), spread(rng, 0.05, 0.3), seed=whole(rng, 0, 1 << 30))
            if plan.inside(x, z, 0.8) and chance(rng, 0.8):
                parts = [spot.block((0, 0, 0), (long, tall, 0.7), goods, body)]
                stage.put(parts, x, z, long * 0.4)
            cursor += long + (0.0 if chance(rng, 0.7) else 1.2)
    _along_walls(rng, stage, walls, 0.8, ("shelves", "tall", "low", "shelves"))
    _scatter(rng, stage, plan, whole(rng, 0, 5))


def _hall(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    _columns(rng, stage, plan)
    kind = pick(rng, ("seats", "tables", "racks", "bare"))
    if kind == "seats":
        _rows(rng, stage, plan, pews=False)
    elif kind == "tables":
        for _ in range(max(2, int(plan.area / uniform(rng, 15, 50)))):
            _table_group(rng, stage, plan, 4.0, 0.75, chairs=True)
    elif kind == "racks":
        _shop(rng, stage, plan, walls)
    if chance(rng, 0.4):
        _flight(rng, stage, plan, walls)
    _along_walls(rng, stage, walls, 0.3, ("low", "tall", "table", "small", "shelves", "sofa"))
    _scatter(rng, stage, plan, whole(rng, 2, 14))


def _church(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    _columns(rng, stage, plan)
    _rows(rng, stage, plan, pews=chance(rng, 0.6))
    (_, z0), (x1, z1) = plan.low, plan.high
    made = materials.stone(rng)
    for wall in walls:
        if chance(rng, 0.5) and wall.length > 4:
            count = int(wall.length / uniform(rng, 2.5, 4.5))
            span = wall.length / count
            for k in range(count):
                spot = wall.spot.moved((k + 0.5) * span, plan.height * 0.35, 0.1)
                wide = span * 0.7
                stage.add(arch(spot.at(0, 0, 0), wide, wide / 2, 0.15 * span, 0.25, made, spot.yaw))
    stage.add(furniture.table(rng, Spot(x1 - 2.5, 0, (z0 + z1) / 2, 0), (1.0, 1.0, 2.2), made))
    _scatter(rng, stage, plan, whole(rng, 0, 6))


def _columns(rng: Generator, stage: Stage, plan: Plan) -> None:
    """Two rows of columns, in some halls under arches."""
    if chance(rng, 0.4):
        return
    (x0, z0), (x1, z1) = plan.low, plan.high
    made, square, wide = materials.stone(rng), chance(rng, 0.35), uniform(rng, 0.25, 0.8)
    off, pitch = uniform(rng, 0.18, 0.33) * (z1 - z0), uniform(rng, 3.0, 6.0)
    count = int((x1 - x0 - 1) / pitch)
    arched = chance(rng, 0.4) and plan.height > 4
    tall = plan.height - (pitch - wide) / 2 - 0.3 if arched else plan.height
    if tall < 1.8:
        arched, tall = False, plan.height
    for side in (-1, 1):
        for k in range(count + 1):
            x, z = (x0 + x1) / 2 + (k - count / 2) * pitch, (z0 + z1) / 2 + side * off
            stage.put(shells.column(x, z, tall, wide, made, square), x, z, wide)
            if arched and k < count:
                middle = (x + pitch / 2, tall, z)
                stage.add(arch(middle, pitch - wide, (pitch - wide) / 2, 0.3, wide, made, 0.0))


def _rows(rng: Generator, stage: Stage, plan: Plan, pews: bool) -> None:
    """Rows of chairs or pews that look along +x."""
    (x0, z0), (x1, z1) = plan.low, plan.high
    frame, seat, style = materials.wood(rng), furniture.cloth(rng), whole(rng, 0, 2)
    pitch, aisle = uniform(rng, 0.8, 1.3), uniform(rng, 0.6, 1.2)
    half = min((z1 - z0) / 2 - aisle - 0.8, uniform(rng, 1.5, 5.0))
    if half < 0.6:
        return
    middle, rows = (z0 + z1) / 2, min(14, int((x1 - x0 - 4) / pitch))
    for k in range(rows):
        x = x0 + 1.5 + k * pitch
        for side in (-1, 1):
            if pews:
                spot = Spot(x, 0, middle + side * (aisle + half / 2))
                stage.add(furniture.pew(rng, spot, half, frame))
                continue
            for n in range(min(6, int(half / 0.6))):
                spot = Spot(x, 0, middle + side * (aisle + 0.3 + 0.6 * n), uniform(rng, -0.1, 0.1))
                if chance(rng, 0.9):
                    stage.add(furniture.chair(rng, spot, frame, seat, style=style))


def _flight(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    """Stairs along a wall, up to a gallery's height."""
    wall = max(walls, key=lambda w: w.length)
    steps = min(whole(rng, 5, 22), int((wall.length - 1.5) / 0.28))
    if steps < 4:
        return
    width, made = uniform(rng, 0.9, 2.5), materials.stone(rng) if chance(rng, 0.5) else materials.wood(rng)
    spot = wall.spot.moved(0.5, 0, width / 2 + 0.02)
    if stage.add(shells.stairs(spot, width, steps, made)):
        rail, metal = spot.moved(0, 0.95, width / 2), Plain(color(rng, 0.02, 0.6, 0.3))
        rise, run = steps * 0.17, steps * 0.28
        stage.add([rail.bar((0, 0, 0), (run, rise, 0), 0.05, metal)])
        stage.add(
            [rail.bar((k * 0.28, -0.9 + k * 0.17, 0), (k * 0.28, k * 0.17, 0), 0.02, metal) for k in range(steps)]
        )


def _passage_things(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    _along_walls(rng, stage, walls, uniform(rng, 0.05, 0.4), ("low", "plant", "small", "tall", "shelves", "table"))
    if chance(rng, 0.3):
        _columns(rng, stage, plan)


def _bare(rng: Generator, stage: Stage, plan: Plan, walls: list[Wall]) -> None:
    _scatter(rng, stage, plan, whole(rng, 0, 4))
    if chance(rng, 0.3):
        _along_walls(rng, stage, walls, 0.2, ("low", "small", "plant", "fire"))
    if chance(rng, 0.3):
        _flight(rng, stage, plan, walls)


_FURNISH = {
    "dwelling": _dwelling,
    "office": _office,
    "kitchen": _kitchen,
    "meeting": _meeting,
    "library": _library,
    "shop": _shop,
    "hall": _hall,
    "church": _church,
    "passage": _passage_things,
    "empty": _bare,
}
