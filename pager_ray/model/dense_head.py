"""Dense heads: depth and normals at full face resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from pager_ray.model.architecture import Architecture
from pager_ray.model.dpt import (
    FaceConv2d,
    FaceResize,
    Reassembly,
    UvEmbedding,
    add_fusion,
    fusion_block,
    lateral_maps,
    level_sizes,
)
from pager_ray.model.layers import Conv2d
from pager_ray.model.spherical_padding import Borders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32
    from torch import Tensor

DENSE_CHANNELS = {"depth": 2, "normals": 3}
OUTPUT_FEATURES = 32


class DenseMaps(NamedTuple):
    """What a dense head gives.

    Attributes:
        values: the head's channels as they stand, float32, full face size.
        fused: maps after fusion blocks 4, 3 and 2, which the scale heads read.
        trunk: map after ``output_conv1``, which the sky head reads.
    """

    values: Float32[Tensor, "b6 c s s"]
    fused: tuple[Float[Tensor, "b6 f _ _"], ...]
    trunk: Float[Tensor, "b6 f2 _ _"]


class DenseBranch(nn.Module):
    """Second half of a dense head: fusion, then upsampling to the face and the output convolutions."""

    def __init__(self, architecture: Architecture, borders: Borders, channels: int) -> None:
        super().__init__()
        size, half = architecture.face_size, architecture.head.features // 2
        trunk_size = 2 * level_sizes(architecture.grid)[0]
        add_fusion(self, architecture, borders, wide=architecture.valid_conv_padding)
        room = architecture.valid_conv_padding
        self.to_face = FaceResize(size, borders.for_resizing(trunk_size), keep_room=room)
        self.face_uv = UvEmbedding(half, size, room=int(room))
        self.output_conv2 = nn.Sequential(
            FaceConv2d(half, OUTPUT_FEATURES, borders.for_convolution(size), has_room=room),
            nn.ReLU(inplace=True),
            Conv2d(OUTPUT_FEATURES, channels, 1),
        )

    def forward(self, maps: Sequence[Float[Tensor, "b6 _ _ _"]]) -> DenseMaps:
        """Fuse from coarse to fine and predict."""
        lateral1, lateral2, lateral3, lateral4 = lateral_maps(self, maps)
        fused4 = fusion_block(self, 4)(lateral4)
        fused3 = fusion_block(self, 3)(fused4, lateral3)
        fused2 = fusion_block(self, 2)(fused3, lateral2)
        fused1 = fusion_block(self, 1)(fused2, lateral1)
        trunk = self.get_submodule("output_conv1")(fused1)
        values = self.output_conv2(self.face_uv(self.to_face(trunk))).float()
        return DenseMaps(values, (fused4, fused3, fused2), trunk)


class DenseHead(Reassembly):
    """DPT head over the backbone's four levels.

    Args:
        name: ``depth`` (log z-depth and a confidence logit) or ``normals`` (three raw channels).
        architecture: the network's sizes.
        borders: the network's padding.
    """

    def __init__(self, name: str, architecture: Architecture, borders: Borders) -> None:
        super().__init__(architecture, borders, uv=True)
        self.name = name
        self.head_modules = nn.ModuleDict({name: DenseBranch(architecture, borders, DENSE_CHANNELS[name])})

    def forward(self, levels: Sequence[Float32[Tensor, "b6 p d2"]]) -> DenseMaps:
        """Predict maps of every face; batch in order (panorama, face)."""
        return self.head_modules[self.name](self.reassemble(levels))


def confidence(logit: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Turn a confidence logit into a confidence above 1."""
    return logit.exp() + 1.0
