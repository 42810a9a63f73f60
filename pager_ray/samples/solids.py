"""The solids that sample scenes are made of, with exact ray intersections.

Frame everywhere: x forward, y up, z right, metres. Rays are arrays of shape (3, n); an origin is (3, 1) for rays from
one point or (3, n). A solid that encloses the origin is hit from inside, which is how a room is a box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from numpy import ndarray

    from pager_ray.samples.textures import Texture

Vector = tuple[float, float, float]

# Hits nearer than this are the surface that a ray started on.
NEAREST = 1e-6


class Solid(Protocol):
    """Something that rays hit."""

    @property
    def shadow(self) -> bool:
        """Whether it keeps light from what lies behind it."""

    def bound(self) -> tuple[Vector, float] | None:
        """Centre and radius of a sphere around it; None when it has none worth testing."""

    def hit(self, origin: Float[ndarray, "3 n"], ray: Float[ndarray, "3 n"]) -> Float[ndarray, "n"]:
        """Distance along each unit ray to the nearest surface beyond :data:`NEAREST`; inf where there is none."""

    def surface(
        self, p: Float[ndarray, "3 n"]
    ) -> tuple[Float[ndarray, "3 n"], Float[ndarray, "n"], Float[ndarray, "n"], Int[ndarray, "n"]]:
        """Outward unit normal, texture coordinates u, v in metres and texture index at points on the surface."""

    @property
    def textures(self) -> tuple[Texture, ...]:
        """The textures that ``surface`` indexes."""


def bounding_spheres(solids: Sequence[Solid]) -> tuple[Float[ndarray, "3 n"], Float[ndarray, "n"]]:
    """Centres and radii of the solids' bounding spheres; radius inf for those without one."""
    bounds = [solid.bound() or ((0.0, 0.0, 0.0), math.inf) for solid in solids]
    return np.array([center for center, _ in bounds]).reshape(-1, 3).T, np.array([radius for _, radius in bounds])


def may_meet(
    solid: Solid, origin: Float[ndarray, "3 m"], ray: Float[ndarray, "3 n"], reach: Float[ndarray, "n"]
) -> Int[ndarray, "k"]:
    """Indices of the rays that meet a solid's bounding sphere within ``reach``; all of them if it has none."""
    bound = solid.bound()
    if bound is None:
        return np.arange(ray.shape[1])
    (x, y, z), radius = bound
    dx, dy, dz = x - origin[0], y - origin[1], z - origin[2]
    middle = dx * ray[0] + dy * ray[1] + dz * ray[2]
    aside = dx * dx + dy * dy + dz * dz - middle * middle
    # A hair wider than the sphere: a ray that grazes it must not be lost to rounding.
    return np.flatnonzero((aside <= radius * radius * 1.0001 + 1e-9) & (middle > -radius) & (middle - radius < reach))


