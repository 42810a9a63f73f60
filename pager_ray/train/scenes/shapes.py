"""Solids in any attitude: convex outlines drawn out along an axis, bars between two points, arches of blocks.

An attitude is a (3, 3) array whose columns are the solid's own x, y and z axes in the world.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from pager_ray.samples.solids import Convex, Cylinder, Face, Ground, Solid, Sphere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from numpy import ndarray

    from pager_ray.samples.solids import Vector
    from pager_ray.samples.textures import Texture

Outline = tuple[tuple[float, float], ...]


def attitude(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Float[ndarray, "3 3"]:
    """Axes turned about their own x by ``roll``, then z by ``pitch`` (x rises), then about y by ``yaw`` (x to z)."""
    (c, p, r), (s, q, t) = (tuple(f(a) for a in (yaw, pitch, roll)) for f in (math.cos, math.sin))
    turned = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    pitched = np.array([[p, -q, 0], [q, p, 0], [0, 0, 1]])
    return turned @ pitched @ np.array([[1, 0, 0], [0, r, -t], [0, t, r]])


def drawn_out(
    outline: Outline,
    length: float,
    at: Vector,
    axes: Float[ndarray, "3 3"],
    side: Texture | Sequence[Texture],
    ends: Texture | None = None,
    *,
    anchor: Vector | None = None,
    shadow: bool = True,
) -> Convex:
    """A convex outline in the x-y plane, drawn out along z by ``length``, half of it to either side of ``at``.

    Args:
        outline: corners (x, y) in metres, counterclockwise.
        length: along z, metres.
        at: where the outline's (0, 0) lies.
        axes: the solid's attitude.
        side: texture of the sides, or one for each edge of the outline.
        ends: texture of the two outlines themselves; that of the first side by default.
        anchor: where texture coordinates are (0, 0), so that neighbouring pieces share a pattern; each face's middle
            by default, at its lower edge if it stands.
        shadow: whether it casts one.
    """
    sides = list(side) if isinstance(side, list | tuple) else [cast("Texture", side)] * len(outline)
    flat = np.array([(x, y, z) for z in (-length / 2, length / 2) for x, y in outline])
    corners = flat @ axes.T + np.array(at)
    count = len(outline)
    faces = []
    for k, texture in enumerate(sides):
        after = (k + 1) % count
        run = np.subtract(outline[after], outline[k])
        normal = axes @ (np.array([run[1], -run[0], 0.0]) / math.hypot(*run))
        faces.append(_face(normal, corners[[k, after, k + count, after + count]], axes, texture, anchor))
    for z, texture in ((-1.0, ends or sides[0]), (1.0, ends or sides[0])):
        own = corners[:count] if z < 0 else corners[count:]
        faces.append(_face(axes[:, 2] * z, own, axes, texture, anchor))
    middle = corners.mean(axis=0)
    radius = float(np.linalg.norm(corners - middle, axis=1).max())
    return Convex(tuple(faces), _vector(middle), radius, shadow)


def _face(
    normal: Float[ndarray, "3"],
    corners: Float[ndarray, "n 3"],
    axes: Float[ndarray, "3 3"],
    texture: Texture,
    anchor: Vector | None,
) -> Face:
    if abs(normal[1]) > 0.999:
        # Level faces carry their pattern along the solid's own x axis, or z if that one stands upright.
        lead = axes[:, 0] if abs(axes[1, 0]) < 0.9 else axes[:, 2]
        u = np.array([lead[0], 0.0, lead[2]])
        u /= np.linalg.norm(u)
        v = np.cross(u, (0.0, -1.0, 0.0))
    else:
        u = np.array([normal[2], 0.0, -normal[0]])
        u /= np.linalg.norm(u)
        v = np.cross(normal, u)
    if abs(normal[1]) <= 0.999 and v[1] < 0:
        v = -v
    origin = np.array(anchor) if anchor is not None else corners.mean(axis=0)
    if anchor is None and abs(normal[1]) <= 0.999:
        origin = origin + v * float(((corners - origin) @ v).min())
    return Face(_vector(normal), float(normal @ corners[0]), texture, _vector(origin), _vector(u), _vector(v))


def _vector(v: Float[ndarray, "3"]) -> Vector:
    return (float(v[0]), float(v[1]), float(v[2]))


def block(
    foot: Vector,
    size: Vector,
    texture: Texture,
    axes: Float[ndarray, "3 3"] | float = 0.0,
    *,
    top: Texture | None = None,
    ends: Texture | None = None,
    anchor: Vector | None = None,
    shadow: bool = True,
) -> Convex:
    """A box of ``size`` (x, y, z) that stands on ``foot`` in an attitude, or turned by a yaw alone.

    ``top`` textures its upper side, ``ends`` its −z and +z sides.
    """
    x, y = size[0] / 2, size[1]
    outline = ((-x, 0.0), (x, 0.0), (x, y), (-x, y))
    turned = attitude(axes) if isinstance(axes, (int, float)) else axes
    sides = (texture, texture, top or texture, texture)
    return drawn_out(outline, size[2], foot, turned, sides, ends or texture, anchor=anchor, shadow=shadow)


def bar(start: Vector, end: Vector, width: float, texture: Texture, *, sides: int = 6, shadow: bool = True) -> Convex:
    """A straight bar of a regular cross-section between two points; ``width`` across."""
    along = np.subtract(end, start).astype(float)
    length = float(np.linalg.norm(along))
    z = along / length
    x = np.cross((0.0, 1.0, 0.0) if abs(z[1]) < 0.9 else (1.0, 0.0, 0.0), z)
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(z, x), z], axis=1)
    r = width / 2 / math.cos(math.pi / sides)
    turns = [2 * math.pi * (k + 0.5) / sides for k in range(sides)]
    outline = tuple((r * math.cos(a), r * math.sin(a)) for a in turns)
    return drawn_out(outline, length, _vector(np.add(start, end) / 2), axes, texture, shadow=shadow)


def disc(
    center: Vector, radius: float, thickness: float, yaw: float, texture: Texture, rim: Texture | None = None
) -> Convex:
    """A wheel or a round plate that stands upright, its axis along z turned by ``yaw``."""
    turns = [2 * math.pi * k / 12 for k in range(12)]
    outline = tuple((radius * math.cos(a), radius * math.sin(a)) for a in turns)
    return drawn_out(outline, thickness, center, attitude(yaw), rim or texture, texture)


def arch(
    foot: Vector, span: float, rise: float, thick: float, deep: float, texture: Texture, yaw: float, pieces: int = 9
) -> list[Solid]:
    """An arch of wedges over an opening: its axis along z turned by ``yaw``, its springing line at the foot's height.

    ``span`` is the clear width, ``rise`` the height of its crown above the springing, ``thick`` that of the ring.
    """
    c, s = math.cos(yaw), math.sin(yaw)
    solids: list[Solid] = []
    for k in range(pieces):
        a, b = (math.pi * (k + d) / pieces for d in (0, 1))
        corners = [(span / 2 * math.cos(t), rise * math.sin(t)) for t in (a, b)]
        outer = [((span / 2 + thick) * math.cos(t), (rise + thick) * math.sin(t)) for t in (b, a)]
        middle = (sum(p[0] for p in corners + outer) / 4, sum(p[1] for p in corners + outer) / 4)
        # Clockwise from below: the inner edge runs against the outer one.
        outline = tuple((p[0] - middle[0], p[1] - middle[1]) for p in (corners[1], corners[0], outer[1], outer[0]))
        at = (foot[0] + c * middle[0], foot[1] + middle[1], foot[2] + s * middle[0])
        solids.append(drawn_out(outline, deep, at, attitude(yaw), texture))
    return solids


def clearance(solid: Solid, p: Vector) -> float:
    """Distance from a point to a solid or less, metres; negative inside.

    For convex solids it is the distance to the farthest face's plane, which never exceeds the distance itself.
    """
    if isinstance(solid, Ground):
        return p[1] - solid.height
    if isinstance(solid, Sphere):
        return math.dist(p, solid.center) - solid.radius
    if isinstance(solid, Cylinder):
        x, y, z = (p[k] - solid.foot[k] for k in range(3))
        return max(math.hypot(x, z) - solid.radius, -y, y - solid.height)
    return max(sum(n * c for n, c in zip(face.normal, p, strict=True)) - face.offset for face in solid.faces)
