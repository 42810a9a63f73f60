"""What is scored: a panorama's predicted maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32


@dataclass(frozen=True, eq=False)
class PredictedMaps:
    """Predicted ERP maps: depth (H, W) in metres along the ray, normals (H, W, 3); None for what there is not."""

    depth: Float32[np.ndarray, "h w"] | None
    normals: Float32[np.ndarray, "h w 3"] | None
