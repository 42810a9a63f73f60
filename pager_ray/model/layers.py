"""Layers that serve in mixed precision, and the transformer block made of them.

Matrix products and convolutions run in the dtype that their weights are held in; normalisation, LayerScale and the
residual stream stay float32. In float32 nothing is cast. Parameters keep the names of the released files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from torch import Tensor


class _Unfilled:
    """Without the random numbers that torch gives a new layer, where it is built on the ``meta`` device to be filled
    from a file: there torch would decompose each distribution in Python, for nothing."""

    weight: Any

    def reset_parameters(self) -> None:
        """As torch does, where there is something to fill."""
        if not self.weight.is_meta:
            super().reset_parameters()  # type: ignore[misc]


class Linear(_Unfilled, nn.Linear):
    """Matrix product in the dtype of its weight."""

    def forward(self, x: Float[Tensor, "*rows i"]) -> Float[Tensor, "*rows o"]:
        """Cast to the weight's dtype and multiply."""
        return super().forward(x.to(self.weight.dtype))


class Conv2d(_Unfilled, nn.Conv2d):
    """Convolution in the dtype of its weight."""

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Cast to the weight's dtype and convolve."""
        if self.kernel_size == (1, 1) and self.weight.requires_grad and torch.is_grad_enabled():
            # The same product; a convolution of few channels takes several times as long backward.
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        return super().forward(x.to(self.weight.dtype))


class TokenConv2d(_Unfilled, nn.Conv2d):
    """A 1×1 convolution by its weight's shape, run on tokens as the matrix product that it is."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1)

    def forward(self, x: Float[Tensor, "n p i"]) -> Float[Tensor, "n p o"]:
        """Cast to the weight's dtype and multiply."""
        return F.linear(x.to(self.weight.dtype), self.weight.flatten(1), self.bias)


class ConvTranspose2d(_Unfilled, nn.ConvTranspose2d):
    """Transposed convolution in the dtype of its weight."""

    def forward(self, x: Float[Tensor, "n i h w"], output_size: list[int] | None = None) -> Float[Tensor, "n o h2 w2"]:
        """Cast to the weight's dtype and convolve."""
        return super().forward(x.to(self.weight.dtype), output_size)


class LayerNorm(_Unfilled, nn.LayerNorm):
    """LayerNorm in float32, whatever comes in."""

    def forward(self, x: Float[Tensor, "*rows d"]) -> Float32[Tensor, "*rows d"]:
        """Normalise the last axis."""
        return super().forward(x.float())


class LayerScale(nn.Module):
    """One learned factor per channel on the way into the residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, stream: Float32[Tensor, "*rows d"], x: Float[Tensor, "*rows d"]) -> Float32[Tensor, "*rows d"]:
        """Add the scaled branch to the stream in one pass; float32 because stream and gamma are."""
        return torch.addcmul(stream, x, self.gamma)


class RotaryTable(nn.Module):
    """2-D rotary positions of a fixed sequence of tokens.

    The head dimension is split in two halves, rows first, then columns; each half is a rope of its own with
    frequencies 100^(−2i/d), d = head_dim / 2.

    Args:
        positions: row and column of every token.
        head_dim: width of an attention head, a multiple of 4.
    """

    BASE = 100.0

    cos: Tensor
    sin: Tensor

    def __init__(self, positions: Float32[Tensor, "t 2"], head_dim: int) -> None:
        super().__init__()
        width = head_dim // 2
        with torch.device("cpu"):
            frequencies = self.BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            angles = positions.double().unsqueeze(-1) * frequencies
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Float[Tensor, "b h t d"]) -> Float32[Tensor, "b h t d"]:
        """Rotate queries or keys by their tokens' positions."""
        first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)
        turned = (
            torch.addcmul(first * self.cos, second, self.sin, value=-1),
            torch.addcmul(second * self.cos, first, self.sin),
        )
        return torch.stack(turned, dim=-2).flatten(-3)


class Attention(nn.Module):
    """Multi-head self-attention, with normalised queries and keys where asked.

    Args:
        width: width D of a token.
        heads: number of heads.
        qk_norm: give queries and keys a LayerNorm over the head dimension.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm = LayerNorm(width // heads) if qk_norm else None
        self.k_norm = LayerNorm(width // heads) if qk_norm else None
        self.proj = Linear(width, width)

    def forward(self, x: Float[Tensor, "b t d"], rope: RotaryTable | None = None) -> Float[Tensor, "b t d"]:
        """Let every token of a sequence attend to all of it; ``rope`` turns queries and keys after their norm."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rope(q), rope(k)
        mixed = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, out)

    def forward(self, x: Float[Tensor, "*rows i"]) -> Float[Tensor, "*rows o"]:
        """Apply to every token."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGlu(nn.Module):
    """Gated feed-forward: w3(silu(gate) · value), gate and value from one product w12."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
        self.w12 = Linear(width, 2 * hidden)
        self.w3 = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """Apply to every token."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale on both branches.

    Args:
        width: width D of a token.
        heads: attention heads.
        mlp: the feed-forward part.
        eps: epsilon of both LayerNorms.
        qk_norm: see :class:`Attention`.
    """

    def __init__(self, width: int, heads: int, mlp: nn.Module, *, eps: float, qk_norm: bool = False) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(width)
        self.norm2 = LayerNorm(width, eps=eps)
        self.mlp = mlp
        self.ls2 = LayerScale(width)

    def forward(self, x: Float32[Tensor, "b t d"], rope: RotaryTable | None = None) -> Float32[Tensor, "b t d"]:
        """Add attention, then the feed-forward part."""
        x = self.ls1(x, self.attn(self.norm1(x), rope))
        return self.ls2(x, self.mlp(self.norm2(x)))
