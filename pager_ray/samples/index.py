"""Scenes as arrays, and the solids that rays of one direction may meet.

Rays through one point, from the camera or toward a lamp, share an index: the directions are divided into cells, and
every cell lists the solids that reach into it, nearest first. Rays toward the sun share a flat grid across its
direction in the same way. Compiled code is kept on disk between processes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

GROUND, SPHERE, CYLINDER, CONVEX = range(4)
# Cells along one side of a directional index, six sides in all; blocks of cells, which are tested first; and cells
# along a side of the sun's grid.
_SIDE, _BLOCKS = 20, 4
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
        first_corner: (n + 1,) int64, rows of ``corners`` that belong to each solid (none for balls and the ground).
        corners: (c, 3) float64, points whose convex hull holds the solid.
    """

    kind: ndarray
    shape: ndarray
    first: ndarray
    planes: ndarray
    center: ndarray
    radius: ndarray
    casts: ndarray
    texture: ndarray
    first_corner: ndarray
    corners: ndarray


class Index(NamedTuple):
    """Solids by direction from a point.

    Attributes:
        start: (cells + 1,) int64, where each cell's solids begin in ``items``.
        items: int64, numbers of solids, those of a cell from near to far.
        near: (n,) float64, distance at which each solid's bounding sphere begins.
        side: cells along one side of the six.
        cone: (n, 5) float64, unit vector to each solid, cosine and sine of the sphere's angular radius; the cosine is
            −1 where the sphere holds the point.
    """

    start: ndarray
    items: ndarray
    near: ndarray
    side: int
    cone: ndarray


@lru_cache(maxsize=2)
def _cells(across: int) -> tuple[ndarray, ndarray]:
    """The cells of a directional index, ``across`` of them along a side.

    Returns:
        Centre (unit vector), cosine and sine of the angular radius, (cells, 5), and the inward unit normals of the
        four planes that bound a cell's directions, (cells, 4, 3).
    """
    side, i, j = np.unravel_index(np.arange(6 * across * across), (6, across, across))
    sign = np.where(side % 2 == 0, 1.0, -1.0)

    def direction(di: float, dj: float) -> ndarray:
        a, b = (i + di) * 2 / across - 1, (j + dj) * 2 / across - 1
        axes = ((sign, a, b), (a, sign, b), (a, b, sign))
        v = np.stack([np.choose(side // 2, [axis[m] for axis in axes]) for m in range(3)], axis=1)
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    middle = direction(0.5, 0.5)
    corners = [direction(di, dj) for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1))]
    wide = np.arccos(np.minimum.reduce([(corner * middle).sum(axis=1) for corner in corners])) + 1e-6
    edges = []
    for k in range(4):
        normal = np.cross(corners[k], corners[(k + 1) % 4])
        normal *= np.sign((normal * middle).sum(axis=1, keepdims=True))
        edges.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))
    return np.column_stack([middle, np.cos(wide), np.sin(wide)]), np.ascontiguousarray(np.stack(edges, axis=1))


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
    # A convex solid is no nearer than the farthest of its planes that the point is in front of.
    convex = np.flatnonzero(np.diff(scene.first))
    if convex.size:
        off = scene.planes[:, :3] @ point - scene.planes[:, 3]
        near[convex] = np.maximum(near[convex], np.maximum.reduceat(off, scene.first[convex]) * 0.9999 - 1e-6)
    # Near solids first: what they cover, farther ones need not be tested for.
    order = np.argsort(near, kind="stable")
    if shadows:
        order = order[scene.casts[order]]
    start = np.zeros(6 * _SIDE * _SIDE + 1, np.int64)
    levels = (*_cells(_BLOCKS), *_cells(_SIDE))
    _assign(scene, point, cone, order, *levels, _BLOCKS, _SIDE, start, np.empty(0, np.int64), False)
    np.cumsum(start, out=start)
    items = np.empty(start[-1], np.int64)
    _assign(scene, point, cone, order, *levels, _BLOCKS, _SIDE, start[:-1].copy(), items, True)
    return Index(start, items, near, _SIDE, cone)


