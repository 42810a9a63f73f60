"""Compiled ray casting: which solid a ray meets first, what lies there, and what stands between it and a light.

Compiled code is kept on disk between processes, so that only the very first rendering waits for the compiler. What
calls each other stays in this one module, since the compiler looks for changes in a function's own file alone; for the
same reason it takes no sizes from other modules.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy import ndarray

from pager_ray.samples.index import CONVEX, CYLINDER, SPHERE, Index, Packed, Parallel

# Hits nearer than this are the surface that a ray started on.
NEAREST = 1e-6


@njit(cache=True)
def _hit(scene: Packed, k: int | np.int64, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
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
def _cell_of(x: float, y: float, z: float, across: int) -> int:
    """Cell of a direction: one of six sides of a cube around the point, and one of ``across`` squared on that side."""
    ax, ay, az = abs(x), abs(y), abs(z)
    if ax >= ay and ax >= az:
        side, a, b, c = (0 if x > 0 else 1), y, z, ax
    elif ay >= az:
        side, a, b, c = (2 if y > 0 else 3), x, z, ay
    else:
        side, a, b, c = (4 if z > 0 else 5), x, y, az
    i = min(int((a / c + 1) * (0.5 * across)), across - 1)
    j = min(int((b / c + 1) * (0.5 * across)), across - 1)
    return (side * across + i) * across + j


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
        cell = _cell_of(dx, dy, dz, index.side)
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
    # As the type of the other numbers, or all that is called with it is compiled twice.
    last = np.int64(-1)
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
            last = np.int64(-1)
            cell = _cell_of(-dx, -dy, -dz, index.side)
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


@njit(cache=True)
def shade_from_sun(
    scene: Packed, index: Parallel, sun: ndarray, start: ndarray, normals: ndarray, color: ndarray, total: ndarray
) -> None:
    """Add to total (3, n) the sun's light by the angle to the unit vector sun (3,), where nothing hides it."""
    axes, low, size, side, extents = index.axes, index.low, index.size, index.side, index.extents
    # As the type of the other numbers, or all that is called with it is compiled twice.
    last = np.int64(-1)
    for n in range(start.shape[1]):
        light = normals[0, n] * sun[0] + normals[1, n] * sun[1] + normals[2, n] * sun[2]
        if light <= 0:
            continue
        x, y, z = start[0, n], start[1, n], start[2, n]
        # What hid the last point from the sun most likely hides this one.
        if last >= 0 and _hit(scene, last, x, y, z, sun[0], sun[1], sun[2]) < np.inf:
            continue
        last = np.int64(-1)
        for i in range(len(index.everywhere)):
            if _hit(scene, index.everywhere[i], x, y, z, sun[0], sun[1], sun[2]) < np.inf:
                last = index.everywhere[i]
                break
        a = x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2]
        b = x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2]
        p, q = (a - low[0]) / size, (b - low[1]) / size
        if last < 0 and p >= 0 and q >= 0 and p < side and q < side:
            c = int(p) * side + int(q)
            for i in range(index.start[c], index.start[c + 1]):
                k = index.items[i]
                if a < extents[k, 0] or b < extents[k, 1] or a > extents[k, 2] or b > extents[k, 3]:
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
