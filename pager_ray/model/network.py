"""The whole network: faces to depth, normals, sky and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from pager_ray.model.architecture import DENSE_HEADS, FACES, SCALE_HEADS, Architecture
from pager_ray.model.backbone import Backbone
from pager_ray.model.camera_token import CameraTokenEncoder, face_poses
from pager_ray.model.dense_head import DenseHead, DenseMaps, confidence
from pager_ray.model.scale_head import Scale, ScaleHead
from pager_ray.model.sky_head import SkyHead
from pager_ray.model.spherical_padding import Borders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32
    from torch import Tensor

CAMERA_ENCODER = "model.cam_enc"


class PagerNetwork(nn.Module):
    """Network with the state-dict keys of the released files.

    Args:
        architecture: what to build. Tables that depend on nothing else are made at once, on the CPU; those that depend
            on weights are made by :meth:`freeze`.
    """

    camera_tokens: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        borders = Borders(architecture.cube_fov if architecture.valid_conv_padding else None)
        self.model = nn.ModuleDict(
            {
                "backbone": nn.ModuleDict({"pretrained": Backbone(architecture.backbone, architecture.grid)}),
                "head": nn.ModuleDict(
                    {
                        "heads": nn.ModuleDict(
                            {name: _build_head(name, architecture, borders) for name in architecture.modalities}
                        )
                    }
                ),
                "cam_enc": CameraTokenEncoder(architecture.backbone.embed_dim),
            }
        )
        self.register_buffer("camera_tokens", None, persistent=False)

    @property
    def backbone(self) -> Backbone:
        """The ViT."""
        return cast(Backbone, self.get_submodule("model.backbone.pretrained"))

    def head(self, name: str) -> nn.Module:
        """Give the head of a modality."""
        return self.get_submodule(f"model.head.heads.{name}")

    @torch.no_grad()
    def encode_cameras(self) -> None:
        """Compute the six camera tokens in float32 and let go of their encoder, which nothing else needs."""
        encoder = self.get_submodule(CAMERA_ENCODER)
        device = next(encoder.parameters()).device
        poses = face_poses(self.architecture.face_size, self.architecture.cube_fov).to(device)
        self.camera_tokens = encoder(poses.unsqueeze(0))[0]
        self.model.pop("cam_enc")

    @torch.no_grad()
    def freeze(self) -> None:
        """Finish the loaded network: everything that stays the same between calls is computed here, once."""
        if self.camera_tokens is None:
            self.encode_cameras()
        self.backbone.freeze_positions()
        self.requires_grad_(False)
        self.eval()

    def forward(
        self, faces: Float[Tensor, "b 6 3 s s"], scale_heads: Sequence[str | None]
    ) -> dict[str, Float32[Tensor, "b *any"]]:
        """Predict every output of the checkpoint.

        Args:
            faces: ImageNet-normalised RGB in face order F, R, B, L, U, D.
            scale_heads: the scale head that runs for each panorama; None for all of them runs none.
        """
        levels = self.backbone(faces, self.camera_tokens)
        dense = {name: self.head(name)(levels) for name in DENSE_HEADS if name in self.architecture.modalities}
        outputs: dict[str, Tensor] = {}
        for name in self.architecture.modalities:
            if name == "depth":
                value, logit = dense["depth"].values.split(1, dim=1)
                outputs["depth"] = value if self.architecture.log_depth else value.exp()
                outputs["depth_conf"] = confidence(logit)
            elif name == "normals":
                outputs["normals"] = dense["normals"].values
            elif name == "sky":
                outputs["sky"] = self.head("sky")(levels, dense["depth"].trunk)
        outputs = {name: value.unflatten(0, (-1, FACES)) for name, value in outputs.items()}
        if any(scale_heads):
            scale = self._scale(levels, dense["depth"], scale_heads)
            outputs["log_scale"] = scale.log_scale
            outputs["scale_log_metric_field"] = scale.log_metric
            outputs["scale_log_metric_conf"] = scale.log_metric_confidence
        return outputs

    def _scale(
        self, levels: Sequence[Float32[Tensor, "b6 p d2"]], depth: DenseMaps, scale_heads: Sequence[str | None]
    ) -> Scale:
        """Run each scale head on its panoramas and put the results back in order."""
        log_depth = depth.values[:, :1]
        routes = {name: [row for row, head in enumerate(scale_heads) if head == name] for name in SCALE_HEADS}
        routes = {name: rows for name, rows in routes.items() if rows}
        parts = {
            name: self.head(name)(
                [_rows(level, rows) for level in levels],
                [_rows(fused, rows) for fused in depth.fused],
                _rows(log_depth, rows),
            )
            for name, rows in routes.items()
        }
        if len(parts) == 1:
            return next(iter(parts.values()))
        origin = {row: (name, place) for name, rows in routes.items() for place, row in enumerate(rows)}
        ordered = [origin[row] for row in range(len(scale_heads))]
        return Scale(
            *(torch.stack([parts[name][i][place] for name, place in ordered]) for i in range(len(Scale._fields)))
        )


def _build_head(name: str, architecture: Architecture, borders: Borders) -> nn.Module:
    if name in DENSE_HEADS:
        return DenseHead(name, architecture, borders)
    return SkyHead(architecture, borders) if name == "sky" else ScaleHead(architecture, borders)


def _rows(x: Float[Tensor, "b6 *rest"], panoramas: Sequence[int]) -> Float[Tensor, "r6 *rest"]:
    """Pick panoramas by host-known numbers: slices, so that no index tensor has to travel to the device."""
    if len(panoramas) * FACES == x.shape[0]:
        return x
    return torch.cat([x[FACES * row : FACES * (row + 1)] for row in panoramas])
