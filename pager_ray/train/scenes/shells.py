"""Shells of rooms: floor plans of right angles and chamfers, walls with openings, ceilings of any profile."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pager_ray.samples.pictures import Door, Painting, Panes
from pager_ray.samples.scene import Lamp
from pager_ray.samples.solids import Cylinder, Solid, Sphere, Vector
from pager_ray.samples.textures import Mottled, Plain, Stripes, Texture
from pager_ray.train.scenes import materials
from pager_ray.train.scenes.draw import chance, color, pick, scaled, seed, sign, spread, uniform, whole
from pager_ray.train.scenes.shapes import attitude, block, drawn_out
from pager_ray.train.scenes.stage import Spot

if TYPE_CHECKING:
    from numpy.random import Generator

    from pager_ray.train.scenes.stage import Stage

Point = tuple[float, float]


@dataclass(frozen=True)
class Opening:
    """A hole in a wall, from ``start`` to ``end`` along it and from ``low`` to ``high``; what fills it is ``kind``."""

    start: float
    end: float
    low: float
    high: float
    kind: str


@dataclass
class Wall:
    """One side of a room: from its foot at ``spot`` along local x; the room lies on the side of local +z."""

    spot: Spot
    length: float
    openings: list[Opening] = field(default_factory=list)

    def free(self, start: float, end: float, gap: float = 0.1) -> bool:
        """Whether a stretch of the wall has no opening."""
        inside = start > gap and end < self.length - gap
        return inside and all(end + gap < o.start or start - gap > o.end for o in self.openings)


@dataclass(frozen=True)
class Plan:
    """A room's outline, counterclockwise in (x, z), and its height."""

    corners: tuple[Point, ...]
    height: float

    @property
    def low(self) -> Point:
        """Smallest x and z."""
        return min(x for x, _ in self.corners), min(z for _, z in self.corners)

    @property
    def high(self) -> Point:
        """Largest x and z."""
        return max(x for x, _ in self.corners), max(z for _, z in self.corners)

    @property
    def area(self) -> float:
        """Of the floor, square metres."""
        after = self.corners[1:] + self.corners[:1]
        return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(self.corners, after, strict=True)) / 2

    def inside(self, x: float, z: float, margin: float) -> bool:
        """Whether a point is in the room and ``margin`` from its walls."""
        after = self.corners[1:] + self.corners[:1]
        crossings = 0
        for (ax, az), (bx, bz) in zip(self.corners, after, strict=True):
            length = math.hypot(bx - ax, bz - az)
            along = min(max(((x - ax) * (bx - ax) + (z - az) * (bz - az)) / length**2, 0), 1)
            if math.hypot(x - ax - along * (bx - ax), z - az - along * (bz - az)) < margin:
                return False
            if (az > z) != (bz > z) and x < ax + (z - az) / (bz - az) * (bx - ax):
                crossings += 1
        return crossings % 2 == 1

    def spot(self, rng: Generator, margin: float) -> Point:
        """A point in the room, ``margin`` from its walls or as far as a hundred draws find."""
        for share in (1.0, 0.6, 0.3):
            for _ in range(60):
                x, z = (uniform(rng, a, b) for a, b in zip(self.low, self.high, strict=True))
                if self.inside(x, z, margin * share):
                    return x, z
        return self.corners[0]


def outline(rng: Generator, x: float, z: float) -> tuple[Point, ...]:
    """An outline within x × z metres: a rectangle, an L, a T, a Z, with chamfers, or with a bay."""
    a, b = x / 2, z / 2
    kind = pick(rng, ("rectangle", "L", "T", "Z", "chamfer", "bay"), (50, 22, 7, 6, 8, 7))
    cut, deep = uniform(rng, 0.25, 0.6) * x, uniform(rng, 0.25, 0.6) * z
    if kind == "L":
        corners = [(-a, -b), (a, -b), (a, b - deep), (a - cut, b - deep), (a - cut, b), (-a, b)]
    elif kind == "T":
        c = cut / 2
        corners = [
            (-a, -b),
            (a, -b),
            (a, b - deep),
            (a - c, b - deep),
            (a - c, b),
            (c - a, b),
            (c - a, b - deep),
            (-a, b - deep),
        ]
    elif kind == "Z":
        c, d = cut * 0.6, deep * 0.6
        corners = [(-a, -b), (a - c, -b), (a - c, d - b), (a, d - b), (a, b), (c - a, b), (c - a, b - d), (-a, b - d)]
    elif kind == "chamfer":
        c = uniform(rng, 0.1, 0.3) * min(x, z)
        corners = [(-a, -b), (a - c, -b), (a, c - b), (a, b - c), (a - c, b), (-a, b)]
    elif kind == "bay":
        c, d = uniform(rng, 0.15, 0.3) * x, uniform(rng, 0.4, 1.2)
        corners = [(-a, -b), (a, -b), (a, b), (c, b), (c * 0.6, b + d), (-c * 0.6, b + d), (-c, b), (-a, b)]
    else:
        corners = [(-a, -b), (a, -b), (a, b), (-a, b)]
    if chance(rng, 0.5):
        corners = [(-px, pz) for px, pz in reversed(corners)]
    return tuple(corners)


