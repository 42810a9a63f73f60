"""What a sample scene consists of, besides its solids: where the camera stands, lights and sky."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from pager_ray.samples.noise import fractal_noise
from pager_ray.samples.solids import pack
from pager_ray.samples.textures import Color

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray

    from pager_ray.samples.index import Packed
    from pager_ray.samples.solids import Solid, Vector
    from pager_ray.samples.textures import Texture

Kind = Literal["indoor", "outdoor"]


@dataclass(frozen=True)
class Lamp:
    """A small light: ``color`` is the irradiance it gives at one metre; ``spread`` metres wide, for soft shadows.

    Without ``shadows`` it only fills, like the light of a window that comes from everywhere on that side.
    """

    position: Vector
    color: Color
    spread: float = 0.0
    shadows: bool = True


@dataclass(frozen=True)
class Sun:
    """Parallel light from the unit vector ``direction``."""

    direction: Vector
    color: Color


@dataclass(frozen=True)
class Sky:
    """A gradient from horizon to zenith with clouds of the given ``cover`` (0 clear to 1 overcast)."""

    horizon: Color
    zenith: Color
    cloud: Color = (0.95, 0.95, 0.97)
    cover: float = 0.4
    seed: int = 0

    def radiance(self, ray: Float[ndarray, "3 n"], sun: Sun | None) -> Float[ndarray, "n 3"]:
        """Linear RGB that the sky sends along each unit ray, with the sun's disc and its glow."""
        rise = np.clip(ray[1], 0.0, 1.0)
        color = np.asarray(self.horizon) + np.outer(rise**0.55, np.subtract(self.zenith, self.horizon))
        toward = np.zeros_like(rise)
        if sun is not None:
            toward = np.clip(sum(sun.direction[k] * ray[k] for k in range(3)), 0.0, 1.0)
            color = color + np.outer(0.10 * toward**8 + 0.35 * toward**90, sun.color)
        # Clouds lie on a sheet: the offset keeps it from running to infinity at the horizon.
        sheet = 1.6 / (rise + 0.12)
        noise = fractal_noise(ray[0] * sheet, ray[2] * sheet, seed=self.seed, octaves=5)
        veil = np.clip((noise - 0.68 + 0.36 * self.cover) / 0.2, 0, 1)
        veil = veil * veil * (3 - 2 * veil) * np.clip(rise * 7, 0, 1) * 0.92
        body = np.outer(1.12 - 0.5 * np.clip(noise - 0.5, 0, 1), self.cloud)
        body = body + np.outer(0.2 * toward**6, sun.color if sun is not None else self.cloud)
        color = color + (body - color) * veil[:, None]
        if sun is not None:
            disc = np.clip((toward - 0.99965) / 0.0002, 0, 1) * (1 - 0.9 * veil)
            color = color + np.outer(disc * 12, sun.color)
        return color


@dataclass(frozen=True)
class Scene:
    """A scene and the panoramic camera in it.

    The camera stands at ``eye`` and its forward axis is world x turned by ``heading`` radians about y (toward z).
    ``ambient`` is light from everywhere, (from above, from below); ``haze`` the distance in metres over which the
    horizon's colour takes over, outdoors.

    ``metered`` overrides ``exposure`` by what a camera would choose, times that factor. ``tilt`` is the camera's
    (pitch, roll) in radians: forward rises with the pitch, and the right side with the roll.
    """

    kind: Kind
    style: str
    eye: Vector
    heading: float
    solids: tuple[Solid, ...]
    lamps: tuple[Lamp, ...] = ()
    sun: Sun | None = None
    sky: Sky | None = None
    ambient: tuple[Color, Color] = ((0.35, 0.35, 0.36), (0.2, 0.19, 0.18))
    room: tuple[Vector, Vector] | None = None
    haze: float = 400.0
    exposure: float = 1.0
    metered: float | None = None
    tilt: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def packed(self) -> Packed:
        """The solids as the arrays that rays are cast at."""
        return pack(self.solids)

    @cached_property
    def textures(self) -> tuple[Texture, ...]:
        """The textures of all solids in turn; ``packed.texture`` says where each solid's begin."""
        return tuple(texture for solid in self.solids for texture in solid.textures)

    @property
    def camera(self) -> Float[ndarray, "3 3"]:
        """Rotation from the camera's frame (x forward, y up, z right) to the world's."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        turned = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
        if self.tilt == (0.0, 0.0):
            return turned
        (c, d), (s, t) = (tuple(f(angle) for angle in self.tilt) for f in (math.cos, math.sin))
        pitched = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        rolled = np.array([[1.0, 0.0, 0.0], [0.0, d, t], [0.0, -t, d]])
        return turned @ pitched @ rolled
