from __future__ import annotations

import math

import pytest
import torch

from pager_ray.model.layers import Attention, Block, LayerNorm, LayerScale, Mlp, RotaryTable, SwiGlu, TokenConv2d


def test_swiglu_hidden_width_is_released_rule():
    """SwiGLU's hidden width is two thirds of 4·D, rounded up to a multiple of 8."""
    assert SwiGlu(1536).w3.in_features == 4096
    assert SwiGlu(32).w3.in_features == 88


def test_rope_keeps_norms_and_depends_on_offsets_only():
    """Rotary positions keep a vector's length, and the product of two depends on the difference of positions."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator)

    def product(a: tuple[float, float], b: tuple[float, float]) -> torch.Tensor:
        return (RotaryTable(torch.tensor([a]), 16)(q) * RotaryTable(torch.tensor([b]), 16)(k)).sum()

    torch.testing.assert_close(RotaryTable(torch.tensor([[3.0, 7.0]]), 16)(q).norm(), q.norm())
    torch.testing.assert_close(product((1, 2), (4, 9)), product((11, 22), (14, 29)))
    assert abs(product((1, 2), (4, 9)) - product((1, 2), (4, 8))) > 1e-4


def test_rope_halves_are_rows_then_columns():
    """The first half of a head turns with the row and the second with the column, pairs half a half apart."""
    table = RotaryTable(torch.tensor([[2.0, 0.0]]), 8)
    x = torch.zeros(1, 1, 1, 8)
    x[..., 0], x[..., 4] = 1.0, 1.0
    turned = table(x)[0, 0, 0]
    assert turned.tolist() == pytest.approx([math.cos(2), 0, math.sin(2), 0, 1, 0, 0, 0], abs=1e-6)


def test_attention_equals_plain_softmax():
    """Fused attention is softmax(q·kᵀ/√d)·v per head."""
    torch.manual_seed(0)
    attention = Attention(16, 2, qk_norm=True)
    x = torch.randn(3, 5, 16)
    qkv = attention.qkv(x).view(3, 5, 3, 2, 8)
    q, k, v = attention.q_norm(qkv[:, :, 0]), attention.k_norm(qkv[:, :, 1]), qkv[:, :, 2]
    weights = (torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(8)).softmax(-1)
    expected = attention.proj(torch.einsum("bhts,bshd->bthd", weights, v).reshape(3, 5, 16))
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_keep_residual_stream_in_float32(dtype: torch.dtype):
    """With half matrices, normalisation and the residual stream stay float32."""
    torch.manual_seed(0)
    block = Block(16, 2, Mlp(16, 32, 16), eps=1e-6, qk_norm=True)
    x = torch.randn(2, 4, 16)
    full = block(x)
    for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
        layer.to(dtype)
    half = block(x)
    assert half.dtype == torch.float32
    assert LayerNorm(16)(x.to(dtype)).dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.05, rtol=0.0)
    assert not torch.equal(half, full)


def test_token_convolution_equals_convolving_the_map():
    """On tokens, the convolution gives what a 1×1 convolution gives on their map."""
    torch.manual_seed(0)
    layer, tokens = TokenConv2d(8, 5), torch.randn(2, 12, 8)
    image = tokens.transpose(1, 2).unflatten(2, (3, 4))
    expected = torch.nn.functional.conv2d(image, layer.weight, layer.bias)
    torch.testing.assert_close(layer(tokens), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_scaled_branches_join_the_stream_in_float32(dtype: torch.dtype):
    """A branch of any dtype is scaled per channel and added in float32, and the stream is left as it was."""
    torch.manual_seed(0)
    scale, stream, branch = LayerScale(6), torch.randn(2, 3, 6), torch.randn(2, 3, 6).to(dtype)
    torch.nn.init.normal_(scale.gamma)
    before = stream.clone()
    joined = scale(stream, branch)
    assert joined.dtype == torch.float32
    torch.testing.assert_close(joined, before + branch.float() * scale.gamma)
    assert torch.equal(stream, before)
