"""Each kernel computes what torch computes, in float32 to rounding."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pager_ray.model.layers import LayerNorm, RotaryTable
from pager_ray.model.serving import load_model
from pager_ray.model.spherical_padding import SphericalPadding
from tests.model.conftest import Golden

pytest.importorskip("triton", reason="the kernels are written in it")


@pytest.fixture(scope="module")
def fused() -> Any:
    """The module, whose kernels Triton interprets where there is no GPU."""
    return importlib.import_module("pager_ray.model.fused")


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return drawn.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else drawn


@pytest.mark.parametrize("size", [1, 5])
def test_surrounding_adds_cuts_off_and_pads(fused: Any, size: int) -> None:
    """Sums, bias, ReLU, border and the sum itself, of faces of any size and channels that fill no block."""
    padding, bias = SphericalPadding(size, 90.0), torch.linspace(-1, 1, 20)
    terms = tuple(maps(12, 20, size, size, seed=seed) for seed in range(3))
    table = fused._Tables(torch.device("cpu")).whole(padding)
    for count in (1, 2, 3):
        total = sum(terms[:count]) + bias.view(-1, 1, 1)
        padded, kept = fused.kernels.surround(terms[:count], table, 1, bias=bias, relu=True, keep_total=True)
        torch.testing.assert_close(kept, total, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(padded, padding(total.relu()), rtol=1e-5, atol=1e-6)


def test_refreshing_replaces_the_border_alone(fused: Any) -> None:
    """The same border as torch's, whatever stood there; the interior stays to the bit."""
    padding, padded = SphericalPadding(6, 92.0), maps(6, 5, 8, 8)
    expected = padding.refresh(padded.clone(memory_format=torch.preserve_format))
    fused.kernels.refresh(padded, fused._Tables(torch.device("cpu")).border(padding))
    torch.testing.assert_close(padded, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(padded[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


@pytest.mark.parametrize(("side", "size", "crop"), [(4, 9, 1), (3, 3, 0), (1, 6, 0), (9, 4, 0)])
def test_resizing_is_bilinear_with_aligned_corners(fused: Any, side: int, size: int, crop: int) -> None:
    """As torch resizes, larger and smaller, cropped or not."""
    x = maps(2, 6, side, side)
    expected = F.interpolate(x, (size, size), mode="bilinear", align_corners=True)
    inner = slice(crop, size - crop)
    torch.testing.assert_close(
        fused.kernels.resize(x, size, crop=crop), expected[..., inner, inner], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("head_dim", [8, 12])
@pytest.mark.parametrize(("normed", "turned"), [(True, False), (False, True), (True, True)])
def test_heads_are_normalised_and_turned_in_place(fused: Any, head_dim: int, normed: bool, turned: bool) -> None:
    """Queries and keys as their LayerNorms and rotary positions make them, three heads wide; values stay."""
    norms = tuple(LayerNorm(head_dim) for _ in range(2))
    with torch.no_grad():
        for seed, norm in enumerate(norms):
            norm.weight.copy_(maps(head_dim, seed=seed))
            norm.bias.copy_(maps(head_dim, seed=seed + 9))
    rope = RotaryTable(maps(7, 2).abs(), head_dim)
    qkv = maps(2, 7, 9 * head_dim)
    expected = list(qkv.unflatten(-1, (3, 3, head_dim)).permute(2, 0, 3, 1, 4).clone())
    with torch.no_grad():
        for place in range(2):
            expected[place] = norms[place](expected[place]) if normed else expected[place]
            expected[place] = rope(expected[place]) if turned else expected[place]
        fused.kernels.turn(qkv, 3, norms if normed else None, (rope.cos, rope.sin) if turned else None)
    found = qkv.unflatten(-1, (3, 3, head_dim)).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_it_keeps_to_the_golden_arrays(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled for the device and replayed as a graph, in float32."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = load_model(golden.folder, device="cuda", precision="float32")
    model.accelerate("fused")
    raw: Callable[..., dict[str, torch.Tensor]] = model
    for name, values in raw(golden.faces).items():
        if name in golden.expected:
            expected = golden.expected[name]
            assert np.abs(values.float().cpu().numpy() - expected).max() <= 1e-3 * expected.std(), name
