"""The DPT body that the dense heads and the scale heads share: tokens to maps, maps fused from coarse to fine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from pager_ray.model.architecture import Architecture
from pager_ray.model.layers import Conv2d, ConvTranspose2d, LayerNorm, TokenConv2d
from pager_ray.model.spherical_padding import Borders, SphericalPadding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32
    from torch import Tensor


# CUDA's kernel counts what it writes in 32 bits: the largest maps of eleven panoramas have more.
_MOST_NUMBERS = 2**31 - 1


def level_sizes(grid: int) -> tuple[int, int, int, int]:
    """Sides of the four levels' maps, fine to coarse, for a face of ``grid`` patches."""
    return 4 * grid, 2 * grid, grid, (grid + 1) // 2


class FaceConv2d(Conv2d):
    """3×3 convolution of cubemap faces: the border comes from the neighbours, or is zero without ``border``.

    Args:
        channels_in: input channels.
        channels_out: output channels.
        border: padding of the input's size, or None.
        stride: 1 or 2.
        bias: whether there is one.
        has_room: the input comes with a border to overwrite (only where ``border`` is given).
        rectify: convolve what a ReLU makes of the input (only where it comes without room).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        border: SphericalPadding | None,
        *,
        stride: int = 1,
        bias: bool = True,
        has_room: bool = False,
        rectify: bool = False,
    ) -> None:
        super().__init__(channels_in, channels_out, 3, stride=stride, padding=0 if border else 1, bias=bias)
        self.border = border
        self.has_room, self.rectify = has_room, rectify

    def forward(self, x: Float[Tensor, "b6 i n n"]) -> Float[Tensor, "b6 o m m"]:
        """Pad and convolve."""
        if self.border is None:
            return super().forward(F.relu(x) if self.rectify else x)
        return super().forward(self.border.refresh(x) if self.has_room else self.border(x, rectify=self.rectify))


class FaceResize(nn.Module):
    """Bilinear resizing of cubemap faces, corners aligned, of maps that are one pixel wider on each side.

    Args:
        size: side of the result.
        border: padding of the input's size; None resizes the faces as they are.
        keep_room: leave the resized outermost pixels on, for the next convolution to overwrite, instead of cropping.
    """

    def __init__(self, size: int, border: SphericalPadding | None, *, keep_room: bool = False) -> None:
        super().__init__()
        self.size = size
        self.border = border
        self.keep_room = keep_room

    def forward(self, x: Float[Tensor, "b6 c n n"]) -> Float[Tensor, "b6 c m m"]:
        """Resize, or pad 1, resize to two more pixels and crop 1."""
        if self.border is None:
            return resize(x, self.size)
        wide = resize(self.border(x), self.size + 2)
        return wide if self.keep_room else wide[..., 1:-1, 1:-1]


def resize(x: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n c s s"]:
    """Resize bilinearly to a square, corners aligned."""
    at_once = max(_MOST_NUMBERS // (x.shape[1] * size * size), 1)
    if len(x) <= at_once:
        return F.interpolate(x, (size, size), mode="bilinear", align_corners=True)
    parts = [resize(part, size) for part in x.split(at_once)]
    return torch.cat(parts)


class UvEmbedding(nn.Module):
    """Where on its face a pixel lies, added to a map.

    Sines, then cosines, of u fill the first half of the channels, those of v the second. Coordinates span
    ±(1/√2)·(n−1)/n along both sides of a square face; frequencies are 100^(−k/(C/4)).

    Args:
        channels: channels C of the map, a multiple of 4.
        size: side of the map.
        room: width of a border around the map that stays as it is.
    """

    FACTOR = 0.1
    BASE = 100.0

    wave: Tensor

    def __init__(self, channels: int, size: int, *, room: int = 0) -> None:
        super().__init__()
        with torch.device("cpu"):
            reach = (size - 1) / size / math.sqrt(2.0)
            position = torch.linspace(-reach, reach, size, dtype=torch.float64)
            frequency = self.BASE ** (-torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))
            angle = frequency.unsqueeze(1) * position
            wave = self.FACTOR * torch.cat([angle.sin(), angle.cos()])
        self.inside = slice(room, room + size)
        self.register_buffer("wave", wave.float(), persistent=False)

    def forward(self, x: Float[Tensor, "b6 c h w"]) -> Float[Tensor, "b6 c h w"]:
        """Add the embedding, the sum taken in float32; in place unless gradients are recorded."""
        if x.requires_grad and torch.is_grad_enabled():
            return x + self._table(x.shape[-1])
        half = x.shape[1] // 2
        x[:, :half, self.inside, self.inside] += self.wave.unsqueeze(1)
        x[:, half:, self.inside, self.inside] += self.wave.unsqueeze(2)
        return x

    def _table(self, outer: int) -> Float32[Tensor, "c h w"]:
        """What is added to a map of this side, as one table."""
        half = self.wave.shape[0]
        table = self.wave.new_zeros(2 * half, outer, outer)
        table[:half, self.inside, self.inside] = self.wave.unsqueeze(1)
        table[half:, self.inside, self.inside] = self.wave.unsqueeze(2)
        return table.permute(1, 2, 0).contiguous().permute(2, 0, 1)


class ResidualConvUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, features: int, border: SphericalPadding | None) -> None:
        super().__init__()
        self.conv1 = FaceConv2d(features, features, border, rectify=True)
        self.conv2 = FaceConv2d(features, features, border, rectify=True)

    def forward(self, x: Float[Tensor, "b6 c n n"]) -> Float[Tensor, "b6 c n n"]:
        """Refine a map."""
        return x + self.conv2(self.conv1(x))


class FusionBlock(nn.Module):
    """Adds a lateral map to the coarser one, refines the sum and brings it to the next level's size.

    Args:
        features: channels.
        border: padding of this level's size.
        resizing: how the result is resized.
        lateral: false for the coarsest block, which has nothing to add.
    """

    def __init__(
        self, features: int, border: SphericalPadding | None, resizing: FaceResize, *, lateral: bool = True
    ) -> None:
        super().__init__()
        # The names are the released files'.
        self.resConfUnit1 = ResidualConvUnit(features, border) if lateral else None
        self.resConfUnit2 = ResidualConvUnit(features, border)
        self.out_conv = Conv2d(features, features, 1)
        self.resizing = resizing

    def forward(
        self, coarse: Float[Tensor, "b6 c n n"], lateral: Float[Tensor, "b6 c n n"] | None = None
    ) -> Float[Tensor, "b6 c m m"]:
        """Fuse; without a lateral the coarse map is refined alone.

        The 1×1 convolution comes before the resizing, where there are fewer pixels: a weighted mean of pixels, it makes
        no difference to the values on which side of it a product per pixel stands.
        """
        if self.resConfUnit1 is not None and lateral is not None:
            coarse = coarse + self.resConfUnit1(lateral)
        return self.resizing(self.out_conv(self.resConfUnit2(coarse)))


class Reassembly(nn.Module):
    """First half of a DPT head: four levels of tokens to four maps of rising resolution.

    Args:
        architecture: the network's sizes.
        borders: the network's padding.
        uv: add the UV embedding to the projected maps.
    """

    def __init__(self, architecture: Architecture, borders: Borders, *, uv: bool) -> None:
        super().__init__()
        grid, channels = architecture.grid, architecture.head.out_channels
        width = 2 * architecture.backbone.embed_dim
        self.grid = grid
        self.norm = LayerNorm(width)
        self.projects = nn.ModuleList(TokenConv2d(width, c) for c in channels)
        self.resize_layers = nn.ModuleList(
            [
                ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                FaceConv2d(channels[3], channels[3], borders.for_convolution(grid), stride=2),
            ]
        )
        self.level_uv = nn.ModuleList(UvEmbedding(c, grid) if uv else nn.Identity() for c in channels)

    def reassemble(self, levels: Sequence[Float32[Tensor, "b6 p d2"]]) -> list[Float[Tensor, "b6 _ _ _"]]:
        """Project each level and resize it to its place in the pyramid, fine to coarse."""
        maps = []
        for tokens, project, uv, to_level in zip(levels, self.projects, self.level_uv, self.resize_layers, strict=True):
            image = project(self.norm(tokens)).unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
            maps.append(to_level(uv(image)))
        return maps


def add_fusion(head: nn.Module, architecture: Architecture, borders: Borders, *, wide: bool) -> None:
    """Give a module the second half of a DPT head, under the names of the released files.

    They lie in ``head_modules.<name>`` of a dense head but directly in a scale head, so they are added to a module
    instead of being one.

    Args:
        head: gets ``layer1_rn … layer4_rn``, ``refinenet1 … refinenet4`` and ``output_conv1``.
        architecture: the network's sizes.
        borders: the network's padding.
        wide: resize padded maps, as the dense heads do.
    """
    features = architecture.head.features
    sizes = level_sizes(architecture.grid)
    targets = (2 * sizes[0], *sizes[:-1])
    for level, (channels, size, target) in enumerate(
        zip(architecture.head.out_channels, sizes, targets, strict=True), start=1
    ):
        border = borders.for_convolution(size)
        resizing = FaceResize(target, borders.for_resizing(size) if wide else None, keep_room=wide and level == 1)
        head.add_module(f"layer{level}_rn", FaceConv2d(channels, features, border, bias=False))
        head.add_module(f"refinenet{level}", FusionBlock(features, border, resizing, lateral=level < 4))
    head.add_module(
        "output_conv1",
        FaceConv2d(features, features // 2, borders.for_convolution(targets[0]), has_room=wide),
    )


def lateral_maps(head: nn.Module, maps: Sequence[Float[Tensor, "b6 _ _ _"]]) -> list[Float[Tensor, "b6 f _ _"]]:
    """Bring the four levels to the fusion blocks' channels."""
    return [head.get_submodule(f"layer{level}_rn")(image) for level, image in enumerate(maps, start=1)]


def fusion_block(head: nn.Module, level: int) -> FusionBlock:
    """Give the fusion block of a level, 1 the finest."""
    return cast(FusionBlock, head.get_submodule(f"refinenet{level}"))
