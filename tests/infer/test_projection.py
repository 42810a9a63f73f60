"""Faces sampled where the network runs are those that the CPU samples in float32, not rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pager_ray.errors import ShapeError
from pager_ray.geometry import erp_to_cubemap
from pager_ray.infer.projection import KEPT_SIZES, DeviceProjection

CPU = torch.device("cpu")


def panorama(height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, 2 * height, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "size", "fov"), [(64, 28, 90.0), (50, 33, 95.0), (4, 4, 90.0)])
def test_equals_sampling_in_float32_on_the_cpu(height: int, size: int, fov: float) -> None:
    """Within rounding of float32 of the exact samples, and within half a level of the uint8 faces."""
    erp = panorama(height)
    faces = DeviceProjection(size, fov, CPU)(erp)
    assert faces.shape == (6, 3, size, size)
    assert faces.dtype == torch.float32
    ours = faces.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, erp_to_cubemap(erp.astype(np.float32), size, fov), atol=2e-3)
    assert np.abs(ours - erp_to_cubemap(erp, size, fov)).max() <= 0.5 + 2e-3


def test_tables_of_a_few_sizes_are_kept() -> None:
    """A size that comes again finds its tables; old ones go, so that mixed inputs do not fill the device."""
    project = DeviceProjection(8, 90.0, CPU)
    project(panorama(16))
    first = project._tables[16, 32]
    project(panorama(16, seed=1))
    assert project._tables[16, 32] is first
    for height in range(20, 20 + KEPT_SIZES):
        project(panorama(height))
    assert len(project._tables) == KEPT_SIZES
    assert (16, 32) not in project._tables


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 16, 3), np.float32), np.zeros((8, 16), np.uint8), np.zeros((1, 2, 3), np.uint8)]
)
def test_what_is_no_panorama_is_refused(wrong: np.ndarray) -> None:
    """Another dtype, rank or a single row is an error that says what it got."""
    with pytest.raises(ShapeError, match="panorama: got"):
        DeviceProjection(8, 90.0, CPU)(wrong)
