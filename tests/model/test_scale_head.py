from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pager_ray.model import PagerModel
from tests.model.conftest import Golden, assert_within, random_faces


@pytest.mark.parametrize("scene", ["indoor", "outdoor"])
def test_scales_match_golden(unified: Golden, scene: str):
    """Scale, metric field and confidence of both heads are the released ones."""
    raw = unified.model(unified.faces, [scene, scene])
    for ours, theirs in (
        ("log_scale", "scale"),
        ("scale_log_metric_field", "scale_log_metric_field"),
        ("scale_log_metric_conf", "scale_log_metric_conf"),
    ):
        assert_within(raw[ours], unified.expected[f"scale_{scene}__{theirs}"], 1e-4)


@pytest.mark.parametrize("factor", [1, 3, 4, 56])
def test_downsample_factor_sets_the_field_and_scale_is_its_lower_median(
    random_model: Callable[..., PagerModel], factor: int
):
    """The field has S // factor pixels; the scale is the lower median of field minus pooled log depth."""
    model = random_model(modalities=["depth", "scale_indoor"], scale_head_downsample_factor=factor)
    raw = model(random_faces(2))
    size = 56 // factor
    assert raw["scale_log_metric_field"].shape == raw["scale_log_metric_conf"].shape == (2, 6, 1, size, size)
    pooled = F.adaptive_avg_pool2d(raw["depth"].flatten(0, 1), size).view(2, 6, 1, size, size)
    difference = np.sort((raw["scale_log_metric_field"] - pooled).flatten(1).numpy())
    lower = difference[:, (difference.shape[1] - 1) // 2]
    np.testing.assert_allclose(raw["log_scale"][:, 0].numpy(), lower, atol=1e-5)
    assert (raw["scale_log_metric_conf"] >= 1).all()


def test_scale_reads_log_depth_whatever_the_output_is(random_model: Callable[..., PagerModel]):
    """With log_depth false the scale is still taken against the logarithm of depth."""
    heads = ["depth", "scale_outdoor"]
    log, linear = (random_model(modalities=heads, log_depth=flag)(random_faces(1)) for flag in (True, False))
    torch.testing.assert_close(linear["log_scale"], log["log_scale"])


def test_depth_head_feeds_the_scale_head(unified: Golden):
    """Each of the depth head's three fused maps reaches the scale."""
    network = unified.model.network
    faces = unified.faces[:1]
    with torch.no_grad():
        levels = network.backbone(faces, network.camera_tokens)
        depth = network.head("depth")(levels)
        head = network.head("scale_indoor")
        base = head(levels, depth.fused, depth.values[:, :1]).log_metric
        for number in range(3):
            fused = [m * (number != i) for i, m in enumerate(depth.fused)]
            assert (head(levels, fused, depth.values[:, :1]).log_metric - base).abs().max() > 1e-3
