"""The parts of the training loss, each a mean over what it applies to.

Depth is learned as log z-depth relative to the median of its panorama (scale-invariant); the scale heads learn that
median. Weights are the pixels' solid angles, as the figures that count are weighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from pager_ray.geometry.faces import FACE_AXES, ray_length_factor
from pager_ray.model.architecture import FACES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32
    from torch import Tensor

    from pager_ray.model.scale_head import Scale

# Sky is excluded from every figure of depth; a little weight keeps it far.
_SKY_WEIGHT = 0.1
_ALIGNED_SHARE = 0.6
_SCALES = (1, 2, 4)
_SMALL_STEP = 0.12
"""Difference of log-depth between neighbours from which a pair spans an edge and says nothing about a plane."""
_CONFIDENCE_GAIN = 0.3


@dataclass(frozen=True)
class Truth:
    """A batch's truth on the faces, on the network's device; shapes as in :class:`FaceSample` with B in front."""

    log_z: Float32[Tensor, "b 6 s s"]
    normals: Float32[Tensor, "b 6 3 s s"]
    sky: Bool[Tensor, "b 6 s s"]
    known: Bool[Tensor, "b 6 s s"]
    outdoor: Bool[Tensor, " b"]

    @property
    def solid(self) -> Bool[Tensor, "b 6 s s"]:
        """Where there is a surface whose depth is known."""
        return self.known & ~self.sky

    def medians(self, values: Float32[Tensor, "b 6 s s"]) -> Float32[Tensor, "b 1 1 1"]:
        """Median over the solid pixels of each panorama; 0 where there is none."""
        found = [_median(v[s]) for v, s in zip(values, self.solid, strict=True)]
        return torch.stack(found).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Raw:
    """What the network gives while training; no head that is missing."""

    depth: Float32[Tensor, "b 6 2 s s"] | None
    normals: Float32[Tensor, "b 6 3 s s"] | None
    sky: Float32[Tensor, "b 6 s s"] | None
    scales: list[tuple[Tensor, Scale]]
    scene: Float32[Tensor, " b"] | None = None


def loss_parts(raw: Raw, truth: Truth) -> dict[str, Tensor]:
    """Every part that the network's heads have, by the names of :class:`~pager_ray.train.settings.LossWeights`."""
    solid = pixel_weights(truth.log_z.shape[-1], truth.log_z.device)
    seen = truth.solid.float() * solid
    known = truth.known.float() * solid
    parts: dict[str, Tensor] = {}
    log_median = truth.medians(truth.log_z)
    shift = torch.zeros_like(log_median)
    if raw.depth is not None:
        log_z, logit = raw.depth[:, :, 0], raw.depth[:, :, 1]
        error = log_z - (truth.log_z - log_median)
        with torch.no_grad():
            shift = truth.medians(error)
        weight = seen + _SKY_WEIGHT * (known - seen)
        parts["depth"] = _ALIGNED_SHARE * mean(absolute := (error - shift).abs(), weight)
        parts["depth"] = parts["depth"] + (1 - _ALIGNED_SHARE) * mean(error.abs(), weight)
        parts["gradient"] = _gradients(error, seen)
        parts["surface"] = _surface(log_z, truth, seen)
        # exp(logit) becomes the inverse of the expected error: large where the network is sure.
        expected = absolute.detach() / _CONFIDENCE_GAIN
        parts["confidence"] = mean(expected * logit.clamp(max=8).exp() - logit, seen)
    if raw.normals is not None:
        cosine = F.cosine_similarity(raw.normals, truth.normals, dim=2)
        length = (raw.normals - truth.normals).abs().mean(dim=2)
        told = truth.normals.square().sum(dim=2) > 0.25
        parts["normals"] = mean(1 - cosine + 0.5 * length, seen * told)
    if raw.sky is not None:
        bce = F.binary_cross_entropy_with_logits(raw.sky, truth.sky.float(), reduction="none")
        parts["sky"] = mean(bce, known)
    if raw.scales:
        parts["scale"] = _scale(raw.scales, truth, seen, (log_median - shift).flatten())
    if raw.scene is not None:
        parts["scene"] = F.binary_cross_entropy_with_logits(raw.scene, truth.outdoor.float())
    return parts


def mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where nothing has weight."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


@lru_cache(maxsize=8)
def pixel_weights(size: int, device: torch.device) -> Float32[Tensor, "s s"]:
    """Solid angle of a face's pixels, 1 at the centre."""
    return torch.from_numpy(ray_length_factor(size) ** -3.0).to(device)


@lru_cache(maxsize=8)
def _rays(size: int, device: torch.device) -> Float32[Tensor, "6 3 s s"]:
    """Where the product puts a pixel of z-depth 1: along its ray, as far as :func:`ray_length_factor` says."""
    plane = torch.linspace(-1.0, 1.0, size)
    axes = torch.from_numpy(FACE_AXES.copy()).float()
    right, down, forward = (axes[:, k, :, None, None] for k in range(3))
    rays = F.normalize(forward + plane.view(1, 1, 1, -1) * right + plane.view(1, 1, -1, 1) * down, dim=1)
    return (rays * torch.from_numpy(ray_length_factor(size))).to(device)


def _median(values: Tensor) -> Tensor:
    return values.median() if values.numel() else values.new_zeros(())


def _gradients(error: Float32[Tensor, "b 6 s s"], seen: Float32[Tensor, "b 6 s s"]) -> Tensor:
    """Differences of the error between neighbours, at several strides."""
    total = error.new_zeros(())
    for stride in _SCALES:
        e, w = error[..., ::stride, ::stride], seen[..., ::stride, ::stride]
        for axis in (-1, -2):
            n = e.shape[axis] - 1
            both = torch.minimum(w.narrow(axis, 1, n), w.narrow(axis, 0, n))
            total = total + mean(e.diff(dim=axis).abs(), both)
    return total / len(_SCALES)


def _surface(log_z: Float32[Tensor, "b 6 s s"], truth: Truth, seen: Float32[Tensor, "b 6 s s"]) -> Tensor:
    """Angle between the true normals and those of the predicted depth, away from edges: makes planes plane."""
    size = log_z.shape[-1]
    # The scale is of no account for a direction.
    points = log_z.exp().unsqueeze(2) * _rays(size, log_z.device)
    across, along = points[..., :-2, 2:] - points[..., :-2, :-2], points[..., 2:, :-2] - points[..., :-2, :-2]
    normal = F.normalize(torch.linalg.cross(along, across, dim=2), dim=2, eps=1e-8)
    t = truth.log_z
    flat = ((t[..., :-2, 2:] - t[..., :-2, :-2]).abs() < _SMALL_STEP) & (
        (t[..., 2:, :-2] - t[..., :-2, :-2]).abs() < _SMALL_STEP
    )
    expected = truth.normals[..., 1:-1, 1:-1]
    same = (truth.normals[..., :-2, 2:] * truth.normals[..., 2:, :-2]).sum(2) > 0.95
    return mean(1 - (normal * expected).sum(2), seen[..., 1:-1, 1:-1] * flat * same)


def _scale(scales: list[tuple[Tensor, Scale]], truth: Truth, seen: Tensor, log_scale: Tensor) -> Tensor:
    """L1 on the coarse log metric depth and on the scale that its median gives."""
    total = log_scale.new_zeros(())
    batch = truth.outdoor.shape[0]
    for rows, scale in scales:
        size = scale.log_metric.shape[-1]
        target = _pooled(truth.log_z[rows], size)
        weight = _pooled(seen[rows] + 0.02, size)
        field = (scale.log_metric[:, :, 0] - target).abs()
        share = len(rows) / batch
        total = total + share * mean(field, weight)
        total = total + share * 0.5 * (scale.log_scale[:, 0] - log_scale[rows]).abs().mean()
        confidence = scale.log_metric_confidence[:, :, 0] - 1
        logit = confidence.clamp(min=1e-6).log()
        expected = field.detach() / _CONFIDENCE_GAIN
        total = total + share * 0.05 * mean(expected * confidence.clamp(max=3e3) - logit, weight)
    return total


def _pooled(values: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(values.flatten(0, 1).unsqueeze(1), size)[:, 0].unflatten(0, (-1, FACES))
