"""The network with kernels of its own computes what it computes without, from the first block to the last head."""

from __future__ import annotations

import pytest
import torch

from pager_ray.model.architecture import MODALITIES
from pager_ray.model.random_checkpoint import random_architecture, random_network
from tests.model.conftest import random_faces, tiny_config

pytest.importorskip("triton", reason="the kernels are written in it")


def test_the_network_agrees_with_itself() -> None:
    """Every output to rounding, with as few blocks as there are kinds; without the kernels to the bit as before."""
    from pager_ray.model.fused import fuse

    blocks = {"depth": 4, "out_layers": [0, 1, 2, 3], "alt_start": 1, "qknorm_start": 1, "rope_start": 1}
    architecture = random_architecture(tiny_config(modalities=list(MODALITIES), face_size=28, backbone=blocks))
    network = random_network(architecture, seed=3)
    network.freeze()
    faces, outdoor = random_faces(1, 28), torch.tensor([True])
    with torch.no_grad():
        expected = network(faces, architecture.scale_heads, outdoor)
        undo = fuse(network)
        found = network(faces, architecture.scale_heads, outdoor)
        undo()
        again = network(faces, architecture.scale_heads, outdoor)
    assert set(found) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=2e-5, atol=2e-5, msg=name)
        assert torch.equal(again[name], values)
