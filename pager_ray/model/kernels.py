"""Triton kernels for what lies between the network's matrix products and convolutions.

Each does in one pass over memory what torch does in two to ten. They take any sizes and the serving dtypes, compute in
float32 and round once, where results are stored; maps are channels-last. Where a number lies takes 64 bits: the maps of
sixteen panoramas have more than 2³¹. Which pixel it is of takes 32, and is what is divided by sides: a GPU divides 64
bits in a routine of a hundred instructions.

Imported only where Triton is. With ``TRITON_INTERPRET=1`` they run on a CPU, to be tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int32
    from torch import Tensor

_MAX_CHANNELS = 256
_NUMBERS = 4096
_GATED = 1024
_POINTS = 128


@triton.jit
def _add_and_normalise(
    stream,
    branch,
    gamma,
    weight,
    bias,
    total,
    out,
    width,
    eps,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    values = tl.load(stream + row + column, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        added = tl.load(branch + row + column, mask=inside, other=0.0).to(tl.float32)
        values += added * tl.load(gamma + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(total + row + column, values, mask=inside)
    if NORM:
        mean = tl.sum(values, 0) / width
        centred = tl.where(inside, values - mean, 0.0)
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
        result = centred * scale * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
        result += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + row + column, result.to(out.dtype.element_ty), mask=inside)


def normalise(
    x: Float[Tensor, "*rows d"], weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> Float[Tensor, "*rows d"]:
    """LayerNorm over the last axis, in ``dtype``."""
    x = x.contiguous()
    out = torch.empty_like(x, dtype=dtype)
    _add_and_normalise[(x.numel() // x.shape[-1],)](
        x, x, x, weight, bias, x, out, x.shape[-1], eps, ADD=False, NORM=True, **_row(x.shape[-1])
    )
    return out


def add_scaled(
    stream: Float32[Tensor, "*rows d"], branch: Float[Tensor, "*rows d"], gamma: Tensor
) -> Float32[Tensor, "*rows d"]:
    """``stream + branch · gamma``."""
    stream, branch = stream.contiguous(), branch.contiguous()
    total, width = torch.empty_like(stream), stream.shape[-1]
    _add_and_normalise[(stream.numel() // width,)](
        stream, branch, gamma, gamma, gamma, total, total, width, 0.0, ADD=True, NORM=False, **_row(width)
    )
    return total


def add_scaled_and_normalise(
    stream: Float32[Tensor, "*rows d"],
    branch: Float[Tensor, "*rows d"],
    gamma: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Float32[Tensor, "*rows d"], Float[Tensor, "*rows d"]]:
    """The sum of :func:`add_scaled`, and its LayerNorm in ``dtype``."""
    stream, branch = stream.contiguous(), branch.contiguous()
    total, out, width = torch.empty_like(stream), torch.empty_like(stream, dtype=dtype), stream.shape[-1]
    _add_and_normalise[(stream.numel() // width,)](
        stream, branch, gamma, weight, bias, total, out, width, eps, ADD=True, NORM=True, **_row(width)
    )
    return total, out


def _row(width: int) -> dict[str, int]:
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": 4 if block <= 2048 else 8}


@triton.jit
def _turn(
    qkv, q_weight, q_bias, k_weight, k_bias, cos, sin, tokens, heads, q_eps, k_eps,
    NORM: tl.constexpr, ROPE: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr, quarter: tl.constexpr,
):  # fmt: skip
    row, which = tl.program_id(0), tl.program_id(1)
    half: tl.constexpr = 2 * quarter
    head_dim: tl.constexpr = 4 * quarter
    base = qkv + (row.to(tl.int64) * 3 + which) * heads * head_dim
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    # Columns are rows' frequencies, then columns'; what each turns lies a quarter of the head further on.
    place = (column // quarter) * half + column % quarter
    there = column < half
    inside = (head < heads) & there
    first = tl.load(base + head * head_dim + place, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(base + head * head_dim + place + quarter, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        is_q = which == 0
        mean = ((tl.sum(first, 1) + tl.sum(second, 1)) / head_dim)[:, None]
        first, second = tl.where(inside, first - mean, 0.0), tl.where(inside, second - mean, 0.0)
        variance = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / head_dim
        scale = (1.0 / tl.sqrt(variance + tl.where(is_q, q_eps, k_eps)))[:, None]
        q_there, k_there = there & is_q, there & (which == 1)
        weight = tl.load(q_weight + place, mask=q_there, other=0.0) + tl.load(k_weight + place, mask=k_there, other=0.0)
        bias = tl.load(q_bias + place, mask=q_there, other=0.0) + tl.load(k_bias + place, mask=k_there, other=0.0)
        first = first * scale * weight.to(tl.float32) + bias.to(tl.float32)
        place_2 = place + quarter
        weight = tl.load(q_weight + place_2, mask=q_there, other=0.0)
        weight += tl.load(k_weight + place_2, mask=k_there, other=0.0)
        bias = tl.load(q_bias + place_2, mask=q_there, other=0.0) + tl.load(k_bias + place_2, mask=k_there, other=0.0)
        second = second * scale * weight.to(tl.float32) + bias.to(tl.float32)
    if ROPE:
        at = (row % tokens) * half + column
        c, s = tl.load(cos + at, mask=there, other=0.0), tl.load(sin + at, mask=there, other=0.0)
        first, second = first * c - second * s, second * c + first * s
    tl.store(base + head * head_dim + place, first.to(qkv.dtype.element_ty), mask=inside)
    tl.store(base + head * head_dim + place + quarter, second.to(qkv.dtype.element_ty), mask=inside)


def turn(
    qkv: Float[Tensor, "b t w"],
    heads: int,
    norms: tuple[torch.nn.LayerNorm, torch.nn.LayerNorm] | None,
    rope: tuple[Float32[Tensor, "t 2 f"], Float32[Tensor, "t 2 f"]] | None,
) -> None:
    """Normalise every head of queries and keys and turn them by their tokens' positions, in place.

    Args:
        qkv: w = 3 · heads · head_dim, contiguous.
        heads: number of heads.
        norms: LayerNorms over the head dimension, of queries and of keys.
        rope: cosines and sines of :class:`pager_ray.model.layers.RotaryTable`.
    """
    if norms is None and rope is None:
        return
    batch, tokens, width = qkv.shape
    head_dim = width // (3 * heads)
    q_weight = q_bias = k_weight = k_bias = cos = sin = qkv
    q_eps = k_eps = 0.0
    if norms is not None:
        q_weight, q_bias, q_eps = norms[0].weight, norms[0].bias, norms[0].eps
        k_weight, k_bias, k_eps = norms[1].weight, norms[1].bias, norms[1].eps
    if rope is not None:
        cos, sin = rope
    _turn[(batch * tokens, 2)](
        qkv, q_weight, q_bias, k_weight, k_bias, cos, sin, tokens, heads, q_eps, k_eps,
        NORM=norms is not None, ROPE=rope is not None, HEADS=triton.next_power_of_2(heads),
        HALF=triton.next_power_of_2(head_dim // 2), quarter=head_dim // 4,
    )  # fmt: skip


@triton.jit
def _gate(x, out, hidden, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < hidden
    gate = tl.load(x + row * 2 * hidden + column, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(x + (row * 2 + 1) * hidden + column, mask=inside, other=0.0).to(tl.float32)
    result = gate / (1.0 + tl.exp(-gate)) * value
    tl.store(out + row * hidden + column, result.to(out.dtype.element_ty), mask=inside)


def gated(x: Float[Tensor, "*rows h2"]) -> Float[Tensor, "*rows h"]:
    """``silu(gate) · value`` of rows that hold both, one after the other."""
    x = x.contiguous()
    hidden = x.shape[-1] // 2
    out = x.new_empty((*x.shape[:-1], hidden))
    _gate[(out.numel() // hidden, triton.cdiv(hidden, _GATED))](x, out, hidden, BLOCK=_GATED)
    return out


@triton.jit
def _surround(
    a, b, c, bias, total, out, taps, weights, pixels, channels, size, outer, pad,
    TERMS: tl.constexpr, BIAS: tl.constexpr, RELU: tl.constexpr, TOTAL: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    cubemap = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * P + tl.arange(0, P)
    channel = (tl.program_id(1) * C + tl.arange(0, C))[None, :]
    there, wide = pixel < pixels, channel < channels
    tap = tl.load(taps + pixel, mask=there, other=0) + cubemap * 6 * size * size
    row, column = (pixel // outer) % outer, pixel % outer
    interior = there & (row >= pad) & (row < pad + size) & (column >= pad) & (column < pad + size)
    result = tl.zeros((P, C), tl.float32)
    for corner in tl.static_range(4):
        weight = tl.load(weights + pixel * 4 + corner, mask=there, other=0.0)
        place = (tap + (corner // 2) * size + corner % 2)[:, None] * channels + channel
        used = (weight != 0.0)[:, None] & wide
        value = tl.load(a + place, mask=used, other=0.0).to(tl.float32)
        if TERMS > 1:
            value += tl.load(b + place, mask=used, other=0.0).to(tl.float32)
        if TERMS > 2:
            value += tl.load(c + place, mask=used, other=0.0).to(tl.float32)
        if BIAS:
            value += tl.load(bias + channel, mask=wide, other=0.0).to(tl.float32)
        if TOTAL and corner == 0:
            tl.store(total + place, value.to(total.dtype.element_ty), mask=interior[:, None] & wide)
        if RELU:
            value = tl.maximum(value, 0.0)
        result += weight[:, None] * value
    place = (cubemap * pixels + pixel)[:, None] * channels + channel
    tl.store(out + place, result.to(out.dtype.element_ty), mask=there[:, None] & wide)


def surround(
    terms: tuple[Float[Tensor, "b6 c n n"], ...],
    table: tuple[Int32[Tensor, " p"], Float32[Tensor, "p 4"]],
    pad: int,
    *,
    bias: Tensor | None = None,
    relu: bool = False,
    keep_total: bool = False,
    dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "b6 c n2 n2"], Float[Tensor, "b6 c n n"] | None]:
    """Add maps and a bias, cut negative values off, and surround each face with its border.

    Args:
        terms: one to three maps.
        table: for each pixel of six padded faces the first of four pixels that it is made of, and their shares.
        pad: width of the border.
        bias: one number per channel.
        relu: whether negative values count as zero.
        keep_total: whether the sum is given, too, without border and with its negative values.
        dtype: of the result; the first term's where not given.
    """
    maps = [term.contiguous(memory_format=torch.channels_last) for term in terms]
    first, (taps, weights) = maps[0], table
    faces, channels, size, _ = first.shape
    outer = size + 2 * pad
    out = _maps((faces, channels, outer, outer), dtype or first.dtype, first.device)
    total = torch.empty_like(first) if keep_total else None
    block = _channel_block(channels)
    grid = (triton.cdiv(len(taps), _pixel_block(block)), triton.cdiv(channels, block), faces // 6)
    _surround[grid](
        first, maps[-2] if len(maps) > 2 else maps[-1], maps[-1], first if bias is None else bias,
        first if total is None else total, out, taps, weights, len(taps), channels, size, outer, pad,
        TERMS=len(maps), BIAS=bias is not None, RELU=relu, TOTAL=keep_total, P=_pixel_block(block), C=block,
    )  # fmt: skip
    return out, total


@triton.jit
def _refresh(padded, targets, taps, weights, count, pixels, channels, outer, P: tl.constexpr, C: tl.constexpr):
    cubemap = tl.program_id(2).to(tl.int64)
    border = tl.program_id(0) * P + tl.arange(0, P)
    channel = (tl.program_id(1) * C + tl.arange(0, C))[None, :]
    there, wide = border < count, channel < channels
    tap = tl.load(taps + border, mask=there, other=0) + cubemap * pixels
    result = tl.zeros((P, C), tl.float32)
    for corner in tl.static_range(4):
        weight = tl.load(weights + border * 4 + corner, mask=there, other=0.0)
        place = (tap + (corner // 2) * outer + corner % 2)[:, None] * channels + channel
        value = tl.load(padded + place, mask=(weight != 0.0)[:, None] & wide, other=0.0).to(tl.float32)
        result += weight[:, None] * value
    target = tl.load(targets + border, mask=there, other=0) + cubemap * pixels
    tl.store(
        padded + target[:, None] * channels + channel, result.to(padded.dtype.element_ty), mask=there[:, None] & wide
    )


def refresh(
    padded: Float[Tensor, "b6 c n2 n2"], table: tuple[Int32[Tensor, " k"], Int32[Tensor, " k"], Float32[Tensor, "k 4"]]
) -> None:
    """Overwrite the border of channels-last maps in place, from their interior.

    Args:
        padded: six faces per panorama.
        table: border pixels of six padded faces, the first of the four pixels of each, and their shares.
    """
    targets, taps, weights = table
    faces, channels, outer, _ = padded.shape
    block = _channel_block(channels)
    grid = (triton.cdiv(len(taps), _pixel_block(block)), triton.cdiv(channels, block), faces // 6)
    _refresh[grid](
        padded, targets, taps, weights, len(taps), 6 * outer * outer, channels, outer, P=_pixel_block(block), C=block
    )


@triton.jit
def _resize(
    x, out, wave, pixels, channels, size_in, size_out, step, skip, half, room, inner,
    WAVE: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * P + tl.arange(0, P)
    channel = (tl.program_id(1) * C + tl.arange(0, C))[None, :]
    there, wide = pixel < pixels, channel < channels
    line, column = pixel // size_out, pixel % size_out
    image, row = line // size_out, line % size_out
    y, x_ = (row + skip).to(tl.float32) * step, (column + skip).to(tl.float32) * step
    top, left = y.to(tl.int32), x_.to(tl.int32)
    down, across = (y - top.to(tl.float32))[:, None], (x_ - left.to(tl.float32))[:, None]
    upper = (image * size_in + top).to(tl.int64) * size_in
    lower = (image * size_in + tl.minimum(top + 1, size_in - 1)).to(tl.int64) * size_in
    right = tl.minimum(left + 1, size_in - 1)
    mask = there[:, None] & wide
    upper_left = tl.load(x + (upper + left)[:, None] * channels + channel, mask=mask, other=0.0).to(tl.float32)
    upper_right = tl.load(x + (upper + right)[:, None] * channels + channel, mask=mask, other=0.0).to(tl.float32)
    lower_left = tl.load(x + (lower + left)[:, None] * channels + channel, mask=mask, other=0.0).to(tl.float32)
    lower_right = tl.load(x + (lower + right)[:, None] * channels + channel, mask=mask, other=0.0).to(tl.float32)
    result = (1.0 - down) * ((1.0 - across) * upper_left + across * upper_right)
    result += down * ((1.0 - across) * lower_left + across * lower_right)
    if WAVE:
        # The first half of the channels says where a pixel lies along its row, the second half along its column.
        is_first = channel < half
        along = tl.where(is_first, (column - room)[:, None], (row - room)[:, None])
        inside = (column >= room) & (column < room + inner) & (row >= room) & (row < room + inner)
        known = mask & inside[:, None]
        result += tl.load(wave + along * half + tl.where(is_first, channel, channel - half), mask=known, other=0.0)
    place = pixel.to(tl.int64)[:, None] * channels + channel
    tl.store(out + place, result.to(out.dtype.element_ty), mask=mask)


def resize(
    x: Float[Tensor, "n c h h"], size: int, *, crop: int = 0, wave: Float32[Tensor, "s c2"] | None = None, room: int = 0
) -> Float[Tensor, "n c m m"]:
    """Resize bilinearly to a square, corners aligned.

    Args:
        x: square maps.
        size: side of what they are resized to.
        crop: outermost pixels that are left away: m = size − 2·crop.
        wave: added to all but ``room`` outermost pixels: of each position the first half of the channels by its column,
            the second half by its row.
        room: outermost pixels that get no wave.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    count, channels, side, _ = x.shape
    outer = size - 2 * crop
    out = _maps((count, channels, outer, outer), x.dtype, x.device)
    block, pixels = _channel_block(channels), count * outer * outer
    step = (side - 1) / (size - 1) if size > 1 else 0.0
    _resize[(triton.cdiv(pixels, _pixel_block(block)), triton.cdiv(channels, block))](
        x, out, x if wave is None else wave, pixels, channels, side, outer, step, crop, max(channels // 2, 1), room,
        outer - 2 * room, WAVE=wave is not None, P=_pixel_block(block), C=block,
    )  # fmt: skip
    return out


@triton.jit
def _points(
    x, bias, weight, out_bias, out, pixels, channels, area, OUT: tl.constexpr, P: tl.constexpr, C: tl.constexpr
):
    pixel = tl.program_id(0) * P + tl.arange(0, P)
    channel = tl.arange(0, C)
    there, wide = pixel < pixels, channel < channels
    line = pixel.to(tl.int64)[:, None] * channels
    value = tl.load(x + line + channel[None, :], mask=there[:, None] & wide[None, :], other=0.0)
    value = value.to(tl.float32) + tl.load(bias + channel, mask=wide, other=0.0).to(tl.float32)[None, :]
    value = tl.maximum(value, 0.0)
    image, place = (pixel // area).to(tl.int64), pixel % area
    for k in tl.static_range(OUT):
        share = tl.load(weight + k * channels + channel, mask=wide, other=0.0).to(tl.float32)
        result = tl.sum(value * share[None, :], 1) + tl.load(out_bias + k).to(tl.float32)
        tl.store(out + (image * OUT + k) * area + place, result, mask=there)


def points(x: Float[Tensor, "n c h h"], bias: Tensor, weight: Tensor, out_bias: Tensor) -> Float32[Tensor, "n k h h"]:
    """Add a bias, cut negative values off, and take a 1×1 convolution; float32, in torch's ordinary layout.

    Args:
        x: channels-last maps.
        bias: one number per channel.
        weight: (k, c, 1, 1).
        out_bias: (k,).
    """
    x, weight = x.contiguous(memory_format=torch.channels_last), weight.flatten(1).contiguous()
    count, channels, side, _ = x.shape
    out = torch.empty((count, len(weight), side, side), dtype=torch.float32, device=x.device)
    pixels = count * side * side
    _points[(triton.cdiv(pixels, _POINTS),)](
        x, bias, weight, out_bias, out, pixels, channels, side * side, OUT=len(weight), P=_POINTS,
        C=triton.next_power_of_2(channels),
    )  # fmt: skip
    return out


@triton.jit
def _sum(a, b, bias, out, count, channels: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    value = tl.load(a + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(b + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + place % channels, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)


def add(a: Float[Tensor, "n c h h"], b: Float[Tensor, "n c h h"], bias: Tensor) -> Float[Tensor, "n c h h"]:
    """The sum of two maps and a bias per channel."""
    a, b = (value.contiguous(memory_format=torch.channels_last) for value in (a, b))
    out = torch.empty_like(a)
    _sum[(triton.cdiv(a.numel(), _GATED),)](a, b, bias, out, a.numel(), a.shape[1], BLOCK=_GATED)
    return out


def _maps(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device, memory_format=torch.channels_last)


def _channel_block(channels: int) -> int:
    return min(triton.next_power_of_2(channels), _MAX_CHANNELS)


def _pixel_block(channel_block: int) -> int:
    return max(_NUMBERS // channel_block, 1)
