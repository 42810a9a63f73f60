"""What stands in rooms. Each function returns one thing's solids on a spot: its back toward local −x, its front +x."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pager_ray.samples.pictures import Books
from pager_ray.samples.scene import Lamp
from pager_ray.samples.solids import Cylinder, Solid, Sphere
from pager_ray.samples.textures import Mottled, Plain, Stripes, Texture
from pager_ray.train.scenes.draw import chance, color, near, pick, seed, sign, spread, uniform, whole
from pager_ray.train.scenes.materials import Goods, anything, leaves, stone, wood

if TYPE_CHECKING:
    from numpy.random import Generator

    from pager_ray.train.scenes.stage import Spot


def cloth(rng: Generator) -> Texture:
    """Upholstery or clothes."""
    base = color(rng, 0.04, 0.75, 0.7)
    if chance(rng, 0.25):
        return Stripes(base, near(rng, base, 0.6), spread(rng, 0.02, 0.15))
    return Mottled(base, uniform(rng, 0.1, 0.4), spread(rng, 0.02, 0.2), seed(rng))


def clutter(rng: Generator, spot: Spot, width: float) -> list[Solid]:
    """One or a few small things on a surface, within ``width``."""
    solids: list[Solid] = []
    for _ in range(whole(rng, 1, 4)):
        dx, dz = (uniform(rng, -0.35, 0.35) * width for _ in range(2))
        size = min(0.35 * width, spread(rng, 0.04, 0.3))
        kind = rng.random()
        if kind < 0.45:
            flat = (size * uniform(rng, 0.4, 1.4), size * uniform(rng, 0.1, 1.6), size)
            solids.append(spot.moved(dx, 0, dz, uniform(rng, 0, 3)).block((0, 0, 0), flat, anything(rng)))
        elif kind < 0.8:
            solids.append(spot.post((dx, 0, dz), size * 0.4, size * uniform(rng, 0.3, 2.2), anything(rng)))
        else:
            solids.append(spot.ball((dx, size * 0.45, dz), size * 0.5, anything(rng)))
    return solids


def table(rng: Generator, spot: Spot, size: tuple[float, float, float], top: Texture | None = None) -> list[Solid]:
    """A table of ``size`` (x, height, z) on four legs, a pedestal, trestles or sides, mostly with things on it."""
    x, y, z = size
    surface = top or wood(rng)
    thick = spread(rng, 0.02, 0.08)
    solids = [spot.block((0, y - thick, 0), (x, thick, z), surface)]
    kind = pick(rng, ("legs", "bars", "pedestal", "sides"), (50, 15, 15, 20))
    frame = surface if chance(rng, 0.6) else Plain(color(rng, 0.03, 0.5, 0.4))
    if kind == "pedestal":
        solids.append(spot.post((0, 0, 0), spread(rng, 0.03, 0.15), y - thick, frame))
        solids.append(spot.post((0, 0, 0), min(x, z) * 0.3, 0.03, frame))
    elif kind == "sides":
        for side in (-1, 1):
            solids.append(spot.block((0, 0, side * (z / 2 - 0.05)), (x * 0.85, y - thick, 0.05), frame))
        if chance(rng, 0.5):
            solids.append(spot.block((-x * 0.35, y * 0.3, 0), (0.03, y * 0.6, z - 0.1), frame))
    else:
        wide = spread(rng, 0.025, 0.09)
        for a in (-1, 1):
            for b in (-1, 1):
                dx, dz = a * (x / 2 - 0.06), b * (z / 2 - 0.06)
                if kind == "legs":
                    solids.append(spot.block((dx, 0, dz), (wide, y - thick, wide), frame))
                else:
                    solids.append(spot.bar((dx * 1.1, 0, dz * 1.1), (dx * 0.8, y - thick, dz * 0.8), wide, frame))
    for _ in range(whole(rng, 0, 3)):
        solids += clutter(rng, spot.moved(uniform(rng, -0.3, 0.3) * x, y, uniform(rng, -0.3, 0.3) * z), min(x, z) * 0.5)
    return solids


def chair(rng: Generator, spot: Spot, frame: Texture, seat: Texture, *, style: int = 0) -> list[Solid]:
    """A chair that looks along +x: on legs or a swivel foot, its back closed, of bars, or none (a stool)."""
    high, deep, wide = 0.45, 0.42, 0.44
    solids = [spot.block((0, high - 0.04, 0), (deep, 0.05, wide), seat)]
    if style % 3 == 2:
        solids.append(spot.post((0, 0.05, 0), 0.03, high - 0.08, frame))
        for k in range(5):
            a = k * 2 * math.pi / 5
            solids.append(spot.bar((0, 0.07, 0), (0.28 * math.cos(a), 0.04, 0.28 * math.sin(a)), 0.04, frame, 4))
    else:
        thick = 0.03 + 0.01 * (style % 2)
        for a in (-1, 1):
            for b in (-1, 1):
                solids.append(spot.block((a * 0.18, 0, b * 0.19), (thick, high - 0.03, thick), frame))
    if style < 3:
        solids.append(spot.bar((-0.19, high, -0.19), (-0.24, 0.95, -0.19), 0.035, frame, 4))
        solids.append(spot.bar((-0.19, high, 0.19), (-0.24, 0.95, 0.19), 0.035, frame, 4))
        if style == 1:
            for k in range(3):
                solids.append(spot.block((-0.2 - 0.012 * k, 0.58 + 0.13 * k, 0), (0.02, 0.06, 0.38), frame))
        else:
            solids.append(spot.block((-0.225, 0.6, 0), (0.04, 0.36, 0.42), seat))
    return solids


def sofa(rng: Generator, spot: Spot, width: float) -> list[Solid]:
    """A sofa or an armchair of that width."""
    fabric = cloth(rng)
    seat, deep, back = uniform(rng, 0.36, 0.46), uniform(rng, 0.75, 1.05), uniform(rng, 0.65, 0.95)
    arm = uniform(rng, 0.08, 0.25)
    solids = [
        spot.block((0, 0.1, 0), (deep, seat - 0.12, width), fabric),
        spot.block((-deep / 2 + 0.1, 0.1, 0), (0.2, back - 0.1, width), fabric),
    ]
    for side in (-1, 1):
        high = uniform(rng, 0.5, 0.66)
        solids.append(spot.block((0, 0.08, side * (width - arm) / 2), (deep, high, arm), fabric))
    count = max(1, round((width - 2 * arm) / 0.75))
    pitch = (width - 2 * arm) / count
    for k in range(count):
        place = (k - (count - 1) / 2) * pitch
        solids.append(spot.block((0.08, seat - 0.02, place), (deep - 0.25, 0.14, pitch - 0.03), fabric))
        if chance(rng, 0.4):
            puff = spot.moved(-deep / 2 + 0.28, seat + 0.1, place, uniform(rng, -0.4, 0.4))
            solids.append(puff.block((0, 0, 0), (0.14, 0.4, 0.42), cloth(rng)))
    return solids


def bed(rng: Generator, spot: Spot) -> list[Solid]:
    """A bed with its head at −x."""
    width, frame = uniform(rng, 0.9, 1.8), wood(rng)
    solids = [
        spot.block((0, 0.1, 0), (2.05, 0.2, width), frame),
        spot.block((0.02, 0.3, 0), (1.98, 0.2, width - 0.04), Plain(color(rng, 0.5, 0.85, 0.2))),
        spot.block((0.3, 0.5, 0), (1.4, 0.06, width + 0.06), cloth(rng)),
        spot.block((-1.05, 0, 0), (0.06, uniform(rng, 0.7, 1.2), width), frame),
    ]
    for side in (-1, 1) if width > 1.2 else (0,):
        solids.append(spot.block((-0.72, 0.5, side * width / 4), (0.4, 0.12, 0.6), Plain(color(rng, 0.5, 0.9, 0.2))))
    return solids


def cabinet(rng: Generator, spot: Spot, size: tuple[float, float, float]) -> list[Solid]:
    """A closed piece along a wall, its back at local x = 0: a sideboard, wardrobe, counter, fridge or bookcase."""
    x, y, z = size
    body = wood(rng) if chance(rng, 0.6) else Plain(color(rng, 0.05, 0.85, 0.5))
    kind = pick(rng, ("doors", "books", "goods", "plain"), (45, 22, 13, 20))
    front: Texture = body
    if kind == "books" and y > 0.7:
        front = Books(z, uniform(rng, 0.26, 0.42), near(rng, (0.3, 0.18, 0.1), 0.5), seed(rng))
    elif kind == "goods" and y > 0.6:
        front = Goods(spread(rng, 0.2, 0.5), spread(rng, 0.05, 0.25), color(rng, 0.1, 0.7, 0.3), seed=seed(rng))
    middle = spot.moved(x / 2, 0, 0)
    if front is not body:
        # The front is the +x side: a thin board in front of the body keeps the other sides plain.
        solids = [
            middle.block((-0.01, 0, 0), (x - 0.02, y, z), body),
            middle.block((x / 2 - 0.01, 0.02, 0), (0.02, y - 0.04, z - 0.04), front),
        ]
    else:
        solids = [middle.block((0, 0, 0), (x, y, z), body)]
        if kind == "doors":
            count = max(1, round(z / uniform(rng, 0.45, 0.8)))
            knob = Plain(color(rng, 0.05, 0.7, 0.3))
            leaf = body if chance(rng, 0.6) else wood(rng)
            for k in range(count):
                place = (k - (count - 1) / 2) * z / count
                panel = (0.02, y - 0.14, z / count - 0.03)
                solids.append(middle.block((x / 2 + 0.01, 0.1, place), panel, leaf))
                solids.append(
                    middle.block((x / 2 + 0.03, y * 0.55, place + z / count * 0.35), (0.03, 0.12, 0.02), knob)
                )
    if y < 1.4:
        if chance(rng, 0.3):
            solids.append(middle.block((0, y, 0), (x + 0.04, 0.04, z + 0.04), stone(rng)))
        for _ in range(whole(rng, 0, 3)):
            solids += clutter(rng, middle.moved(0, y + 0.04, uniform(rng, -0.4, 0.4) * z), x)
    return solids


def open_shelves(rng: Generator, spot: Spot, size: tuple[float, float, float]) -> list[Solid]:
    """Boards on uprights with things between them, its back at local x = 0."""
    x, y, z = size
    board, rows = wood(rng), max(2, round(y / uniform(rng, 0.35, 0.6)))
    solids = [spot.block((x / 2, 0, side * z / 2), (x, y, 0.03), board) for side in (-1, 1)]
    for k in range(rows + 1):
        high = 0.06 + k * (y - 0.09) / rows
        solids.append(spot.block((x / 2, high, 0), (x, 0.03, z), board))
        if k < rows and chance(rng, 0.85):
            filled = uniform(rng, 0.3, 0.95)
            stuff = Books(z * filled, 9.0, seed=seed(rng)) if chance(rng, 0.5) else Goods(9, 0.1, seed=seed(rng))
            tall = (y - 0.09) / rows * uniform(rng, 0.4, 0.85)
            place = (x * 0.45, high + 0.03, (1 - filled) * z * uniform(rng, -0.45, 0.45))
            solids.append(spot.block(place, (x * 0.7, tall, z * filled), stuff))
    return solids


def plant(rng: Generator, spot: Spot, height: float) -> list[Solid]:
    """A plant in a pot: a crown of balls or long leaves."""
    green, wide = leaves(rng, 0.07), height * uniform(rng, 0.1, 0.16)
    pot = min(0.45, height * 0.3)
    solids: list[Solid] = [spot.post((0, 0, 0), wide, pot, anything(rng))]
    if chance(rng, 0.5):
        solids.append(spot.post((0, pot, 0), 0.02, height * 0.4, Plain((0.15, 0.1, 0.05))))
        for _ in range(whole(rng, 5, 10)):
            a, out = uniform(rng, 0, 6.3), uniform(rng, 0.2, 1) * wide
            up = uniform(rng, 0.55, 0.92) * height
            solids.append(spot.ball((out * math.cos(a), up, out * math.sin(a)), wide * uniform(rng, 0.4, 0.8), green))
    else:
        for _ in range(whole(rng, 8, 18)):
            a, out = uniform(rng, 0, 6.3), uniform(rng, 0.1, 0.45) * height
            end = (out * math.cos(a), height * uniform(rng, 0.6, 1.0), out * math.sin(a))
            solids.append(spot.bar((0, pot * 0.9, 0), end, spread(rng, 0.015, 0.05), green, 4))
    return solids


def standing_lamp(rng: Generator, spot: Spot) -> tuple[list[Solid], Lamp]:
    """A lamp on a pole with a shade, and its light."""
    tall, metal = uniform(rng, 1.3, 1.8), Plain(color(rng, 0.03, 0.5, 0.3))
    warm = (1.0, uniform(rng, 0.75, 0.95), uniform(rng, 0.45, 0.85))
    radius = uniform(rng, 0.12, 0.25)
    solids = [
        spot.post((0, 0, 0), 0.15, 0.03, metal),
        spot.post((0, 0, 0), 0.013, tall - 0.1, metal),
        Cylinder(spot.at(0, tall - 0.12, 0), radius, 0.28, Plain(warm, emission=uniform(rng, 0.8, 1.8)), shadow=False),
    ]
    power = spread(rng, 0.3, 1.2)
    light = (power * warm[0], power * warm[1], power * warm[2])
    return solids, Lamp(spot.at(0, tall, 0), light, shadows=chance(rng, 0.6))


def person(rng: Generator, spot: Spot, height: float | None = None, made: Texture | None = None) -> list[Solid]:
    """Somebody who stands or walks along +x: legs, trunk, arms, head and hair; a statue if ``made`` of something."""
    tall = height if height is not None else uniform(rng, 1.5, 1.9)
    k = tall / 1.75
    trousers, top = made or cloth(rng), made or cloth(rng)
    tone = uniform(rng, 0.25, 1.0)
    skin = made or Plain((0.6 * tone, 0.4 * tone**1.2, 0.3 * tone**1.4))
    step = uniform(rng, 0.0, 0.28) * k
    broad = uniform(rng, 0.17, 0.22) * k
    solids = []
    for side in (-1, 1):
        hip, foot = (0.0, 0.85 * k, side * 0.09 * k), (side * step, 0.05 * k, side * 0.11 * k)
        solids.append(spot.bar(foot, hip, 0.15 * k, trousers, 6))
        solids.append(
            spot.block((foot[0] + 0.05, 0, foot[2]), (0.26 * k, 0.08 * k, 0.1 * k), Plain((0.05, 0.04, 0.04)))
        )
        shoulder = (0.0, 1.4 * k, side * broad)
        hand = (uniform(rng, -0.2, 0.3) * k, uniform(rng, 0.75, 1.0) * k, side * (broad + uniform(rng, 0.03, 0.15)))
        solids.append(spot.bar(shoulder, hand, 0.09 * k, top, 6))
        solids.append(spot.ball(hand, 0.05 * k, skin))
    solids.append(spot.block((0, 0.8 * k, 0), (0.22 * k, 0.66 * k, 2 * broad), top))
    solids.append(spot.post((0, 1.42 * k, 0), 0.055 * k, 0.12 * k, skin))
    solids.append(spot.ball((0.01, 1.6 * k, 0), 0.11 * k, skin))
    hair = made or Plain(
        near(rng, pick(rng, ((0.03, 0.02, 0.015), (0.15, 0.08, 0.03), (0.4, 0.3, 0.12), (0.35, 0.34, 0.33))))
    )
    solids.append(spot.ball((-0.025 * k, 1.645 * k, 0), 0.115 * k, hair))
    return solids


def fireplace(rng: Generator, spot: Spot, height: float) -> list[Solid]:
    """A fireplace against a wall, its back at local x = 0, with a hood up to the ceiling in some."""
    made = stone(rng)
    width, deep, opening = uniform(rng, 1.2, 2.2), uniform(rng, 0.3, 0.6), uniform(rng, 0.6, 0.95)
    fire = Plain((1.0, uniform(rng, 0.35, 0.6), 0.1), emission=uniform(rng, 0.5, 2.0))
    solids = [spot.block((deep / 2, 0, side * (width / 2 - 0.15)), (deep, opening, 0.3), made) for side in (-1, 1)]
    solids.append(spot.block((deep / 2, opening, 0), (deep, 0.35, width), made))
    solids.append(spot.block((deep / 2 + 0.04, opening + 0.35, 0), (deep + 0.12, 0.06, width + 0.16), made))
    solids.append(spot.block((0.02, 0, 0), (0.04, opening, width - 0.6), Plain((0.02, 0.015, 0.01))))
    if chance(rng, 0.7):
        for k in range(3):
            solids.append(Sphere(spot.at(deep * 0.5, 0.15 + 0.06 * (k == 1), (k - 1) * 0.16), 0.13, fire, shadow=False))
    if chance(rng, 0.6) and height > opening + 0.8:
        solids.append(
            spot.block((deep * 0.35, opening + 0.41, 0), (deep * 0.7, height - opening - 0.41, width * 0.7), made)
        )
    return solids


def pew(rng: Generator, spot: Spot, width: float, made: Texture) -> list[Solid]:
    """A bench with a back, as in churches and waiting rooms."""
    solids = [
        spot.block((0, 0.42, 0), (0.42, 0.05, width), made),
        spot.block((-0.2, 0.42, 0), (0.05, 0.5, width), made),
    ]
    for side in (-1, 1):
        solids.append(spot.block((-0.02, 0, side * (width / 2 - 0.03)), (0.46, 0.65, 0.05), made))
    return solids


def anything_small(rng: Generator, spot: Spot, width: float) -> list[Solid]:
    """A box, barrel, ball, basket or heap on the floor."""
    kind = rng.random()
    tall = spread(rng, 0.1, 1.5)
    if kind < 0.45:
        size = (uniform(rng, 0.3, 1) * width, tall, uniform(rng, 0.3, 1) * width)
        return [spot.block((0, 0, 0), size, anything(rng), anything(rng) if chance(rng, 0.4) else None)]
    if kind < 0.75:
        return [spot.post((0, 0, 0), width * uniform(rng, 0.15, 0.5), tall, anything(rng))]
    if kind < 0.85:
        radius = width * uniform(rng, 0.15, 0.45)
        return [spot.ball((0, radius * uniform(rng, 0.5, 1), 0), radius, anything(rng))]
    # A tripod, an easel or a rack: three or four thin legs that meet.
    metal, count, top = Plain(color(rng, 0.02, 0.6, 0.4)), whole(rng, 3, 4), spread(rng, 0.7, 2.0)
    solids: list[Solid] = []
    for k in range(count):
        a = 2 * math.pi * k / count
        solids.append(spot.bar((0.35 * math.cos(a), 0, 0.35 * math.sin(a)), (0, top * 0.8, 0), 0.03, metal, 4))
    solids.append(spot.bar((0, top * 0.8, 0), (0, top, 0), 0.03, metal, 4))
    board = (0.06, uniform(rng, 0.1, 0.5), uniform(rng, 0.1, 0.6))
    solids.append(spot.block((0, top, 0), board, anything(rng)))
    if sign(rng) > 0:
        solids.append(spot.post((0, 0, 0), 0.02, top * 0.4, metal))
    return solids
