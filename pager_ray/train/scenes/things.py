"""What stands outdoors: trees and hedges, vehicles, street furniture. Each function returns one thing's solids."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from pager_ray.samples.solids import Solid, pyramid
from pager_ray.samples.textures import Bricks, Mottled, Plain, Stripes, Texture
from pager_ray.train.scenes import furniture, materials
from pager_ray.train.scenes.draw import chance, color, near, pick, seed, spread, uniform, whole
from pager_ray.train.scenes.shapes import attitude, bar, disc, drawn_out

if TYPE_CHECKING:
    from numpy.random import Generator

    from pager_ray.train.scenes.stage import Spot

_GLASS: Texture = Plain((0.05, 0.07, 0.09))
_TYRE: Texture = Plain((0.025, 0.025, 0.027))


def tree(rng: Generator, spot: Spot, height: float, detail: float = 1.0) -> list[Solid]:
    """A tree: broad-leaved, columnar, conifer, palm-like or bare; ``detail`` 0 to 1 says how finely."""
    bark = Mottled(near(rng, (0.17, 0.13, 0.09), 0.4), 0.5, 0.08, seed(rng))
    kind = pick(rng, ("broad", "column", "conifer", "bare", "bush"), (55, 12, 16, 9, 8))
    if kind == "conifer":
        green = materials.leaves(rng, 0.2)
        solids: list[Solid] = [spot.post((0, 0, 0), height * 0.025, height * 0.3, bark)]
        layers = 2 + int(2 * detail)
        for k in range(layers):
            low, wide = 0.1 + 0.75 * k / layers, 0.24 * (1 - 0.75 * k / layers)
            place = spot.at(0, low * height, 0)
            solids.append(pyramid(place, wide * height, height * 1.3 / layers, 8, green, yaw=uniform(rng, 0, 1)))
        return solids
    if kind == "bush":
        green, wide = materials.leaves(rng, height * 0.06), height * 0.35
        spots = [
            (uniform(rng, -1, 1) * wide, uniform(rng, 0.2, 0.7) * height, uniform(rng, -1, 1) * wide) for _ in range(6)
        ]
        return [spot.ball(place, wide * uniform(rng, 0.5, 0.9), green) for place in spots]
    trunk = height * uniform(rng, 0.22, 0.5)
    thick = height * uniform(rng, 0.025, 0.05)
    solids = [spot.post((0, 0, 0), thick, trunk, bark)]
    branches = int(3 + 4 * detail)
    tips = []
    for k in range(branches):
        a, out = 2 * math.pi * (k + uniform(rng, -0.3, 0.3)) / branches, height * uniform(rng, 0.1, 0.26)
        up = height * uniform(rng, 0.6, 0.92)
        if kind == "column":
            out *= 0.4
        tip = (out * math.cos(a), up, out * math.sin(a))
        solids.append(spot.bar((0, trunk * uniform(rng, 0.7, 0.98), 0), tip, thick * 0.7, bark, 4))
        tips.append(tip)
        if kind == "bare":
            for _ in range(2 + int(2 * detail)):
                share = uniform(rng, 0.4, 0.9)
                root = (tip[0] * share, trunk + (tip[1] - trunk) * share, tip[2] * share)
                end = (root[0] + uniform(rng, -0.14, 0.14) * height, root[1] + uniform(rng, 0, 0.15) * height, 0.0)
                end = (end[0], end[1], root[2] + uniform(rng, -0.14, 0.14) * height)
                solids.append(spot.bar(root, end, thick * 0.3, bark, 3))
    if kind == "bare":
        return solids
    green, other = materials.leaves(rng, spread(rng, 0.12, 0.5)), materials.leaves(rng, spread(rng, 0.1, 0.4))
    crown = height - trunk
    for tip in [*tips, (0.0, height - crown * 0.3, 0.0)]:
        for _ in range(1 + int(2.5 * detail)):
            off = [uniform(rng, -0.14, 0.14) * height for _ in range(3)]
            size = crown * uniform(rng, 0.12, 0.26) * (1.35 if detail < 0.4 else 1.0)
            place = (tip[0] + off[0], max(trunk, tip[1] + off[1] * 0.7), tip[2] + off[2])
            solids.append(spot.ball(place, size, green if chance(rng, 0.8) else other))
    return solids


def hedge(rng: Generator, spot: Spot, length: float) -> list[Solid]:
    """A clipped hedge along local x."""
    high, deep, green = uniform(rng, 0.5, 2.2), uniform(rng, 0.4, 1.0), materials.leaves(rng, 0.08)
    solids = [spot.block((0, 0, 0), (length, high, deep), green)]
    for _ in range(int(length * 1.5)):
        place = (uniform(rng, -0.5, 0.5) * length, uniform(rng, 0.4, 1) * high, uniform(rng, -0.4, 0.4) * deep)
        solids.append(spot.ball(place, uniform(rng, 0.15, 0.3), green))
    return solids


def car(rng: Generator, spot: Spot) -> list[Solid]:
    """A car, van or bus along local x."""
    paint = Plain(pick(rng, (color(rng, 0.03, 0.7, 0.9), (0.6, 0.6, 0.6), (0.04, 0.04, 0.045), (0.75, 0.75, 0.74))))
    kind = pick(rng, ("hatch", "saloon", "van", "bus"), (40, 35, 18, 7))
    long, wide, high = {
        "hatch": (uniform(rng, 3.5, 4.3), 1.75, uniform(rng, 1.4, 1.65)),
        "saloon": (uniform(rng, 4.2, 5.0), 1.82, uniform(rng, 1.38, 1.5)),
        "van": (uniform(rng, 4.6, 6.2), 2.0, uniform(rng, 1.9, 2.7)),
        "bus": (uniform(rng, 9, 14), 2.55, uniform(rng, 2.9, 3.4)),
    }[kind]
    a, low = long / 2, 0.22
    axes, at = attitude(spot.yaw), spot.at(0, 0, 0)
    solids: list[Solid] = []
    if kind in ("van", "bus"):
        nose = a - (0.9 if kind == "van" else 0.1)
        solids.append(drawn_out(((-a, low), (a, low), (a, 1.0), (nose, high), (-a, high)), wide, at, axes, paint))
        for side in (-1, 1):
            rows = (0.0, long * 0.9) if kind == "bus" else (nose - 0.35, 0.9)
            place = (rows[0], high * 0.52, side * (wide / 2 + 0.006))
            solids.append(spot.block(place, (rows[1], high * 0.3, 0.012), _GLASS, shadow=False))
        solids.append(
            spot.block(
                (a + 0.006 if kind == "bus" else nose + 0.3, 1.15, 0), (0.012, 0.6, wide * 0.9), _GLASS, shadow=False
            )
        )
    else:
        belt, hood = high * 0.6, a * uniform(rng, 0.35, 0.5)
        rear = -a * (0.95 if kind == "hatch" else 0.7)
        body = ((-a, low), (a, low), (a, belt * 0.82), (hood, belt), (-a * 0.98, belt))
        solids.append(drawn_out(body, wide, at, axes, paint))
        cabin = ((rear, belt), (hood, belt), (hood - 0.75, high), (rear + (0.25 if kind == "hatch" else 0.6), high))
        solids.append(drawn_out(cabin, wide * 0.86, at, axes, (paint, _GLASS, paint, _GLASS), _GLASS))
    for side in (-1, 1):
        for axle in (-0.62, 0.62):
            center = spot.at(axle * a, 0.32, side * (wide / 2 - 0.09))
            solids.append(disc(center, 0.32, 0.22, spot.yaw, Plain((0.25, 0.25, 0.26)), _TYRE))
        front, back = (a + 0.01, 0.6, side * wide * 0.36), (-a - 0.01, 0.65, side * wide * 0.38)
        solids.append(spot.block(front, (0.02, 0.14, 0.3), Plain((0.8, 0.78, 0.7)), shadow=False))
        solids.append(spot.block(back, (0.02, 0.15, 0.22), Plain((0.5, 0.02, 0.02)), shadow=False))
    return solids


def bicycle(rng: Generator, spot: Spot) -> list[Solid]:
    """A bicycle that leans on nothing."""
    paint = Plain(color(rng, 0.03, 0.6))
    solids: list[Solid] = []
    for x in (-0.52, 0.52):
        rim = [
            (x + 0.33 * math.cos(t), 0.34 + 0.33 * math.sin(t), 0.0) for t in (2 * math.pi * k / 10 for k in range(11))
        ]
        solids += [spot.bar(p, q, 0.04, _TYRE, 4) for p, q in itertools.pairwise(rim)]
    joints = ((-0.52, 0.34, 0), (-0.1, 0.3, 0), (-0.2, 0.85, 0), (0.4, 0.85, 0), (0.52, 0.34, 0))
    for a, b in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4)):
        solids.append(spot.bar(joints[a], joints[b], 0.04, paint, 4))
    solids.append(spot.block((-0.22, 0.9, 0), (0.26, 0.06, 0.14), _TYRE))
    solids.append(spot.bar((0.38, 1.0, -0.27), (0.38, 1.0, 0.27), 0.035, _TYRE, 4))
    return solids


def lamp_post(rng: Generator, spot: Spot, height: float) -> list[Solid]:
    """A street lamp: a globe on a post, a lantern, or an arm over the road (toward local +x)."""
    iron, wide = Plain(color(rng, 0.03, 0.5, 0.3)), uniform(rng, 0.06, 0.14)
    light = Plain((0.9, 0.87, 0.78), emission=uniform(rng, 0.0, 0.8))
    solids = [spot.post((0, 0, 0), wide, height * 0.12, iron), spot.post((0, 0, 0), wide * 0.55, height, iron)]
    kind = whole(rng, 0, 3)
    if kind == 0:
        solids.append(spot.ball((0, height + 0.15, 0), 0.22, light))
    elif kind == 1:
        solids.append(spot.block((0, height, 0), (0.32, 0.45, 0.32), light))
        solids.append(pyramid(spot.at(0, height + 0.45, 0), 0.22, 0.2, 4, iron, yaw=spot.yaw))
    elif kind == 2:
        reach = uniform(rng, 0.8, 2.2)
        solids.append(spot.bar((0, height, 0), (reach, height + 0.4, 0), 0.09, iron, 5))
        solids.append(spot.block((reach, height + 0.34, 0), (0.6, 0.12, 0.25), iron))
    else:
        for side in (-1, 1):
            solids.append(spot.bar((0, height - 0.3, 0), (0, height, side * 0.5), 0.06, iron, 4))
            solids.append(spot.ball((0, height + 0.15, side * 0.5), 0.18, light))
    return solids


def sign(rng: Generator, spot: Spot) -> list[Solid]:
    """A traffic sign, a traffic light or a board on a post, its face toward local +x."""
    high, metal = uniform(rng, 2.1, 3.2), Plain(color(rng, 0.1, 0.6, 0.1))
    solids = [spot.post((0, 0, 0), uniform(rng, 0.025, 0.06), high, metal)]
    kind = whole(rng, 0, 2)
    if kind == 0:
        solids.append(
            disc(spot.at(0.05, high - 0.3, 0), 0.3, 0.03, spot.yaw - math.pi / 2, Plain(color(rng, 0.1, 0.8, 1.0)))
        )
    elif kind == 1:
        solids.append(spot.block((0.12, high - 0.7, 0), (0.2, 0.9, 0.28), Plain((0.03, 0.03, 0.03))))
        lit = ((0.7, 0.05, 0.03), (0.6, 0.4, 0.03), (0.05, 0.5, 0.15))
        solids += [spot.ball((0.2, high - 0.55 + 0.28 * k, 0), 0.1, Plain(c, emission=0.3)) for k, c in enumerate(lit)]
    else:
        board = materials.anything(rng)
        solids.append(spot.block((0.05, high - 0.8, 0), (0.04, uniform(rng, 0.3, 0.8), uniform(rng, 0.4, 1.6)), board))
    return solids


def bench(rng: Generator, spot: Spot) -> list[Solid]:
    """A bench of planks, with a back or without, or a block of stone."""
    long = uniform(rng, 1.2, 2.4)
    if chance(rng, 0.25):
        return [spot.block((0, 0, 0), (0.5, 0.45, long), materials.anything(rng))]
    made, metal = materials.wood(rng), Plain(color(rng, 0.03, 0.4, 0.2))
    solids = [spot.block((0.08 * k - 0.16, 0.42, 0), (0.07, 0.04, long), made) for k in range(5)]
    solids += [spot.block((0, 0, side * long * 0.4), (0.4, 0.42, 0.06), metal) for side in (-1, 1)]
    if chance(rng, 0.7):
        solids += [spot.block((-0.24, 0.55 + 0.12 * k, 0), (0.03, 0.09, long), made) for k in range(3)]
        solids += [spot.block((-0.21, 0.4, side * long * 0.4), (0.04, 0.5, 0.05), metal) for side in (-1, 1)]
    return solids


def street_thing(rng: Generator, spot: Spot) -> list[Solid]:
    """A bollard, bin, planter, hydrant, box, parasol with tables, kiosk or cone."""
    kind = pick(
        rng, ("bollards", "bin", "planter", "box", "parasol", "kiosk", "cone", "block"), (20, 18, 16, 14, 12, 6, 6, 8)
    )
    made = materials.anything(rng)
    if kind == "bollards":
        count, pitch, high, r = (
            whole(rng, 1, 6),
            uniform(rng, 0.9, 1.8),
            uniform(rng, 0.5, 1.1),
            uniform(rng, 0.04, 0.14),
        )
        return [spot.post((0, 0, (k - count / 2) * pitch), r, high, made) for k in range(count)]
    if kind == "bin":
        if chance(rng, 0.5):
            return [spot.post((0, 0, 0), uniform(rng, 0.2, 0.35), uniform(rng, 0.7, 1.1), made)]
        return [
            spot.block((0, 0.05, 0), (uniform(rng, 0.4, 0.9), uniform(rng, 0.8, 1.4), uniform(rng, 0.4, 1.3)), made)
        ]
    if kind == "planter":
        wide, high = uniform(rng, 0.6, 2.5), uniform(rng, 0.35, 0.8)
        solids = [spot.block((0, 0, 0), (wide, high, 0.7), materials.stone(rng), materials.meadow(rng))]
        green = materials.leaves(rng, 0.1)
        for _ in range(whole(rng, 3, 9)):
            place = (uniform(rng, -0.45, 0.45) * wide, high + uniform(rng, 0, 0.25), uniform(rng, -0.25, 0.25))
            solids.append(spot.ball(place, uniform(rng, 0.12, 0.3), green))
        return solids
    if kind == "parasol":
        cloth = Stripes(color(rng, 0.2, 0.8), color(rng, 0.4, 0.9, 0.3), 0.3) if chance(rng, 0.4) else Plain(color(rng))
        solids = [spot.post((0, 0, 0), 0.03, 2.4, Plain((0.4, 0.35, 0.3)))]
        solids.append(pyramid(spot.at(0, 2.15, 0), uniform(rng, 0.9, 1.8), 0.5, 8, cloth))
        solids += furniture.table(rng, spot.moved(0.9, 0, 0), (0.7, 0.72, 0.7))
        frame, seat = materials.wood(rng), furniture.cloth(rng)
        for side in (-1, 1):
            solids += furniture.chair(rng, spot.moved(0.9, 0, side * 0.7, -side * math.pi / 2), frame, seat)
        return solids
    if kind == "kiosk":
        size = (uniform(rng, 1.8, 3.5), uniform(rng, 2.3, 2.9), uniform(rng, 1.8, 4.0))
        goods = materials.Goods(0.4, 0.15, seed=seed(rng)) if chance(rng, 0.5) else made
        roof = spot.block((0, size[1], 0), (size[0] + 0.5, 0.15, size[2] + 0.5), Plain(color(rng)))
        return [spot.block((0, 0, 0), size, goods, made), roof]
    if kind == "cone":
        return [
            pyramid(spot.at(0.7 * k, 0, 0.2 * k), 0.16, 0.6, 8, Stripes((0.8, 0.2, 0.03), (0.8, 0.8, 0.8), 0.2))
            for k in range(whole(rng, 1, 4))
        ]
    size = (spread(rng, 0.3, 2.0), spread(rng, 0.3, 1.6), spread(rng, 0.3, 2.0))
    return [spot.block((0, 0, 0), size, made)]


def fence(rng: Generator, spot: Spot, length: float) -> list[Solid]:
    """A fence, a wall or a railing along local x."""
    kind = pick(rng, ("bars", "boards", "wall", "chain"))
    high = uniform(rng, 0.7, 2.2)
    if kind == "wall":
        made = materials.brick(rng) if chance(rng, 0.4) else materials.stone(rng)
        cap = spot.block((0, high, 0), (length, 0.08, 0.35), materials.stone(rng))
        return [spot.block((0, 0, 0), (length, high, 0.25), made), cap]
    made = Plain(color(rng, 0.03, 0.7, 0.3)) if kind == "bars" else materials.wood(rng)
    posts = max(1, int(length / 2.0))
    solids = [spot.block(((k / posts - 0.5) * length, 0, 0), (0.08, high, 0.08), made) for k in range(posts + 1)]
    if kind == "boards":
        return [*solids, spot.block((0, 0.08, 0.05), (length, high - 0.1, 0.025), made)]
    for share in (0.15, 0.92) if kind == "bars" else (0.4, 0.9):
        solids.append(spot.bar((-length / 2, high * share, 0), (length / 2, high * share, 0), 0.05, made, 4))
    if kind == "bars":
        count = min(60, int(length / 0.14))
        solids += [
            spot.bar((x, high * 0.12, 0), (x, high, 0), 0.022, made, 4)
            for x in ((k / count - 0.5) * length for k in range(count + 1))
        ]
    return solids


def wires(rng: Generator, start: tuple[float, float, float], end: tuple[float, float, float]) -> list[Solid]:
    """A cable that sags between two points, in six straight pieces."""
    sag, made = uniform(rng, 0.1, 1.0), Plain((0.03, 0.03, 0.03))
    line = [
        tuple(
            a + (b - a) * t - (4 * sag * t * (1 - t) if axis == 1 else 0)
            for axis, (a, b) in enumerate(zip(start, end, strict=True))
        )
        for t in (k / 6 for k in range(7))
    ]
    return [bar(p, q, 0.035, made, sides=3, shadow=False) for p, q in itertools.pairwise(line)]  # type: ignore[arg-type]


def fountain(rng: Generator, spot: Spot) -> list[Solid]:
    """A basin with tiers, or a monument on steps."""
    made, wide = materials.stone(rng), uniform(rng, 1.2, 3.5)
    water = Mottled((0.1, 0.2, 0.25), 0.3, 0.4, seed(rng), tint=(0.3, 0.42, 0.48))
    if chance(rng, 0.5):
        solids = [spot.post((0, 0, 0), wide, 0.5, made), spot.post((0, 0.02, 0), wide * 0.9, 0.5, water)]
        for k in range(whole(rng, 1, 3)):
            solids.append(spot.post((0, 0.5 + 0.9 * k, 0), 0.15, 0.9, made))
            solids.append(spot.post((0, 1.3 + 0.9 * k, 0), wide * 0.4 / (k + 1), 0.12, made))
        return solids
    solids = [spot.block((0, 0.18 * k, 0), (2 * wide - 0.6 * k, 0.18, 2 * wide - 0.6 * k), made) for k in range(3)]
    tall = uniform(rng, 1.2, 4.0)
    solids.append(spot.block((0, 0.54, 0), (wide * 0.6, tall, wide * 0.6), made))
    bronze = Mottled(near(rng, (0.15, 0.2, 0.16), 0.4), 0.4, 0.2, seed(rng), solid=True)
    figure = furniture.person(rng, spot.moved(0, 0.54 + tall, 0), uniform(rng, 1.8, 3.0), bronze)
    return solids + figure


def crossing(rng: Generator, spot: Spot, length: float) -> list[Solid]:
    """White bars of a pedestrian crossing, side by side along local z."""
    paint = Bricks((0.6, 0.6, 0.58), (0.5, 0.5, 0.48), 0.5, 0.5, 0.01)
    count = max(3, int(length / 1.0))
    return [
        spot.block((0, 0, (k - (count - 1) / 2) * 1.0), (3.0, 0.008, 0.5), paint, shadow=False) for k in range(count)
    ]
