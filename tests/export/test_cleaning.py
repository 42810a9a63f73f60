"""What becomes a point: the released masks to the last pixel, and thinning that is even over the sphere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.export.cleaning import cluster_keep, edge_keep, generator, thin

GOLDEN = Path(__file__).parents[1] / "golden" / "postprocess.npz"


@pytest.mark.parametrize(("name", "relative"), [("default", 0.1), ("rel0002", 0.002)])
def test_depth_edges_are_the_released_ones(name: str, relative: float) -> None:
    """The mask equals the golden one at every pixel, for both thresholds."""
    with np.load(GOLDEN) as golden:
        depth, expected = golden["depth_default_scaled"][0], golden[f"edge_keep_{name}"]
    np.testing.assert_array_equal(edge_keep(depth, relative=relative), expected)


def test_pixels_without_depth_are_dropped_and_make_no_edge() -> None:
    """A hole is no point, and its neighbours are no edge for it."""
    depth = np.full((4, 8), 2.0, np.float32)
    depth[1, 3] = 0
    keep = edge_keep(depth)
    assert keep.sum() == 31
    assert not keep[1, 3]


def test_edges_need_one_map() -> None:
    """Anything else than one map is refused."""
    with pytest.raises(ShapeError, match=r"\(H, W\) map, got shape \(1, 4, 8\)"):
        edge_keep(np.ones((1, 4, 8), np.float32))


# Any largest size from 30 to 193 gives the second one: the cloud has no cluster between them.
@pytest.mark.parametrize(("name", "percentile", "max_size"), [("default", 90.0, 500), ("p60", 60.0, 100)])
def test_isolated_far_clusters_are_the_released_ones(name: str, percentile: float, max_size: int) -> None:
    """The mask equals the golden one for every point, for both limits of what is far and what is small."""
    with np.load(GOLDEN) as golden:
        points, expected = golden["cluster_points"], golden[f"cluster_keep_{name}"]
    np.testing.assert_array_equal(cluster_keep(points, percentile, max_size=max_size), expected)


@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_clusters_are_those_of_all_distances(radius: float) -> None:
    """Components through cells are the components of the graph of all pairs within the radius."""
    from scipy.sparse.csgraph import connected_components

    from pager_ray.export.cleaning import _components

    points = np.random.default_rng(0).uniform(-6, 6, (600, 3)) * (1, 1, 0.2)
    near = np.linalg.norm(points[:, None] - points[None], axis=-1) <= radius
    expected = connected_components(near)[1]
    labels = _components(points, radius)
    # Same partition: as many labels as pairs of labels.
    pairs = {*zip(labels.tolist(), expected.tolist(), strict=True)}
    assert len(pairs) == len({*labels.tolist()}) == len({*expected.tolist()})


def test_cells_of_any_extent_are_told_apart() -> None:
    """Points that are so far apart that no number could count the cells between them."""
    from pager_ray.export.cleaning import _components

    points = np.array([[0, 0, 0], [1e-3, 0, 0], [1e12, 1e12, 1e12], [1e12, 1e12, -1e12]])
    first, second, third, fourth = _components(points, 0.01)
    assert first == second
    assert len({first, third, fourth}) == 3
    assert len({*_components(points, 0.0)}) == 4


def test_few_points_stay() -> None:
    """Nothing is isolated where there is nothing to be isolated from."""
    for count in (0, 1, 2):
        assert cluster_keep(np.ones((count, 3), np.float32)).all()


def test_thinning_keeps_exactly_so_many_evenly_over_the_sphere() -> None:
    """The number is met exactly, and the share per band of latitude is its solid angle's."""
    keep = np.ones((256, 512), bool)
    thinned = thin(keep, 10_000, generator(0, "a"))
    assert thinned.sum() == 10_000
    edges = np.linspace(0, 256, 9).astype(int)
    counts = np.add.reduceat(thinned.sum(1), edges[:-1])
    heights = np.cos(np.pi * edges[:-1] / 256) - np.cos(np.pi * edges[1:] / 256)
    np.testing.assert_allclose(counts / 10_000, heights / 2, rtol=0.12)


def test_thinning_is_a_function_of_seed_and_id() -> None:
    """The same seed and id choose the same pixels; another of either chooses others."""
    keep = np.random.default_rng(0).random((64, 128)) < 0.5
    chosen = {
        name: thin(keep, 500, generator(seed, name[0])).tobytes()
        for name, seed in (("a0", 0), ("a0 again", 0), ("b0", 0), ("a1", 1))
    }
    assert chosen["a0"] == chosen["a0 again"]
    assert len({*chosen.values()}) == 3
    assert not (thin(keep, 500, generator(0, "a")) & ~keep).any()


def test_nothing_is_thinned_that_is_few_enough() -> None:
    """A cloud of no more points than allowed keeps them all."""
    keep = np.random.default_rng(0).random((8, 16)) < 0.5
    np.testing.assert_array_equal(thin(keep, 128, generator(0, "a")), keep)