def walls_of(plan: Plan) -> list[Wall]:
    """The room's walls, in the order of its corners."""
    after = plan.corners[1:] + plan.corners[:1]
    walls = []
    for (ax, az), (bx, bz) in zip(plan.corners, after, strict=True):
        walls.append(Wall(Spot(ax, 0.0, az, math.atan2(bz - az, bx - ax)), math.hypot(bx - ax, bz - az)))
    return walls


def build_wall(wall: Wall, height: float, thick: float, texture: Texture, extend: tuple[float, float]) -> list[Solid]:
    """The pieces of a wall around its openings; ``extend`` lengthens it at either end to close corners."""
    cursor, pieces = -extend[0], []
    for hole in sorted(wall.openings, key=lambda o: o.start):
        pieces.append((cursor, hole.start, 0.0, height))
        pieces.append((hole.start, hole.end, 0.0, hole.low))
        pieces.append((hole.start, hole.end, hole.high, height))
        cursor = hole.end
    pieces.append((cursor, wall.length + extend[1], 0.0, height))
    anchor = wall.spot.at(wall.length / 2, 0, 0)
    return [
        block(
            wall.spot.at((a + b) / 2, low, -thick / 2),
            (b - a, high - low, thick),
            texture,
            wall.spot.yaw,
            anchor=anchor,
        )
        for a, b, low, high in pieces
        if b - a > 1e-3 and high - low > 1e-3
    ]


def build_walls(
    stage: Stage, plan: Plan, walls: list[Wall], height: float, thick: float, textures: list[Texture]
) -> None:
    """All walls of a room; outer corners are closed, inner ones close themselves."""
    turns = []
    for k, wall in enumerate(walls):
        turn = wall.spot.yaw - walls[k - 1].spot.yaw
        turns.append(math.sin(turn) > 0)
    for k, wall in enumerate(walls):
        extend = tuple(thick if turns[(k + e) % len(walls)] else 0.0 for e in (0, 1))
        stage.build(*build_wall(wall, height, thick, textures[k % len(textures)], extend))  # type: ignore[arg-type]


def ceiling_profile(rng: Generator, width: float, height: float, kind: str) -> list[Point]:
    """Points (x, y) of a ceiling's underside across the room, left to right."""
    a = width / 2
    if kind == "gable":
        rise = width * uniform(rng, 0.15, 0.5)
        return [(-a, height), (uniform(rng, -0.05, 0.05) * width, height + rise), (a, height)]
    if kind == "shed":
        return [(-a, height), (a, height + width * uniform(rng, 0.1, 0.35))]
    if kind == "attic":
        flat, rise = uniform(rng, 0.15, 0.3) * width, uniform(rng, 0.8, 1.4)
        return [(-a, height), (-flat, height + rise), (flat, height + rise), (a, height)]
    if kind == "vault":
        rise, pieces = width * uniform(rng, 0.12, 0.5), 10
        turns = [math.pi * (1 - k / pieces) for k in range(pieces + 1)]
        return [(a * math.cos(t), height + rise * math.sin(t)) for t in turns]
    return [(-a, height), (a, height)]


def build_ceiling(
    stage: Stage, plan: Plan, profile: list[Point], texture: Texture, along_x: bool, thick: float
) -> None:
    """Slabs under a profile that runs across z (``along_x``: the ridge follows x) or across x."""
    (x0, z0), (x1, z1) = plan.low, plan.high
    middle, length = ((x0 + x1) / 2, (z0 + z1) / 2), (x1 - x0 if along_x else z1 - z0) + 2 * thick
    axes = attitude(math.pi / 2 if along_x else 0.0)
    anchor = (middle[0], 0.0, middle[1])
    for k, ((ax, ay), (bx, by)) in enumerate(itertools.pairwise(profile)):
        # The outer pieces reach over the walls, along their own slope.
        slope = (by - ay) / max(bx - ax, 1e-6)
        if k == 0:
            ax, ay = ax - thick, ay - thick * min(slope, 1.0)
        if k == len(profile) - 2:
            bx, by = bx + thick, by + thick * max(slope, -1.0)
        piece = ((ax, ay), (bx, by), (bx, by + 0.2), (ax, ay + 0.2))
        stage.build(drawn_out(piece, length, (middle[0], 0.0, middle[1]), axes, texture, anchor=anchor))


