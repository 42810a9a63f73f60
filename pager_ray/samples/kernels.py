"""Compiled ray casting: which solid a ray meets first, what lies there, and what stands between it and a light.

A scene is packed into plain arrays once (:class:`Packed`). Rays through one point, from the camera or toward a lamp,
share a *directional index*: the directions are divided into cells and every cell lists the solids whose bounding sphere
reaches into it, nearest first. Rays toward the sun share a flat grid across its direction in the same way.

Compiled code is kept on disk between processes, so that only the very first rendering waits for the compiler. What
calls each other stays in this one module, since the compiler looks for changes in a function's own file alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

# Hits nearer than this are the surface that a ray started on.
NEAREST = 1e-6
GROUND, SPHERE, CYLINDER, CONVEX = range(4)
# Cells along one side of a directional index, six sides in all, and along a side of the sun's grid.
_SIDE = 20
_SUN_SIDE = 96


class Packed(NamedTuple):
    """A scene's solids as arrays.

    Attributes:
        kind: (n,) int64, one of the four kinds above.
        shape: (n, 5) float64; ground: height; sphere: centre, radius; cylinder: foot, radius, height.
        first: (n + 1,) int64, rows of ``planes`` that belong to each solid (none unless convex).
        planes: (m, 13) float64: outward normal, offset, and origin, u axis and v axis of the face's texture.
        center: (n, 3) float64, centre of the bounding sphere.
        radius: (n,) float64, its radius; inf for what no sphere holds.
        casts: (n,) bool, whether it casts a shadow.
        texture: (n,) int64, number of the solid's first texture.
    """

    kind: ndarray
    shape: ndarray
    first: ndarray
    planes: ndarray
    center: ndarray
    radius: ndarray
    casts: ndarray
    texture: ndarray


class Index(NamedTuple):
    """Solids by direction from a point.

    Attributes:
        start: (cells + 1,) int64, where each cell's solids begin in ``items``.
        items: int64, numbers of solids, those of a cell from near to far.
        near: (n,) float64, distance at which each solid's bounding sphere begins.
        cone: (n, 5) float64, unit vector to each solid, cosine and sine of the sphere's angular radius; the cosine is
            −1 where the sphere holds the point.
    """

    start: ndarray
    items: ndarray
    near: ndarray
    cone: ndarray


@njit(cache=True)
def _hit(scene: Packed, k: int, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    """Distance along a unit ray to a solid's nearest surface beyond :data:`NEAREST`; inf where there is none."""
    kind, shape = scene.kind[k], scene.shape
    planes = scene.planes
    enter, leave = -np.inf, np.inf
    if kind == CONVEX:
        for f in range(scene.first[k], scene.first[k + 1]):
            along = planes[f, 0] * dx + planes[f, 1] * dy + planes[f, 2] * dz
            room = planes[f, 3] - (planes[f, 0] * ox + planes[f, 1] * oy + planes[f, 2] * oz)
            if along < 0:
                enter = max(enter, room / along)
            elif along > 0:
                leave = min(leave, room / along)
            elif room < 0:
                # A ray along a face it is outside of misses, whatever the other faces say.
                return np.inf
            if enter > leave:
                return np.inf
    elif kind == SPHERE:
        tx, ty, tz = shape[k, 0] - ox, shape[k, 1] - oy, shape[k, 2] - oz
        middle = tx * dx + ty * dy + tz * dz
        # The offset of the ray from the centre, squared as a vector: b² − c would lose the digits of distant balls.
        mx, my, mz = tx - middle * dx, ty - middle * dy, tz - middle * dz
        under = shape[k, 3] ** 2 - (mx * mx + my * my + mz * mz)
        if under < 0:
            return np.inf
        half = math.sqrt(under)
        enter, leave = middle - half, middle + half
    elif kind == CYLINDER:
        x, y, z = ox - shape[k, 0], oy - shape[k, 1], oz - shape[k, 2]
        if dy == 0:
            if y < 0 or y > shape[k, 4]:
                return np.inf
        else:
            low, high = -y / dy, (shape[k, 4] - y) / dy
            enter, leave = min(low, high), max(low, high)
        a = dx * dx + dz * dz
        if a < 1e-24:
            if x * x + z * z > shape[k, 3] ** 2:
                return np.inf
        else:
            under = shape[k, 3] ** 2 * a - (x * dz - z * dx) ** 2
            if under < 0:
                return np.inf
            half, b = math.sqrt(under), x * dx + z * dz
            enter, leave = max(enter, (-b - half) / a), min(leave, (-b + half) / a)
    elif dy < 0:
        enter = (shape[k, 0] - oy) / dy
        return enter if enter > NEAREST else np.inf
    else:
        return np.inf
    if enter > leave or leave <= NEAREST:
        return np.inf
    return enter if enter > NEAREST else leave


