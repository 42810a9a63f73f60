"""Places outdoors: streets, crossings, squares, parks and woods, slopes, gardens and yards, open roads and fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pager_ray.samples.pictures import Road
from pager_ray.samples.scene import Scene
from pager_ray.samples.solids import Ground, Solid
from pager_ray.samples.textures import Mottled, Plain
from pager_ray.train.scenes import buildings, furniture, materials, shells, things
from pager_ray.train.scenes.daylight import daylight
from pager_ray.train.scenes.draw import angle, chance, color, pick, sign, spread, uniform, whole
from pager_ray.train.scenes.grounds import Lay, around, clutter, grove, horizon, keep_clear, land, row, strip
from pager_ray.train.scenes.shapes import block
from pager_ray.train.scenes.stage import Spot, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator


def place(rng: Generator) -> Scene:
    """A place outdoors at some time of some day."""
    kind = pick(rng, tuple(_PLACES), (24, 17, 16, 14, 8, 9, 7, 5))
    sky, sun, ambient = daylight(rng)
    height = uniform(rng, 1.4, 1.9) if chance(rng, 0.65) else uniform(rng, 0.8, 3.0)
    stage = Stage(rng, (0.0, height, 0.0))
    _PLACES[kind](rng, stage)
    if chance(rng, 0.12):
        a = angle(rng)
        away = uniform(rng, 0.75, 1.3)
        stage.add(furniture.person(rng, Spot(away * math.cos(a), 0.0, away * math.sin(a), a + math.pi)))
    return Scene(
        kind="outdoor",
        style=kind,
        eye=stage.eye,
        heading=angle(rng),
        solids=tuple(stage.solids),
        sun=sun,
        sky=sky,
        ambient=ambient,
        haze=spread(rng, 120, 2500),
    )


def _street(rng: Generator, stage: Stage) -> None:
    """Along x: a carriageway between pavements and two rows of fronts, level or climbing."""
    lay = Lay(math.tan(uniform(rng, -0.09, 0.09)) if chance(rng, 0.25) else 0.0)
    road, walk = spread(rng, 3.0, 16.0), spread(rng, 1.0, 6.0)
    # The camera is in the carriageway or on a pavement.
    off = uniform(rng, -0.5, 0.5) * road if chance(rng, 0.6) else sign(rng) * (road / 2 + uniform(rng, 0.3, 0.8) * walk)
    asphalt, paving = materials.pavement(rng), materials.pavement(rng)
    if chance(rng, 0.6):
        asphalt = Road(road, asphalt, color(rng, 0.5, 0.8, 0.5))
    soil = materials.meadow(rng) if chance(rng, 0.4) else paving
    kerb, step = materials.stone(rng), uniform(rng, 0.0, 0.16)
    below = off if abs(off) < road / 2 else None
    ground = 0.0 if below is not None else -step
    land(stage, lay, soil, ground - 0.03)
    strip(stage, lay, -off, road, ground, asphalt, asphalt)
    for side in (-1, 1):
        strip(stage, lay, side * (road + walk) / 2 - off, walk, ground + step, paving, kerb)
    storeys = pick(rng, ((1, 2), (2, 4), (3, 5), (4, 7)), (20, 30, 35, 15))
    setback = 0.0 if chance(rng, 0.6) else spread(rng, 0.5, 8.0)
    for side in (-1, 1):
        if chance(rng, 0.08):
            continue
        line = side * (road / 2 + walk + setback) - off
        start, yaw = ((-70.0, line), 0.0) if side < 0 else ((70.0, line), math.pi)
        row(rng, stage, lay, start, yaw, 140.0, storeys)
    raised = Lay(lay.x)
    for side in (-1, 1):
        trees, cars = chance(rng, 0.45), chance(rng, 0.65)
        pitch, tall = uniform(rng, 6, 16), spread(rng, 4, 13)
        for k in range(-6, 7):
            x = (k + uniform(rng, -0.15, 0.15)) * pitch
            z = side * (road / 2 + walk * 0.25) - off
            spot = Spot(x, lay.x * x + ground + step, z, 0.0 if side < 0 else math.pi)
            if trees and chance(rng, 0.85):
                detail = 1.0 if abs(x) < 14 else 0.3
                stage.put(things.tree(rng, spot, tall * uniform(rng, 0.8, 1.2), detail), x, z, 0.5)
            if chance(rng, 0.25):
                turned = Spot(spot.x + 2, spot.y, spot.z, math.pi / 2 * -side)
                stage.put(things.lamp_post(rng, turned, uniform(rng, 3.5, 8)), x + 2, z, 0.2)
            if cars and road > 4.5 and chance(rng, 0.6):
                at = (k + 0.5) * 6.2
                edge = side * (road / 2 - 1.1) - off
                axes = Spot(at, lay.x * at + ground, edge, 0.0 if chance(rng, 0.5) else math.pi)
                stage.put(things.car(rng, axes), at, edge, 1.6)
    clutter(rng, stage, raised, whole(rng, 2, 16), 30.0, urban=True)
    if chance(rng, 0.2):
        for _ in range(whole(rng, 1, 4)):
            x, high = uniform(rng, -25, 25), uniform(rng, 5, 9)
            half = road / 2 + walk
            stage.build(*things.wires(rng, (x, high, -half - off), (x + uniform(rng, -8, 8), high, half - off)))
    if chance(rng, 0.35):
        x = sign(rng) * spread(rng, 2.5, 14)
        stage.build(*things.crossing(rng, lay.spot(x, -off), road * 0.9)) if lay.x == 0 and ground == 0 else None
    horizon(rng, stage)


def _junction(rng: Generator, stage: Stage) -> None:
    """Two streets that cross, four corners of buildings around them."""
    lay = Lay()
    a, b = spread(rng, 7, 22), spread(rng, 7, 22)
    off = (uniform(rng, -0.35, 0.35) * a, uniform(rng, -0.35, 0.35) * b)
    stage.build(Ground(materials.pavement(rng)))
    paving, kerb, step = materials.pavement(rng), materials.stone(rng), uniform(rng, 0.03, 0.15)
    walk = uniform(rng, 1.5, 4.5)
    storeys = pick(rng, ((2, 4), (3, 5), (4, 7)))
    for sx in (-1, 1):
        for sz in (-1, 1):
            if chance(rng, 0.08):
                continue
            cx, cz = sx * a / 2 - off[0], sz * b / 2 - off[1]
            middle = (cx + sx * 40, -0.1, cz + sz * 40)
            stage.build(block(middle, (80, 0.1 + step, 80), kerb, top=paving, shadow=False))
            cx, cz = cx + sx * walk, cz + sz * walk
            wide, deep = spread(rng, 10, 25), spread(rng, 10, 25)
            # The corner's own house shows a front to either street.
            spot = Spot(cx + sx * wide / 2, step, cz, 0.0 if sz < 0 else math.pi)
            round_one = chance(rng, 0.3)
            count = whole(rng, *storeys)
            stage.add(buildings.building(rng, spot, wide, deep, count, detail=True, round_corner=round_one))
            yaw = 0.0 if sz < 0 else math.pi
            start = cx + sx * wide if (yaw == 0.0 and sx > 0) or (yaw != 0.0 and sx < 0) else cx + sx * (wide + 60)
            row(rng, stage, lay, (start, cz), yaw, 60.0, storeys)
            turned = math.pi / 2 if sx > 0 else -math.pi / 2
            near, far = cz + sz * deep, cz + sz * (deep + 60)
            start = near if (turned > 0) == (sz > 0) else far
            row(rng, stage, lay, (cx, start), turned, 60.0, storeys)
    _road_marks(rng, stage, a, b, off)
    for _ in range(whole(rng, 0, 10)):
        lane, along = sign(rng), spread(rng, 5, 45) * sign(rng)
        spot = (
            Spot(lane * a / 4 - off[0], 0, along, math.pi / 2)
            if chance(rng, 0.5)
            else Spot(along, 0, lane * b / 4 - off[1])
        )
        stage.put(things.car(rng, spot), spot.x, spot.z, 2.2)
    clutter(rng, stage, lay, whole(rng, 6, 26), 28.0, urban=True)
    grove(rng, stage, lay, whole(rng, 0, 8), 5, 40)
    horizon(rng, stage)


def _road_marks(rng: Generator, stage: Stage, a: float, b: float, off: tuple[float, float]) -> None:
    """Crossings and lines on the ground of a junction."""
    for side in (-1, 1):
        if chance(rng, 0.45):
            stage.build(*things.crossing(rng, Spot(side * (a / 2 + 1.8) - off[0], 0, -off[1]), b * 0.9))
        if chance(rng, 0.45):
            stage.build(*things.crossing(rng, Spot(-off[0], 0, side * (b / 2 + 1.8) - off[1], math.pi / 2), a * 0.9))
    paint = Plain(color(rng, 0.4, 0.75, 0.9 if chance(rng, 0.4) else 0.05))
    for _ in range(whole(rng, 0, 8)):
        spot = Spot(uniform(rng, -20, 20), 0, uniform(rng, -20, 20), pick(rng, (0.0, math.pi / 2, uniform(rng, 0, 3))))
        stage.build(spot.block((0, 0, 0), (spread(rng, 1, 14), 0.006, 0.14), paint, shadow=False))


def _square(rng: Generator, stage: Stage) -> None:
    """An open square: paving, fronts on some of its sides, a fountain or monument, trees, stalls and people."""
    lay = Lay()
    stage.build(Ground(materials.pavement(rng)))
    x, z = spread(rng, 14, 90), spread(rng, 14, 90)
    ox, oz = uniform(rng, -0.35, 0.35) * x, uniform(rng, -0.35, 0.35) * z
    storeys = pick(rng, ((1, 3), (2, 4), (3, 5), (4, 7)))
    turn = angle(rng) if chance(rng, 0.4) else 0.0
    frame = Spot(0, 0, 0, turn)
    corners = (
        (-x / 2, -z / 2, 0.0, x),
        (x / 2, -z / 2, math.pi / 2, z),
        (x / 2, z / 2, math.pi, x),
        (-x / 2, z / 2, -math.pi / 2, z),
    )
    for cx, cz, yaw, length in corners:
        if chance(rng, 0.8):
            start = frame.at(cx - ox, 0, cz - oz)
            row(rng, stage, lay, (start[0], start[2]), yaw + turn, length, storeys, gaps=0.15)
    keep_clear(stage)
    for _ in range(whole(rng, 0, 3)):
        a, away = angle(rng), spread(rng, 4.5, 0.45 * min(x, z) + 5)
        px, pz = away * math.cos(a), away * math.sin(a)
        stage.put(things.fountain(rng, Spot(px, 0, pz, angle(rng))), px, pz, 3.0)
    if chance(rng, 0.5):
        tall, pitch, ring = spread(rng, 4, 11), uniform(rng, 5, 9), 0.38 * min(x, z)
        for k in range(int(2 * math.pi * ring / pitch)):
            a = 2 * math.pi * k * pitch / (2 * math.pi * ring)
            px, pz = ring * math.cos(a) * 1.1 - ox * 0.3, ring * math.sin(a) - oz * 0.3
            stage.put(things.tree(rng, Spot(px, 0, pz), tall, 0.5), px, pz, 0.5)
    grove(rng, stage, lay, whole(rng, 0, 10), 6, 60)
    if chance(rng, 0.25):
        steps, spot = whole(rng, 3, 12), lay.spot(*around(rng, 6, 20), angle(rng))
        stage.put(shells.stairs(spot, spread(rng, 3, 20), steps, materials.stone(rng), 0.16, 0.34), spot.x, spot.z, 4.0)
    clutter(rng, stage, lay, whole(rng, 5, 32), 35.0, urban=True)
    horizon(rng, stage)


def _park(rng: Generator, stage: Stage) -> None:
    """Lawns with paths, beds, hedges and trees: from a wide park to a dense wood."""
    lay = Lay(math.tan(uniform(rng, -0.08, 0.08)), math.tan(uniform(rng, -0.08, 0.08))) if chance(rng, 0.35) else Lay()
    land(stage, lay, materials.meadow(rng))
    dense = chance(rng, 0.35)
    if lay == Lay():
        gravel, turn = materials.pavement(rng), angle(rng)
        for k in range(whole(rng, 0, 3)):
            x, z = around(rng, 0.5, 8)
            size = (120.0, 0.015 + 0.001 * k, spread(rng, 1.2, 5))
            stage.build(block((x, 0, z), size, gravel, turn + k * 1.3, shadow=False))
        if chance(rng, 0.3):
            x, z = around(rng, 7, 25)
            water = Mottled((0.09, 0.15, 0.18), 0.35, 1.2, whole(rng, 0, 99), tint=(0.2, 0.3, 0.36))
            pond = Spot(x, 0, z).post((0, 0, 0), uniform(rng, 2.5, 6.0), 0.05, water)
            stage.put([pond], x, z, 5.0)
    grove(rng, stage, lay, whole(rng, 40, 90) if dense else whole(rng, 6, 34), 2.5, 60 if dense else 90, wild=dense)
    for _ in range(whole(rng, 0, 5)):
        x, z = around(rng, 3, 25)
        stage.put(things.hedge(rng, lay.spot(x, z, angle(rng)), spread(rng, 2, 14)), x, z, 2.0)
    clutter(rng, stage, lay, whole(rng, 2, 18), 25.0, urban=False)
    horizon(rng, stage)


def _slope(rng: Generator, stage: Stage) -> None:
    """A hillside: tilted ground with trees, rocks, walls, houses and steps."""
    steep = math.tan(uniform(rng, 0.06, 0.32))
    a = angle(rng)
    lay = Lay(steep * math.cos(a), steep * math.sin(a))
    land(stage, lay, materials.meadow(rng))
    for _ in range(whole(rng, 0, 7)):
        x, z = around(rng, 11, 45)
        wide = spread(rng, 6, 14)
        spot = lay.spot(x, z, math.atan2(z, x) + math.pi / 2 + uniform(rng, -0.5, 0.5))
        low = Spot(spot.x, spot.y - steep * wide * 0.5, spot.z, spot.yaw)
        stage.put(
            buildings.building(rng, low, wide, uniform(rng, 6, 10), whole(rng, 1, 3), detail=True), x, z, wide * 0.7
        )
    if chance(rng, 0.5):
        x, z = around(rng, 2.0, 7)
        run = uniform(rng, 0.3, 0.45)
        flight = shells.stairs(
            lay.spot(x, z, a), uniform(rng, 1, 3), whole(rng, 6, 24), materials.stone(rng), run * steep, run
        )
        stage.put(flight, x, z, 1.0)
    grove(rng, stage, lay, whole(rng, 4, 40), 3, 70, wild=True)
    for _ in range(whole(rng, 0, 6)):
        x, z = around(rng, 3, 20)
        stage.put(things.fence(rng, lay.spot(x, z, a + math.pi / 2), spread(rng, 2, 10)), x, z, 1.5)
    clutter(rng, stage, lay, whole(rng, 2, 14), 25.0, urban=False)
    horizon(rng, stage)


def _yard(rng: Generator, stage: Stage) -> None:
    """A garden or courtyard: walls, fences or fronts close by on all sides."""
    lay = Lay()
    stage.build(Ground(materials.meadow(rng) if chance(rng, 0.5) else materials.pavement(rng)))
    x, z = spread(rng, 5, 22), spread(rng, 5, 22)
    ox, oz = uniform(rng, -0.3, 0.3) * x, uniform(rng, -0.3, 0.3) * z
    sides = (
        (-x / 2, -z / 2, 0.0, x),
        (x / 2, -z / 2, math.pi / 2, z),
        (x / 2, z / 2, math.pi, x),
        (-x / 2, z / 2, -math.pi / 2, z),
    )
    for cx, cz, yaw, length in sides:
        kind = pick(rng, ("house", "fence", "hedge", "open"), (45, 30, 15, 10))
        line = Spot(cx - ox, 0, cz - oz, yaw)
        if kind == "house":
            row(rng, stage, lay, (line.x, line.z), yaw, length, (1, 4), gaps=0.05)
        elif kind == "fence":
            stage.add(things.fence(rng, line.moved(length / 2, 0, 0), length))
        elif kind == "hedge":
            stage.add(things.hedge(rng, line.moved(length / 2, 0, 0), length))
    keep_clear(stage)
    if chance(rng, 0.3):
        made, deep = materials.wood(rng), uniform(rng, 2, 4)
        posts = [Spot(uniform(rng, -3, 3), 0, uniform(rng, -3, 3))]
        roof: list[Solid] = []
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            roof.append(posts[0].block((a * deep / 2, 0, b * deep / 2), (0.12, 2.4, 0.12), made))
        roof += [posts[0].block((k * deep / 6, 2.4, 0), (0.08, 0.16, deep + 0.6), made) for k in range(-3, 4)]
        stage.add(roof)
    if chance(rng, 0.6):
        px, pz = around(rng, 1.8, 6)
        stage.put(furniture.table(rng, Spot(px, 0, pz, angle(rng)), (0.8, 0.74, 1.4)), px, pz, 0.8)
    grove(rng, stage, lay, whole(rng, 1, 9), 3, 18)
    clutter(rng, stage, lay, whole(rng, 4, 18), 12.0, urban=False)
    horizon(rng, stage)


def _field(rng: Generator, stage: Stage) -> None:
    """Open country, a beach or a car park: far ground, little on it."""
    parked = chance(rng, 0.35)
    lay = Lay()
    stage.build(Ground(materials.pavement(rng) if parked else materials.meadow(rng)))
    if parked:
        pitch, lanes, turn = 2.6, whole(rng, 1, 4), angle(rng)
        frame = Spot(0, 0, 0, turn)
        paint = Plain((0.6, 0.6, 0.58))
        for lane in range(lanes):
            dz = (lane - lanes / 2) * 9.0 + 5.0
            for k in range(-12, 13):
                spot = frame.moved(k * pitch, 0, dz, math.pi / 2)
                stage.build(frame.block((k * pitch + pitch / 2, 0, dz), (0.1, 0.006, 4.8), paint, shadow=False))
                if chance(rng, 0.5):
                    stage.put(things.car(rng, spot), spot.x, spot.z, 1.25)
    else:
        stage.build(
            block((0, 0, uniform(rng, -6, 6)), (400, 0.02, uniform(rng, 2.5, 8)), materials.pavement(rng), shadow=False)
        )
        for _ in range(whole(rng, 0, 4)):
            x, z = around(rng, 4, 30)
            stage.put(things.fence(rng, Spot(x, 0, z, angle(rng)), spread(rng, 4, 30)), x, z, 2.0)
    grove(rng, stage, lay, whole(rng, 0, 22), 6, 120)
    clutter(rng, stage, lay, whole(rng, 1, 12), 40.0, urban=parked)
    for _ in range(whole(rng, 0, 3)):
        x, z = around(rng, 18, 90)
        wide = spread(rng, 8, 30)
        spot = Spot(x, 0, z, angle(rng))
        stage.put(
            buildings.building(rng, spot, wide, uniform(rng, 7, 16), whole(rng, 1, 3), detail=False), x, z, wide * 0.6
        )
    horizon(rng, stage)


def _gateway(rng: Generator, stage: Stage) -> None:
    """Under a roof that is open at its sides: an arcade, a passage, a station or a bridge's vault."""
    stage.build(Ground(materials.pavement(rng)))
    made, wide, pitch = materials.stone(rng), uniform(rng, 3.0, 9.0), uniform(rng, 2.8, 6.0)
    tall, thick, off = uniform(rng, 3.0, 7.0), uniform(rng, 0.3, 0.9), uniform(rng, -0.3, 0.3)
    count, square = whole(rng, 3, 9), chance(rng, 0.5)
    roof = materials.ceiling(rng) if chance(rng, 0.5) else made
    long = count * pitch
    stage.build(block((0, tall, -off * wide), (long + 1, 0.5, wide + 1), roof))
    for side in (-1, 1):
        z = side * wide / 2 - off * wide
        if side < 0 and chance(rng, 0.5):
            front = buildings.front_of(rng, materials.plaster(rng), long)
            stage.build(block((0, 0, z - 4), (long, tall + 6, 8), made, ends=front))
            continue
        for k in range(count + 1):
            x = (k - count / 2) * pitch
            stage.put(shells.column(x, z, tall, thick, made, square), x, z, thick)
    row(rng, stage, Lay(), (60.0, uniform(rng, 12, 30)), math.pi, 120.0, (2, 5))
    clutter(rng, stage, Lay(), whole(rng, 4, 16), 20.0, urban=True)
    grove(rng, stage, Lay(), whole(rng, 0, 6), wide + 3, 40)
    horizon(rng, stage)


_PLACES: dict[str, Callable[[Generator, Stage], None]] = {
    "streetside": _street,
    "junction": _junction,
    "square": _square,
    "green": _park,
    "hillside": _slope,
    "yard": _yard,
    "field": _field,
    "gateway": _gateway,
}
