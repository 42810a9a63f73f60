"""Sky head: a light classifier beside the depth head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from pager_ray.model.architecture import Architecture
from pager_ray.model.dense_head import OUTPUT_FEATURES
from pager_ray.model.dpt import FaceConv2d, level_sizes, resize
from pager_ray.model.layers import Conv2d, LayerNorm, Linear
from pager_ray.model.spherical_padding import Borders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32
    from torch import Tensor

TOKEN_LEVELS = (2, 3)
TOKEN_HIDDEN = 256
TOKEN_FEATURES = 32


class SkyHead(nn.Module):
    """Sky logits from the two deepest levels of tokens and the depth head's last map.

    Args:
        architecture: the network's sizes.
        borders: the network's padding.
    """

    def __init__(self, architecture: Architecture, borders: Borders) -> None:
        super().__init__()
        width = 2 * architecture.backbone.embed_dim
        self.grid, self.face_size = architecture.grid, architecture.face_size
        self.trunk_size = 2 * level_sizes(architecture.grid)[0]
        self.vit_norms = nn.ModuleList(LayerNorm(width) for _ in TOKEN_LEVELS)
        self.vit_proj = nn.Sequential(
            Linear(len(TOKEN_LEVELS) * width, TOKEN_HIDDEN), nn.GELU(), Linear(TOKEN_HIDDEN, TOKEN_FEATURES)
        )
        self.fuse = nn.Sequential(
            FaceConv2d(
                architecture.head.features // 2 + TOKEN_FEATURES,
                OUTPUT_FEATURES,
                borders.for_convolution(self.trunk_size),
            ),
            nn.ReLU(inplace=True),
            Conv2d(OUTPUT_FEATURES, 1, 1),
        )

    def forward(
        self, levels: Sequence[Float32[Tensor, "b6 p d2"]], depth_trunk: Float[Tensor, "b6 f2 t t"]
    ) -> Float32[Tensor, "b6 1 s s"]:
        """Predict logits of every face."""
        tokens = [norm(levels[level]) for norm, level in zip(self.vit_norms, TOKEN_LEVELS, strict=True)]
        semantics = self.vit_proj(torch.cat(tokens, dim=-1))
        image = semantics.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        logits = self.fuse(torch.cat([depth_trunk, resize(image, self.trunk_size)], dim=1))
        return resize(logits.float(), self.face_size)
