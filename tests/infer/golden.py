"""The golden checkpoints, loaded once per process, and what they give for their golden panoramas."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pytest

from pager_ray.geometry import erp_to_cubemap
from pager_ray.model import PagerModel, load_model
from tests.geometry.reference import GOLDEN, corner_pixels, golden

HEIGHT, WIDTH, FACE = 128, 256, 56
CHECKPOINTS = ("tiny_unified", "tiny_metric_depth", "tiny_normals")


@functools.cache
def model(name: str) -> PagerModel:
    return load_model(GOLDEN / name, device="cpu")


def expected(name: str) -> dict[str, np.ndarray]:
    """The released numbers; their ERP maps are of sample 0."""
    return golden(f"{name}/expected.npz")


def panorama(name: str = "tiny_unified") -> np.ndarray:
    """Sample 0 as (H, W, 3) uint8."""
    return expected(name)["erp_u8"]


def faces(name: str = "tiny_unified", count: int = 2) -> np.ndarray:
    """(count, 6, S, S, 3) uint8: the panorama, and darker ones that look elsewhere."""
    images = (np.roll(panorama(name), 50 * k, axis=1) // (k + 1) for k in range(count))
    return np.stack([erp_to_cubemap(image, FACE) for image in images])


def map_of(name: str, key: str) -> np.ndarray:
    """A released ERP map as (H, W) or (H, W, 3)."""
    array = expected(name)[key]
    return array[0] if len(array) == 1 else array.transpose(1, 2, 0)


def away_from_corners() -> np.ndarray:
    """(H, W) bool: pixels that the reference does not darken at the corners of the cube."""
    return ~corner_pixels(FACE, HEIGHT, WIDTH)


def assert_near(ours: np.ndarray | None, target: np.ndarray | None) -> None:
    """Equal up to the rounding of float32: two forward passes need not sum in the same order."""
    assert ours is not None
    assert target is not None
    assert (ours.dtype, ours.shape) == (target.dtype, target.shape)
    assert np.abs(ours - target).max() < 1e-4 * max(1.0, float(np.abs(target).max()))


def assert_near_numbers(ours: Mapping[str, float | None], target: Mapping[str, float | None]) -> None:
    """Numbers of one panorama, equal up to rounding; shares of pixels may differ by a few pixels at a threshold."""
    assert ours.keys() == target.keys()
    for name, value in target.items():
        assert ours[name] == (None if value is None else pytest.approx(value, rel=1e-3, abs=1e-3)), name