def crossbeams(rng: Generator, stage: Stage, plan: Plan, profile: list[Point], along_x: bool) -> None:
    """Beams or ribs that follow the ceiling's profile, and in some rooms a coffering or a ridge."""
    (x0, z0), (x1, z1) = plan.low, plan.high
    length, middle = (x1 - x0 if along_x else z1 - z0), ((x0 + x1) / 2, (z0 + z1) / 2)
    made, wide = materials.wood(rng) if chance(rng, 0.75) else materials.stone(rng), spread(rng, 0.08, 0.35)
    count = max(1, round(length / uniform(rng, 0.8, 3.0)))
    lay = Spot(middle[0], 0.0, middle[1], math.pi / 2 if along_x else 0.0)
    for k in range(count):
        at = ((k + 0.5) / count - 0.5) * length
        for (ax, ay), (bx, by) in itertools.pairwise(profile):
            stage.build(lay.bar((ax, ay - wide / 3, at), (bx, by - wide / 3, at), wide, made, 4))
    if chance(rng, 0.3):
        low = profile[0][1]
        for k in range(count):
            at = ((k + 0.5) / count - 0.5) * length
            stage.build(lay.bar((profile[0][0], low - 0.1, at), (profile[-1][0], low - 0.1, at), wide, made, 4))
    elif chance(rng, 0.4):
        for x, y in profile[1:-1] or [(0.0, profile[0][1])]:
            stage.build(lay.bar((x, y - wide / 3, -length / 2), (x, y - wide / 3, length / 2), wide, made, 4))


def fill_opening(rng: Generator, wall: Wall, hole: Opening, thick: float, frame: Texture) -> list[Solid]:
    """What is in a hole: a closed door, a window with its panes, the frame of an open one, curtains."""
    middle, width, tall = (hole.start + hole.end) / 2, hole.end - hole.start, hole.high - hole.low
    spot = wall.spot.moved(middle, hole.low, 0)
    solids: list[Solid] = []
    if hole.kind == "door":
        leaf = Door(width, tall, color(rng, 0.05, 0.7, 0.6), color(rng, 0.3, 0.8, 0.3))
        back = -thick * uniform(rng, 0.2, 0.9)
        solids.append(block(spot.at(0, 0, back), (width, tall, 0.05), leaf, spot.yaw))
    elif hole.kind == "panes":
        glow = color(rng, 0.6, 1.0, 0.35)
        panes = Panes(
            width, tall, whole(rng, 1, 4), whole(rng, 1, 4), glow, color(rng, 0.1, 0.9, 0.3), uniform(rng, 0.4, 2.2)
        )
        solids.append(block(spot.at(0, 0, -thick * 0.6), (width, tall, 0.04), panes, spot.yaw, shadow=False))
    elif hole.kind == "window":
        for k in range(whole(rng, 1, 3) + 1):
            at = (k / 2 - 0.5) * width if k < 3 else 0.0
            solids.append(spot.block((at, 0, -thick * 0.6), (0.06, tall, 0.06), frame))
        for high in (0.0, tall - 0.06, tall * uniform(rng, 0.4, 0.7)):
            solids.append(spot.block((0, high, -thick * 0.6), (width, 0.06, 0.06), frame))
    elif hole.kind == "ajar":
        turn = uniform(rng, 0.5, 1.9)
        leaf = Door(width, tall, color(rng, 0.05, 0.7, 0.6), color(rng, 0.3, 0.8, 0.3))
        hinge = spot.moved(-width / 2, 0, 0.0, turn * sign(rng))
        solids.append(block(hinge.at(width / 2, 0, 0), (width * 0.98, tall - 0.02, 0.045), leaf, hinge.yaw))
    border = 0.07
    if hole.kind in ("door", "ajar", "open") or chance(rng, 0.6):
        for side in (-1, 1):
            solids.append(spot.block((side * (width + border) / 2, 0, 0.005), (border, tall + border, 0.03), frame))
        solids.append(spot.block((0, tall, 0.005), (width, border, 0.03), frame))
    if hole.kind in ("panes", "window") and chance(rng, 0.45):
        solids.append(spot.block((0, -0.05, 0.06), (width + 0.16, 0.05, 0.2), frame))
        fabric = Stripes(dye := color(rng, 0.1, 0.8, 0.6), scaled(dye, 0.75), uniform(rng, 0.04, 0.1))
        if chance(rng, 0.6):
            drop = min(hole.low, uniform(rng, 0.0, 1.0))
            for side in (-1, 1):
                part = uniform(rng, 0.12, 0.4) * width
                size = (part, tall + 0.15 + drop, 0.08)
                solids.append(spot.block((side * (width / 2 - part / 2 + 0.1), -drop, 0.1), size, fabric))
    return solids


