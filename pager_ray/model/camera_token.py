"""Camera tokens: what the backbone is told about where each face looks.

They depend on the weights, the face size and the field of view only, so they are computed once per load; the encoder
always runs in float32 and is not needed afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from pager_ray.model import cameras
from pager_ray.model.architecture import FACES
from pager_ray.model.layers import Block, LayerNorm, Mlp

if TYPE_CHECKING:
    from jaxtyping import Float32
    from torch import Tensor

POSE_NUMBERS = 9
BLOCKS = 4
HEADS = 16


class CameraTokenEncoder(nn.Module):
    """Pose encodings to tokens: an MLP, then four blocks in which the cameras attend to each other.

    Args:
        width: width D of a backbone token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pose_branch = Mlp(POSE_NUMBERS, width // 2, width)
        self.token_norm = LayerNorm(width)
        self.trunk = nn.Sequential(
            *(Block(width, HEADS, Mlp(width, 4 * width, width), eps=1e-5) for _ in range(BLOCKS))
        )
        self.trunk_norm = LayerNorm(width)

    def forward(self, poses: Float32[Tensor, "b n 9"]) -> Float32[Tensor, "b n d"]:
        """Encode the n cameras of each cubemap."""
        return self.trunk_norm(self.trunk(self.token_norm(self.pose_branch(poses))))


def face_poses(face_size: int, cube_fov: float) -> Float32[Tensor, "6 9"]:
    """Pose encodings of the six faces, relative to the front one; see :func:`cameras.pose_encoding`."""
    world_to_camera = cameras.normalise_extrinsics(cameras.extrinsics())
    encoding = cameras.pose_encoding(world_to_camera, cameras.intrinsics(face_size, cube_fov), face_size)
    assert encoding.shape == (FACES, POSE_NUMBERS)
    return torch.from_numpy(encoding).float()
