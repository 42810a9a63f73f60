"""The resampling floor: ground truth through the cubemap and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pager_ray.datasets import GroundTruth
from pager_ray.evaluate import stitch_prediction, truth_to_faces
from pager_ray.geometry import erp_to_cubemap
from pager_ray.metrics.depth import depth_scores
from tests.evaluate.truths import rendered_truth


def floor_of(truth: GroundTruth, size: int) -> float:
    depth, _ = truth_to_faces(truth, size, 90.0)
    stitched = stitch_prediction(depth, None, *truth.depth.shape, 90.0).depth
    return depth_scores(stitched, truth.depth, truth.mask, ("metric",))["depth_metric_abs_relative_difference"]


def test_a_sphere_around_the_camera_has_no_floor() -> None:
    """Constant depth comes back exactly, whatever part of it is valid."""
    mask = np.random.default_rng(0).random((64, 128)) < 0.3
    depth = np.where(mask, np.float32(3), np.float32(75))
    truth = GroundTruth(depth=depth, mask=mask, normals=None)
    faces, normals = truth_to_faces(truth, 28, 90.0)
    assert normals is None
    assert np.minimum(np.abs(faces - 3), np.abs(faces - 75)).max() < 2e-2
    has_valid_neighbour = erp_to_cubemap(mask.astype(np.float32)[..., None], 28)[..., 0] > 0.02
    np.testing.assert_allclose(faces[has_valid_neighbour], 3, rtol=1e-3)


def test_holes_have_no_rim() -> None:
    """Depth around a hole is as without one: what lies in the hole is mixed into no valid pixel."""
    depth = np.full((64, 128), 3, np.float32)
    mask = np.ones_like(depth, bool)
    mask[20:40, 30:90] = False
    depth[~mask] = 75
    faces, _ = truth_to_faces(GroundTruth(depth=depth, mask=mask, normals=None), 32, 90.0)
    stitched = stitch_prediction(faces, None, 64, 128, 90.0).depth
    np.testing.assert_allclose(stitched[mask], 3, rtol=1e-3)
    assert stitched[28:32, 50:70].min() > 70


def test_larger_faces_have_a_smaller_floor() -> None:
    """What resampling costs falls with the faces' resolution and is small at that of the panorama."""
    truth = rendered_truth(0, "indoor", 128)
    floors = [floor_of(truth, size) for size in (16, 32, 64)]
    assert floors[0] > floors[1] > floors[2] > 0
    assert floors[2] < 0.03


def test_invalid_depth_does_not_leak() -> None:
    """What invalid pixels hold changes no valid face value."""
    truth = rendered_truth(0, "outdoor", 128)
    assert 0.1 < truth.mask.mean() < 0.9
    other = replace(truth, depth=np.where(truth.mask, truth.depth, np.float32(0.01)))
    weight = erp_to_cubemap(truth.mask.astype(np.float32)[..., None], 32)[..., 0]
    for size in (32,):
        first, second = truth_to_faces(truth, size, 90.0)[0], truth_to_faces(other, size, 90.0)[0]
        np.testing.assert_allclose(first[weight > 0.01], second[weight > 0.01], rtol=1e-4)


def test_invalid_normals_do_not_leak() -> None:
    """Whatever they are: NaN says of many datasets that nobody knows."""
    truth = rendered_truth(0, "outdoor", 128)
    hole = replace(truth, normals=np.where(truth.mask[..., None], truth.normals, np.float32("nan")))
    zero = replace(truth, normals=np.where(truth.mask[..., None], truth.normals, np.float32(0)))
    np.testing.assert_array_equal(truth_to_faces(hole, 32, 90.0)[1], truth_to_faces(zero, 32, 90.0)[1])


def test_normals_come_back_as_unit_vectors() -> None:
    """Normals pass both ways and are renormalised; on flat walls they stay what they were."""
    truth = rendered_truth(0, "indoor", 128)
    depth, normals = truth_to_faces(truth, 64, 90.0)
    maps = stitch_prediction(depth, normals, 128, 256, 90.0)
    np.testing.assert_allclose(np.linalg.norm(maps.normals, axis=-1), 1, atol=1e-5)
    cosine = np.einsum("hwc,hwc->hw", maps.normals, truth.normals)
    assert np.median(cosine) > 0.9999


@pytest.mark.parametrize("missing", ["depth", "normals"])
def test_missing_maps_stay_missing(missing: str) -> None:
    """A map that is not predicted is None after stitching."""
    truth = rendered_truth()
    faces = dict(zip(("depth", "normals"), truth_to_faces(truth, 32, 90.0), strict=True))
    maps = stitch_prediction(**(faces | {missing: None}), height=64, width=128, fov=90.0)
    assert getattr(maps, missing) is None
    assert sum(value is None for value in (maps.depth, maps.normals)) == 1
