"""Tests of pager_ray.metrics.resize."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import ShapeError
from pager_ray.metrics import resize_bilinear

SIDE = st.integers(1, 80)


@settings(max_examples=80)
@given(sizes=st.tuples(SIDE, SIDE, SIDE, SIDE), channels=st.sampled_from([None, 3]), seed=st.integers(0, 2**32))
def test_matches_torch(sizes: tuple[int, int, int, int], channels: int | None, seed: int) -> None:
    """Growing or shrinking, along either side, results equal torch's interpolate without aligned corners."""
    height, width, new_height, new_width = sizes
    shape = (height, width) if channels is None else (height, width, channels)
    array = np.random.default_rng(seed).uniform(0.01, 75, shape).astype(np.float32)
    image = torch.from_numpy(array.reshape(height, width, -1)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(image, size=(new_height, new_width), mode="bilinear")[0].permute(1, 2, 0)
    found = resize_bilinear(array, new_height, new_width)
    assert found.shape == (new_height, new_width, *shape[2:])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(expected.shape), expected.numpy(), rtol=0, atol=75e-5)


@pytest.mark.parametrize(("size", "new_size"), [((256, 512), (1024, 2048)), ((1024, 2048), (512, 1024))])
def test_matches_torch_at_real_sizes(size: tuple[int, int], new_size: tuple[int, int]) -> None:
    """Positions far from the origin are as exact as near it."""
    array = np.random.default_rng(0).uniform(0, 1, size).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(array)[None, None], size=new_size, mode="bilinear")
    np.testing.assert_allclose(resize_bilinear(array, *new_size), expected[0, 0].numpy(), rtol=0, atol=1e-5)


def test_same_size_is_the_array_itself() -> None:
    """Nothing is computed or copied where nothing changes."""
    array = np.ones((3, 5, 3), np.float32)
    assert resize_bilinear(array, 3, 5) is array


def test_same_bits_on_any_number_of_threads() -> None:
    """Pixels do not depend on how OpenCV splits the work."""
    array = np.random.default_rng(0).random((333, 777), dtype=np.float32)
    before = cv2.getNumThreads()
    found = set()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            found.add(resize_bilinear(array, 512, 1024).tobytes())
    finally:
        cv2.setNumThreads(before)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("array", "size", "message"),
    [
        (np.ones((4, 8), np.float64), (2, 4), r"got float64 \(4, 8\)"),
        (np.ones((4, 8, 2), np.float32), (2, 4), r"got float32 \(4, 8, 2\)"),
        (np.ones((0, 8), np.float32), (2, 4), r"got float32 \(0, 8\)"),
        ([[1.0]], (2, 4), "got list"),
        (np.ones((4, 8), np.float32), (0, 4), "4x8 -> 0x4"),
        (np.ones((4, 8), np.float32), (2, 40_000), "between 1 and 32766 pixels"),
    ],
)
def test_wrong_arguments(array, size: tuple[int, int], message: str) -> None:
    """What cannot be resized is refused with what came."""
    with pytest.raises(ShapeError, match=message):
        resize_bilinear(array, *size)
