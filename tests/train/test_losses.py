"""The truth has no loss, and each part rises with what it is about."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pager_ray.train.losses import Raw, loss_parts
from pager_ray.train.panoramas import Folder
from pager_ray.train.step import Batch, make_batch


@pytest.fixture(scope="module")
def batch(scenes: Path) -> Batch:
    folder = Folder(scenes, 0)
    return make_batch([folder.sample(k, 56, augment=False) for k in range(2)])


def perfect(batch: Batch) -> Raw:
    truth = batch.truth
    relative = truth.log_z - truth.medians(truth.log_z)
    depth = torch.stack([relative, torch.full_like(relative, 3.0)], dim=2)
    return Raw(depth, truth.normals, torch.where(truth.sky, 20.0, -20.0), [], torch.tensor([-20.0, 20.0]))


def test_truth_has_no_loss(batch: Batch) -> None:
    """Every part of the truth itself is (nearly) nothing."""
    parts = loss_parts(perfect(batch), batch.truth)
    assert set(parts) == {"depth", "gradient", "surface", "confidence", "normals", "sky", "scene"}
    for name in ("depth", "gradient", "normals", "sky", "scene"):
        assert float(parts[name]) < 1e-3, name
    # The normals of nearest samples of a coarse panorama are as coarse.
    assert float(parts["surface"]) < 0.1


def test_scale_of_depth_costs_less_than_shape(batch: Batch) -> None:
    """A wrong factor is forgiven by the aligned share; a wrong shape is not, and bends planes."""
    raw, truth = perfect(batch), batch.truth
    assert raw.depth is not None
    scaled = loss_parts(Raw(raw.depth + 0.5, None, None, []), truth)
    assert float(scaled["depth"]) == pytest.approx(0.4 * 0.5, rel=0.05)
    assert float(scaled["gradient"]) < 1e-3
    bent = raw.depth.clone()
    bent[:, :, 0] += 0.5 * torch.rand(bent[:, :, 0].shape, generator=torch.Generator().manual_seed(0))
    rough = loss_parts(Raw(bent, None, None, []), truth)
    assert float(rough["gradient"]) > 0.05
    assert float(rough["surface"]) > 0.2


def test_unknown_pixels_teach_nothing(batch: Batch) -> None:
    """Whatever is predicted where there is no truth changes no part."""
    raw, truth = perfect(batch), batch.truth
    known = truth.known.clone()
    known[:, :, 30:] = False
    masked = type(truth)(truth.log_z, truth.normals, truth.sky, known, truth.outdoor)
    assert raw.depth is not None
    noise = torch.randn(raw.depth.shape, generator=torch.Generator().manual_seed(1)) * ~known.unsqueeze(2)
    before, after = (loss_parts(Raw(d, None, None, []), masked) for d in (raw.depth, raw.depth + noise))
    assert float(after["depth"]) == pytest.approx(float(before["depth"]), abs=1e-6)


def test_confidence_learns_the_error(batch: Batch) -> None:
    """The best logit is the logarithm of the inverse error: sure where the depth is right."""
    raw, truth = perfect(batch), batch.truth
    assert raw.depth is not None
    wrong = raw.depth.clone()
    wrong[:, :3, 0] += 0.6
    wrong[:, 3:, 0] -= 0.1
    logit = torch.zeros_like(wrong[:, :, 1], requires_grad=True)
    part = loss_parts(Raw(torch.stack([wrong[:, :, 0], logit], 2), None, None, []), truth)["confidence"]
    (gradient,) = torch.autograd.grad(part, logit)
    error = wrong[:, :, 0] - (truth.log_z - truth.medians(truth.log_z))
    error = (error - truth.medians(error)).abs()
    sure, unsure = truth.solid & (error < 0.25), truth.solid & (error > 0.35)
    assert (gradient[sure] < 0).all()
    assert (gradient[unsure] > 0).all()
