"""Faces in, geometry on faces out: the network with everything that is cheapest beside it on the accelerator.

What needs torch is imported when it is asked for: whoever starts a job needs the settings alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pager_ray.infer.settings import InferenceSettings

if TYPE_CHECKING:
    from pager_ray.infer.predictor import FacePrediction, Predictor, Predicts

__all__ = ["FacePrediction", "InferenceSettings", "Predictor", "Predicts"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("pager_ray.infer.predictor"), name)
    raise AttributeError(f"module 'pager_ray.infer' has no attribute {name!r}")