@njit(cache=True)
def _cell_of(x: float, y: float, z: float) -> int:
    """Cell of a direction: one of six sides of a cube around the point, and a square on that side."""
    ax, ay, az = abs(x), abs(y), abs(z)
    if ax >= ay and ax >= az:
        side, a, b, c = (0 if x > 0 else 1), y, z, ax
    elif ay >= az:
        side, a, b, c = (2 if y > 0 else 3), x, z, ay
    else:
        side, a, b, c = (4 if z > 0 else 5), x, y, az
    i = min(int((a / c + 1) * (0.5 * _SIDE)), _SIDE - 1)
    j = min(int((b / c + 1) * (0.5 * _SIDE)), _SIDE - 1)
    return (side * _SIDE + i) * _SIDE + j


@lru_cache(maxsize=1)
def _cells() -> ndarray:
    """Centre (unit vector), cosine and sine of the angular radius of each cell of a directional index, (cells, 5)."""
    side, i, j = np.unravel_index(np.arange(6 * _SIDE * _SIDE), (6, _SIDE, _SIDE))
    sign = np.where(side % 2 == 0, 1.0, -1.0)

    def direction(di: float, dj: float) -> ndarray:
        a, b = (i + di) * 2 / _SIDE - 1, (j + dj) * 2 / _SIDE - 1
        axes = ((sign, a, b), (a, sign, b), (a, b, sign))
        v = np.stack([np.choose(side // 2, [axis[m] for axis in axes]) for m in range(3)], axis=1)
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    middle = direction(0.5, 0.5)
    corners = [(direction(di, dj) * middle).sum(axis=1) for di in (0, 1) for dj in (0, 1)]
    wide = np.arccos(np.minimum.reduce(corners)) + 1e-6
    return np.column_stack([middle, np.cos(wide), np.sin(wide)])


def index_around(scene: Packed, point: ndarray, shadows: bool = False) -> Index:
    """Directional index of the solids, or of those that cast ``shadows``, around a point (3,)."""
    to = scene.center - point
    far = np.linalg.norm(to, axis=1)
    # A hair wider than the sphere: a ray that grazes it must not be lost to rounding.
    radius = scene.radius * 1.0001 + 1e-6
    around = far <= radius
    with np.errstate(divide="ignore", invalid="ignore"):
        sine = np.where(around, 0.0, radius / far)
        cone = np.column_stack([to / far[:, None], np.sqrt(1 - sine * sine), sine])
    cone[around] = (0.0, 0.0, 0.0, -1.0, 0.0)
    near = np.where(around, 0.0, far - radius)
    # Near solids first: what they cover, farther ones need not be tested for.
    order = np.argsort(near, kind="stable")
    if shadows:
        order = order[scene.casts[order]]
    start = np.zeros(6 * _SIDE * _SIDE + 1, np.int64)
    _assign(cone, order, _cells(), start, np.empty(0, np.int64), False)
    np.cumsum(start, out=start)
    items = np.empty(start[-1], np.int64)
    _assign(cone, order, _cells(), start[:-1].copy(), items, True)
    return Index(start, items, near, cone)


@njit(cache=True)
def _assign(cone: ndarray, order: ndarray, cells: ndarray, at: ndarray, items: ndarray, fill: bool) -> None:
    """Count the solids of each cell c in at[c + 1], or fill them in from at[c] on."""
    for o in range(len(order)):
        k = order[o]
        for c in range(len(cells)):
            if cone[k, 3] >= 0:
                cosine = cone[k, 0] * cells[c, 0] + cone[k, 1] * cells[c, 1] + cone[k, 2] * cells[c, 2]
                if cosine < cone[k, 3] * cells[c, 3] - cone[k, 4] * cells[c, 4]:
                    continue
            if fill:
                items[at[c]] = k
                at[c] += 1
            else:
                at[c + 1] += 1


@njit(cache=True)
def _beside(index: Index, k: int, dx: float, dy: float, dz: float) -> bool:
    """Whether a direction from the index's point passes a solid's bounding sphere."""
    cone = index.cone
    return cone[k, 0] * dx + cone[k, 1] * dy + cone[k, 2] * dz < cone[k, 3] - 1e-9


@njit(cache=True)
def _nearest(scene: Packed, index: Index, origin: ndarray, rays: ndarray, distance: ndarray, solid: ndarray) -> None:
    ox, oy, oz = origin[0], origin[1], origin[2]
    for n in range(rays.shape[1]):
        dx, dy, dz = rays[0, n], rays[1, n], rays[2, n]
        best, which = np.inf, -1
        cell = _cell_of(dx, dy, dz)
        for i in range(index.start[cell], index.start[cell + 1]):
            k = index.items[i]
            if index.near[k] > best:
                break
            if _beside(index, k, dx, dy, dz):
                continue
            t = _hit(scene, k, ox, oy, oz, dx, dy, dz)
            if t < best:
                best, which = t, k
        distance[n] = best
        solid[n] = which


def first_hits(scene: Packed, index: Index, origin: ndarray, rays: ndarray) -> tuple[ndarray, ndarray]:
    """Distance, float64, to the solid that each ray (3, n) meets first and its number, int64; inf and −1 for none.

    ``index`` is the one around ``origin`` (3,); rays are unit vectors.
    """
    distance, solid = np.empty(rays.shape[1]), np.empty(rays.shape[1], np.int64)
    _nearest(scene, index, origin, np.ascontiguousarray(rays), distance, solid)
    return distance, solid


def surfaces(
    scene: Packed, origin: ndarray, rays: ndarray, distance: ndarray, solid: ndarray, pixel: float
) -> tuple[ndarray, ndarray, ndarray, ndarray, ndarray]:
    """What the rays' points lie on.

    Returns:
        Points (3, n), unit normals (3, n) toward the ray's origin, texture coordinates u, v and footprint of a
        ``pixel`` (3, n), all float64; number of the texture and of the face on its solid, (n,) int32 and −1 at sky.
    """
    count = rays.shape[1]
    points, normals, coordinates = np.zeros((3, 3, count))
    texture, face = np.full((2, count), -1, np.int32)
    _surfaces(scene, origin, rays, distance, solid, pixel, points, normals, coordinates, texture, face)
    return points, normals, coordinates, texture, face


@njit(cache=True)
def _surfaces(
    scene: Packed,
    origin: ndarray,
    rays: ndarray,
    distance: ndarray,
    solid: ndarray,
    pixel: float,
    points: ndarray,
    normals: ndarray,
    coordinates: ndarray,
    texture: ndarray,
    face: ndarray,
) -> None:
    for n in range(rays.shape[1]):
        k = solid[n]
        if k < 0:
            continue
        t, dx, dy, dz = distance[n], rays[0, n], rays[1, n], rays[2, n]
        px, py, pz = origin[0] + t * dx, origin[1] + t * dy, origin[2] + t * dz
        kind, shape, planes, which = scene.kind[k], scene.shape, scene.planes, 0
        if kind == CONVEX:
            off = np.inf
            for f in range(scene.first[k], scene.first[k + 1]):
                gap = abs(planes[f, 0] * px + planes[f, 1] * py + planes[f, 2] * pz - planes[f, 3])
                if gap < off:
                    off, which = gap, f - scene.first[k]
            f = scene.first[k] + which
            nx, ny, nz = planes[f, 0], planes[f, 1], planes[f, 2]
            lx, ly, lz = px - planes[f, 4], py - planes[f, 5], pz - planes[f, 6]
            u = lx * planes[f, 7] + ly * planes[f, 8] + lz * planes[f, 9]
            v = lx * planes[f, 10] + ly * planes[f, 11] + lz * planes[f, 12]
        elif kind == SPHERE:
            r = shape[k, 3]
            nx, ny, nz = (px - shape[k, 0]) / r, (py - shape[k, 1]) / r, (pz - shape[k, 2]) / r
            u = math.atan2(nz, nx) * r
            v = math.asin(min(max(ny, -1.0), 1.0)) * r
        elif kind == CYLINDER:
            x, y, z = px - shape[k, 0], py - shape[k, 1], pz - shape[k, 2]
            across = math.hypot(x, z)
            if min(abs(y), abs(y - shape[k, 4])) < abs(across - shape[k, 3]):
                which = 1
                nx, ny, nz = 0.0, (1.0 if y > shape[k, 4] / 2 else -1.0), 0.0
                u, v = x, z
            else:
                scale = 1 / max(across, 1e-12)
                nx, ny, nz = x * scale, 0.0, z * scale
                u, v = math.atan2(z, x) * shape[k, 3], y
        else:
            nx, ny, nz, u, v = 0.0, 1.0, 0.0, px, pz
        facing = nx * dx + ny * dy + nz * dz
        sign = -1.0 if facing > 0 else 1.0
        points[0, n], points[1, n], points[2, n] = px, py, pz
        normals[0, n], normals[1, n], normals[2, n] = nx * sign, ny * sign, nz * sign
        coordinates[0, n], coordinates[1, n] = u, v
        coordinates[2, n] = t * pixel / max(abs(facing), 0.05)
        texture[n], face[n] = scene.texture[k] + which, which


@njit(cache=True)
def shade_from_lamp(
    scene: Packed,
    index: Index,
    lamp: ndarray,
    dim: float,
    shadows: bool,
    start: ndarray,
    normals: ndarray,
    color: ndarray,
    total: ndarray,
) -> None:
    """Add to total (3, n) what a lamp (3,) gives to surface points start (3, n), by angle, distance and shadows.

    Below ``dim`` nobody would see a shadow, and none is cast.
    """
    last = -1
    for n in range(start.shape[1]):
        dx, dy, dz = lamp[0] - start[0, n], lamp[1] - start[1, n], lamp[2] - start[2, n]
        distance = math.sqrt(dx * dx + dy * dy + dz * dz)
        dx, dy, dz = dx / distance, dy / distance, dz / distance
        # The constant keeps the spot right beside a lamp from burning out.
        light = (dx * normals[0, n] + dy * normals[1, n] + dz * normals[2, n]) / (0.15 + distance * distance)
        if light <= 0:
            continue
        if shadows and light > dim:
            # What hid the last point from the lamp most likely hides this one.
            if last >= 0 and _hit(scene, last, start[0, n], start[1, n], start[2, n], dx, dy, dz) < distance:
                continue
            last = -1
            cell = _cell_of(-dx, -dy, -dz)
            for i in range(index.start[cell], index.start[cell + 1]):
                k = index.items[i]
                if index.near[k] > distance:
                    break
                if _beside(index, k, -dx, -dy, -dz):
                    continue
                if _hit(scene, k, start[0, n], start[1, n], start[2, n], dx, dy, dz) < distance:
                    last = k
                    break
            if last >= 0:
                continue
        for c in range(3):
            total[c, n] += light * color[c]


def shade_from_sun(
    scene: Packed, sun: ndarray, start: ndarray, normals: ndarray, color: ndarray, total: ndarray
) -> None:
    """Add to total (3, n) the sun's light by the angle to the unit vector sun (3,), where nothing hides it."""
    # Two axes across the sun's direction span a grid of cells that list the shadows' casters.
    aside = np.cross((1.0, 0.0, 0.0) if abs(sun[1]) > 0.9 else (0.0, 1.0, 0.0), sun)
    aside /= np.linalg.norm(aside)
    axes = np.stack([aside, np.cross(sun, aside)])
    flat = scene.center @ axes.T
    radius = scene.radius * 1.0001 + 1e-6
    casters = np.flatnonzero(scene.casts & np.isfinite(radius))
    everywhere = np.flatnonzero(scene.casts & np.isinf(radius))
    low, size = np.zeros(2), 1.0
    if casters.size:
        reach = radius[casters, None]
        low = (flat[casters] - reach).min(axis=0)
        size = max(float(((flat[casters] + reach).max(axis=0) - low).max()), 1e-6) / _SUN_SIDE
    first = np.clip((flat - radius[:, None] - low) / size, 0, _SUN_SIDE - 1).astype(np.int64)
    final = np.clip((flat + radius[:, None] - low) / size, 0, _SUN_SIDE - 1).astype(np.int64)
    begin = np.zeros(_SUN_SIDE * _SUN_SIDE + 1, np.int64)
    _spread(casters, first, final, begin, np.empty(0, np.int64), False)
    np.cumsum(begin, out=begin)
    items = np.empty(begin[-1], np.int64)
    _spread(casters, first, final, begin[:-1].copy(), items, True)
    circles = np.column_stack([flat, radius])
    _sunshine(scene, sun, axes, low, size, circles, begin, items, everywhere, start, normals, color, total)


@njit(cache=True)
def _spread(casters: ndarray, first: ndarray, final: ndarray, at: ndarray, items: ndarray, fill: bool) -> None:
    """Count the casters of each cell c of the sun's grid in at[c + 1], or fill them in from at[c] on."""
    for o in range(len(casters)):
        k = casters[o]
        for i in range(first[k, 0], final[k, 0] + 1):
            for j in range(first[k, 1], final[k, 1] + 1):
                c = i * _SUN_SIDE + j
                if fill:
                    items[at[c]] = k
                    at[c] += 1
                else:
                    at[c + 1] += 1


@njit(cache=True)
def _sunshine(
    scene: Packed,
    sun: ndarray,
    axes: ndarray,
    low: ndarray,
    size: float,
    circles: ndarray,
    begin: ndarray,
    items: ndarray,
    everywhere: ndarray,
    start: ndarray,
    normals: ndarray,
    color: ndarray,
    total: ndarray,
) -> None:
    last = -1
    for n in range(start.shape[1]):
        light = normals[0, n] * sun[0] + normals[1, n] * sun[1] + normals[2, n] * sun[2]
        if light <= 0:
            continue
        x, y, z = start[0, n], start[1, n], start[2, n]
        # What hid the last point from the sun most likely hides this one.
        if last >= 0 and _hit(scene, last, x, y, z, sun[0], sun[1], sun[2]) < np.inf:
            continue
        last = -1
        for i in range(len(everywhere)):
            if _hit(scene, everywhere[i], x, y, z, sun[0], sun[1], sun[2]) < np.inf:
                last = everywhere[i]
                break
        a = x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2]
        b = x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2]
        p, q = (a - low[0]) / size, (b - low[1]) / size
        if last < 0 and p >= 0 and q >= 0 and p < _SUN_SIDE and q < _SUN_SIDE:
            c = int(p) * _SUN_SIDE + int(q)
            for i in range(begin[c], begin[c + 1]):
                k = items[i]
                if (circles[k, 0] - a) ** 2 + (circles[k, 1] - b) ** 2 > circles[k, 2] ** 2:
                    continue
                if _hit(scene, k, x, y, z, sun[0], sun[1], sun[2]) < np.inf:
                    last = k
                    break
        if last < 0:
            for c in range(3):
                total[c, n] += light * color[c]


@njit(cache=True)
def ambient_light(
    points: ndarray,
    normals: ndarray,
    above: ndarray,
    below: ndarray,
    low: ndarray,
    high: ndarray,
    room: bool,
    total: ndarray,
) -> None:
    """Add to total (3, n) light from everywhere, ``above`` to ``below`` by the normal.

    There is less of it near the walls of a ``room`` from ``low`` to ``high``: a corner's surroundings are walls.
    """
    for n in range(points.shape[1]):
        shade = 1.0
        if room:
            for axis in range(3):
                gap = min(abs(points[axis, n] - low[axis]), abs(high[axis] - points[axis, n]))
                shade *= 1 - 0.38 * math.exp(-gap / 0.35) * (1 - abs(normals[axis, n]))
        up = 0.5 + 0.5 * normals[1, n]
        for color in range(3):
            total[color, n] += (below[color] + (above[color] - below[color]) * up) * shade
