"""Solids in any attitude: convex outlines drawn out along an axis, bars between two points, arches of blocks.

An attitude is the solid's own x, y and z axes in the world. Plain numbers throughout: a scene has thousands of faces,
and arrays of three elements cost more than they carry.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from pager_ray.samples.solids import Convex, Cylinder, Face, Ground, Solid, Sphere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pager_ray.samples.solids import Vector
    from pager_ray.samples.textures import Texture

    Outline = Sequence[tuple[float, float]]
    Axes = tuple[Vector, Vector, Vector]

# Faces whose normal's y is beyond this are level.
_LEVEL = 0.999


def attitude(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Axes:
    """Axes turned about their own x by ``roll``, then z by ``pitch`` (x rises), then about y by ``yaw`` (x to z)."""
    c, s, p, q, r, t = (f(angle) for angle in (yaw, pitch, roll) for f in (math.cos, math.sin))
    return (
        (c * p, q, s * p),
        (-c * q * r - s * t, p * r, -s * q * r + c * t),
        (c * q * t - s * r, -p * t, s * q * t + c * r),
    )


def _sum(at: Vector, axes: Axes, x: float, y: float, z: float) -> Vector:
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = axes
    return (at[0] + ax * x + bx * y + cx * z, at[1] + ay * x + by * y + cy * z, at[2] + az * x + bz * y + cz * z)


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def drawn_out(
    outline: Outline,
    length: float,
    at: Vector,
    axes: Axes,
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
    count, half, none = len(outline), length / 2, (0.0, 0.0, 0.0)
    mx, my = sum(x for x, _ in outline) / count, sum(y for _, y in outline) / count
    faces = []
    for k, texture in enumerate(sides):
        (x0, y0), (x1, y1) = outline[k], outline[(k + 1) % count]
        dx, dy = x1 - x0, y1 - y0
        long = math.hypot(dx, dy)
        normal = _sum(none, axes, dy / long, -dx / long, 0.0)
        spans = (_sum(none, axes, dx / 2, dy / 2, 0.0), _sum(none, axes, 0.0, 0.0, half), none)
        middle = _sum(at, axes, (x0 + x1) / 2, (y0 + y1) / 2, 0.0)
        corners = [_sum(none, spans, s, t, 0.0) for s in (-1, 1) for t in (-1, 1)]
        faces.append(_face(normal, middle, corners, axes, texture, anchor))
    corners = [_sum(none, axes, x - mx, y - my, 0.0) for x, y in outline]
    for z in (-1.0, 1.0):
        normal, middle = _sum(none, axes, 0.0, 0.0, z), _sum(at, axes, mx, my, z * half)
        faces.append(_face(normal, middle, corners, axes, ends or sides[0], anchor))
    radius = math.sqrt(max((x - mx) ** 2 + (y - my) ** 2 for x, y in outline) + half * half)
    return Convex(tuple(faces), _sum(at, axes, mx, my, 0.0), radius, shadow)


def _face(
    normal: Vector,
    middle: Vector,
    corners: Sequence[Vector],
    axes: Axes,
    texture: Texture,
    anchor: Vector | None,
) -> Face:
    """A face through ``middle``; ``corners`` are relative to it."""
    level = abs(normal[1]) > _LEVEL
    if level:
        # Level faces carry their pattern along the solid's own x axis, or z if that one stands upright.
        x, _, z = axes[0] if abs(axes[0][1]) < 0.9 else axes[2]
    else:
        x, z = normal[2], -normal[0]
    along = math.hypot(x, z)
    u = (x / along, 0.0, z / along)
    v = (-u[2], 0.0, u[0]) if level else _cross(normal, u)
    if not level and v[1] < 0:
        v = (-v[0], -v[1], -v[2])
    origin = anchor or middle
    if anchor is None and not level:
        low = min(_dot(corner, v) for corner in corners)
        origin = (middle[0] + v[0] * low, middle[1] + v[1] * low, middle[2] + v[2] * low)
    return Face(normal, _dot(normal, middle), texture, origin, u, v)


def block(
    foot: Vector,
    size: Vector,
    texture: Texture,
    axes: Axes | float = 0.0,
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
    dx, dy, dz = end[0] - start[0], end[1] - start[1], end[2] - start[2]
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    z = (dx / length, dy / length, dz / length)
    x = _cross((0.0, 1.0, 0.0) if abs(z[1]) < 0.9 else (1.0, 0.0, 0.0), z)
    size = math.sqrt(_dot(x, x))
    x = (x[0] / size, x[1] / size, x[2] / size)
    r = width / 2 / math.cos(math.pi / sides)
    turns = [2 * math.pi * (k + 0.5) / sides for k in range(sides)]
    outline = [(r * math.cos(a), r * math.sin(a)) for a in turns]
    middle = (start[0] + dx / 2, start[1] + dy / 2, start[2] + dz / 2)
    return drawn_out(outline, length, middle, (x, _cross(z, x), z), texture, shadow=shadow)


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
