"""A prediction as a triangle mesh whose vertices are its own points: few on plain walls, many where surfaces bend.

The panorama's pixels are halved into right triangles again and again, down to single pixels (right-triangulated
irregular networks: Evans, Kirkpatrick and Townsend, 2001). A triangle is split where the point at the middle of its
longest side is farther from that side's middle than a limit, in parts of its distance: which is how far surface and
picture move for who looks from the panorama's place. The limit is the smallest that keeps within the budget. Where a
neighbour is across a jump in depth, or is none, triangles are split down to the pixels, and what would bridge the jump
is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray import geometry
from pager_ray.errors import InputError
from pager_ray.export.axes import FRAME, FRAMES, turn
from pager_ray.export.points import Cleaning, check_knob, surface_kept

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int64

    from pager_ray.prediction import Prediction

MAX_TRIANGLES: Final = 500_000
JUMP_SLOPE: Final = 15.0
"""Neighbours whose depths differ by more than this times the angle between rows, as logarithms, are no surface: it
would be seen at less than 4°."""
JUMP_RATIO: Final = 0.2
"""Nor are those that differ by more than this, however coarse the panorama."""
FORCED: Final = 0.8
"""Share of the budget that jumps may take; where they would take more, every second row and column is looked at."""
_SMALLEST = 8


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles of one panorama, their front sides towards its camera.

    Attributes:
        xyz: (N, 3) float32, metres (relative where the checkpoint has no scale), in ``frame``.
        uv: (N, 2) float32, place in the panorama, from its upper left corner to (1, 1); across is more than one where a
            triangle reaches over the seam.
        faces: (T, 3) int64, counter-clockwise for who looks from the camera.
        frame: which way x, y and z point.
        error: the limit of the splitting: no pixel that halves a triangle's longest side is farther from its middle, in
            parts of the pixel's distance.
    """

    xyz: Float32[np.ndarray, "n 3"]
    uv: Float32[np.ndarray, "n 2"]
    faces: Int64[np.ndarray, "t 3"]
    frame: str = FRAME
    error: float = 0.0

    def turned(self, axes: str) -> Mesh:
        """The mesh with other axes; see :mod:`pager_ray.export.axes`."""
        return replace(self, xyz=turn(self.xyz, axes), frame=FRAMES[axes])


@dataclass(frozen=True, eq=False)
class _Grid:
    """Vertices that triangles may have: R + 1 rows from pole to pole, 2R columns around, R a power of two.

    First and last row are the poles, the others are pixels.

    Attributes:
        depth: (R + 1, 2R), NaN where there is no surface.
        points: (R + 1, 2R, 3).
        rows, columns: which pixels; the poles are half a pixel beyond the first and the last row.
        jump_east: (R + 1, 2R), to the neighbour on the right, around the seam; jump_south: (R, 2R), to the one below.
    """

    depth: Float32[np.ndarray, "r c"]
    points: Float32[np.ndarray, "r c 3"]
    rows: np.ndarray
    columns: np.ndarray
    jump_east: Bool[np.ndarray, "r c"]
    jump_south: Bool[np.ndarray, "r c"]


