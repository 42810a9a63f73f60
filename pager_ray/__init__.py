"""360° panoramas to geometry: PaGeR as a distributed Ray Data job.

The names below are the public interface. They load on first use, so that ``import pager_ray`` costs nothing and the
network can be used where only torch, NumPy and safetensors are installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pager_ray.errors import PagerError
from pager_ray.version import __version__

if TYPE_CHECKING:
    from pager_ray import geometry
    from pager_ray.blocks import PanoramaPredictor
    from pager_ray.model import load_model
    from pager_ray.pipeline.panoramas import read_panoramas
    from pager_ray.reader import Prediction, Run, open_run
    from pager_ray.reader.rows import row_decoder
    from pager_ray.reader.torch_dataset import torch_dataset
    from pager_ray.single import predict

__all__ = [
    "PagerError",
    "PanoramaPredictor",
    "Prediction",
    "Run",
    "__version__",
    "geometry",
    "load_model",
    "open_run",
    "predict",
    "read_panoramas",
    "row_decoder",
    "torch_dataset",
]

_HOMES = {
    "load_model": "pager_ray.model",
    "predict": "pager_ray.single",
    "read_panoramas": "pager_ray.pipeline.panoramas",
    "PanoramaPredictor": "pager_ray.blocks",
    "open_run": "pager_ray.reader",
    "Run": "pager_ray.reader",
    "Prediction": "pager_ray.reader",
    "row_decoder": "pager_ray.reader.rows",
    "torch_dataset": "pager_ray.reader.torch_dataset",
}


def __getattr__(name: str) -> Any:
    if name == "geometry":
        return importlib.import_module("pager_ray.geometry")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pager_ray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
