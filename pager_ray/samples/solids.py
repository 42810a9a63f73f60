"""The solids that scenes are made of.

Frame everywhere: x forward, y up, z right, metres. A solid that encloses the camera is hit from inside, which is how a
room is a box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.samples import index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy import ndarray

    from pager_ray.samples.textures import Texture

Vector = tuple[float, float, float]


def pack(solids: Sequence[Solid]) -> index.Packed:
    """Lay the solids out as the arrays that :mod:`pager_ray.samples.kernels` casts rays at."""
    count = len(solids)
    kind, shape = np.zeros(count, np.int64), np.zeros((count, 5))
    planes: list[tuple[float, ...]] = []
    first, texture = np.zeros(count + 1, np.int64), np.zeros(count, np.int64)
    center, radius, textures = np.zeros((count, 3)), np.full(count, np.inf), 0
    for k, solid in enumerate(solids):
        if isinstance(solid, Convex):
            kind[k] = index.CONVEX
            planes += [(*f.normal, f.offset, *f.origin, *f.u_axis, *f.v_axis) for f in solid.faces]
        elif isinstance(solid, Sphere):
            kind[k], shape[k, :4] = index.SPHERE, (*solid.center, solid.radius)
        elif isinstance(solid, Cylinder):
            kind[k], shape[k] = index.CYLINDER, (*solid.foot, solid.radius, solid.height)
        else:
            kind[k], shape[k, 0] = index.GROUND, solid.height
        bound = solid.bound()
        if bound is not None:
            center[k], radius[k] = bound
        first[k + 1], texture[k] = len(planes), textures
        textures += len(solid.textures)
    casts = np.array([solid.shadow for solid in solids], bool)
    packed = np.array(planes, np.float64).reshape(-1, 13)
    first_corner, corners = _corners(solids, first, packed)
    return index.Packed(kind, shape, first, packed, center, radius, casts, texture, first_corner, corners)


def _corners(solids: Sequence[Solid], first: ndarray, planes: ndarray) -> tuple[ndarray, ndarray]:
    """Where each solid's corners begin, and points whose hull holds it: a convex one's own, a box around a cylinder."""
    counts = np.zeros(len(solids) + 1, np.int64)
    index.convex_corners(first, planes, counts, np.empty((0, 3)), False)
    posts = [(k, solid) for k, solid in enumerate(solids) if isinstance(solid, Cylinder)]
    for k, _ in posts:
        counts[k + 1] = 8
    first_corner = np.cumsum(counts)
    corners = np.zeros((first_corner[-1], 3))
    index.convex_corners(first, planes, first_corner, corners, True)
    for k, post in posts:
        corners[first_corner[k] : first_corner[k + 1]] = [
            (post.foot[0] + a * post.radius, post.foot[1] + b * post.height, post.foot[2] + c * post.radius)
            for a in (-1, 1)
            for b in (0, 1)
            for c in (-1, 1)
        ]
    return first_corner, corners


@dataclass(frozen=True)
class Ground:
    """The infinite horizontal plane y = ``height``, seen from above."""

    texture: Texture
    height: float = 0.0
    shadow: bool = False

    @property
    def textures(self) -> tuple[Texture, ...]:
        """The one texture."""
        return (self.texture,)

    def bound(self) -> None:
        """No sphere holds a plane."""


@dataclass(frozen=True)
class Sphere:
    """A ball."""

    center: Vector
    radius: float
    texture: Texture
    shadow: bool = True

    @property
    def textures(self) -> tuple[Texture, ...]:
        """The one texture."""
        return (self.texture,)

    def bound(self) -> tuple[Vector, float]:
        """Centre and radius: the ball itself."""
        return self.center, self.radius


@dataclass(frozen=True)
class Cylinder:
    """An upright capped cylinder standing on ``foot``."""

    foot: Vector
    radius: float
    height: float
    texture: Texture
    cap: Texture | None = None
    shadow: bool = True

    @property
    def textures(self) -> tuple[Texture, ...]:
        """Mantle, then caps."""
        return (self.texture, self.cap or self.texture)

    def bound(self) -> tuple[Vector, float]:
        """Centre and radius of the sphere around it."""
        x, y, z = self.foot
        return (x, y + self.height / 2, z), math.hypot(self.radius, self.height / 2)


@dataclass(frozen=True)
class Face:
    """One face of a :class:`Convex`: the half-space normal·p ≤ offset and the frame of its texture."""

    normal: Vector
    offset: float
    texture: Texture
    origin: Vector
    u_axis: Vector
    v_axis: Vector


@dataclass(frozen=True)
class Convex:
    """A convex polyhedron, the intersection of its faces' half-spaces."""

    faces: tuple[Face, ...]
    center: Vector
    radius: float
    shadow: bool = True
    bounded: bool = True

    @property
    def textures(self) -> tuple[Texture, ...]:
        """One texture per face."""
        return tuple(face.texture for face in self.faces)

    def bound(self) -> tuple[Vector, float] | None:
        """Centre and radius of the sphere around it; None for a room, which surrounds everything."""
        return (self.center, self.radius) if self.bounded else None


