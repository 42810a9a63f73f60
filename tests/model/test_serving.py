from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch

from pager_ray.errors import ConfigError, ShapeError
from pager_ray.model import PagerModel, load_model
from tests.model.conftest import Golden, random_faces


def test_outputs_are_the_documented_ones(unified: Golden):
    """Names, shapes and float32 as documented, with all heads."""
    raw = unified.model(unified.faces, ["indoor", "outdoor"])
    assert {name: tuple(value.shape) for name, value in raw.items()} == {
        "depth": (2, 6, 1, 56, 56),
        "depth_conf": (2, 6, 1, 56, 56),
        "normals": (2, 6, 3, 56, 56),
        "sky": (2, 6, 1, 56, 56),
        "log_scale": (2, 1),
        "scale_disagreement": (2, 1),
        "scale_log_metric_field": (2, 6, 1, 14, 14),
        "scale_log_metric_conf": (2, 6, 1, 14, 14),
    }
    assert {value.dtype for value in raw.values()} == {torch.float32}


def test_no_scene_runs_neither_of_two_scale_heads(unified: Golden):
    """Without a scene a checkpoint with two scale heads gives no scale, and the rest unchanged."""
    raw = unified.model(unified.faces)
    assert set(raw) == {"depth", "depth_conf", "normals", "sky"}
    assert unified.model.has_two_scales


def test_single_scale_head_always_runs(random_model: Callable[..., PagerModel]):
    """A checkpoint with one scale head runs it whatever the scene, and without one."""
    model = random_model(modalities=["depth", "scale_indoor"])
    faces = random_faces(2)
    expected = model(faces)["log_scale"]
    assert not model.has_two_scales
    for scene in (["outdoor", "indoor"], [None, "outdoor"]):
        torch.testing.assert_close(model(faces, scene)["log_scale"], expected)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_holds_matrices_in_half_and_the_rest_in_float32(unified: Golden, precision: str):
    """Matrix and convolution weights are half, everything else float32; float32 results are met to rounding."""
    model = load_model(unified.folder, device="cpu", precision=precision)
    assert model.precision == precision
    half = getattr(torch, precision)
    for name, parameter in model.network.named_parameters():
        is_norm = re.search(r"\.([qk]_)?(vit_)?norm[s12]?\.", name)
        matrix = not is_norm and not name.endswith(("gamma", "token", "pos_embed"))
        assert parameter.dtype == (half if matrix else torch.float32), name
    buffers = [b for b in model.network.buffers() if b.is_floating_point()]
    assert {b.dtype for b in buffers} == {torch.float32}
    raw = model(unified.faces, ["indoor", "outdoor"])
    expected = unified.model(unified.faces, ["indoor", "outdoor"])
    tolerance = 0.005 if precision == "float16" else 0.04
    for name in ("depth", "normals", "sky", "scale_log_metric_field"):
        assert raw[name].dtype == torch.float32
        error = (raw[name] - expected[name]).pow(2).mean().sqrt() / expected[name].std()
        assert 0 < error < tolerance, name


def test_auto_is_float32_on_the_cpu(unified: Golden):
    """On the CPU the automatic precision is float32."""
    assert unified.model.precision == "float32"
    assert unified.model.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("faces", "scene", "message"),
    [
        (torch.zeros(6, 3, 56, 56), None, "faces"),
        (torch.zeros(0, 6, 3, 56, 56), None, "faces"),
        (torch.zeros(1, 6, 3, 28, 28), None, r"\(B, 6, 3, 56, 56\)"),
        (torch.zeros(1, 6, 3, 56, 56, dtype=torch.uint8), None, "uint8"),
        (torch.zeros(2, 6, 3, 56, 56), ["indoor"], "one entry per panorama"),
        (torch.zeros(1, 6, 3, 56, 56), "indoor", "one entry per panorama"),
        (torch.zeros(1, 6, 3, 56, 56), ["garden"], "garden"),
        (torch.zeros(1, 6, 3, 56, 56), [None], "None"),
    ],
)
def test_wrong_input_is_named(unified: Golden, faces: torch.Tensor, scene: list[str] | None, message: str):
    """Faces or scenes of another shape or value are one error that says what is taken."""
    with pytest.raises(ShapeError, match=message):
        unified.model(faces, scene)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, "precision"),
        ({"device": "gpu"}, "device"),
        *([] if torch.cuda.is_available() else [({"device": "cuda"}, "CUDA")]),
    ],
)
def test_unknown_device_or_precision_is_a_configuration_error(unified: Golden, arguments: dict, message: str):
    """Device and precision are checked before anything is loaded."""
    with pytest.raises(ConfigError, match=message):
        load_model(unified.folder, **arguments)
