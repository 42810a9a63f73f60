"""Random draws that scenes are made of: plain Python numbers, colours and seeds from a NumPy generator."""

from __future__ import annotations

import colorsys
import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from pager_ray.samples.textures import Color

T = TypeVar("T")


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two others."""
    return float(rng.uniform(low, high))


def spread(rng: np.random.Generator, low: float, high: float) -> float:
    """A positive number between two others, as likely to be doubled as to be halved."""
    return math.exp(float(rng.uniform(math.log(low), math.log(high))))


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both possible."""
    return int(rng.integers(low, high + 1))


def chance(rng: np.random.Generator, share: float) -> bool:
    """True in that share of draws."""
    return bool(rng.random() < share)


def pick(rng: np.random.Generator, of: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of several, each as likely as the others or by weight."""
    if weights is None:
        return of[int(rng.integers(len(of)))]
    at = float(rng.uniform(0, sum(weights)))
    for one, weight in zip(of, weights, strict=True):
        at -= weight
        if at < 0:
            return one
    return of[-1]


def seed(rng: np.random.Generator) -> int:
    """A seed for a texture."""
    return int(rng.integers(1 << 30))


def angle(rng: np.random.Generator) -> float:
    """Any direction, radians."""
    return float(rng.uniform(-math.pi, math.pi))


def sign(rng: np.random.Generator) -> float:
    """1.0 or −1.0."""
    return 1.0 if rng.random() < 0.5 else -1.0


def color(rng: np.random.Generator, low: float = 0.03, high: float = 0.8, saturation: float = 0.8) -> Color:
    """A linear RGB colour of any hue, its brightest channel between ``low`` and ``high``, seldom a strong one."""
    hue, strength = float(rng.random()), float(rng.random()) ** 1.7 * saturation
    return colorsys.hsv_to_rgb(hue, strength, low + (high - low) * float(rng.random()))


def scaled(base: Color, by: float) -> Color:
    """A colour made darker or brighter, at most white."""
    return (min(0.95, base[0] * by), min(0.95, base[1] * by), min(0.95, base[2] * by))


def near(rng: np.random.Generator, base: Color, by: float = 0.25) -> Color:
    """A colour like another one, brighter or darker and a little off its hue."""
    light = math.exp(float(rng.normal(0, by)))
    a, b, c = (math.exp(float(v)) for v in rng.normal(0, by / 4, 3))
    return scaled((base[0] * a, base[1] * b, base[2] * c), light)
