"""Which pixels of a panorama become points: the released cleaning, and thinning that is even over the sphere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.export.libraries import load

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64

EDGE_ABSOLUTE: Final = 0.1
EDGE_RELATIVE: Final = 0.002

FAR_PERCENTILE: Final = 90.0
CONNECT_FACTOR: Final = 0.05
ISOLATION_FACTOR: Final = 0.2
MAX_CLUSTER: Final = 500

# Distances between points of neighbouring cells that are compared in one array.
_PAIRS_AT_ONCE = 1 << 18


def edge_keep(
    depth: Float[np.ndarray, "h w"], absolute: float = EDGE_ABSOLUTE, relative: float = EDGE_RELATIVE
) -> Bool[np.ndarray, "h w"]:
    """Pixels with depth that lie on no depth edge.

    Two neighbours in a row or column are an edge where their depths differ by more than ``absolute`` metres and by more
    than ``relative`` of the nearer one; both are dropped. As released, first and last column are no neighbours.

    Args:
        depth: (H, W), metres; zero and less is no depth.
        absolute: metres.
        relative: share of the nearer depth.

    Raises:
        ShapeError: ``depth`` is not two-dimensional.
    """
    if depth.ndim != 2:
        raise ShapeError(f"depth edges are found in an (H, W) map, got shape {depth.shape}; give one panorama's depth")
    depth = depth.astype(np.float32, copy=False)
    has_depth = depth > 0
    keep = has_depth.copy()
    for first, second in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
    ):
        difference = np.abs(depth[first] - depth[second])
        nearer = np.minimum(depth[first], depth[second]) + np.float32(1e-6)
        with np.errstate(invalid="ignore"):
            edge = (difference > absolute) & (difference > relative * nearer)
        edge &= has_depth[first] & has_depth[second]
        keep[first] &= ~edge
        keep[second] &= ~edge
    return keep


def cluster_keep(
    points: Float[np.ndarray, "n 3"],
    far_percentile: float = FAR_PERCENTILE,
    *,
    max_size: int = MAX_CLUSTER,
    connect_factor: float = CONNECT_FACTOR,
    isolation_factor: float = ISOLATION_FACTOR,
) -> Bool[np.ndarray, " n"]:
    """Points that are in no isolated far cluster, as released.

    Far is what lies beyond the ``far_percentile`` of distances from the camera, R. Far points within
    ``connect_factor`` · R of each other are one cluster; one of at most ``max_size`` points that stays farther than
    ``isolation_factor`` · R from every near point is dropped.

    Args:
        points: (N, 3), the camera at the origin.
        far_percentile: in [0, 100].
        max_size: points of the largest cluster that is dropped.
        connect_factor: of R.
        isolation_factor: of R.

    Returns:
        (N,) mask of what stays.
    """
    keep = np.ones(len(points), bool)
    if not len(points):
        return keep
    distance = np.sqrt(np.einsum("ij,ij->i", points, points))
    limit = float(np.percentile(distance, far_percentile))
    is_far = distance > limit
    far = np.flatnonzero(is_far)
    if len(far) < 2 or len(far) == len(points):
        return keep
    labels = _components(points[far].astype(np.float64), connect_factor * limit)
    sizes = np.bincount(labels)
    suspect = np.flatnonzero((sizes <= max_size)[labels])
    reach = isolation_factor * limit
    # A far point is at least R away from the camera, so nothing nearer than R minus the reach can be within it.
    near = points[~is_far & (distance >= limit - reach - 1e-6 * limit)].astype(np.float64)
    touches = np.zeros(len(sizes), bool)
    # What is farther out than R plus the reach is within it of no near point.
    suspect_far = distance[far[suspect]] <= limit + reach * (1 + 1e-6)
    asked = suspect[suspect_far]
    if len(near) and len(asked):
        nearest, _ = load("scipy.spatial").cKDTree(near).query(points[far[asked]], distance_upper_bound=reach * 1.001)
        touches[labels[asked[nearest <= reach]]] = True
    keep[far[(sizes[labels] <= max_size) & ~touches[labels]]] = False
    return keep


def _components(points: Float[np.ndarray, "n 3"], radius: float) -> Int64[np.ndarray, " n"]:
    """Label of every point, equal where a chain of steps of at most ``radius`` leads from one point to the other.

    Points in one cell of a grid with diagonal ``radius`` are connected, so cells are what is joined: most by one point
    of each, and only those that are still apart then by their nearest points.
    """
    side = radius / np.sqrt(3) * (1 - 1e-9)
    if side <= 0:
        return np.arange(len(points))
    grid = np.floor(points / side).astype(np.int64)
    order, starts = _grouped(grid)
    cell_of = np.empty(len(points), np.int64)
    cell_of[order] = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    cells, points = grid[order[starts[:-1]]], points[order]
    first = points[starts[:-1]]
    # Points within the radius are at most two cells apart along each axis.
    pairs = load("scipy.spatial").cKDTree(cells).query_pairs(2.5, p=np.inf, output_type="ndarray")
    apart = first[pairs[:, 0]] - first[pairs[:, 1]]
    joined = np.einsum("ij,ij->i", apart, apart) <= radius * radius
    labels = _labels(len(cells), pairs[joined])
    links, pairs = [pairs[joined]], pairs[~joined]
    sizes = np.diff(starts)
    effort = sizes[pairs[:, 0]] * sizes[pairs[:, 1]]
    # The cheap ones first: what they join, dear ones need not be asked for.
    by_effort = np.argsort(effort, kind="stable")
    pairs, effort = pairs[by_effort], effort[by_effort]
    while len(pairs):
        apart = labels[pairs[:, 0]] != labels[pairs[:, 1]]
        pairs, effort = pairs[apart], effort[apart]
        count = max(1, int(np.searchsorted(np.cumsum(effort), _PAIRS_AT_ONCE, "right")))
        near = pairs[:count][_come_near(points, starts, pairs[:count], radius)]
        if len(near):
            links.append(near)
            labels = _labels(len(cells), np.concatenate(links))
        pairs, effort = pairs[count:], effort[count:]
    return labels[cell_of]


def _grouped(grid: Int64[np.ndarray, "n 3"]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " c"]]:
    """An order in which points of one cell lie together, and where each cell starts in it, with the end at last."""
    extent = grid - grid.min(axis=0)
    shape = [int(size) + 1 for size in extent.max(axis=0)]
    if shape[0] * shape[1] * shape[2] < 2**62:
        key = (extent[:, 0] * shape[1] + extent[:, 1]) * shape[2] + extent[:, 2]
        order = np.argsort(key, kind="stable")
        changes = np.diff(key[order]) != 0
    else:
        order = np.lexsort(extent.T)
        changes = (np.diff(extent[order], axis=0) != 0).any(axis=1)
    return order, np.concatenate([[0], np.flatnonzero(changes) + 1, [len(grid)]])


def _labels(count: int, pairs: Int64[np.ndarray, "k 2"]) -> Int64[np.ndarray, " n"]:
    graph = load("scipy.sparse").coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=(count, count))
    return load("scipy.sparse.csgraph").connected_components(graph, directed=False)[1].astype(np.int64)


def _come_near(
    points: Float[np.ndarray, "n 3"], starts: Int64[np.ndarray, " c"], pairs: Int64[np.ndarray, "k 2"], radius: float
) -> Bool[np.ndarray, " k"]:
    """Which pairs of cells have two points within the radius; a cell's points lie together, from its start on."""
    if len(pairs) == 1:
        of_a, of_b = (points[starts[cell] : starts[cell + 1]] for cell in pairs[0])
        nearest, _ = load("scipy.spatial").cKDTree(of_a).query(of_b, distance_upper_bound=radius * 1.001)
        return np.array([(nearest <= radius).any()])
    in_a, in_b = (starts[pairs[:, side] + 1] - starts[pairs[:, side]] for side in (0, 1))
    products = in_a * in_b
    pair = np.repeat(np.arange(len(pairs)), products)
    nth = np.arange(len(pair)) - np.repeat(np.cumsum(products) - products, products)
    a = starts[pairs[pair, 0]] + nth // in_b[pair]
    b = starts[pairs[pair, 1]] + nth % in_b[pair]
    apart = points[a] - points[b]
    within = np.einsum("ij,ij->i", apart, apart) <= radius * radius
    return np.bincount(pair[within], minlength=len(pairs)) > 0


