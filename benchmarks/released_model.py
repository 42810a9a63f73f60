"""The network run the way it was released, on this package's modules and weights: the baseline of ``model.py``.

Written from the description of the released code:

- float32 weights under float16 autocast (on a CPU plain float32: float16 there would only flatter what it is compared
  with), eager;
- one panorama per forward;
- rotary positions looked up per block, for queries and keys each, with the largest position read back to the host;
- every spherical padding resamples whole padded maps, interior included;
- camera tokens and the position grid computed in every forward;
- maps in torch's ordinary layout.

What it computes is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pager_ray.model.architecture import FACES
from pager_ray.model.camera_token import face_poses
from pager_ray.model.dpt import FaceConv2d, FaceResize, FusionBlock, Reassembly, ResidualConvUnit, UvEmbedding
from pager_ray.model.layers import Conv2d, ConvTranspose2d, LayerScale, Linear, RotaryTable
from pager_ray.model.network import CAMERA_ENCODER, PagerNetwork
from pager_ray.model.spherical_padding import SphericalPadding, border_taps


class WholeVolumePadding(nn.Module):
    """Padding as a first version would write it: every pixel of the padded map is sampled, interior included."""

    grid: Tensor

    def __init__(self, border: SphericalPadding) -> None:
        super().__init__()
        size, pad, outer = border.size, border.pad, border.outer
        self.size, self.pad, self.outer = size, pad, outer
        indices, weights = border_taps(size, pad, border.fov_degrees)
        rows = (torch.from_numpy(indices // size) * torch.from_numpy(weights)).sum(1)
        columns = (torch.from_numpy(indices % size) * torch.from_numpy(weights)).sum(1)
        steps = torch.arange(size, dtype=torch.float32)
        # Faces lie below each other in one tall image; positions never leave their face, so nothing bleeds.
        image = torch.empty(FACES, outer, outer, 2)
        inner = slice(pad, pad + size)
        image[:, inner, inner, 0] = steps
        image[:, inner, inner, 1] = steps[:, None] + size * torch.arange(FACES)[:, None, None]
        strips = [pad * outer, pad * outer, size * pad, size * pad]
        areas = (
            (slice(0, pad), slice(None)),
            (slice(pad + size, None), slice(None)),
            (inner, slice(0, pad)),
            (inner, slice(pad + size, None)),
        )
        for axis, values in enumerate((columns, rows)):
            for area, part in zip(areas, values.view(FACES, -1).split(strips, dim=1), strict=True):
                target = image[:, area[0], area[1], axis]
                target.copy_(part.reshape(target.shape))
        sides = torch.tensor([size, FACES * size], dtype=torch.float32)
        grid = ((2 * image + 1) / sides - 1).view(1, FACES * outer, outer, 2)
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, x: Tensor, *, rectify: bool = False) -> Tensor:
        """Sample the padded faces, or what a ReLU makes of them, from one tall image of all six."""
        x = F.relu(x) if rectify else x
        rows, channels = x.shape[:2]
        tall = x.float().unflatten(0, (-1, FACES)).transpose(1, 2).reshape(-1, channels, FACES * self.size, self.size)
        grid = self.grid.expand(len(tall), -1, -1, -1)
        padded = F.grid_sample(tall, grid, padding_mode="border", align_corners=False)
        faces = padded.unflatten(2, (FACES, self.outer)).transpose(1, 2)
        return faces.reshape(rows, channels, self.outer, self.outer).to(x.dtype)

    def refresh(self, padded: Tensor) -> Tensor:
        """Sample all of a map that has room for its border anew."""
        inner = slice(self.pad, self.pad + self.size)
        return self(padded[..., inner, inner])


class LookedUpRotary(nn.Module):
    """Rotary positions as a lookup: tables up to the largest position there is, which is asked of the device."""

    positions: Tensor

    def __init__(self, positions: Tensor, head_dim: int) -> None:
        super().__init__()
        self.width = head_dim // 2
        self.register_buffer("positions", positions.long(), persistent=False)
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Rotate queries or keys, (B, heads, tokens, head_dim)."""
        positions = self.positions.unsqueeze(0).repeat(len(x), 1, 1)
        cos, sin = self._table(int(positions.max().item()) + 1)
        halves = [
            half * F.embedding(positions[..., axis], cos)[:, None]
            + _turned(half) * F.embedding(positions[..., axis], sin)[:, None]
            for axis, half in enumerate(x.chunk(2, dim=-1))
        ]
        return torch.cat(halves, dim=-1)

    def _table(self, count: int) -> tuple[Tensor, Tensor]:
        if count not in self._tables:
            device = self.positions.device
            steps = torch.arange(0, self.width, 2, device=device).float() / self.width
            angles = torch.arange(count, device=device).float()[:, None] * RotaryTable.BASE**-steps
            angles = torch.cat([angles, angles], dim=-1)
            self._tables[count] = angles.cos(), angles.sin()
        return self._tables[count]


