"""The network with the kernels of :mod:`pager_ray.model.kernels` in the place of what torch does in many passes.

Modules keep their weights and their places; some get another ``forward``. What they compute is the same up to rounding:
results are rounded once where the ordinary ones are rounded after each operation.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from pager_ray.model import kernels
from pager_ray.model.architecture import FACES
from pager_ray.model.backbone import Backbone
from pager_ray.model.dense_head import DenseBranch
from pager_ray.model.dpt import FaceConv2d, FaceResize, FusionBlock, Reassembly, ResidualConvUnit
from pager_ray.model.layers import Attention, Block, LayerNorm, LayerScale, RotaryTable, SwiGlu
from pager_ray.model.scale_head import ScaleHead
from pager_ray.model.sky_head import SkyHead
from pager_ray.model.spherical_padding import SphericalPadding, border_taps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float, Float32
    from torch import Tensor

    from pager_ray.model.network import PagerNetwork


def fuse(network: PagerNetwork) -> Callable[[], None]:
    """Let a finished network run with the kernels; gives what takes them out again."""
    tables = _Tables(network.backbone.cls_token.device)
    for module in network.modules():
        if isinstance(module, Backbone):
            _replace(module, _trunk)
        elif isinstance(module, FaceConv2d) and module.border is not None:
            _replace(module, _convolve, tables)
        elif isinstance(module, ResidualConvUnit) and module.conv1.border is not None:
            _replace(module, _refine, tables)
        elif isinstance(module, FusionBlock) and module.resConfUnit2.conv1.border is not None:
            _replace(module, _fuse_level, tables)
        elif isinstance(module, FaceResize):
            _replace(module, _resize, tables, None, 0)
    for module in network.modules():
        if isinstance(module, Reassembly):
            _replace(module.norm, _normalise, cast("Tensor", module.projects[0].weight).dtype)
        if isinstance(module, DenseBranch):
            uv = module.face_uv
            _replace(module.to_face, _resize, tables, uv.wave.t().contiguous(), uv.inside.start)
            _replace(uv, _as_it_is)
        if isinstance(module, SkyHead):
            for norm in module.vit_norms:
                _replace(norm, _normalise, cast("Tensor", module.vit_proj[0].weight).dtype)
        last = {DenseBranch: "output_conv2", ScaleHead: "output_conv2", SkyHead: "fuse"}.get(type(module))
        if last is not None:
            _replace(module.get_submodule(last), _convolve_and_point, tables)
    return partial(_restore, network)


def _restore(network: PagerNetwork) -> None:
    for module in network.modules():
        module.__dict__.pop("forward", None)


def _replace(module: nn.Module, forward: Callable[..., Tensor | list[Tensor]], *arguments: object) -> None:
    module.forward = partial(forward, module, *arguments)  # type: ignore[method-assign]


class _Tables:
    """Where the pixels of padded faces come from, on the device, once per size and field of view."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._whole: dict[tuple[int, int, float], tuple[Tensor, Tensor]] = {}
        self._borders: dict[tuple[int, int, float], tuple[Tensor, Tensor, Tensor]] = {}

    def whole(self, border: SphericalPadding) -> tuple[Tensor, Tensor]:
        """For all pixels of padded faces the first pixel that they are made of, of faces without border, and shares."""
        key = (border.size, border.pad, border.fov_degrees)
        if key not in self._whole:
            size, outer = border.size, border.outer
            face, row, column = torch.meshgrid(
                torch.arange(FACES), torch.arange(outer), torch.arange(outer), indexing="ij"
            )
            taps = (face * size + row - border.pad) * size + column - border.pad
            shares = torch.zeros(FACES * outer * outer, 4)
            shares[:, 0] = 1.0
            taps = taps.flatten()
            indices, weights = border_taps(*key)
            places = border.places.cpu()
            taps[places], shares[places] = torch.from_numpy(indices[:, 0]), torch.from_numpy(weights)
            self._whole[key] = taps.int().to(self._device), shares.to(self._device)
        return self._whole[key]

    def border(self, border: SphericalPadding) -> tuple[Tensor, Tensor, Tensor]:
        """Border pixels of padded faces, the first pixel that each is made of, of the same padded faces, and shares."""
        key = (border.size, border.pad, border.fov_degrees)
        if key not in self._borders:
            # The first of each pixel's four.
            taps = border.indices.view(-1, 4)[:, 0]
            given = (border.places.int(), taps.int().contiguous(), border.weights.squeeze(-1).contiguous())
            self._borders[key] = tuple(value.to(self._device) for value in given)  # type: ignore[assignment]
        return self._borders[key]


