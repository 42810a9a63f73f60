"""From raw network outputs to depth in metres and sky-aware normals, still on the cube faces.

Everything is float32, batched over panoramas and free of host synchronisation: it runs where the network ran.
Stitching to the panorama comes after (:func:`pager_ray.geometry.cubemap_to_erp`), and only then are normals scaled to
unit length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from pager_ray.errors import ShapeError
from pager_ray.geometry.faces import ray_length_factor
from pager_ray.ranges import DEFAULT_RANGE, DEFAULT_SKY, DepthRange, SkySettings

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

MIN_SKY_SHARE: Final = 0.01
"""Share of a panorama's face pixels above the threshold from which its sky is filled; less is taken for no sky."""

_ALL: Final = 1 - 1e-4


def euclidean_depth(
    log_z: Float[Tensor, "b 6 1 s s"],
    log_scale: Float[Tensor, "b 1"] | None,
    fov: float = 90.0,
    depth_range: DepthRange = DEFAULT_RANGE,
) -> Float[Tensor, "b 6 1 s s"]:
    """Distance along the ray: clamp log z-depth to the range, exponentiate, scale, and turn z into ray length.

    Args:
        log_z: natural logarithm of z-depth, any floating dtype.
        log_scale: natural logarithm of metres per scale-invariant unit, per panorama; None leaves the depth as it is
            (scale-invariant, or metric where the network predicts metres directly).
        fov: field of view of a face in degrees.
        depth_range: range of z-depth before scaling, so a scale moves the range along.

    Returns:
        float32, Euclidean, metres where there is a scale.

    Raises:
        ShapeError: ``log_z`` or ``log_scale`` has another shape.
    """
    _check_faces("log_z", log_z, channels=1)
    size = log_z.shape[-1]
    log_depth = log_z.float().clamp(math.log(depth_range.min), math.log(depth_range.max))
    # The reference multiplies after exponentiating: with the sum of logarithms large depths differ in the sixth digit.
    depth = log_depth.exp() * _per_panorama(log_scale, log_depth).exp()
    return depth * _ray_length_factor(size, float(fov), log_z.device)


def fill_sky(
    depth: Float[Tensor, "b 6 1 s s"],
    normals: Float[Tensor, "b 6 3 s s"] | None,
    sky_logits: Float[Tensor, "b 6 1 s s"],
    log_scale: Float[Tensor, "b 1"] | None,
    settings: SkySettings = DEFAULT_SKY,
    depth_range: DepthRange = DEFAULT_RANGE,
    valid: Bool[Tensor, "b 6 s s"] | None = None,
) -> tuple[Float[Tensor, "b 6 1 s s"], Float[Tensor, "b 6 3 s s"] | None]:
    """Move the sky to the far end of the range and fade its normals to zero; see :func:`fill_sky_probability`."""
    _check_faces("sky_logits", sky_logits, channels=1)
    return fill_sky_probability(depth, normals, sky_logits.float().sigmoid(), log_scale, settings, depth_range, valid)


def fill_sky_probability(
    depth: Float[Tensor, "b 6 1 s s"],
    normals: Float[Tensor, "b 6 3 s s"] | None,
    probability: Float[Tensor, "b 6 1 s s"],
    log_scale: Float[Tensor, "b 1"] | None,
    settings: SkySettings = DEFAULT_SKY,
    depth_range: DepthRange = DEFAULT_RANGE,
    valid: Bool[Tensor, "b 6 s s"] | None = None,
) -> tuple[Float[Tensor, "b 6 1 s s"], Float[Tensor, "b 6 3 s s"] | None]:
    """Move the sky to the far end of the range and fade its normals to zero, for probabilities instead of logits.

    Patches of sky too small for the opening kernel are no sky, and their depth becomes the smallest one within the
    kernel around each pixel, whether or not the panorama has other sky. What stays is blended in log depth by
    alpha = smoothstep((p − (t − s)) / 2s), p the probability, t the threshold and s the softness, or alpha = [p > t] at
    s = 0. Both the blend and the fading (normals × (1 − alpha)) happen only for panoramas with more than 1 % of their
    face pixels above the threshold after the opening.

    Args:
        depth: Euclidean depth, positive.
        normals: raw normals, or None.
        probability: sky probability in [0, 1].
        log_scale: what the depth was scaled with, per panorama, or None; the far end moves along.
        settings: threshold, softness and opening kernel.
        depth_range: its maximum is the sky's depth before scaling.
        valid: the pixels of which the 1 % is; None for all.

    Returns:
        Depth and normals, float32, new tensors; None for no normals.

    Raises:
        ShapeError: an input has another shape.
    """
    _check_faces("depth", depth, channels=1)
    _check_faces("probability", probability, channels=1, like=depth)
    depth, probability = depth.float(), probability.float()
    if settings.open_kernel > 1:
        is_sky, is_speck = _open(probability > max(0.0, settings.threshold - settings.softness), settings.open_kernel)
        depth = torch.where(is_speck, _window_min(depth, settings.open_kernel), depth)
        probability = torch.where(is_sky, probability, 0.0)
    above = probability > settings.threshold
    if valid is None:
        has_sky = above.float().mean(dim=(1, 2, 3, 4), keepdim=True) > MIN_SKY_SHARE
    else:
        has_sky = share_of(above, valid).view(-1, 1, 1, 1, 1) > MIN_SKY_SHARE
    alpha = torch.where(has_sky, _alpha(probability, above, settings), 0.0)
    far = _per_panorama(log_scale, depth) + math.log(depth_range.max)
    filled = torch.where(has_sky, ((1 - alpha) * depth.log() + alpha * far).exp(), depth)
    if normals is None:
        return filled, None
    _check_faces("normals", normals, channels=3, like=depth)
    return filled, normals.float() * (1 - alpha)


