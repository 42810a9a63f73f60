"""What a job asks of its predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pager_ray.errors import ConfigError
from pager_ray.ranges import DepthRange, SkySettings

Validities = Sequence[np.ndarray | None] | None
"""Per row which pixels of its faces mean something, (6, S, S) bool, or None for all; None for all rows."""

_SCENE_MODES = ("auto", "indoor", "outdoor")


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