def _trunk(
    backbone: Backbone, faces: Float[Tensor, "b 6 3 s s"], camera_tokens: Float32[Tensor, "6 d"]
) -> list[Float32[Tensor, "b6 p d2"]]:
    """All blocks, the last sum of each in one pass with the next one's first LayerNorm."""
    x = local = backbone.embed(faces)
    normed = None
    blocks = cast("list[Block]", [*backbone.blocks])
    levels = []
    for index, (block, following) in enumerate(zip(blocks, [*blocks[1:], None], strict=True)):
        if index == backbone.spec.alt_start:
            x, normed = backbone.with_cameras(x, camera_tokens), None
        is_global = backbone.is_global(index)
        shape = (-1, FACES * x.shape[1], x.shape[2]) if is_global else x.shape
        # Of tokens that the cameras' will take the place of, nothing is wanted.
        then = following.norm1 if following is not None and index + 1 != backbone.spec.alt_start else None
        x, normed = _block(block, x, normed, shape, backbone.rope(index), then)
        if not is_global:
            local = x
        if index in backbone.spec.out_layers:
            levels.append(backbone.level(local, x))
    return levels


def _block(
    block: Block,
    x: Float32[Tensor, "n t d"],
    normed: Float[Tensor, "n t d"] | None,
    shape: Sequence[int],
    rope: RotaryTable | None,
    then: LayerNorm | None,
) -> tuple[Float32[Tensor, "n t d"], Float[Tensor, "n t d"] | None]:
    """A block's result, and what the next LayerNorm makes of it; ``shape`` says which tokens attend to each other."""
    dtype = _dtype(block.attn.proj)
    if normed is None:
        normed = _normalise(block.norm1, dtype, x)
    mixed = _attend(block.attn, normed.view(shape), rope).view(x.shape)
    x, normed = _added(x, mixed, block.ls1, block.norm2, dtype)
    mlp = cast(SwiGlu, block.mlp)
    mixed = mlp.w3(kernels.gated(mlp.w12(normed)))
    if then is None:
        return kernels.add_scaled(x, mixed, block.ls2.gamma), None
    return _added(x, mixed, block.ls2, then, dtype)


def _added(
    x: Float32[Tensor, "n t d"], mixed: Float[Tensor, "n t d"], scale: LayerScale, norm: LayerNorm, dtype: torch.dtype
) -> tuple[Float32[Tensor, "n t d"], Float[Tensor, "n t d"]]:
    return kernels.add_scaled_and_normalise(x, mixed, scale.gamma, norm.weight, norm.bias, norm.eps, dtype)


def _attend(attention: Attention, x: Float[Tensor, "b t d"], rope: RotaryTable | None) -> Float[Tensor, "b t d"]:
    qkv = attention.qkv(x)
    norms = None
    if attention.q_norm is not None and attention.k_norm is not None:
        norms = attention.q_norm, attention.k_norm
    kernels.turn(qkv, attention.heads, norms, None if rope is None else (rope.cos, rope.sin))
    q, k, v = qkv.unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return attention.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _dtype(linear: nn.Module) -> torch.dtype:
    """What a layer's product takes and gives; layers in 8 bits name it, as they round by themselves."""
    return cast("torch.dtype", getattr(linear, "out_dtype", None) or cast("Tensor", linear.weight).dtype)


