"""How good a prediction is: the figures that a checkpoint's card tells, from arrays alone.

Weighted by solid angle; sky and everything beyond 75 m are left out of depth. *Scaled* figures come after the median
of the difference of log-depths, *metric* ones before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

MAX_METRES: Final = 75.0
_LEAST_METRES: Final = 0.01


def erp_weights(height: int, width: int) -> Float[np.ndarray, "h w"]:
    """Solid angle of an ERP's pixels, up to a factor."""
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    return np.repeat(np.cos(latitude)[:, None], width, axis=1)


def figures(
    predicted: tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n 3"] | None, Float[np.ndarray, "*n"] | None],
    truth: tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n 3"]],
    weights: Float[np.ndarray, "*n"],
) -> dict[str, float]:
    """Score one panorama.

    Args:
        predicted: metres along the ray, unit normals, sky probability.
        truth: metres along the ray, 0 at sky; unit normals.
        weights: solid angles.

    Returns:
        ``absrel_scaled``, ``delta1_scaled``, ``absrel_metric``, ``delta1_metric``; ``normals_mean`` in degrees and
        ``normals_30``, the share below 30°; ``sky_iou`` (NaN where there is no sky) and ``false_sky``, the share of
        what is no sky that is called so. What is not predicted is left out.
    """
    depth, normals, sky = predicted
    metres, true_normals = truth
    result: dict[str, float] = {}
    valid = (metres > 0) & (metres <= MAX_METRES)
    w, t = weights[valid] / weights[valid].sum(), metres[valid].astype(np.float64)
    p = np.maximum(depth[valid].astype(np.float64), _LEAST_METRES)
    factor = math.exp(float(np.median(np.log(t) - np.log(p))))
    for name, q in (("scaled", p * factor), ("metric", p)):
        result[f"absrel_{name}"] = float((w * np.abs(q - t) / t).sum())
        result[f"delta1_{name}"] = float((w * (np.maximum(q / t, t / q) < 1.25)).sum())
    solid = metres > 0
    if normals is not None:
        cosine = (normals[solid] * true_normals[solid]).sum(-1)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        w = weights[solid] / weights[solid].sum()
        result["normals_mean"], result["normals_30"] = float((w * angle).sum()), float((w * (angle < 30)).sum())
    if sky is not None:
        called = sky > 0.5
        union = (weights * (called | ~solid)).sum()
        both = (weights * (called & ~solid)).sum()
        result["sky_iou"] = float(both / union) if (~solid).any() else math.nan
        result["false_sky"] = float((weights * (called & solid)).sum() / (weights * solid).sum())
    return result


HIGHER_IS_BETTER: Final = frozenset({"delta1_scaled", "delta1_metric", "normals_30", "sky_iou"})
