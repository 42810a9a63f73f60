"""The network that serves can be trained: gradients are those of the plain operations, and reach every weight."""

from __future__ import annotations

import pytest
import torch

from pager_ray.model.network import PagerNetwork
from pager_ray.model.random_checkpoint import random_architecture, random_network
from pager_ray.model.spherical_padding import SphericalPadding
from tests.train.conftest import TINY


@pytest.fixture(scope="module")
def network() -> PagerNetwork:
    return random_network(random_architecture(TINY, face_size=28)).requires_grad_(True).train()


def outputs(network: PagerNetwork) -> dict[str, torch.Tensor]:
    faces = torch.randn(2, 6, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    network.refresh()
    levels = network.backbone(faces, network.camera_tokens)
    depth, normals = network.head("depth")(levels), network.head("normals")(levels)
    log_depth = depth.values[:, :1]
    return {
        "depth": depth.values,
        "normals": normals.values,
        "sky": network.head("sky")(levels, depth.trunk),
        "indoor": network.head("scale_indoor")(levels, depth.fused, log_depth).log_metric,
        "outdoor": network.head("scale_outdoor")(levels, depth.fused, log_depth).log_metric,
        "scene": network.scene_logits(levels),
    }


@pytest.mark.parametrize("in_room", [False, True])
def test_padding_gradient_is_the_plain_one(in_room: bool) -> None:
    """In double precision the gradient is that of finite differences."""
    padding = SphericalPadding(3, 90.0)
    padding.weights = padding.weights.double()
    size = 5 if in_room else 3
    x = torch.randn(6, 2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    call = padding.refresh if in_room else padding
    assert torch.autograd.gradcheck(call, (x.requires_grad_(True),))


def test_recorded_results_are_the_served_ones(network: PagerNetwork) -> None:
    """What is done differently while gradients are recorded gives the same numbers."""
    recorded = outputs(network)
    with torch.no_grad():
        served = outputs(network)
    for name, value in served.items():
        torch.testing.assert_close(recorded[name].detach(), value, rtol=1e-4, atol=1e-5)


def test_every_weight_learns(network: PagerNetwork) -> None:
    """All but the token of unknown cameras, which only the file needs."""
    sum(value.square().mean() for value in outputs(network).values()).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == {"model.backbone.pretrained.camera_token"}
