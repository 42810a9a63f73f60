"""A scene router of the checkpoint's own: indoors or outdoors from the mean of the backbone's tokens.

One matrix product on what the network computes anyway; a checkpoint that brings it needs no CLIP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from pager_ray.model.architecture import FACES
from pager_ray.model.layers import LayerNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32
    from torch import Tensor

OUTDOOR_FROM = 0.5
"""Probability of outdoor from which a panorama takes the outdoor scale head."""

_SIDES, _UP = slice(0, 4), 4


class SceneHead(nn.Module):
    """A logistic classifier of the deepest level's tokens: their means over the side faces and over the up face.

    Args:
        width: width D of a backbone token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(4 * width)
        self.proj = nn.Linear(4 * width, 1)

    def forward(self, levels: Sequence[Float32[Tensor, "b6 p d2"]]) -> Float32[Tensor, " b"]:
        """Give the logit of *outdoor* for each panorama."""
        tokens = levels[-1].float().mean(dim=1).unflatten(0, (-1, FACES))
        features = torch.cat([tokens[:, _SIDES].mean(dim=1), tokens[:, _UP]], dim=-1)
        logit: Tensor = self.proj(self.norm(features))
        return logit[:, 0]
