"""Where a scene is put together: what stands where, and nothing in the camera's way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pager_ray.samples.solids import Cylinder, Sphere
from pager_ray.train.scenes.shapes import bar, block, clearance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from pager_ray.samples.scene import Lamp
    from pager_ray.samples.solids import Solid, Vector
    from pager_ray.samples.textures import Texture

# Nothing but what the scene consists of comes nearer to the camera than this, metres.
CLEAR = 0.4


@dataclass(frozen=True)
class Spot:
    """A place to put something: its foot and the direction that its own x axis takes."""

    x: float
    y: float
    z: float
    yaw: float = 0.0

    def at(self, dx: float, dy: float, dz: float) -> Vector:
        """The world's point for one in the spot's own axes."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return (self.x + c * dx - s * dz, self.y + dy, self.z + s * dx + c * dz)

    def moved(self, dx: float, dy: float, dz: float, turn: float = 0.0) -> Spot:
        """A spot beside this one."""
        return Spot(*self.at(dx, dy, dz), self.yaw + turn)

    def block(
        self, place: Vector, size: Vector, texture: Texture, top: Texture | None = None, *, shadow: bool = True
    ) -> Solid:
        """A box that stands at a place in the spot's axes."""
        return block(self.at(*place), size, texture, self.yaw, top=top, shadow=shadow)

    def post(self, place: Vector, radius: float, height: float, texture: Texture) -> Solid:
        """An upright cylinder at a place in the spot's axes."""
        return Cylinder(self.at(*place), radius, height, texture)

    def ball(self, place: Vector, radius: float, texture: Texture) -> Solid:
        """A ball around a place in the spot's axes."""
        return Sphere(self.at(*place), radius, texture)

    def bar(self, start: Vector, end: Vector, width: float, texture: Texture, sides: int = 5) -> Solid:
        """A bar between two places in the spot's axes."""
        return bar(self.at(*start), self.at(*end), width, texture, sides=sides)


@dataclass
class Stage:
    """A scene in the making.

    Attributes:
        rng: all draws come from it.
        eye: where the camera will stand.
        solids: so far.
        lamps: so far.
        taken: circles (x, z, radius) of the ground that something stands on.
    """

    rng: np.random.Generator
    eye: Vector
    solids: list[Solid] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def build(self, *solids: Solid) -> None:
        """Add what the place itself is made of, wherever it is."""
        self.solids += solids

    def add(self, solids: Sequence[Solid]) -> bool:
        """Add a thing unless a part of it comes too near to the camera; says whether it was added."""
        if any(clearance(solid, self.eye) < CLEAR for solid in solids):
            return False
        self.solids += solids
        return True

    def put(self, solids: Sequence[Solid], x: float, z: float, radius: float) -> bool:
        """Add a thing to the ground if the ground is free there; says whether it was added."""
        if not self.free(x, z, radius) or not self.add(solids):
            return False
        self.taken.append((x, z, radius))
        return True

    def free(self, x: float, z: float, radius: float) -> bool:
        """Whether nothing stands within a circle, the camera included."""
        if math.hypot(x - self.eye[0], z - self.eye[2]) < radius + CLEAR:
            return False
        return all(math.hypot(x - a, z - b) >= radius + r for a, b, r in self.taken)