def _normalise(norm: LayerNorm, dtype: torch.dtype, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    return kernels.normalise(x, norm.weight, norm.bias, norm.eps, dtype)


def _as_it_is(module: nn.Module, x: Tensor) -> Tensor:
    return x


def _padded(
    conv: FaceConv2d, tables: _Tables, *terms: Tensor, bias: Tensor | None = None, relu: bool = False
) -> Float[Tensor, "b6 c n2 n2"]:
    """What a convolution of faces takes: the sum of maps, surrounded."""
    border = cast(SphericalPadding, conv.border)
    table = tables.whole(border)
    return kernels.surround(terms, table, border.pad, bias=bias, relu=relu, dtype=conv.weight.dtype)[0]


def _bare(conv: FaceConv2d, padded: Float[Tensor, "b6 i n2 n2"]) -> Float[Tensor, "b6 o m m"]:
    """The convolution without its bias, which the next kernel adds."""
    return F.conv2d(padded, conv.weight, None, conv.stride)


def _bias(conv: FaceConv2d) -> Tensor:
    return cast("Tensor", conv.bias)


def _with_border(conv: FaceConv2d, tables: _Tables, x: Tensor) -> Tensor:
    border = cast(SphericalPadding, conv.border)
    if not conv.has_room:
        return _padded(conv, tables, x)
    x = x.to(conv.weight.dtype).contiguous(memory_format=torch.channels_last)
    kernels.refresh(x, tables.border(border))
    return x


def _convolve(conv: FaceConv2d, tables: _Tables, x: Float[Tensor, "b6 i n n"]) -> Float[Tensor, "b6 o m m"]:
    return F.conv2d(_with_border(conv, tables, x), conv.weight, conv.bias, conv.stride)


def _convolve_and_point(
    last: nn.Sequential, tables: _Tables, x: Float[Tensor, "b6 i n n"]
) -> Float32[Tensor, "b6 k m m"]:
    """3×3, ReLU, 1×1."""
    conv, _, point = last
    if not isinstance(conv, FaceConv2d) or conv.border is None:
        return cast("Tensor", nn.Sequential.forward(last, x))
    maps = _bare(conv, _with_border(conv, tables, x))
    return kernels.points(maps, _bias(conv), cast("Tensor", point.weight), cast("Tensor", point.bias))


def _residual(unit: ResidualConvUnit, tables: _Tables, padded: Tensor) -> Tensor:
    """A unit's second convolution without its bias, from the padded positive part of the unit's input."""
    between = _padded(unit.conv2, tables, _bare(unit.conv1, padded), bias=unit.conv1.bias, relu=True)
    return _bare(unit.conv2, between)


def _refine(unit: ResidualConvUnit, tables: _Tables, x: Float[Tensor, "b6 c n n"]) -> Float[Tensor, "b6 c n n"]:
    return kernels.add(x, _residual(unit, tables, _padded(unit.conv1, tables, x, relu=True)), _bias(unit.conv2))


def _fuse_level(
    block: FusionBlock,
    tables: _Tables,
    coarse: Float[Tensor, "b6 c n n"],
    lateral: Float[Tensor, "b6 c n n"] | None = None,
) -> Float[Tensor, "b6 c m m"]:
    terms: tuple[Tensor, ...] = (coarse,)
    bias, first = None, block.resConfUnit1
    if first is not None and lateral is not None:
        refined = _residual(first, tables, _padded(first.conv1, tables, lateral, relu=True))
        terms, bias = (coarse, lateral, refined), first.conv2.bias
    second = block.resConfUnit2
    border = cast(SphericalPadding, second.conv1.border)
    padded, total = kernels.surround(
        terms,
        tables.whole(border),
        border.pad,
        bias=bias,
        relu=True,
        keep_total=bias is not None,
        dtype=second.conv1.weight.dtype,
    )
    refined = _residual(second, tables, padded)
    total = kernels.add(coarse if total is None else total, refined, _bias(second.conv2))
    return block.resizing(block.out_conv(total))


def _resize(
    resizing: FaceResize,
    tables: _Tables,
    wave: Float32[Tensor, "s c2"] | None,
    room: int,
    x: Float[Tensor, "b6 c n n"],
) -> Float[Tensor, "b6 c m m"]:
    border = resizing.border
    if border is None:
        return kernels.resize(x, resizing.size, wave=wave, room=room)
    wide, _ = kernels.surround((x,), tables.whole(border), border.pad)
    return kernels.resize(wide, resizing.size + 2, crop=0 if resizing.keep_room else 1, wave=wave, room=room)
