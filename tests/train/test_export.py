"""What training writes is a checkpoint like any other, and what it says of itself is passed on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pager_ray import load_model
from pager_ray.errors import CheckpointError
from pager_ray.model import resolve_checkpoint
from pager_ray.train.export import write_checkpoint
from pager_ray.train.overrides import build_settings
from pager_ray.train.start import fresh_network, network_of
from tests.train.conftest import TINY


def test_weights_come_back(tmp_path: Path) -> None:
    """Through float16 and the loader, and into a network that is trained further."""
    network = fresh_network(TINY, 28, seed=1)
    extra = {"note": "tiny, random", "licence": "Apache-2.0"}
    folder = write_checkpoint(tmp_path, network.architecture, dict(network.named_parameters()), extra=extra)
    checkpoint = resolve_checkpoint(folder)
    assert checkpoint.title == f"{folder} (tiny, random)"
    assert checkpoint.describe()["licence"] == "Apache-2.0"
    model = load_model(folder, device="cpu")
    assert model.architecture == network.architecture
    again = dict(network_of(checkpoint).named_parameters())
    for name, value in network.named_parameters():
        torch.testing.assert_close(again[name], value.half().float(), msg=name)
        assert again[name].requires_grad


def test_fresh_weights_route_themselves(tmp_path: Path) -> None:
    """What training begins with where no checkpoint is given tells indoors from outdoors."""
    network = fresh_network(build_settings({"budget": {"samples": 2}, "phases": [[1.0, 28, 2]]}).network, 28, seed=0)
    folder = write_checkpoint(tmp_path, network.architecture, dict(network.named_parameters()))
    assert load_model(folder, device="cpu").routes_itself


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """A missing tensor is named."""
    network = fresh_network(TINY, 28, seed=1)
    weights = dict(network.named_parameters())
    weights.pop("model.scene_router.proj.bias")
    folder = write_checkpoint(tmp_path, network.architecture, weights)
    with pytest.raises(CheckpointError, match="scene_router"):
        network_of(resolve_checkpoint(folder))
