"""Scale heads: how many metres one unit of the scale-invariant depth is, one number per panorama."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch.nn.functional as F
from torch import nn

from pager_ray.model.architecture import FACES, Architecture
from pager_ray.model.dense_head import OUTPUT_FEATURES, confidence
from pager_ray.model.dpt import FaceConv2d, Reassembly, add_fusion, fusion_block, lateral_maps, resize
from pager_ray.model.layers import Conv2d
from pager_ray.model.spherical_padding import Borders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32
    from torch import Tensor


class Scale(NamedTuple):
    """What a scale head gives.

    Attributes:
        log_scale: log of the factor from scale-invariant to metric depth.
        log_metric: coarse log metric z-depth.
        log_metric_confidence: its confidence, above 1.
    """

    log_scale: Float32[Tensor, "b 1"]
    log_metric: Float32[Tensor, "b 6 1 m m"]
    log_metric_confidence: Float32[Tensor, "b 6 1 m m"]


class ScaleHead(Reassembly):
    """A DPT head without UV embeddings that also reads the depth head's fused maps.

    Args:
        architecture: the network's sizes.
        borders: the network's padding; resizing is plain.
    """

    def __init__(self, architecture: Architecture, borders: Borders) -> None:
        super().__init__(architecture, borders, uv=False)
        features = architecture.head.features
        self.size = architecture.scale_size
        add_fusion(self, architecture, borders, wide=False)
        self.si_pyramid_proj = nn.ModuleList(Conv2d(features, features, 1) for _ in range(3))
        self.output_conv2 = nn.Sequential(
            FaceConv2d(features // 2, OUTPUT_FEATURES, borders.for_convolution(self.size)),
            nn.ReLU(inplace=True),
            Conv2d(OUTPUT_FEATURES, 2, 1),
        )

    def forward(
        self,
        levels: Sequence[Float32[Tensor, "b6 p d2"]],
        depth_fused: Sequence[Float[Tensor, "b6 f _ _"]],
        log_depth: Float32[Tensor, "b6 1 s s"],
    ) -> Scale:
        """Predict the scale of each panorama.

        Args:
            levels: the backbone's four levels.
            depth_fused: the depth head's maps after fusion blocks 4, 3 and 2.
            log_depth: scale-invariant log z-depth.
        """
        laterals = lateral_maps(self, self.reassemble(levels))
        si_projects = (*self.si_pyramid_proj,)
        fused = fusion_block(self, 4)(laterals[3]) + si_projects[0](depth_fused[0])
        fused = fusion_block(self, 3)(fused, laterals[2]) + si_projects[1](depth_fused[1])
        fused = fusion_block(self, 2)(fused, laterals[1]) + si_projects[2](depth_fused[2])
        fused = fusion_block(self, 1)(fused, laterals[0])
        trunk = self.get_submodule("output_conv1")(fused)
        values = self.output_conv2(resize(trunk, self.size)).float().unflatten(0, (-1, FACES))
        log_metric, logit = values.split(1, dim=2)
        pooled = F.adaptive_avg_pool2d(log_depth, self.size).unflatten(0, (-1, FACES))
        # torch.median gives the lower of the two middle values, which is the one the scale was trained with.
        log_scale = (log_metric - pooled).flatten(1).median(dim=1, keepdim=True).values
        return Scale(log_scale, log_metric, confidence(logit))
