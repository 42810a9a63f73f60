"""Buildings: fronts of windows with cornices, balconies, shops and arcades, under roofs of several kinds.

A building's spot is the middle of its front's foot; the front looks along local +z and the body lies behind it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pager_ray.samples.solids import Solid
from pager_ray.samples.textures import Bricks, Plain, Stripes, Texture
from pager_ray.train.scenes import materials
from pager_ray.train.scenes.draw import chance, color, near, pick, seed, spread, uniform, whole
from pager_ray.train.scenes.materials import Fenestration
from pager_ray.train.scenes.shapes import arch, attitude, block, drawn_out

if TYPE_CHECKING:
    from numpy.random import Generator

    from pager_ray.train.scenes.shapes import Outline
    from pager_ray.train.scenes.stage import Spot

_ROOFS = ((0.4, 0.15, 0.09), (0.2, 0.19, 0.2), (0.3, 0.2, 0.15), (0.12, 0.12, 0.13), (0.3, 0.34, 0.32))


def front_of(rng: Generator, wall: Texture, width: float, *, shop: bool = True) -> Fenestration:
    """A front of random proportions for a wall."""
    storey = uniform(rng, 2.7, 4.4)
    modern = chance(rng, 0.25)
    pitch = spread(rng, 1.2, 4.0)
    wide = pitch * (uniform(rng, 0.75, 0.95) if modern else uniform(rng, 0.3, 0.6))
    sill = uniform(rng, 0.1, 0.7) if modern else uniform(rng, 0.5, 1.0)
    tall = (storey - sill) * uniform(rng, 0.6, 0.9)
    trim = color(rng, 0.3, 0.85, 0.2) if chance(rng, 0.75) else color(rng, 0.03, 0.3, 0.3)
    gloss = spread(rng, 0.15, 1.0)
    return Fenestration(
        wall,
        width,
        storey,
        pitch,
        (wide, tall),
        sill,
        trim,
        uniform(rng, 0.04, 0.25),
        color(rng, 0.05, 0.5) if chance(rng, 0.18) and not modern else None,
        near(rng, (0.05, 0.07, 0.09), 0.3),
        (0.3 * gloss, 0.4 * gloss, 0.5 * gloss),
        whole(rng, 1, 3),
        color(rng, 0.05, 0.6) if shop and chance(rng, 0.4) else None,
        seed(rng),
    )


def building(
    rng: Generator, spot: Spot, width: float, deep: float, storeys: int, *, detail: bool, round_corner: bool = False
) -> list[Solid]:
    """A building of that many storeys; ``detail`` adds what stands out from its front, for those near the camera."""
    wall = materials.plaster(rng)
    front = front_of(rng, wall, width)
    tall = front.storey * storeys + uniform(rng, 0.2, 0.9)
    side = Fenestration(
        wall, deep, front.storey, front.pitch * 1.3, front.window, front.sill, front.trim, front.border, seed=seed(rng)
    )
    roofing = Bricks(near(rng, pick(rng, _ROOFS)), (0.06, 0.05, 0.05), 0.3, 0.35, 0.03, seed=seed(rng))
    body = spot.moved(0, 0, -deep / 2)
    flank: Texture = side if chance(rng, 0.7) else wall
    solids: list[Solid] = [block(body.at(0, 0, 0), (width, tall, deep), flank, body.yaw, top=roofing, ends=front)]
    if round_corner:
        radius = uniform(rng, 1.5, 3.5)
        solids.append(spot.post((width / 2 - radius * 0.4, 0, -radius * 0.4), radius, tall + uniform(rng, 0, 3), wall))
    solids += _roof(rng, body, width, deep, tall, roofing, wall)
    if detail:
        solids += _relief(rng, spot, front, width, tall, storeys)
    return solids


def _roof(
    rng: Generator, body: Spot, width: float, deep: float, tall: float, roofing: Texture, wall: Texture
) -> list[Solid]:
    kind = pick(rng, ("flat", "gable", "mansard", "set back"), (40, 32, 18, 10))
    trim = Plain(color(rng, 0.3, 0.7, 0.15))
    at = body.at(0, tall, 0)
    if kind == "gable":
        rise, a = deep * uniform(rng, 0.2, 0.45), deep / 2 + 0.4
        outline: Outline = ((-a, 0.0), (a, 0.0), (0.0, rise))
        axes = attitude(body.yaw + math.pi / 2)
        solids: list[Solid] = [drawn_out(outline, width + 0.3, at, axes, roofing, wall)]
        for _ in range(whole(rng, 0, 2)):
            place = (uniform(rng, -0.4, 0.4) * width, tall + rise * 0.4, uniform(rng, -0.2, 0.2) * deep)
            solids.append(body.block(place, (0.7, rise * 0.6 + uniform(rng, 0.4, 1.2), 0.6), materials.brick(rng)))
        return solids
    if kind == "mansard":
        rise, a = uniform(rng, 2.2, 4.0), deep / 2 + 0.15
        outline = ((-a, 0.0), (a, 0.0), (a - rise * 0.45, rise), (rise * 0.45 - a, rise))
        axes = attitude(body.yaw + math.pi / 2)
        solids = [drawn_out(outline, width + 0.1, at, axes, roofing, wall)]
        count = max(1, int(width / 3))
        glass = Plain((0.1, 0.13, 0.16))
        for k in range(count):
            place = ((k - (count - 1) / 2) * width / count, tall + 0.4, deep / 2 - rise * 0.3)
            solids.append(body.block(place, (1.2, rise * 0.55, 1.2), trim, roofing))
            solids.append(body.block((place[0], place[1] + 0.2, place[2] + 0.605), (0.9, rise * 0.4, 0.02), glass))
        return solids
    solids = [body.block((0, tall, 0), (width + 0.2, uniform(rng, 0.2, 0.9), deep + 0.2), trim)]
    if kind == "set back":
        upper = Fenestration(wall, width - 3, seed=seed(rng))
        solids.append(body.block((0, tall, -1.0), (width - 2.5, 2.9, deep - 3.5), upper))
    elif chance(rng, 0.4):
        place = (uniform(rng, -0.3, 0.3) * width, tall, 0)
        solids.append(body.block(place, (uniform(rng, 1, 3), uniform(rng, 1, 3), 2.5), wall))
    return solids


def _relief(rng: Generator, spot: Spot, front: Fenestration, width: float, tall: float, storeys: int) -> list[Solid]:
    """Cornices, sills, balconies, awnings, pilasters and steps of a front."""
    trim: Texture = Plain(front.trim)
    solids: list[Solid] = []
    out = spread(rng, 0.12, 0.7)
    solids.append(spot.block((0, tall - 0.45, out / 2), (width + 0.1, 0.4, out), trim))
    if chance(rng, 0.5):
        for k in range(1, storeys):
            solids.append(spot.block((0, k * front.storey - 0.1, 0.06), (width, 0.2, 0.12), trim))
    bays = max(1, int(width / front.pitch))
    pitch = width / bays
    first = 1 if front.shop is not None else 0
    each = chance(rng, 0.6)
    balconies, metal = chance(rng, 0.3), Plain(color(rng, 0.02, 0.5, 0.2))
    for storey in range(first, min(storeys, 6)):
        for bay in range(min(bays, 9)):
            x, y = (bay + 0.5) * pitch - width / 2, storey * front.storey + front.sill
            if balconies and storey > 0 and (bay % 2 == 0):
                deep = 0.9
                slab = (x, storey * front.storey - 0.05, deep / 2)
                solids.append(spot.block(slab, (pitch * 0.9, 0.14, deep), trim))
                solids.append(spot.block((x, slab[1] + 0.14, deep - 0.03), (pitch * 0.9, 0.9, 0.04), metal))
            elif each:
                solids.append(spot.block((x, y - 0.1, 0.07), (front.window[0] + 0.3, 0.1, 0.14), trim))
                if chance(rng, 0.3):
                    high = y + front.window[1] + 0.05
                    solids.append(spot.block((x, high, 0.1), (front.window[0] + 0.4, 0.14, 0.2), trim))
    if front.shop is not None and chance(rng, 0.6):
        dye = color(rng, 0.1, 0.7)
        cloth = Stripes(dye, (0.75, 0.72, 0.66), 0.3) if chance(rng, 0.5) else Plain(dye)
        for bay in range(bays):
            if chance(rng, 0.5):
                at = spot.at((bay + 0.5) * pitch - width / 2, front.storey - 0.9, 0)
                outline = ((0.0, 0.0), (1.3, -0.45), (1.3, -0.38), (0.0, 0.12))
                solids.append(drawn_out(outline, pitch * 0.9, at, attitude(spot.yaw + math.pi / 2), cloth))
    if chance(rng, 0.25):
        for k in range(bays + 1):
            solids.append(spot.block((k * pitch - width / 2, 0, 0.08), (0.35, tall - 0.45, 0.16), trim))
    return solids


def arcade(rng: Generator, spot: Spot, width: float, storeys: int) -> list[Solid]:
    """A building whose ground floor stands back behind columns or arches."""
    wall, deep = materials.stone(rng) if chance(rng, 0.6) else materials.plaster(rng), uniform(rng, 8, 14)
    front = front_of(rng, wall, width, shop=False)
    low, back = uniform(rng, 3.2, 5.5), uniform(rng, 2.5, 4.0)
    ground = front_of(rng, wall, width)
    tall = front.storey * storeys
    solids: list[Solid] = [
        block(spot.at(0, 0, -back - deep / 2), (width, low, deep), wall, spot.yaw, ends=ground),
        block(spot.at(0, low, -deep / 2), (width, tall, deep), wall, spot.yaw, ends=front),
        spot.block((0, low + tall - 0.3, 0.2), (width + 0.2, 0.4, 0.5), wall),
    ]
    count = max(2, int(width / uniform(rng, 2.8, 4.5)))
    pitch, wide = width / count, uniform(rng, 0.4, 0.8)
    arched = chance(rng, 0.6)
    rise = min((pitch - wide) / 2, low * 0.5)
    for k in range(count + 1):
        x = k * pitch - width / 2
        high = low - rise if arched else low
        if chance(rng, 0.5):
            solids.append(spot.block((x, 0, -wide / 2), (wide, high, wide), wall))
        else:
            solids.append(spot.post((x, 0, -wide / 2), wide / 2, high, wall))
        if arched and k < count:
            at = spot.at(x + pitch / 2, high, -wide / 2)
            solids += arch(at, pitch - wide, rise - 0.15, 0.35, wide, wall, spot.yaw, 7)
    return solids
