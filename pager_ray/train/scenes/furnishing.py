"""What rooms are furnished with, by their purpose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from pager_ray.samples.pictures import Books, Rug
from pager_ray.samples.solids import Solid
from pager_ray.samples.textures import Plain
from pager_ray.train.scenes import furniture, materials, shells
from pager_ray.train.scenes.draw import angle, chance, color, pick, spread, uniform, whole
from pager_ray.train.scenes.shapes import arch
from pager_ray.train.scenes.shells import Plan, Wall
from pager_ray.train.scenes.stage import Spot, Stage

if TYPE_CHECKING:
    from numpy.random import Generator


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


def people(rng: Generator, stage: Stage, plan: Plan) -> None:
    """Somebody or a few people in one room of five."""
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


FURNISH = {
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
