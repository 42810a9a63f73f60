"""Light on the surfaces of a sample scene: ambient light, lamps and sun with their shadows, and the way to sRGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pager_ray.samples.solids import may_meet

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from numpy import ndarray

    from pager_ray.samples.scene import Lamp, Scene
    from pager_ray.samples.solids import Vector

# Start of shadow rays above their surface, metres: without it a box would shade itself by rounding.
_LIFT = 1e-3
# Irradiance of a lamp whose shadow nobody sees beside the ambient light.
_INVISIBLE = 0.02
# Shadow rays of a lamp that has a size, in units of its spread.
_PENUMBRA = ((0.9, 0.4), (-0.4, 0.9), (-0.9, -0.4), (0.4, -0.9))


def irradiance(scene: Scene, p: Float[ndarray, "3 n"], normal: Float[ndarray, "3 n"]) -> Float[ndarray, "3 n"]:
    """Linear RGB light that arrives at surface points with the given unit normals."""
    above, below = np.asarray(scene.ambient)
    light = below[:, None] + np.outer(above - below, 0.5 + 0.5 * normal[1])
    if scene.room is not None:
        light *= _corner_shade(p, normal, scene.room)
    # Shadows need no more than single precision, which halves their cost.
    start = (p + _LIFT * normal).astype(np.float32)
    normal = normal.astype(np.float32)
    for lamp in scene.lamps:
        light += np.outer(lamp.color, _lamp_share(scene, lamp, start, normal))
    if scene.sun is not None:
        direction = np.asarray(scene.sun.direction, np.float32)[:, None]
        share = np.maximum((normal * direction).sum(axis=0), 0)
        sunny = np.flatnonzero(share > 0)
        if sunny.size:
            rays = np.broadcast_to(direction, (3, sunny.size))
            hidden = _blocked(scene, start[:, sunny], rays, np.full(sunny.size, np.inf, np.float32))
            share[sunny[hidden]] = 0
        light += np.outer(scene.sun.color, share)
    return light


def _lamp_share(
    scene: Scene, lamp: Lamp, start: Float[ndarray, "3 n"], normal: Float[ndarray, "3 n"]
) -> Float[ndarray, "n"]:
    offsets = [(a * lamp.spread, b * lamp.spread) for a, b in _PENUMBRA] if lamp.spread > 0 else [(0.0, 0.0)]
    dim = _INVISIBLE / max(lamp.color)
    total = np.zeros(start.shape[1])
    for along, aside in offsets:
        to = np.asarray(np.add(lamp.position, (along, 0.0, aside)), np.float32)[:, None] - start
        distance = np.sqrt((to * to).sum(axis=0))
        to /= distance
        # The constant keeps the spot right beside a lamp from burning out.
        share = np.maximum((to * normal).sum(axis=0), 0) / (0.15 + distance * distance)
        faced = np.flatnonzero(share > dim)
        if faced.size and lamp.shadows:
            share[faced[_blocked(scene, start[:, faced], to[:, faced], distance[faced])]] = 0
        total += share
    return total / len(offsets)


def _blocked(
    scene: Scene, origin: Float[ndarray, "3 n"], ray: Float[ndarray, "3 n"], reach: Float[ndarray, "n"]
) -> Bool[ndarray, "n"]:
    """Whether anything that casts shadows lies between each origin and ``reach`` metres along its ray.

    All rays end in one point, or are parallel.
    """
    blocked = np.zeros(ray.shape[1], bool)
    open_still = np.arange(ray.shape[1])
    for k in _beside(scene, origin, ray, reach):
        near = may_meet(scene.solids[k], origin, ray, reach)
        if not near.size:
            continue
        blocked[open_still[near[scene.solids[k].hit(origin[:, near], ray[:, near]) < reach[near]]]] = True
        kept = ~blocked[open_still]
        if not kept.any():
            break
        if kept.mean() < 0.8:
            origin, ray, reach, open_still = origin[:, kept], ray[:, kept], reach[kept], open_still[kept]
    return blocked


def _beside(
    scene: Scene, origin: Float[ndarray, "3 n"], ray: Float[ndarray, "3 n"], reach: Float[ndarray, "n"]
) -> list[int]:
    """Solids that may stand between a group of points and their light, by the distance to the axis of the group."""
    low, high = origin.min(axis=1), origin.max(axis=1)
    middle, spread = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    if np.isinf(reach[0]):
        axis, length = ray[:, 0], np.inf
    else:
        axis = origin[:, 0] + reach[0] * ray[:, 0] - middle
        length = float(np.linalg.norm(axis))
        axis = axis / max(length, 1e-9)
    center, radius = scene.bounds
    to = center - middle[:, None]
    along = np.clip(axis @ to, 0.0, length)
    apart = np.linalg.norm(to - axis[:, None] * along, axis=0)
    return [int(k) for k in np.flatnonzero(apart <= radius + spread) if scene.solids[k].shadow]


def _corner_shade(
    p: Float[ndarray, "3 n"], normal: Float[ndarray, "3 n"], room: tuple[Vector, Vector]
) -> Float[ndarray, "n"]:
    """Ambient light that is left near the walls of a room, where half of the surroundings is the next wall."""
    low, high = np.asarray(room[0])[:, None], np.asarray(room[1])[:, None]
    gap = np.minimum(np.abs(p - low), np.abs(high - p))
    return np.prod(1 - 0.38 * np.exp(-gap / 0.35) * (1 - np.abs(normal)), axis=0)


def tone_curve(color: Float[ndarray, "3 n"], exposure: float) -> Float[ndarray, "3 n"]:
    """Compress linear radiance into [0, 1] with a soft shoulder (Narkowicz's fit of the ACES curve, 2015)."""
    x = color * exposure * 0.8
    return np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0)


def srgb(tone: Float[ndarray, "3 n"]) -> UInt8[ndarray, "3 n"]:
    """Encode linear values in [0, 1] as sRGB bytes (IEC 61966-2-1)."""
    curve = np.where(tone <= 0.0031308, 12.92 * tone, 1.055 * np.maximum(tone, 1e-9) ** (1 / 2.4) - 0.055)
    return (curve * 255 + 0.5).astype(np.uint8)