def surface_mesh(
    prediction: Prediction, cleaning: Cleaning | None = None, max_triangles: int | None = MAX_TRIANGLES
) -> Mesh:
    """The surface that a prediction shows.

    Args:
        prediction: with depth.
        cleaning: what is no surface: sky, and the end of the depth range; where it keeps edges, jumps are bridged.
        max_triangles: the budget; None keeps every pixel that is not exactly between others.

    Raises:
        InputError: ``no_points``: there is no surface; ``no_map``: it lacks depth.
        ConfigError: ``max_triangles`` is no budget.
    """
    check_knob("max_triangles", max_triangles, 1, whole=True)
    cleaning = cleaning or Cleaning()
    depth, keep = surface_kept(prediction, cleaning)
    size = 1 << int(np.log2(min(depth.shape[0], depth.shape[1] // 2)))
    while True:
        grid = _grid(depth, keep, size, bridged=cleaning.edge_relative is None)
        error = _errors(grid)
        forced = 2 * int(np.count_nonzero(np.isinf(error)))
        if max_triangles is None or forced <= FORCED * max_triangles or size <= _SMALLEST:
            break
        size //= 2
    limit = _limit(error, max_triangles)
    faces = _triangles(error, limit)
    faces = faces[_is_surface(grid, faces)]
    if not len(faces):
        raise InputError("no_points", f"{prediction.id}: no surface is left after cleaning (all sky?); check its maps")
    return _compact(grid, faces, depth.shape, limit)


def _grid(depth: Float32[np.ndarray, "h w"], keep: Bool[np.ndarray, "h w"], size: int, *, bridged: bool) -> _Grid:
    height, width = depth.shape
    rows = np.floor(np.arange(1, size) * height / size - 0.5 + 1e-9).astype(np.int64)
    columns = np.floor((np.arange(2 * size) + 0.5) * width / (2 * size)).astype(np.int64)
    picked = np.ix_(rows, columns)
    seen = np.full((size + 1, 2 * size), np.nan, np.float32)
    seen[1:-1] = np.where(keep[picked], depth[picked], np.float32(np.nan))
    points = np.empty((size + 1, 2 * size, 3), np.float32)
    points[1:-1] = geometry.erp_rays(height, width)[picked]
    points[0], points[-1] = (0, 1, 0), (0, -1, 0)
    # A pole is where all around it is.
    seen[0], seen[-1] = seen[1].mean(dtype=np.float64), seen[-2].mean(dtype=np.float64)
    points *= seen[..., None]
    ratio = np.inf if bridged else np.exp(min(JUMP_SLOPE * np.pi / size, JUMP_RATIO))
    return _Grid(
        seen,
        points,
        np.array([-0.5, *rows, height - 0.5]),
        columns,
        _is_jump(seen, np.roll(seen, -1, axis=1), ratio),
        _is_jump(seen[:-1], seen[1:], ratio),
    )


def _is_jump(
    one: Float32[np.ndarray, "r c"], other: Float32[np.ndarray, "r c"], ratio: float
) -> Bool[np.ndarray, "r c"]:
    # Not below either bound: so is what has no depth.
    with np.errstate(invalid="ignore"):
        return ~((one <= ratio * other) & (other <= ratio * one))


def _must_split(grid: _Grid) -> Bool[np.ndarray, "r c"]:
    """Vertices beside a jump; not those that are no surface amid others that are none."""
    there = np.isfinite(grid.depth)
    east = grid.jump_east & (there | np.roll(there, -1, axis=1))
    south = grid.jump_south & (there[:-1] | there[1:])
    beside = east | np.roll(east, 1, axis=1)
    beside[:-1] |= south
    beside[1:] |= south
    return beside


def _errors(grid: _Grid) -> Float32[np.ndarray, "r c"]:
    """For every vertex, how far off a triangle with it in the middle of its longest side is, with all of its parts.

    From the smallest triangles on: those with an axis-parallel longest side of 2s vertices, whose parts have diagonals
    of squares of s for theirs; then those with a diagonal of a square of 2s, whose parts have its sides. So an
    error is never less than those of what a split leads to, and triangles that share a side are split together.
    """
    points, size = grid.points, len(grid.points) - 1
    error = np.zeros(grid.depth.shape, np.float32)
    forced = _must_split(grid)
    step = 1
    while step < size:
        even, odd = slice(None, None, 2 * step), slice(step, None, 2 * step)
        corners = points[even, even]
        right = np.roll(corners, -1, axis=1)
        flat = _off(points[even, odd], corners, right, grid.depth[even, odd])
        upright = _off(points[odd, even], corners[:-1], corners[1:], grid.depth[odd, even])
        # The diagonals of a square's quarters all begin at its centre.
        falling, rising = (corners[:-1], right[1:]), (right[:-1], corners[1:])
        is_falling = np.add.outer(np.arange(len(corners) - 1), np.arange(corners.shape[1])) % 2 == 0
        upper, lower = (np.where(is_falling[..., None], one, other) for one, other in zip(falling, rising, strict=True))
        centre = _off(points[odd, odd], upper, lower, grid.depth[odd, odd])
        for found, where in ((flat, (even, odd)), (upright, (odd, even)), (centre, (odd, odd))):
            found[forced[where]] = np.inf
        if step > 1:
            half = step // 2
            near, far = slice(half, None, 2 * step), slice(2 * step - half, None, 2 * step)
            before, behind = slice(step - half, None, 2 * step), slice(step + half, None, 2 * step)
            np.maximum(flat[:-1], np.maximum(error[near, before], error[near, behind]), out=flat[:-1])
            np.maximum(flat[1:], np.maximum(error[far, before], error[far, behind]), out=flat[1:])
            sides = np.maximum(error[before, near], error[behind, near])
            np.maximum(upright, sides, out=upright)
            sides = np.maximum(error[before, far], error[behind, far])
            np.maximum(upright, np.roll(sides, 1, axis=1), out=upright)
        for part in (flat[:-1], flat[1:], upright, np.roll(upright, -1, axis=1)):
            np.maximum(centre, part, out=centre)
        error[even, odd], error[odd, even], error[odd, odd] = flat, upright, centre
        step *= 2
    return error


def _off(
    middle: Float32[np.ndarray, "r c 3"],
    one: Float32[np.ndarray, "r c 3"],
    other: Float32[np.ndarray, "r c 3"],
    depth: Float32[np.ndarray, "r c"],
) -> Float32[np.ndarray, "r c"]:
    """How far points are from the middles of sides, in parts of their distance; zero where something is no surface."""
    apart = one + other
    apart *= np.float32(0.5)
    apart -= middle
    return np.nan_to_num(np.sqrt(np.einsum("rck,rck->rc", apart, apart)) / depth, copy=False)


def _limit(error: Float32[np.ndarray, "r c"], max_triangles: int | None) -> float:
    """The smallest limit that keeps the budget: a split adds at most two triangles to the first four."""
    splits = error.size if max_triangles is None else max(max_triangles - 4, 0) // 2
    if splits >= error.size:
        return 0.0
    return float(np.partition(error, error.size - 1 - splits, axis=None)[error.size - 1 - splits])


def _triangles(error: Float32[np.ndarray, "r c"], limit: float) -> Int64[np.ndarray, "t 3 2"]:
    """Rows and columns of the triangles' corners: both ends of the longest side, then the right angle.

    Columns go from 0 to 2R, which is the first one again: no triangle reaches over the seam.
    """
    size = len(error) - 1
    left, middle, right = 0, size, 2 * size
    active = np.array(
        [
            [(size, middle), (0, left), (size, left)],
            [(0, left), (size, middle), (0, middle)],
            [(size, middle), (0, right), (0, middle)],
            [(0, right), (size, middle), (size, right)],
        ],
        np.int64,
    )
    done = []
    while len(active):
        a, b, corner = active[:, 0], active[:, 1], active[:, 2]
        middles = (a + b) // 2
        # The middle of a pixel's own diagonal is no vertex.
        is_whole = (np.abs(a - b) != 1).any(axis=1)
        is_split = is_whole & (error[middles[:, 0], middles[:, 1] % (2 * size)] > limit)
        done.append(active[~is_split])
        a, b, corner, middles = a[is_split], b[is_split], corner[is_split], middles[is_split]
        active = np.concatenate([np.stack([corner, a, middles], 1), np.stack([b, corner, middles], 1)])
    return np.concatenate(done)


def _is_surface(grid: _Grid, faces: Int64[np.ndarray, "t 3 2"]) -> Bool[np.ndarray, " t"]:
    """Triangles with depth at all corners that bridge no jump; nor are those with two corners at a pole any."""
    size, around = len(grid.depth) - 1, grid.depth.shape[1]
    rows, columns = faces[..., 0], faces[..., 1]
    stands = np.isfinite(grid.depth[rows, columns % around]).all(axis=1)
    stands &= (np.count_nonzero(rows % size == 0, axis=1) < 2) | (np.ptp(rows, axis=1) == size)
    # Larger ones have no jump within: its pixels would have been split off.
    is_pixel = np.flatnonzero((np.abs(faces[:, 0] - faces[:, 1]) == 1).all(axis=1))
    top, left, corner = rows[is_pixel].min(axis=1), columns[is_pixel].min(axis=1), faces[is_pixel, 2]
    bridges = grid.jump_east[corner[:, 0], left % around] | grid.jump_south[top, corner[:, 1] % around]
    stands[is_pixel[bridges]] = False
    return stands


def _compact(grid: _Grid, faces: Int64[np.ndarray, "t 3 2"], shape: tuple[int, ...], limit: float) -> Mesh:
    around = grid.depth.shape[1]
    numbers = faces[..., 0] * (around + 1) + faces[..., 1]
    is_used = np.zeros(len(grid.depth) * (around + 1), bool)
    is_used[numbers] = True
    row, column = np.divmod(np.flatnonzero(is_used), around + 1)
    u = (grid.columns[column % around] + 0.5) / shape[1] + (column == around)
    v = (grid.rows[row] + 0.5) / shape[0]
    new = np.cumsum(is_used) - 1
    return Mesh(grid.points[row, column % around], np.stack([u, v], 1).astype(np.float32), new[numbers], error=limit)
