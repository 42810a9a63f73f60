"""From uint8 cube faces to Euclidean depth, normals and sky on the faces.

Normalisation, routing, the network, range, scale, ray length and sky all run on the model's device; what leaves it is
what the stitch needs and a few numbers per panorama.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from pager_ray.errors import ConfigError, ShapeError
from pager_ray.postprocess import DepthRange, SkySettings, euclidean_depth, fill_sky
from pager_ray.prediction import QUALITY_COLUMNS

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor

    from pager_ray.model import PagerModel

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
# Quantiles and medians of every fourth pixel in both directions: 95,000 values decide them to well under a percent,
# a sixteenth of the sort.
_SAMPLE_STEP = 4

_SCENE_MODES = ("auto", "indoor", "outdoor")


class Router(Protocol):
    """What decides the scene of panoramas that nobody has labelled."""

    def p_outdoor(self, faces: Tensor) -> Tensor:
        """Probability of outdoor, (B,), from faces (B, 6, 3, S, S)."""

    def scenes(self, p: Tensor) -> list[str]:
        """``indoor`` or ``outdoor`` per row."""


@dataclass(frozen=True)
class InferenceSettings:
    """How raw network output becomes stored geometry.

    ``scene_mode``: ``auto`` takes each row's own scene, or the router's; ``indoor`` and ``outdoor`` hold for all rows.
    ``fill``: whether sky is pushed to the far end of the range in depth and normals.

    Raises:
        ConfigError: another ``scene_mode``.
    """

    depth_range: DepthRange = field(default_factory=DepthRange)
    sky: SkySettings = field(default_factory=SkySettings)
    fill: bool = False
    scene_mode: str = "auto"

    def __post_init__(self) -> None:
        """Refuse a mode that no model has, before a model is loaded."""
        if self.scene_mode not in _SCENE_MODES:
            raise ConfigError(f"scene_mode: got {self.scene_mode!r}, takes {', '.join(_SCENE_MODES)}")


@dataclass(frozen=True)
class FacePrediction:
    """One panorama's geometry on its six faces (F, R, B, L, U, D); what the checkpoint does not give is None.

    Attributes:
        depth: (6, S, S) float32, metres along the ray (Euclidean); metric where ``log_scale`` is given.
        normals: (6, S, S, 3) float16 or float32 as the model's precision, as predicted (not unit length);
            x forward (ERP centre), y up, z right.
        sky: (6, S, S) float32 probability.
        scene: ``indoor`` or ``outdoor``: the head that gave the scale, or what the listing said.
        p_outdoor: the router's probability; None where it was not asked.
        log_scale: natural logarithm of metric over scale-invariant depth.
        quality: a number or None for each of ``QUALITY_COLUMNS``.
        is_finite: whether the network's whole output is numbers; NaN and infinity mean nothing, wherever they are.
    """

    depth: Float[np.ndarray, "6 s s"] | None
    normals: Float[np.ndarray, "6 s s 3"] | None
    sky: Float[np.ndarray, "6 s s"] | None
    scene: str | None
    p_outdoor: float | None
    log_scale: float | None
    quality: dict[str, float | None]
    is_finite: bool


class Predictor:
    """A loaded model with its router, ready for batches of faces.

    Args:
        model: from :func:`pager_ray.load_model`.
        router: needed only for a model with two scale heads and rows without a scene.
    """

    def __init__(self, model: PagerModel, settings: InferenceSettings, router: Router | None = None) -> None:
        self.model = model
        self.settings = settings
        self.router = router
        mean = torch.tensor(IMAGENET_MEAN, device=model.device).view(1, 1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD, device=model.device).view(1, 1, 3, 1, 1)
        self._gain, self._offset = 1 / (255 * std), -mean / std

    @torch.inference_mode()
    def __call__(self, faces: UInt8[np.ndarray, "b 6 s s 3"], scenes: Sequence[str | None]) -> list[FacePrediction]:
        """Predict a batch; ``scenes`` holds what is known of each row.

        Raises:
            ShapeError: the faces are not uint8 (B, 6, S, S, 3) with the model's face size, or the scenes not B.
        """
        size = self.model.architecture.face_size
        if faces.dtype != np.uint8 or faces.ndim != 5 or faces.shape[1:] != (6, size, size, 3):
            raise ShapeError(f"faces: got {faces.dtype} {faces.shape}, takes uint8 (B, 6, {size}, {size}, 3)")
        if len(scenes) != len(faces):
            raise ShapeError(f"scenes: got {len(scenes)} for {len(faces)} rows of faces; give one, or None, per row")
        pixels = torch.from_numpy(faces).to(self.model.device).permute(0, 1, 4, 2, 3)
        chosen, p_outdoor = self._route(pixels, scenes)
        normalised = torch.addcmul(self._offset, pixels.float(), self._gain)
        raw = self.model(normalised, scene=chosen if self.model.has_two_scales else None)
        return self._collect(raw, chosen, p_outdoor)

    def _route(self, pixels: Tensor, scenes: Sequence[str | None]) -> tuple[list[str | None], list[float | None]]:
        unasked: list[float | None] = [None] * len(scenes)
        if not self.model.has_two_scales:
            return list(scenes), unasked
        if self.settings.scene_mode != "auto":
            return [self.settings.scene_mode] * len(scenes), unasked
        if all(scenes):
            return list(scenes), unasked
        if self.router is None:
            raise ShapeError("rows without a scene need a router; force scene_mode or give every row a scene")
        probability = self.router.p_outdoor(pixels)
        routed = self.router.scenes(probability)
        asked: list[float | None] = [
            None if known else float(p) for known, p in zip(scenes, probability.tolist(), strict=True)
        ]
        return [known or found for known, found in zip(scenes, routed, strict=True)], asked

    def _collect(
        self, raw: dict[str, Tensor], scenes: Sequence[str | None], p_outdoor: Sequence[float | None]
    ) -> list[FacePrediction]:
        architecture, settings = self.model.architecture, self.settings
        log_scale = raw.get("log_scale")
        logits, normals, depth = raw.get("sky"), raw.get("normals"), None
        if "depth" in raw:
            log_z = raw["depth"].float() if architecture.log_depth else raw["depth"].float().log()
            depth = euclidean_depth(log_z, log_scale, architecture.cube_fov, settings.depth_range)
        quality, finite = self._quality(raw, depth)
        if settings.fill and logits is not None and depth is not None:
            depth, normals = fill_sky(depth, normals, logits, log_scale, settings.sky, settings.depth_range)

        half = self.model.precision != "float32"
        depth_rows = depth[:, :, 0].cpu().numpy() if depth is not None else None
        normal_rows = None
        if normals is not None:
            channels_last = normals.permute(0, 1, 3, 4, 2)
            normal_rows = (channels_last.half() if half else channels_last.float()).contiguous().cpu().numpy()
        sky_rows = logits[:, :, 0].float().sigmoid().cpu().numpy() if logits is not None else None
        scale_rows = log_scale[:, 0].tolist() if log_scale is not None else [None] * len(scenes)
        return [
            FacePrediction(
                depth=depth_rows[row] if depth_rows is not None else None,
                normals=normal_rows[row] if normal_rows is not None else None,
                sky=sky_rows[row] if sky_rows is not None else None,
                scene=scenes[row],
                p_outdoor=p_outdoor[row],
                log_scale=scale_rows[row],
                quality=quality[row],
                is_finite=finite[row],
            )
            for row in range(len(scenes))
        ]

    def _quality(
        self, raw: dict[str, Tensor], depth: Tensor | None
    ) -> tuple[list[dict[str, float | None]], list[bool]]:
        """Numbers to filter runs by, over the pixels of the six faces, and whether all is finite; one transfer."""
        # From the raw output: the range of depth would hide infinity.
        finite = torch.stack([values.flatten(1).isfinite().all(1) for values in raw.values()]).all(0)
        columns: dict[str, Tensor] = {}
        sampled = (..., slice(None, None, _SAMPLE_STEP), slice(None, None, _SAMPLE_STEP))
        if "sky" in raw:
            above = raw["sky"].float().sigmoid() > self.settings.sky.threshold
            columns["sky_fraction"] = above.flatten(1).float().mean(1)
        if depth is not None:
            quantiles = torch.tensor(QUANTILES, device=depth.device)
            for value, row in zip(QUANTILES, depth[sampled].flatten(1).quantile(quantiles, dim=1), strict=True):
                columns[f"depth_p{round(value * 100):02d}"] = row
            z = raw["depth"].float()
            z = z.exp() if self.model.architecture.log_depth else z
            limits = self.settings.depth_range
            columns["range_limit_fraction"] = ((z <= limits.min) | (z >= limits.max)).flatten(1).float().mean(1)
        if "depth_conf" in raw:
            columns["median_confidence"] = raw["depth_conf"][sampled].float().flatten(1).median(1).values
        numbers = torch.stack([*columns.values(), finite.float()], dim=1).tolist()
        quality = [dict.fromkeys(QUALITY_COLUMNS) | dict(zip(columns, row, strict=False)) for row in numbers]
        return quality, [bool(row[-1]) for row in numbers]
