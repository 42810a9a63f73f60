"""Times of day and weather: sky, sun and the light from everywhere."""

from __future__ import annotations

import colorsys
import math
from typing import TYPE_CHECKING

from pager_ray.samples.scene import Sky, Sun
from pager_ray.train.scenes.draw import angle, chance, pick, seed, spread, uniform

if TYPE_CHECKING:
    from numpy.random import Generator

    from pager_ray.samples.textures import Color


def daylight(rng: Generator) -> tuple[Sky, Sun | None, tuple[Color, Color]]:
    """A clear, hazy, low-sun, overcast or dusky sky with its sun and its ambient light (from above, from below)."""
    kind = pick(rng, ("clear", "hazy", "low", "overcast", "dusk"), (36, 18, 16, 24, 6))
    azimuth = angle(rng)
    height = {"low": uniform(rng, 0.06, 0.4), "dusk": 0.05}.get(kind, uniform(rng, 0.35, 1.35))
    across = math.cos(height)
    direction = (across * math.cos(azimuth), math.sin(height), across * math.sin(azimuth))
    blue = uniform(rng, 0.56, 0.64)
    if kind == "overcast":
        level, top = uniform(rng, 0.5, 1.1), uniform(rng, 0.55, 1.1)
        horizon = colorsys.hsv_to_rgb(blue, uniform(rng, 0.0, 0.14), level)
        zenith = colorsys.hsv_to_rgb(blue, uniform(rng, 0.0, 0.2), level * top)
        gray = colorsys.hsv_to_rgb(blue, 0.05, level * uniform(rng, 0.8, 1.1))
        sky = Sky(horizon, zenith, gray, uniform(rng, 0.3, 1.1), seed(rng))
        return sky, None, _ambient(rng, (1.0, 1.02, 1.06), uniform(rng, 0.7, 1.2))
    horizon = colorsys.hsv_to_rgb(blue, uniform(rng, 0.05, 0.4), uniform(rng, 0.7, 1.0))
    zenith = colorsys.hsv_to_rgb(blue, uniform(rng, 0.4, 0.88), uniform(rng, 0.3, 0.8))
    warm, power, cover = uniform(rng, 0.0, 0.2), spread(rng, 1.0, 2.6), uniform(rng, 0.0, 0.8)
    level = uniform(rng, 0.3, 0.65)
    if kind == "hazy":
        zenith = tuple((a + b) / 2 for a, b in zip(horizon, zenith, strict=True))  # type: ignore[assignment]
        power, level = power * 0.5, level * 1.4
    elif kind == "low":
        horizon = colorsys.hsv_to_rgb(uniform(rng, 0.03, 0.12), uniform(rng, 0.2, 0.65), uniform(rng, 0.8, 1.0))
        warm = uniform(rng, 0.2, 0.6)
    elif kind == "dusk":
        horizon = colorsys.hsv_to_rgb(uniform(rng, 0.0, 0.12), uniform(rng, 0.3, 0.7), uniform(rng, 0.3, 0.8))
        zenith, power, level, warm = colorsys.hsv_to_rgb(0.63, 0.6, uniform(rng, 0.08, 0.3)), 0.25, 0.35, 0.5
    cloud = (0.97, 0.97 - 0.25 * warm, 0.98 - 0.5 * warm)
    sky = Sky(horizon, zenith, cloud, cover, seed(rng))
    sun = Sun(direction, (power, power * (1 - 0.45 * warm), power * (0.88 - 0.85 * warm)))
    tint = (0.8, 0.95, 1.2) if chance(rng, 0.7) else (1.0, 1.0, 1.0)
    return sky, sun, _ambient(rng, tint, level)


def _ambient(rng: Generator, tint: Color, level: float) -> tuple[Color, Color]:
    bounce = uniform(rng, 0.3, 0.6)
    above = (tint[0] * level, tint[1] * level, tint[2] * level)
    return above, (level * bounce, level * bounce * 0.96, level * bounce * 0.85)