def _turned(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


class ReleasedNetwork:
    """Takes a network with its camera encoder and runs it as released.

    Args:
        network: float32, not frozen; is changed and must not be used otherwise.
        autocast: dtype of matrix products and convolutions; None for none.
    """

    def __init__(self, network: PagerNetwork, autocast: torch.dtype | None) -> None:
        self.network = network.eval().requires_grad_(False)
        self.architecture = network.architecture
        self.device = next(network.parameters()).device
        self.autocast = autocast
        self.encoder = network.get_submodule(CAMERA_ENCODER)
        self.poses = face_poses(self.architecture.face_size, self.architecture.cube_fov).to(self.device)
        _look_rotary_up(network)
        _resample_whole_volumes(network)
        for module in network.modules():
            if isinstance(module, Reassembly):
                module.reassemble = partial(_reassemble, module)  # type: ignore[method-assign]
            elif isinstance(module, FusionBlock):
                module.forward = partial(_fuse, module)  # type: ignore[method-assign]
            elif isinstance(module, LayerScale):
                module.forward = partial(_add_scaled, module)  # type: ignore[method-assign]
            elif isinstance(module, ResidualConvUnit):
                module.forward = partial(_refine, module)  # type: ignore[method-assign]
            elif isinstance(module, FaceConv2d):
                module.forward = partial(_pad_and_convolve, module)  # type: ignore[method-assign]
            elif isinstance(module, Conv2d | ConvTranspose2d | Linear):
                # Autocast chooses the dtypes; this package's layers would first cast to that of the float32 weights.
                module.forward = partial(_base_forward(module), module)  # type: ignore[method-assign]

    @torch.no_grad()
    def __call__(self, faces: Tensor, scale_heads: Sequence[str]) -> dict[str, Tensor]:
        """Predict panoramas one by one, each with its own scale head; results as the network's."""
        parts = []
        for row, head in enumerate(scale_heads):
            with self._casting():
                self.network.camera_tokens = self._camera_tokens()
                self.network.backbone.freeze_positions()
                parts.append(self.network(faces[row : row + 1], (head,)))
        return {name: torch.cat([part[name].float() for part in parts]) for name in parts[0]}

    def _casting(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)

    def _camera_tokens(self) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            tokens: Tensor = self.encoder(self.poses.unsqueeze(0))[0]
        return tokens


def _reassemble(head: Reassembly, levels: Sequence[Tensor]) -> list[Tensor]:
    """Levels to maps, projected by convolutions of maps in torch's ordinary layout."""
    maps = []
    for tokens, project, uv, to_level in zip(levels, head.projects, head.level_uv, head.resize_layers, strict=True):
        image = head.norm(tokens).unflatten(1, (head.grid, head.grid)).permute(0, 3, 1, 2).contiguous()
        maps.append(to_level(uv(F.conv2d(image, cast(Tensor, project.weight), cast(Tensor, project.bias)))))
    return maps


def _fuse(block: FusionBlock, coarse: Tensor, lateral: Tensor | None = None) -> Tensor:
    """A fusion block that resizes first and multiplies after."""
    if block.resConfUnit1 is not None and lateral is not None:
        coarse = coarse + block.resConfUnit1(lateral)
    return block.out_conv(block.resizing(block.resConfUnit2(coarse)))


def _base_forward(module: Conv2d | ConvTranspose2d | Linear) -> Callable[..., Tensor]:
    return next(base.forward for base in (nn.Conv2d, nn.ConvTranspose2d, nn.Linear) if isinstance(module, base))


def _refine(unit: ResidualConvUnit, x: Tensor) -> Tensor:
    """A residual unit whose convolutions take what was rectified before."""
    return x + unit.conv2(F.relu(unit.conv1(F.relu(x)), inplace=True))


def _pad_and_convolve(conv: FaceConv2d, x: Tensor) -> Tensor:
    return nn.Conv2d.forward(conv, x if conv.border is None else conv.border(x))


def _add_scaled(scale: LayerScale, stream: Tensor, x: Tensor) -> Tensor:
    """Scaling and adding, one after the other."""
    return stream + x * scale.gamma


def _look_rotary_up(network: PagerNetwork) -> None:
    backbone, grid = network.backbone, network.architecture.grid
    axis = torch.arange(1, grid + 1)
    local = torch.cat([torch.zeros(1, 2, dtype=torch.long), torch.cartesian_prod(axis, axis)])
    one_face = torch.cat([torch.zeros(1, 2, dtype=torch.long), torch.ones(grid * grid, 2, dtype=torch.long)])
    head_dim = network.architecture.backbone.head_dim
    device = backbone.pos_embed.device
    backbone.local_rope = LookedUpRotary(local, head_dim).to(device)  # type: ignore[assignment]
    backbone.global_rope = LookedUpRotary(one_face.repeat(FACES, 1), head_dim).to(device)  # type: ignore[assignment]


def _resample_whole_volumes(network: PagerNetwork) -> None:
    made: dict[int, nn.Module] = {}

    def whole(border: nn.Module | None, device: torch.device) -> Any:
        if not isinstance(border, SphericalPadding):
            return border
        if id(border) not in made:
            made[id(border)] = WholeVolumePadding(border).to(device)
        return made[id(border)]

    device = network.backbone.pos_embed.device
    for module in network.modules():
        if isinstance(module, FaceConv2d):
            module.border, module.has_room = whole(module.border, device), False
        elif isinstance(module, FaceResize):
            module.border, module.keep_room = whole(module.border, device), False
        elif isinstance(module, UvEmbedding):
            module.inside = slice(0, module.wave.shape[-1])
