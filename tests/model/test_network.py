from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pager_ray.model.architecture import MODALITIES, parse_architecture
from tests.model.conftest import GOLDEN, Golden, meta_keys, random_faces

RELEASED = {
    "keys_pager": list(MODALITIES),
    "keys_pager_metric_depth": ["depth"],
    "keys_pager_normals": ["normals"],
}


@pytest.mark.parametrize("name", RELEASED)
def test_full_size_network_has_exactly_the_released_keys_and_shapes(name: str):
    """Built on the meta device, the full-size network has every released key and shape and no other."""
    released = json.loads((GOLDEN / f"{name}.json").read_text())
    expected = {key: shape for key, shape in released.items() if not key.startswith("model.cam_dec.")}
    config = {"modalities": RELEASED[name], "pretrained_model_name": "da3-giant"}
    assert meta_keys(parse_architecture(config, where="test")) == expected


def test_batch_gives_what_single_forwards_give(unified: Golden):
    """Panoramas of a mixed batch get what each gets alone, in order."""
    faces = torch.cat([unified.faces, random_faces(3, seed=1)])
    scenes = ["outdoor", "indoor", "indoor", "outdoor", "indoor"]
    batch = unified.model(faces, scenes)
    assert batch["log_scale"].shape == (5, 1)
    for row, scene in enumerate(scenes):
        alone = unified.model(faces[row : row + 1], [scene])
        assert alone.keys() | {"scale_disagreement"} == batch.keys()
        for name, value in alone.items():
            torch.testing.assert_close(batch[name][row : row + 1], value, atol=2e-4, rtol=1e-4, msg=name)


def test_forward_builds_no_constants_and_reads_nothing_back(unified: Golden):
    """A forward pass makes no table and moves no value to the host: everything constant was made at load."""

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.operations: set[str] = set()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.operations.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    faces, outdoor = unified.faces, torch.tensor([False, True])
    with Recorder() as recorder:
        unified.model(faces, outdoor=outdoor)
    assert "convolution" in recorder.operations
    constants = {"arange", "linspace", "zeros", "ones", "full", "eye", "lift_fresh", "scalar_tensor", "sin", "cos"}
    reads = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "_to_copy", "upsample_bicubic2d"}
    assert recorder.operations & (constants | reads) == set()


def test_loaded_network_keeps_tokens_and_drops_their_encoder(unified: Golden):
    """After loading, six camera tokens stand in for the encoder, which takes no memory any more."""
    network = unified.model.network
    assert network.camera_tokens.shape == (6, 32)
    assert not [key for key in network.state_dict() if "cam_enc" in key]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_scenes_on_the_device_choose_like_names(unified: Golden):
    """A truth value per panorama picks the scale that its name picks, and says how far both scales are apart."""
    named = unified.model(unified.faces, ["outdoor", "indoor"])
    told = unified.model(unified.faces, outdoor=torch.tensor([True, False]))
    scales = [unified.model(unified.faces, [scene] * 2)["log_scale"] for scene in ("indoor", "outdoor")]
    for name, value in told.items():
        torch.testing.assert_close(value, named[name], msg=name)
    torch.testing.assert_close(told["scale_disagreement"], (scales[0] - scales[1]).abs(), atol=1e-4, rtol=1e-4)
