"""The ViT: a DINOv2 trunk whose later blocks alternate between one face and all six."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from pager_ray.model.architecture import FACES, PATCH_SIZE, PRETRAINING_GRID, BackboneSpec
from pager_ray.model.layers import Block, Conv2d, LayerNorm, RotaryTable, SwiGlu

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from torch import Tensor

# Added to the grid before dividing, as in the released training: the resampled positions depend on it.
_RESAMPLING_OFFSET = 0.1


class PatchEmbed(nn.Module):
    """14×14 patches to tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = Conv2d(3, width, PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, faces: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n p d"]:
        """Project every patch, row by row."""
        return self.proj(faces).flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """Faces to four levels of tokens.

    Local blocks attend within a face; from ``alt_start`` on, odd blocks attend over all six faces of a panorama. At
    ``alt_start`` the class token of every face gives way to that face's camera token.

    Args:
        spec: sizes.
        grid: patches along a face's side.
    """

    class_token: Tensor
    patch_positions: Tensor

    def __init__(self, spec: BackboneSpec, grid: int) -> None:
        super().__init__()
        width = spec.embed_dim
        self.spec, self.grid = spec, grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        # Stands in for unknown cameras. The six faces' cameras are always known, so only the file needs it.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PRETRAINING_GRID**2, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(
            Block(width, spec.num_heads, SwiGlu(width), eps=1e-6, qk_norm=index >= spec.qknorm_start)
            for index in range(spec.depth)
        )
        self.norm = LayerNorm(width)
        self.local_rope = RotaryTable(_local_positions(grid), spec.head_dim)
        self.global_rope = RotaryTable(_global_positions(grid), spec.head_dim)
        self.register_buffer("class_token", None, persistent=False)
        self.register_buffer("patch_positions", None, persistent=False)

    def freeze_positions(self) -> None:
        """Compute what the forward pass adds to its tokens from the loaded weights."""
        class_position, patch_positions = self.pos_embed.split([1, PRETRAINING_GRID**2], dim=1)
        self.class_token = self.cls_token + class_position
        self.patch_positions = _resample_positions(patch_positions, self.grid)

    def is_global(self, index: int) -> bool:
        """Whether a block sees all six faces."""
        return index >= self.spec.alt_start and index % 2 == 1

    def forward(
        self, faces: Float[Tensor, "b 6 3 s s"], camera_tokens: Float32[Tensor, "6 d"]
    ) -> list[Float32[Tensor, "b6 p d2"]]:
        """Give the tokens after the four output layers, coarse detail last.

        Each level is the latest local block's output beside the normalised output of the layer itself (d2 = 2·D),
        without token 0; batch in order (panorama, face).
        """
        x = local = self.embed(faces)
        levels = []
        for index, block in enumerate(self.blocks):
            if index == self.spec.alt_start:
                x = self.with_cameras(x, camera_tokens)
            if self.is_global(index):
                x = block(x.unflatten(0, (-1, FACES)).flatten(1, 2), self.rope(index))
                x = x.unflatten(1, (FACES, -1)).flatten(0, 1)
            else:
                x = local = block(x, self.rope(index))
            if index in self.spec.out_layers:
                levels.append(self.level(local, x))
        return levels

    def embed(self, faces: Float[Tensor, "b 6 3 s s"]) -> Float32[Tensor, "b6 t d"]:
        """Give each face's class token and patches, with their positions."""
        patches = self.patch_embed(faces.flatten(0, 1)) + self.patch_positions
        return torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)

    def with_cameras(
        self, x: Float32[Tensor, "b6 t d"], camera_tokens: Float32[Tensor, "6 d"]
    ) -> Float32[Tensor, "b6 t d"]:
        """Put the camera tokens in the place of token 0."""
        return torch.cat([camera_tokens.repeat(len(x) // FACES, 1).unsqueeze(1), x[:, 1:]], dim=1)

    def rope(self, index: int) -> RotaryTable | None:
        """Give what turns a block's queries and keys."""
        if index < self.spec.rope_start:
            return None
        return self.global_rope if self.is_global(index) else self.local_rope

    def level(self, local: Float32[Tensor, "b6 t d"], x: Float32[Tensor, "b6 t d"]) -> Float32[Tensor, "b6 p d2"]:
        """Give one of the four outputs."""
        return torch.cat([local[:, 1:], self.norm(x[:, 1:])], dim=-1)


def _resample_positions(positions: Float[Tensor, "1 g2 d"], grid: int) -> Float32[Tensor, "1 p d"]:
    """Resample the learned 37×37 positions to the actual grid, bicubically, without antialiasing."""
    if grid == PRETRAINING_GRID:
        return positions.float()
    image = positions.float().unflatten(1, (PRETRAINING_GRID, PRETRAINING_GRID)).permute(0, 3, 1, 2)
    factor = (grid + _RESAMPLING_OFFSET) / PRETRAINING_GRID
    resampled = F.interpolate(image, scale_factor=(factor, factor), mode="bicubic", antialias=False)
    return resampled.flatten(2).transpose(1, 2).contiguous()


def _local_positions(grid: int) -> Float32[Tensor, "t 2"]:
    """Row and column of each patch, counted from 1; token 0 is at (0, 0)."""
    with torch.device("cpu"):
        axis = torch.arange(1, grid + 1, dtype=torch.float32)
        patches = torch.cartesian_prod(axis, axis)
        return torch.cat([torch.zeros(1, 2), patches])


def _global_positions(grid: int) -> Float32[Tensor, "t 2"]:
    """All patches at (1, 1), every face's token 0 at (0, 0): it turns the camera tokens against the patches."""
    with torch.device("cpu"):
        face = torch.cat([torch.zeros(1, 2), torch.ones(grid * grid, 2)])
        return face.repeat(FACES, 1)