def hang_pictures(rng: Generator, stage: Stage, walls: list[Wall], height: float, share: float) -> None:
    """Pictures, screens, clocks, radiators and boards on free stretches of wall."""
    for wall in walls:
        at = uniform(rng, 0.2, 1.0)
        while at < wall.length - 0.5:
            wide, tall = spread(rng, 0.25, 2.2), spread(rng, 0.25, 1.4)
            low = uniform(rng, 0.8, 1.6)
            if chance(rng, share) and wall.free(at, at + wide) and low + tall < height - 0.2:
                spot = wall.spot.moved(at + wide / 2, low, 0.02)
                if chance(rng, 0.1):
                    spot = wall.spot.moved(at + wide / 2, 0.15, 0.05)
                    stage.add([spot.block((0, 0, 0), (wide, 0.55, 0.1), Plain(color(rng, 0.5, 0.85, 0.1)))])
                elif chance(rng, 0.12):
                    stage.add([spot.block((0, 0, 0), (wide, tall, 0.04), materials.anything(rng))])
                else:
                    frame = color(rng, 0.02, 0.7, 0.6)
                    glow = uniform(rng, 0.3, 1.0) if chance(rng, 0.1) else 0.0
                    picture = Painting(wide, tall, seed(rng), frame, emission=glow)
                    stage.add([block(spot.at(0, 0, 0), (wide, tall, 0.03), picture, spot.yaw, shadow=False)])
            at += wide + spread(rng, 0.15, 2.0)


def skirting(rng: Generator, stage: Stage, walls: list[Wall], height: float) -> None:
    """Boards along the foot of the walls, and a cornice in some rooms."""
    board, high = Plain(color(rng, 0.05, 0.85, 0.3)), spread(rng, 0.05, 0.2)
    cornice = spread(rng, 0.05, 0.25) if chance(rng, 0.3) else 0.0
    for wall in walls:
        cursor = 0.0
        for hole in [*sorted(wall.openings, key=lambda o: o.start), None]:
            end = wall.length if hole is None else hole.start if hole.low < high else None
            if end is None:
                continue
            if end - cursor > 0.05:
                place = ((cursor + end) / 2, 0.0, 0.008)
                stage.build(wall.spot.block(place, (end - cursor, high, 0.016), board, shadow=False))
            cursor = hole.end if hole is not None else end
        if cornice:
            place = (wall.length / 2, height - cornice, cornice / 2)
            stage.build(wall.spot.block(place, (wall.length, cornice, cornice), board, shadow=False))


def light_room(rng: Generator, stage: Stage, plan: Plan, height: float) -> None:
    """Lamps under the ceiling: panels, pendants, spots or tubes, as many as the floor asks for."""
    count = min(6, max(1, round(plan.area / uniform(rng, 12, 40))))
    kind = pick(rng, ("panel", "pendant", "globe", "tube", "none"), (30, 25, 20, 15, 10))
    warm = uniform(rng, 0.45, 1.05)
    tone = (1.0, min(1.0, 0.62 + 0.38 * warm), min(1.05, warm))
    power = spread(rng, 0.25, 1.0) * (0.5 + plan.area / count / 6) * max(1.0, height / 3)
    glow = Plain((min(1.0, tone[0]), tone[1], min(1.0, tone[2])), emission=uniform(rng, 0.8, 2.0))
    dark = Plain(color(rng, 0.02, 0.5, 0.3))
    for _ in range(count):
        x, z = plan.spot(rng, 0.5)
        # Under a sloped ceiling the lamp's height is the eaves' at most; long cords reach down in high rooms.
        drop = {"pendant": uniform(rng, 0.3, max(0.35, min(height - 2.2, height * 0.55))), "globe": 0.3}.get(kind, 0.03)
        y = height - drop
        parts: list[Solid] = []
        if kind in ("pendant", "globe"):
            size = spread(rng, 0.1, 0.35)
            parts.append(Cylinder((x, y, z), 0.006, drop, dark, shadow=False))
            if chance(rng, 0.5):
                parts.append(Sphere((x, y, z), size, glow, shadow=False))
            else:
                parts.append(
                    Cylinder((x, y - 0.1, z), size, 0.15, glow, dark if chance(rng, 0.5) else glow, shadow=False)
                )
        elif kind != "none":
            size2 = (1.2, 0.08) if kind == "tube" else (spread(rng, 0.15, 1.2), spread(rng, 0.15, 0.6))
            parts.append(
                block((x, y, z), (size2[0], 0.03, size2[1]), glow, pick(rng, (0.0, math.pi / 2)), shadow=False)
            )
        if parts and not stage.add(parts):
            continue
        light = (power * tone[0], power * tone[1], power * tone[2])
        spread_of = 0.15 if chance(rng, 0.15) else 0.0
        stage.lamps.append(Lamp((x, y - 0.12, z), light, spread_of, shadows=chance(rng, 0.75)))