def share_of(found: Bool[Tensor, "b 6 1 s s"], valid: Bool[Tensor, "b 6 s s"] | None) -> Float[Tensor, " b"]:
    """The share of each panorama's valid pixels that were found; NaN where none is valid."""
    if valid is None:
        return found.flatten(1).float().mean(1)
    counted = valid.flatten(1)
    return (found.flatten(1) & counted).float().sum(1) / counted.float().sum(1)


def scale_of_valid(raw: Mapping[str, Tensor], valid: Bool[Tensor, "b 6 s s"], log_depth: bool) -> Float[Tensor, "b 1"]:
    """The log scale as the scale head takes it, from those of its pixels under which all are valid.

    That is the lower median of its log metric z-depth over the log z-depth (:class:`pager_ray.model.scale_head`). Where
    no pixel of its size is wholly valid, the scale stays that of all.

    Args:
        raw: outputs of a checkpoint with a scale head.
        valid: which pixels of the faces are valid.
        log_depth: whether its depth is a logarithm.
    """
    metric = raw["scale_log_metric_field"].float()
    depth = raw["depth"].float() if log_depth else raw["depth"].float().log()

    def pooled(values: Float[Tensor, "b 6 1 s s"]) -> Float[Tensor, "b 6 1 m m"]:
        return functional.adaptive_avg_pool2d(values.flatten(0, 1), metric.shape[-1]).view_as(metric)

    # An average of ones, which rounding may leave a little below.
    is_valid = pooled(valid[:, :, None].float()) > _ALL
    scale = torch.where(is_valid, metric - pooled(depth), torch.nan).flatten(1).nanmedian(1, keepdim=True).values
    return torch.where(scale.isnan() | is_whole(valid)[:, None], raw["log_scale"].float(), scale)


def is_whole(valid: Bool[Tensor, "b 6 s s"]) -> Bool[Tensor, " b"]:
    """The panoramas of which every pixel is valid."""
    return valid.flatten(1).all(1)


def _alpha(
    probability: Float[Tensor, "b 6 1 s s"], above: Bool[Tensor, "b 6 1 s s"], settings: SkySettings
) -> Float[Tensor, "b 6 1 s s"]:
    if settings.softness == 0:
        return above.float()
    x = ((probability - (settings.threshold - settings.softness)) / (2 * settings.softness)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _open(mask: Bool[Tensor, "b 6 1 s s"], kernel: int) -> tuple[Bool[Tensor, "b 6 1 s s"], Bool[Tensor, "b 6 1 s s"]]:
    """Morphological opening: what stays, and the specks that it removes.

    Beyond the face the erosion sees sky and the dilation none, so a patch that a face border cuts is judged by its
    inner side only.
    """
    eroded = _window_min(mask.float(), kernel)
    opened = -_window_min(-eroded, kernel) > 0
    return opened, mask & ~opened


def _window_min(values: Float[Tensor, "b 6 1 s s"], kernel: int) -> Float[Tensor, "b 6 1 s s"]:
    """Minimum over the part of the kernel that lies on the face, which is also the minimum with replicated edges."""
    lowest = -functional.max_pool2d(-values.flatten(0, 1), kernel, stride=1, padding=kernel // 2)
    return lowest.view_as(values)


def _per_panorama(
    log_scale: Float[Tensor, "b 1"] | None, like: Float[Tensor, "b 6 c s s"]
) -> Float[Tensor, "b 1 1 1 1"]:
    if log_scale is None:
        return like.new_zeros(like.shape[0], 1, 1, 1, 1)
    if log_scale.shape != (like.shape[0], 1):
        raise ShapeError(f"log_scale must be ({like.shape[0]}, 1), one per panorama, got {tuple(log_scale.shape)}")
    return log_scale.float().view(-1, 1, 1, 1, 1)


def prepare_tables(size: int, fov: float, device: torch.device) -> None:
    """Compute what depends on the size of the faces alone, so that the first batch does not."""
    _ray_length_factor(size, float(fov), torch.device(device))


@lru_cache(maxsize=8)
def _ray_length_factor(size: int, fov: float, device: torch.device) -> Float[Tensor, "s s"]:
    return torch.from_numpy(ray_length_factor(size, fov)).to(device)


def _check_faces(name: str, tensor: Tensor, channels: int, like: Tensor | None = None) -> None:
    shape = tuple(tensor.shape)
    if len(shape) != 5 or shape[1] != 6 or shape[2] != channels or shape[3] != shape[4]:
        raise ShapeError(f"{name} must be (B, 6, {channels}, S, S), got {shape}")
    if like is not None and (shape[0], shape[3]) != (like.shape[0], like.shape[3]):
        raise ShapeError(f"{name} must have the batch and face size of {tuple(like.shape)}, got {shape}")