def thin(keep: Bool[np.ndarray, "h w"], max_points: int, random: np.random.Generator) -> Bool[np.ndarray, "h w"]:
    """At most ``max_points`` of the kept pixels, chosen so that points are even over the sphere.

    Where there are more, exactly ``max_points`` stay; a pixel's chance is proportional to its solid angle, the cosine
    of its latitude, except that no chance exceeds one.

    Args:
        keep: (H, W) of an ERP.
        max_points: at least 1.
        random: decides, with the map, what stays.
    """
    rows, columns = np.nonzero(keep)
    if len(rows) <= max_points:
        return keep
    chance = row_chances(keep, max_points)[rows]
    # Pareto sampling: exactly as many as asked for, each with its chance.
    dice = random.random(len(rows))
    with np.errstate(divide="ignore"):
        rank = dice * (1 - chance) / ((1 - dice) * chance)
    chosen = np.argpartition(rank, max_points - 1)[:max_points]
    thinned = np.zeros_like(keep)
    thinned[rows[chosen], columns[chosen]] = True
    return thinned


def row_chances(keep: Bool[np.ndarray, "h w"], max_points: int) -> Float[np.ndarray, " h"]:
    """By row, the chance of a kept pixel to stay in :func:`thin`: ones where there are not too many."""
    height = len(keep)
    counts = np.count_nonzero(keep, axis=1)
    if counts.sum() <= max_points:
        return np.ones(height)
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    return _chances(np.cos(latitude), counts, max_points)


def _chances(weights: Float[np.ndarray, " h"], counts: Int64[np.ndarray, " h"], wanted: int) -> Float[np.ndarray, " h"]:
    """min(1, c · weight) per row of pixels, with the c that makes the sum over all pixels ``wanted``."""
    low, high = 0.0, 1.0 / float(weights[counts > 0].min())
    for _ in range(64):
        middle = (low + high) / 2
        if float((np.minimum(1.0, middle * weights) * counts).sum()) < wanted:
            low = middle
        else:
            high = middle
    return np.minimum(1.0, high * weights)


def generator(seed: int, id: str) -> np.random.Generator:
    """Random numbers of one panorama: the same for the same seed and id, whoever asks and in whatever order."""
    digest = hashlib.blake2b(f"{seed}\0{id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
