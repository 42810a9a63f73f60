"""The way of running that a machine gets: by rule, or an error in one line that says why not."""

from __future__ import annotations

import pytest
import torch

from pager_ray.errors import ConfigError
from pager_ray.model import acceleration
from pager_ray.model.acceleration import ACCELERATIONS, settle_acceleration
from pager_ray.model.compiled import GraphReplay
from tests.model.conftest import Golden

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "taken"),
    [("auto", CPU, "eager"), ("auto", CUDA, "graphs"), ("eager", CUDA, "eager"), ("graphs", CUDA, "graphs")],
)
def test_what_is_taken(asked: str, device: torch.device, taken: str) -> None:
    """`auto` follows the device, anything else is what was asked for; each says why."""
    found = settle_acceleration(asked, device)
    assert found.way == taken
    assert found.reason


@pytest.mark.parametrize(
    ("asked", "device", "says"),
    [
        ("fast", CPU, "got 'fast', takes auto, eager, graphs, fused, compile"),
        ("graphs", CPU, "graphs cannot be had (the model runs on cpu, and graphs need CUDA); take auto or eager"),
        ("fused", CPU, "fused cannot be had (the model runs on cpu, and fused needs CUDA); take auto or eager"),
        ("fused", CUDA, "fused needs Triton on CUDA, and it is not installed"),
        ("compile", CPU, "torch.compile needs a C compiler"),
        ("compile", CUDA, "torch.compile needs Triton on CUDA, and it is not installed"),
        ("compile", torch.device("meta"), "compile cannot be had (the model runs on meta)"),
    ],
)
def test_what_cannot_be_had(asked: str, device: torch.device, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without compiler and Triton, one line names the key, the reason and the way out."""
    monkeypatch.setattr(acceleration.shutil, "which", lambda name: None)
    monkeypatch.setattr(acceleration, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        settle_acceleration(asked, device)
    message = str(caught.value)
    assert message.startswith("compute.acceleration: ")
    assert says in message
    assert "\n" not in message


def test_an_old_gpu_has_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below compute capability 7.0 the compiler's error would come after minutes; the refusal comes at once."""
    monkeypatch.setattr(acceleration, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    with pytest.raises(ConfigError, match=r"needs compute capability 7\.0, the device has 6\.1"):
        settle_acceleration("compile", CUDA)


def test_every_way_is_wired_into_the_model(unified: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way puts its own forward pass in place, told of the batch in use, and eager takes it out again."""
    model = unified.model
    monkeypatch.setattr(acceleration.shutil, "which", lambda name: name)
    assert model.accelerate("compile", 4).way == "compile"
    assert all(block._compiled_call_impl for block in model.network.backbone.blocks)
    monkeypatch.setattr(model, "device", CUDA)
    model.accelerate("graphs", 4)
    assert isinstance(model._forward, GraphReplay)
    assert not any(block._compiled_call_impl for block in model.network.backbone.blocks)
    assert model._forward.batch == 4
    model.use_batch(2)
    assert model._forward.batch == 2
    monkeypatch.setattr(acceleration, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    model.accelerate("compile", 4)
    assert isinstance(model._forward, GraphReplay)
    assert all(block._compiled_call_impl for block in model.network.backbone.blocks)
    model.accelerate("fused", 4)
    assert isinstance(model._forward, GraphReplay)
    assert "forward" in vars(model.network.backbone)
    assert model.accelerate("eager", 4).way == "eager"
    assert model._forward is model.network
    assert not any("forward" in vars(module) or module._compiled_call_impl for module in model.network.modules())
    assert set(ACCELERATIONS) == {"auto", "eager", "graphs", "fused", "compile"}
