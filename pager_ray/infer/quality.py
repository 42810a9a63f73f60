"""Numbers of a batch that runs are filtered by, computed where its maps are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pager_ray.infer.settings import InferenceSettings
from pager_ray.postprocess import is_whole, share_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
# Quantiles and medians of every fourth pixel in both directions: 95,000 values decide them to well under a percent,
# a sixteenth of the sort.
_SAMPLE_STEP = 4

FINITE = "is_finite"


def quality_numbers(
    raw: dict[str, Tensor],
    depth: Float[Tensor, "b 6 1 s s"] | None,
    valid: Bool[Tensor, "b 6 s s"] | None,
    settings: InferenceSettings,
    log_depth: bool,
    shares: Float[Tensor, " q"],
) -> dict[str, Tensor]:
    """Numbers over the valid pixels of the faces, and whether all is finite; (B,) each.

    Args:
        raw: the network's output.
        depth: metres along the ray.
        valid: which pixels mean something; None for all.
        settings: where sky begins, and the range of depth.
        log_depth: whether the output's depth is a logarithm.
        shares: :data:`QUANTILES` on the device.
    """
    # From the raw output: the range of depth would hide infinity.
    finite = torch.stack([values.flatten(1).isfinite().all(1) for values in raw.values()]).all(0)
    columns: dict[str, Tensor] = {FINITE: finite}
    sampled = (..., slice(None, None, _SAMPLE_STEP), slice(None, None, _SAMPLE_STEP))
    if "sky" in raw:
        columns["sky_fraction"] = share_of(raw["sky"].float().sigmoid() > settings.sky.threshold, valid)
    if depth is not None:
        quantiles = _quantiles(depth[sampled], shares, None if valid is None else valid[sampled])
        for value, row in zip(QUANTILES, quantiles, strict=True):
            columns[f"depth_p{round(value * 100):02d}"] = row
        z = raw["depth"].float()
        z = z.exp() if log_depth else z
        limits = settings.depth_range
        columns["range_limit_fraction"] = share_of((z <= limits.min) | (z >= limits.max), valid)
    if "depth_conf" in raw:
        confidence = raw["depth_conf"][sampled].float()
        columns["median_confidence"] = _median(confidence, None if valid is None else valid[sampled])
    if "scale_disagreement" in raw:
        apart = raw["scale_disagreement"][:, 0]
        # Both heads' scales are of all pixels.
        columns["scale_disagreement"] = apart if valid is None else torch.where(is_whole(valid), apart, torch.nan)
    return columns


def _quantiles(
    values: Float[Tensor, "b 6 1 m m"], shares: Float[Tensor, " q"], valid: Bool[Tensor, "b 6 m m"] | None
) -> Float[Tensor, "q b"]:
    if valid is None:
        return values.flatten(1).quantile(shares, dim=1)
    return torch.where(valid[:, :, None], values, torch.nan).flatten(1).nanquantile(shares, dim=1)


def _median(values: Float[Tensor, "b 6 1 m m"], valid: Bool[Tensor, "b 6 m m"] | None) -> Float[Tensor, " b"]:
    if valid is None:
        return values.flatten(1).median(1).values
    return torch.where(valid[:, :, None], values, torch.nan).flatten(1).nanmedian(1).values