Solid = Ground | Sphere | Cylinder | Convex


def _turned(local: Vector, yaw: float) -> Vector:
    c, s = math.cos(yaw), math.sin(yaw)
    return (c * local[0] - s * local[2], local[1], s * local[0] + c * local[2])


def _polyhedron(
    planes: Sequence[tuple[Vector, Vector, Texture]],
    foot: Vector,
    yaw: float,
    radius: float,
    shadow: bool = True,
    bounded: bool = True,
) -> Convex:
    """Build a solid from (outward normal, point on the face, texture), relative to ``foot`` and turned about y."""
    faces = []
    for normal, point, texture in planes:
        length = math.sqrt(sum(c * c for c in normal))
        n = _turned((normal[0] / length, normal[1] / length, normal[2] / length), yaw)
        turned = _turned(point, yaw)
        q = (foot[0] + turned[0], foot[1] + turned[1], foot[2] + turned[2])
        flat = abs(normal[1]) > 0.999 * length
        u = _turned((1.0, 0.0, 0.0), yaw) if flat else _unit((n[2], 0.0, -n[0]))
        v = _turned((0.0, 0.0, 1.0), yaw) if flat else (n[1] * u[2], n[2] * u[0] - n[0] * u[2], -n[1] * u[0])
        v = v if flat or v[1] > 0 else (-v[0], -v[1], -v[2])
        faces.append(Face(n, sum(n[k] * q[k] for k in range(3)), texture, q, u, v))
    top = max(point[1] for _, point, _ in planes)
    center = (foot[0], foot[1] + top / 2, foot[2])
    return Convex(tuple(faces), center, radius, shadow, bounded)


def _unit(v: Vector) -> Vector:
    length = math.sqrt(sum(c * c for c in v))
    return (v[0] / length, v[1] / length, v[2] / length)


def box(
    foot: Vector,
    size: Vector,
    texture: Texture,
    *,
    yaw: float = 0.0,
    top: Texture | None = None,
    bottom: Texture | None = None,
    ends: tuple[Texture, Texture] | None = None,
    shadow: bool = True,
    room: bool = False,
) -> Convex:
    """A box of ``size`` (x, y, z) standing on ``foot``, turned by ``yaw`` radians about y.

    ``top`` and ``bottom`` texture the horizontal faces and ``ends`` the −x and +x sides; ``texture`` the rest. Flat
    things on walls and floors do without a ``shadow``. ``room`` makes a box to stand in: it casts none either.
    """
    x, y, z = size[0] / 2, size[1], size[2] / 2
    back, front = ends or (texture, texture)
    planes: list[tuple[Vector, Vector, Texture]] = [
        ((-1.0, 0.0, 0.0), (-x, 0.0, 0.0), back),
        ((1.0, 0.0, 0.0), (x, 0.0, 0.0), front),
        ((0.0, 0.0, -1.0), (0.0, 0.0, -z), texture),
        ((0.0, 0.0, 1.0), (0.0, 0.0, z), texture),
        ((0.0, -1.0, 0.0), (0.0, 0.0, 0.0), bottom or texture),
        ((0.0, 1.0, 0.0), (0.0, y, 0.0), top or texture),
    ]
    return _polyhedron(planes, foot, yaw, math.sqrt(x * x + y * y / 4 + z * z), shadow and not room, not room)


def gable_roof(foot: Vector, size: Vector, roof: Texture, wall: Texture, *, yaw: float = 0.0) -> Convex:
    """A saddle roof of ``size`` (x, y, z) on ``foot``, its ridge along x before ``yaw``."""
    x, y, z = size[0] / 2, size[1], size[2] / 2
    planes: list[tuple[Vector, Vector, Texture]] = [
        ((0.0, z, -y), (0.0, y, 0.0), roof),
        ((0.0, z, y), (0.0, y, 0.0), roof),
        ((-1.0, 0.0, 0.0), (-x, 0.0, 0.0), wall),
        ((1.0, 0.0, 0.0), (x, 0.0, 0.0), wall),
        ((0.0, -1.0, 0.0), (0.0, 0.0, 0.0), wall),
    ]
    return _polyhedron(planes, foot, yaw, math.sqrt(x * x + y * y + z * z))


def pyramid(foot: Vector, radius: float, height: float, sides: int, texture: Texture, *, yaw: float = 0.0) -> Convex:
    """A regular pyramid on ``foot``; ``radius`` is that of the circle inside its base."""
    planes: list[tuple[Vector, Vector, Texture]] = [((0.0, -1.0, 0.0), (0.0, 0.0, 0.0), texture)]
    for k in range(sides):
        angle = 2 * math.pi * k / sides
        c, s = math.cos(angle), math.sin(angle)
        planes.append(((height * c, radius, height * s), (0.0, height, 0.0), texture))
    outer = radius / math.cos(math.pi / sides)
    return _polyhedron(planes, foot, yaw, math.hypot(outer, height))