def annex(rng: Generator, stage: Stage, wall: Wall, hole: Opening, height: float, thick: float) -> None:
    """A second room behind an opening, lit on its own, so that open doors lead somewhere."""
    wide, deep = uniform(rng, 1.2, 5.0), uniform(rng, 1.5, 7.0)
    tall = max(hole.high + 0.1, min(height, uniform(rng, 2.3, 3.2)))
    middle = (hole.start + hole.end) / 2 + uniform(rng, -0.35, 0.35) * wide
    left, right = min(middle - wide / 2, hole.start - 0.1), max(middle + wide / 2, hole.end + 0.1)
    paint, cover, ground = materials.wall(rng), materials.ceiling(rng), materials.floor(rng)
    spot = wall.spot.moved((left + right) / 2, 0, -thick - deep / 2)
    wide = right - left
    stage.build(
        spot.block((0, -0.2, 0), (wide, 0.2, deep), ground),
        spot.block((0, tall, 0), (wide, 0.2, deep), cover),
        spot.block((0, 0, -deep / 2 - 0.05), (wide, tall, 0.1), paint),
        *(spot.block((side * (wide / 2 + 0.05), 0, 0), (0.1, tall, deep), paint) for side in (-1, 1)),
    )
    power = spread(rng, 0.3, 3.0)
    if chance(rng, 0.75):
        stage.lamps.append(Lamp(spot.at(0, tall - 0.3, 0), (power, power * 0.92, power * 0.8)))
    for _ in range(whole(rng, 0, 3)):
        place = spot.moved(uniform(rng, -0.4, 0.4) * wide, 0, -uniform(rng, 0.1, 0.4) * deep, uniform(rng, 0, 3))
        size = (uniform(rng, 0.3, 0.8), uniform(rng, 0.4, 1.8), uniform(rng, 0.3, 1.0))
        stage.add([place.block((0, 0, 0), size, materials.anything(rng))])


def column(x: float, z: float, height: float, width: float, made: Texture, square: bool) -> list[Solid]:
    """A column with base and capital."""
    r = width / 2
    plate = [block((x, y, z), (width * 1.5, width * 0.3, width * 1.5), made) for y in (0.0, height - width * 0.3)]
    if square:
        return [*plate, block((x, 0, z), (width, height, width), made)]
    return [*plate, Cylinder((x, 0, z), r, height, made)]


def railing(spot: Spot, length: float, height: float, made: Texture, pitch: float = 0.15) -> list[Solid]:
    """A handrail along local x on thin bars."""
    solids = [spot.bar((-length / 2, height, 0), (length / 2, height, 0), 0.05, made, 5)]
    count = max(2, int(length / pitch))
    for k in range(count + 1):
        x = (k / count - 0.5) * length
        solids.append(spot.bar((x, 0, 0), (x, height, 0), 0.02, made, 4))
    return solids


def stairs(spot: Spot, width: float, steps: int, made: Texture, rise: float = 0.17, run: float = 0.28) -> list[Solid]:
    """A flight that climbs along local x."""
    return [spot.block(((k + 0.5) * run, 0, 0), (run, (k + 1) * rise, width), made) for k in range(steps)]


def patch(rng: Generator, center: Vector, size: Point, yaw: float, texture: Texture) -> Solid:
    """A thin carpet, mat or marking on the ground."""
    edge = Mottled(color(rng, 0.05, 0.5), 0.1)
    return block(center, (size[0], 0.012, size[1]), edge, yaw, top=texture, shadow=False)
