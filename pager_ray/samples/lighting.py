"""Light on the surfaces of a sample scene: ambient light, lamps and sun with their shadows, and the way to sRGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pager_ray.samples.index import NO_SOLIDS, index_along, index_around
from pager_ray.samples.kernels import ambient_light, shade_from_lamp, shade_from_sun

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from numpy import ndarray

    from pager_ray.samples.scene import Scene

# Start of shadow rays above their surface, metres: without it a box would shade itself by rounding.
_LIFT = 1e-3
# Irradiance of a lamp whose shadow nobody sees beside the ambient light.
_INVISIBLE = 0.02
# Radiance that the tone curve shows as a middle grey.
_MIDDLE = 0.2
# Shadow rays of a lamp that has a size, in units of its spread.
_PENUMBRA = ((0.9, 0.4), (-0.4, 0.9), (-0.9, -0.4), (0.4, -0.9))


def irradiance(scene: Scene, p: Float[ndarray, "3 n"], normal: Float[ndarray, "3 n"]) -> Float[ndarray, "3 n"]:
    """Linear RGB light that arrives at surface points with the given unit normals."""
    above, below = np.asarray(scene.ambient, np.float64)
    low, high = np.asarray(scene.room if scene.room is not None else np.zeros((2, 3)), np.float64)
    light = np.zeros(p.shape)
    ambient_light(p, normal, above, below, low, high, scene.room is not None, light)
    start = p + _LIFT * normal
    for lamp in scene.lamps:
        offsets = [(a * lamp.spread, b * lamp.spread) for a, b in _PENUMBRA] if lamp.spread > 0 else [(0.0, 0.0)]
        color = np.divide(lamp.color, len(offsets))
        for along, aside in offsets:
            spot = np.add(lamp.position, (along, 0.0, aside))
            index = index_around(scene.packed, spot, shadows=True) if lamp.shadows else NO_SOLIDS
            shade_from_lamp(
                scene.packed, index, spot, _INVISIBLE / max(lamp.color), lamp.shadows, start, normal, color, light
            )
    if scene.sun is not None:
        direction, color = (np.asarray(v, np.float64) for v in (scene.sun.direction, scene.sun.color))
        shade_from_sun(scene.packed, index_along(scene.packed, direction), direction, start, normal, color, light)
    return light


def metered_exposure(color: Float[ndarray, "3 n"], height: int) -> float:
    """Exposure that brings the geometric mean of an ERP's radiance, by solid angle, to a middle grey."""
    luminance = color.mean(axis=0).reshape(height, -1)
    rows = np.log(np.maximum(luminance, 1e-3)).mean(axis=1)
    weight = np.sin((np.arange(height) + 0.5) * np.pi / height)
    return float(_MIDDLE / np.exp((rows * weight).sum() / weight.sum()))


def tone_curve(color: Float[ndarray, "3 n"], exposure: float) -> Float[ndarray, "3 n"]:
    """Compress linear radiance into [0, 1] with a soft shoulder (Narkowicz's fit of the ACES curve, 2015)."""
    x = color * exposure * 0.8
    return np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0)


def srgb(tone: Float[ndarray, "3 n"]) -> UInt8[ndarray, "3 n"]:
    """Encode linear values in [0, 1] as sRGB bytes (IEC 61966-2-1)."""
    curve = np.where(tone <= 0.0031308, 12.92 * tone, 1.055 * np.maximum(tone, 1e-9) ** (1 / 2.4) - 0.055)
    return (curve * 255 + 0.5).astype(np.uint8)
