"""Direction quantisers keep their stated angle for every direction, and zero vectors stay zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pager_ray.encode.directions import MIN_LENGTH, SignedBytes, octahedral
from pager_ray.encode.quantise import Quantiser

QUANTISERS = [octahedral(12, "<u2", 0.06), octahedral(8, "|u1", 0.96), SignedBytes()]
NAMES = ["oct12", "oct8", "bytes"]


def round_trip(quantiser: Quantiser, vectors: np.ndarray) -> np.ndarray:
    return quantiser.from_codes(quantiser.to_codes(np.ascontiguousarray(vectors, dtype=np.float32)[None]))[0]


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles in degrees, exact for small ones too (half-chord formula in float64)."""
    a, b = (v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=-1, keepdims=True) for v in (a, b))
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=-1) / 2, 0, 1)))


def awkward_directions() -> np.ndarray:
    """Axes, edges and corners of the cube, centres of the octahedron's faces, each with tiny disturbances."""
    grid = np.array(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1])).reshape(3, -1).T
    grid = grid[np.abs(grid).sum(1) > 0].astype(np.float64)
    noise = np.random.default_rng(0).standard_normal((200, len(grid), 3))
    scale = np.geomspace(1e-9, 1e-2, 200)[:, None, None]
    return np.concatenate([grid, (grid + noise * scale).reshape(-1, 3)])


@pytest.mark.parametrize("quantiser", QUANTISERS, ids=NAMES)
def test_angle_bound_over_the_sphere(quantiser: Quantiser) -> None:
    """Uniform random, and awkward, directions come back as unit vectors within the stated angle."""
    vectors = np.concatenate([np.random.default_rng(1).standard_normal((300_000, 3)), awkward_directions()])
    back = round_trip(quantiser, vectors)
    assert angles(vectors, back).max() <= quantiser.max_error
    np.testing.assert_allclose(np.linalg.norm(back, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("quantiser", QUANTISERS, ids=NAMES)
@settings(max_examples=60)
@given(
    raw=arrays(np.float32, (16, 3), elements=st.floats(-1, 1, width=32)),
    length=st.floats(2.0**-6, 1e6),
)
def test_angle_bound_for_any_vector(quantiser: Quantiser, raw: np.ndarray, length: float) -> None:
    """Direction survives whatever the length, for vectors that are long enough to have one."""
    norm = np.linalg.norm(raw.astype(np.float64), axis=-1, keepdims=True)
    vectors = (raw / np.where(norm == 0, 1, norm) * length)[norm[:, 0] > 0]
    if len(vectors):
        assert angles(vectors, round_trip(quantiser, vectors)).max() <= quantiser.max_error


@pytest.mark.parametrize("quantiser", QUANTISERS, ids=NAMES)
def test_axes_are_exact(quantiser: Quantiser) -> None:
    """Floors, walls and ceilings of an aligned room do not tilt."""
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    assert np.array_equal(round_trip(quantiser, axes), axes.astype(np.float32))


@pytest.mark.parametrize("quantiser", QUANTISERS, ids=NAMES)
def test_vectors_without_direction_are_zero(quantiser: Quantiser) -> None:
    """Zero, vanishing, NaN and infinite vectors come back as zero, their neighbours untouched."""
    bad = np.array(
        [[0, 0, 0], [-0.0, 0, 0], [1e-30, 0, 0], [np.nan, 0, 1], [0, np.inf, 0], [-np.inf, 1, 0], [3e38, 3e38, 3e38]]
    )
    good = np.tile([0.0, 0.6, -0.8], (len(bad), 1))
    back = round_trip(quantiser, np.stack([bad, good], axis=1).reshape(-1, 3))
    assert not back[::2].any()
    assert angles(good, back[1::2]).max() <= quantiser.max_error


@pytest.mark.parametrize("quantiser", QUANTISERS, ids=NAMES)
def test_short_vectors_above_the_threshold_keep_their_direction(quantiser: Quantiser) -> None:
    """Just above the threshold a vector is a direction, just below it none."""
    vector = np.array([[0.5, -0.3, 0.2]])
    assert angles(vector, round_trip(quantiser, vector * (1.001 * MIN_LENGTH))).max() <= quantiser.max_error
    assert not round_trip(quantiser, vector * (0.999 * MIN_LENGTH)).any()


@pytest.mark.parametrize("quantiser", QUANTISERS[:2], ids=NAMES[:2])
def test_the_longest_vectors_keep_their_direction(quantiser: Quantiser) -> None:
    """Vectors whose components add up to a finite number are directions, however near the end of float32 it is."""
    vectors = np.array([[1e37, -1e37, -3e38], [3e38, 1e37, 1e37], [1e37, -3.2e38, 0]])
    back = round_trip(quantiser, vectors)
    assert angles(vectors, back).max() <= quantiser.max_error