def _nearest_of(enter: Float[ndarray, "n"], leave: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    hit = np.where(enter > NEAREST, enter, leave)
    return np.where((enter <= leave) & (leave > NEAREST), hit, np.inf)


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

    def hit(self, origin: ndarray, ray: ndarray) -> ndarray:
        """Distance along each ray, see :class:`Solid`."""
        down = ray[1] < 0
        t = (self.height - origin[1]) / np.where(down, ray[1], -1.0)
        return np.where(down & (t > NEAREST), t, np.inf)

    def surface(self, p: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Normal, u, v and texture index, see :class:`Solid`."""
        normal = np.zeros_like(p)
        normal[1] = 1
        return normal, p[0], p[2], np.zeros(p.shape[1], np.intp)


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

    def hit(self, origin: ndarray, ray: ndarray) -> ndarray:
        """Distance along each ray, see :class:`Solid`."""
        to = np.asarray(self.center, ray.dtype)[:, None] - origin
        middle = (to * ray).sum(axis=0)
        # The offset of the ray from the centre, squared as a vector: b² − c would lose the digits of distant balls.
        miss = to - middle * ray
        under = self.radius**2 - (miss * miss).sum(axis=0)
        half = np.sqrt(np.maximum(under, 0))
        return np.where(under >= 0, _nearest_of(middle - half, middle + half), np.inf)

    def surface(self, p: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Normal, u, v and texture index, see :class:`Solid`."""
        normal = (p - np.asarray(self.center)[:, None]) / self.radius
        u = np.arctan2(normal[2], normal[0]) * self.radius
        v = np.arcsin(np.clip(normal[1], -1, 1)) * self.radius
        return normal, u, v, np.zeros(p.shape[1], np.intp)


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

    def hit(self, origin: ndarray, ray: ndarray) -> ndarray:
        """Distance along each ray, see :class:`Solid`."""
        x, y, z = (origin[k] - self.foot[k] for k in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = -y / ray[1], (self.height - y) / ray[1]
            level = ray[1] == 0
            inside = (y >= 0) & (y <= self.height)
            enter = np.where(level, np.where(inside, -np.inf, np.inf), np.minimum(low, high))
            leave = np.where(level, np.where(inside, np.inf, -np.inf), np.maximum(low, high))
            a = ray[0] ** 2 + ray[2] ** 2
            b = x * ray[0] + z * ray[2]
            under = self.radius**2 * a - (x * ray[2] - z * ray[0]) ** 2
            half = np.sqrt(np.maximum(under, 0))
            round_enter, round_leave = (-b - half) / a, (-b + half) / a
        upright = a < 1e-24
        within = x**2 + z**2 <= self.radius**2
        round_enter = np.where(upright, np.where(within, -np.inf, np.inf), np.where(under < 0, np.inf, round_enter))
        round_leave = np.where(upright, np.where(within, np.inf, -np.inf), np.where(under < 0, -np.inf, round_leave))
        return _nearest_of(np.maximum(enter, round_enter), np.minimum(leave, round_leave))

    def surface(self, p: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Normal, u, v and texture index, see :class:`Solid`."""
        x, y, z = (p[k] - self.foot[k] for k in range(3))
        across = np.hypot(x, z)
        off_mantle = np.abs(across - self.radius)
        capped = np.minimum(np.abs(y), np.abs(y - self.height)) < off_mantle
        up = np.where(y > self.height / 2, 1.0, -1.0)
        scale = np.where(capped, 0.0, 1 / np.maximum(across, 1e-12))
        normal = np.stack([x * scale, np.where(capped, up, 0.0), z * scale])
        u = np.where(capped, x, np.arctan2(z, x) * self.radius)
        return normal, u, np.where(capped, z, y), capped.astype(np.intp)


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

    @cached_property
    def _planes(self) -> tuple[Float[ndarray, "f 3"], Float[ndarray, "f 1"]]:
        return np.array([face.normal for face in self.faces]), np.array([[face.offset] for face in self.faces])

    @property
    def textures(self) -> tuple[Texture, ...]:
        """One texture per face."""
        return tuple(face.texture for face in self.faces)

    def bound(self) -> tuple[Vector, float] | None:
        """Centre and radius of the sphere around it; None for a room, which surrounds everything."""
        return (self.center, self.radius) if self.bounded else None

    def hit(self, origin: ndarray, ray: ndarray) -> ndarray:
        """Distance along each ray, see :class:`Solid`."""
        # Rays in single precision (shadows) stay in it.
        normals, offsets = (plane.astype(ray.dtype, copy=False) for plane in self._planes)
        along, room = normals @ ray, offsets - normals @ origin
        with np.errstate(divide="ignore", invalid="ignore"):
            t = room / along
        enter = np.where(along < 0, t, -np.inf).max(axis=0)
        leave = np.where(along > 0, t, np.inf).min(axis=0)
        # A ray along a face it is outside of misses, whatever the other faces say.
        enter[((along == 0) & (room < 0)).any(axis=0)] = np.inf
        return _nearest_of(enter, leave)

    def surface(self, p: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Normal, u, v and texture index, see :class:`Solid`."""
        normals, offsets = self._planes
        off = np.abs(normals @ p - offsets)
        which = off.argmin(axis=0)
        normal, origin, u_axis, v_axis = (
            np.array([getattr(face, name) for face in self.faces]).T[:, which]
            for name in ("normal", "origin", "u_axis", "v_axis")
        )
        local = p - origin
        return normal, (local * u_axis).sum(axis=0), (local * v_axis).sum(axis=0), which


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
