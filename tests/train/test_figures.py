"""Figures of the truth are perfect, and each tells of its own fault alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pager_ray.train.figures import erp_weights, figures
from tests.train.conftest import corridor


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    values = corridor(64, outdoor=True)
    return values["depth"].astype(np.float32), values["normals"].astype(np.float32) / 127


def test_truth_is_perfect(truth: tuple[np.ndarray, np.ndarray]) -> None:
    """No error, every pixel a hit, all of the sky."""
    depth, normals = truth
    found = figures((depth, normals, (depth == 0).astype(float)), truth, erp_weights(64, 128))
    assert found["absrel_metric"] == found["absrel_scaled"] == found["false_sky"] == pytest.approx(0)
    assert found["delta1_metric"] == found["delta1_scaled"] == found["sky_iou"] == found["normals_30"] == 1
    assert found["normals_mean"] < 0.1


def test_a_factor_is_the_scales_fault(truth: tuple[np.ndarray, np.ndarray]) -> None:
    """Twice the depth is wrong in metres and right after scaling."""
    depth, _ = truth
    found = figures((2 * depth, None, None), truth, erp_weights(64, 128))
    assert found["absrel_metric"] == pytest.approx(1)
    assert found["absrel_scaled"] == pytest.approx(0, abs=1e-6)
    assert "normals_mean" not in found
    assert "sky_iou" not in found


def test_solid_angle_counts(truth: tuple[np.ndarray, np.ndarray]) -> None:
    """Rows near a pole weigh less than the same number of rows at the horizon."""
    depth, _ = truth
    losses = []
    for rows in (slice(60, 64), slice(34, 38)):
        wrong = depth.copy()
        wrong[rows] *= 3
        losses.append(figures((wrong, None, None), truth, erp_weights(64, 128))["delta1_metric"])
    assert losses[0] > losses[1]


def test_no_sky_has_no_iou() -> None:
    """Indoors there is nothing to overlap with; what is called sky is false."""
    values = corridor(64, outdoor=False)
    depth, normals = values["depth"].astype(np.float32), values["normals"].astype(np.float32) / 127
    found = figures((depth, normals, np.ones(depth.shape)), (depth, normals), erp_weights(64, 128))
    assert math.isnan(found["sky_iou"])
    assert found["false_sky"] == pytest.approx(1)
