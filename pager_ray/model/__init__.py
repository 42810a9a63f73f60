"""PaGeR's network: built from a checkpoint's configuration, filled from its weights.

Works with torch, NumPy and safetensors alone; YAML, Hub and URL support load when a checkpoint needs them.
"""

from __future__ import annotations

from pager_ray.model.architecture import Architecture
from pager_ray.model.checkpoint import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.model.digests import file_sha256
from pager_ray.model.serving import PagerModel, load_model

__all__ = [
    "Architecture",
    "PagerModel",
    "ResolvedCheckpoint",
    "file_sha256",
    "load_model",
    "resolve_checkpoint",
]
