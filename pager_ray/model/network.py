"""The whole network: faces to depth, normals, sky and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from pager_ray.model.architecture import DENSE_HEADS, FACES, Architecture
from pager_ray.model.backbone import Backbone
from pager_ray.model.camera_token import CameraTokenEncoder, face_poses
from pager_ray.model.dense_head import DenseHead, DenseMaps, confidence
from pager_ray.model.scale_head import Scale, ScaleHead
from pager_ray.model.sky_head import SkyHead
from pager_ray.model.spherical_padding import Borders
from pager_ray.model.token_router import OUTDOOR_FROM, SceneHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Float32
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
        if architecture.scene_router:
            self.model["scene_router"] = SceneHead(architecture.backbone.embed_dim)
        self.register_buffer("camera_tokens", None, persistent=False)

    @property
    def backbone(self) -> Backbone:
        """The ViT."""
        return cast(Backbone, self.get_submodule("model.backbone.pretrained"))

    def head(self, name: str) -> nn.Module:
        """Give the head of a modality."""
        return self.get_submodule(f"model.head.heads.{name}")

    def scene_logits(self, levels: Sequence[Float32[Tensor, "b6 p d2"]]) -> Float32[Tensor, " b"]:
        """Logit of *outdoor* of each panorama, from the backbone's levels; only with ``architecture.scene_router``."""
        return cast("Tensor", self.get_submodule("model.scene_router")(levels))

    @torch.no_grad()
    def encode_cameras(self) -> None:
        """Compute the six camera tokens in float32 and let go of their encoder, which nothing else needs."""
        encoder = self.get_submodule(CAMERA_ENCODER)
        device = next(encoder.parameters()).device
        poses = face_poses(self.architecture.face_size, self.architecture.cube_fov).to(device)
        self.camera_tokens = encoder(poses.unsqueeze(0))[0]
        self.model.pop("cam_enc")

    def refresh(self) -> None:
        """Compute what :meth:`freeze` does once, with gradients and keeping the encoder: before every training step."""
        self.backbone.freeze_positions()
        encoder = self.get_submodule(CAMERA_ENCODER)
        poses = face_poses(self.architecture.face_size, self.architecture.cube_fov)
        self.camera_tokens = encoder(poses.to(self.backbone.cls_token.device).unsqueeze(0))[0]

    @torch.no_grad()
    def freeze(self) -> None:
        """Finish the loaded network: everything that stays the same between calls is computed here, once."""
        if self.camera_tokens is None:
            self.encode_cameras()
        self.backbone.freeze_positions()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                # The heads' maps have this layout; weights in another one would be reordered in every call.
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        self.requires_grad_(False)
        self.eval()

    def forward(
        self,
        faces: Float[Tensor, "b 6 3 s s"],
        scale_heads: tuple[str, ...] = (),
        outdoor: Bool[Tensor, " b"] | None = None,
        known: Bool[Tensor, " b"] | None = None,
    ) -> dict[str, Float32[Tensor, "b *any"]]:
        """Predict every output of the checkpoint.

        Nothing here waits for the device or has a shape that depends on values: for one number of panoramas and one
        choice of ``scale_heads`` the same kernels run, and a compiler sees one graph.

        Args:
            faces: ImageNet-normalised RGB in face order F, R, B, L, U, D.
            scale_heads: the scale heads that run, on all panoramas; none for no scale.
            outdoor: where both run, which panoramas take the outdoor one's scale.
            known: the panoramas whose ``outdoor`` counts; the checkpoint's own router decides about the others.
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
        if outdoor is not None and known is not None:
            outputs["p_outdoor"] = self.scene_logits(levels).sigmoid()
            outdoor = torch.where(known, outdoor, outputs["p_outdoor"] >= OUTDOOR_FROM)
        if scale_heads:
            outputs |= self._scale(levels, dense["depth"], scale_heads, outdoor)
        return outputs

    def _scale(
        self,
        levels: Sequence[Float32[Tensor, "b6 p d2"]],
        depth: DenseMaps,
        scale_heads: tuple[str, ...],
        outdoor: Bool[Tensor, " b"] | None,
    ) -> dict[str, Float32[Tensor, "b *any"]]:
        """Run the scale heads and take each panorama's from its own; with two, also say how far they are apart."""
        log_depth = depth.values[:, :1]
        scales: dict[str, Scale] = {name: self.head(name)(levels, depth.fused, log_depth) for name in scale_heads}
        scale = scales[scale_heads[0]]
        outputs = {}
        if outdoor is not None:
            indoor, outside = scales["scale_indoor"], scales["scale_outdoor"]
            scale = Scale(
                *(
                    torch.where(outdoor.view(-1, *[1] * (b.ndim - 1)), b, a)
                    for a, b in zip(indoor, outside, strict=True)
                )
            )
            outputs["scale_disagreement"] = (indoor.log_scale - outside.log_scale).abs()
        outputs["log_scale"] = scale.log_scale
        outputs["scale_log_metric_field"] = scale.log_metric
        outputs["scale_log_metric_conf"] = scale.log_metric_confidence
        return outputs


def _build_head(name: str, architecture: Architecture, borders: Borders) -> nn.Module:
    if name in DENSE_HEADS:
        return DenseHead(name, architecture, borders)
    return SkyHead(architecture, borders) if name == "sky" else ScaleHead(architecture, borders)