@njit(cache=True)
def _assign(
    scene: Packed,
    point: ndarray,
    cone: ndarray,
    order: ndarray,
    blocks: ndarray,
    block_edges: ndarray,
    cells: ndarray,
    edges: ndarray,
    blocks_across: int,
    across: int,
    at: ndarray,
    items: ndarray,
    fill: bool,
) -> None:
    """Count the solids of each cell c in at[c + 1], or fill them in from at[c] on."""
    each = across // blocks_across
    for o in range(len(order)):
        k = order[o]
        begin, end = scene.first_corner[k], scene.first_corner[k + 1]
        # Spheres around long walls and large roofs say little; how their corners lie to a cell's sides says more.
        if cone[k, 3] >= 0 and cone[k, 4] <= 0.15:
            end = begin
        for b in range(len(blocks)):
            if _apart(scene.corners, k, cone, blocks, block_edges, b, begin, end, point):
                continue
            base = (b // blocks_across * each) * across + b % blocks_across * each
            for i in range(each):
                for j in range(each):
                    c = base + i * across + j
                    if _apart(scene.corners, k, cone, cells, edges, c, begin, end, point):
                        continue
                    if fill:
                        items[at[c]] = k
                        at[c] += 1
                    else:
                        at[c + 1] += 1


@njit(cache=True)
def _apart(
    corners: ndarray,
    k: int,
    cone: ndarray,
    cells: ndarray,
    edges: ndarray,
    c: int,
    begin: int,
    end: int,
    point: ndarray,
) -> bool:
    """Whether a solid reaches into no direction of a cell, by its sphere or by its corners from begin to end."""
    if cone[k, 3] >= 0:
        cosine = cone[k, 0] * cells[c, 0] + cone[k, 1] * cells[c, 1] + cone[k, 2] * cells[c, 2]
        # Cosine of the two radii's sum; beyond half a turn, which the sine tells, they meet in any case.
        if cone[k, 4] * cells[c, 3] + cone[k, 3] * cells[c, 4] > 0 and (
            cosine < cone[k, 3] * cells[c, 3] - cone[k, 4] * cells[c, 4]
        ):
            return True
    return end > begin and _outside(corners, begin, end, point, edges, c)


@njit(cache=True)
def _outside(corners: ndarray, begin: int, end: int, point: ndarray, edges: ndarray, c: int) -> bool:
    """Whether all corners lie beyond one of the four planes that bound a cell's directions from a point."""
    for e in range(4):
        x, y, z = edges[c, e, 0], edges[c, e, 1], edges[c, e, 2]
        base = x * point[0] + y * point[1] + z * point[2]
        for i in range(begin, end):
            if corners[i, 0] * x + corners[i, 1] * y + corners[i, 2] * z - base > -1e-6:
                break
        else:
            return True
    return False


@njit(cache=True)
def convex_corners(first: ndarray, planes: ndarray, first_corner: ndarray, corners: ndarray, fill: bool) -> None:
    """Count the corners of each convex solid k in first_corner[k + 1], or fill them in from first_corner[k] on."""
    found = np.empty((64, 3))
    for k in range(len(first) - 1):
        count = 0
        for a in range(first[k], first[k + 1]):
            for b in range(a + 1, first[k + 1]):
                ux = planes[a, 1] * planes[b, 2] - planes[a, 2] * planes[b, 1]
                uy = planes[a, 2] * planes[b, 0] - planes[a, 0] * planes[b, 2]
                uz = planes[a, 0] * planes[b, 1] - planes[a, 1] * planes[b, 0]
                for c in range(b + 1, first[k + 1]):
                    volume = ux * planes[c, 0] + uy * planes[c, 1] + uz * planes[c, 2]
                    if abs(volume) < 1e-9:
                        continue
                    corner = _meet(planes, a, b, c, ux, uy, uz, volume)
                    new = count < len(found)
                    for f in range(first[k], first[k + 1]):
                        off = planes[f, 0] * corner[0] + planes[f, 1] * corner[1] + planes[f, 2] * corner[2]
                        if off > planes[f, 3] + 1e-6 * (1 + abs(planes[f, 3])):
                            new = False
                            break
                    for i in range(count):
                        dx, dy, dz = found[i, 0] - corner[0], found[i, 1] - corner[1], found[i, 2] - corner[2]
                        if abs(dx) + abs(dy) + abs(dz) < 1e-6:
                            new = False
                            break
                    if new:
                        found[count, 0], found[count, 1], found[count, 2] = corner
                        count += 1
        # Too many faces for the room above: its sphere alone holds such a solid.
        if count == len(found):
            count = 0
        if fill:
            for i in range(count):
                for axis in range(3):
                    corners[first_corner[k] + i, axis] = found[i, axis]
        else:
            first_corner[k + 1] = count


@njit(cache=True)
def _meet(
    planes: ndarray, a: int, b: int, c: int, ux: float, uy: float, uz: float, volume: float
) -> tuple[float, float, float]:
    """The point that three planes share; u is the cross product of the first two normals."""
    vx = planes[b, 1] * planes[c, 2] - planes[b, 2] * planes[c, 1]
    vy = planes[b, 2] * planes[c, 0] - planes[b, 0] * planes[c, 2]
    vz = planes[b, 0] * planes[c, 1] - planes[b, 1] * planes[c, 0]
    wx = planes[c, 1] * planes[a, 2] - planes[c, 2] * planes[a, 1]
    wy = planes[c, 2] * planes[a, 0] - planes[c, 0] * planes[a, 2]
    wz = planes[c, 0] * planes[a, 1] - planes[c, 1] * planes[a, 0]
    p, q, r = planes[a, 3] / volume, planes[b, 3] / volume, planes[c, 3] / volume
    return p * vx + q * wx + r * ux, p * vy + q * wy + r * uy, p * vz + q * wz + r * uz


NO_SOLIDS = Index(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0), _SIDE, np.empty((0, 5)))
"""What is passed for a lamp that casts no shadows."""


