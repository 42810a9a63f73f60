"""The range of depth, and how sky is told from the rest: what a job is asked, before any network is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pager_ray.errors import ConfigError

MAX_DEPTH: Final = 10**9
"""No depth reaches it: larger ones are no metres, and leave float32 when they are made longer along their rays."""


@dataclass(frozen=True)
class DepthRange:
    """Range that z-depth is clamped to, in metres (scale-invariant units before the scale is applied)."""

    min: float = 0.01
    max: float = 75.0

    def __post_init__(self) -> None:
        if not 0 < self.min < self.max < MAX_DEPTH:
            raise ConfigError(
                f"depth range must satisfy 0 < min < max < {MAX_DEPTH:g}, got min={self.min:g}, max={self.max:g}"
            )


@dataclass(frozen=True)
class SkySettings:
    """How sky is told from the rest.

    Attributes:
        threshold: sky probability at which a pixel is half sky.
        softness: half width of the blend around the threshold; 0 cuts hard.
        open_kernel: side in pixels of the square that a patch of sky must contain to count; 0 or 1 keeps every patch.
    """

    threshold: float = 0.3
    softness: float = 0.15
    open_kernel: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError(f"sky.threshold must lie between 0 and 1, got {self.threshold:g}")
        if not 0 <= self.softness < math.inf:
            raise ConfigError(f"sky.softness must not be negative, got {self.softness:g}")
        if self.open_kernel < 0 or (self.open_kernel > 1 and self.open_kernel % 2 == 0):
            raise ConfigError(f"sky.open_kernel must be 0 (off) or odd, got {self.open_kernel}")


DEFAULT_RANGE: Final = DepthRange()
DEFAULT_SKY: Final = SkySettings()
