"""PaGeR's network: built from a checkpoint's configuration, filled from its weights.

Works with torch, NumPy and safetensors alone; YAML, Hub and URL support load when a checkpoint needs them, and torch
when a network does: to find and to describe a checkpoint takes none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pager_ray.model.architecture import Architecture
from pager_ray.model.checkpoint import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.model.digests import file_sha256

if TYPE_CHECKING:
    from pager_ray.model.serving import PagerModel, load_model

__all__ = [
    "Architecture",
    "PagerModel",
    "ResolvedCheckpoint",
    "file_sha256",
    "load_model",
    "resolve_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name in ("PagerModel", "load_model"):
        return getattr(importlib.import_module("pager_ray.model.serving"), name)
    raise AttributeError(f"module 'pager_ray.model' has no attribute {name!r}")