class Parallel(NamedTuple):
    """Solids that cast shadows, by where they lie across the direction of parallel light.

    Attributes:
        axes: (2, 3) float64, two unit vectors across the direction.
        low: (2,) float64, where the grid of cells begins along them.
        size: of a cell, metres.
        side: cells along each axis.
        extents: (n, 4) float64, least and largest coordinates of each solid along the axes.
        start: (cells + 1,) int64, where each cell's solids begin in ``items``.
        items: int64, numbers of solids.
        everywhere: int64, numbers of solids that have no end.
    """

    axes: ndarray
    low: ndarray
    size: float
    side: int
    extents: ndarray
    start: ndarray
    items: ndarray
    everywhere: ndarray


def index_along(scene: Packed, sun: ndarray) -> Parallel:
    """Index of the casters of shadows in light from the unit vector ``sun`` (3,)."""
    aside = np.cross((1.0, 0.0, 0.0) if abs(sun[1]) > 0.9 else (0.0, 1.0, 0.0), sun)
    aside /= np.linalg.norm(aside)
    axes = np.stack([aside, np.cross(sun, aside)])
    flat = scene.center @ axes.T
    radius = scene.radius * 1.0001 + 1e-6
    least, most = flat - radius[:, None], flat + radius[:, None]
    cornered = np.flatnonzero(np.diff(scene.first_corner) > 0)
    if cornered.size:
        shadow, starts = scene.corners @ axes.T, scene.first_corner[cornered]
        least[cornered] = np.minimum.reduceat(shadow, starts) - 1e-6
        most[cornered] = np.maximum.reduceat(shadow, starts) + 1e-6
    casters = np.flatnonzero(scene.casts & np.isfinite(radius))
    everywhere = np.flatnonzero(scene.casts & np.isinf(radius))
    low, size = np.zeros(2), 1.0
    if casters.size:
        low = least[casters].min(axis=0)
        size = max(float((most[casters].max(axis=0) - low).max()), 1e-6) / _SUN_SIDE
    first = np.clip((least - low) / size, 0, _SUN_SIDE - 1).astype(np.int64)
    final = np.clip((most - low) / size, 0, _SUN_SIDE - 1).astype(np.int64)
    begin = np.zeros(_SUN_SIDE * _SUN_SIDE + 1, np.int64)
    _spread(casters, first, final, begin, np.empty(0, np.int64), False)
    np.cumsum(begin, out=begin)
    items = np.empty(begin[-1], np.int64)
    _spread(casters, first, final, begin[:-1].copy(), items, True)
    extents = np.column_stack([least, most])
    return Parallel(axes, low, size, _SUN_SIDE, extents, begin, items, everywhere)


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
