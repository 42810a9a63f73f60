"""Trained weights in the released format: ``model.safetensors`` in float16 beside ``config.yaml``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pager_ray.errors import CheckpointError
from pager_ray.model.checkpoint import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

    from pager_ray.model.architecture import Architecture


def write_checkpoint(
    folder: str | os.PathLike[str],
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    *,
    extra: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a checkpoint that every part of the product loads as any other.

    Args:
        folder: is made; files in it are replaced.
        architecture: of the network.
        weights: every parameter by name.
        extra: further keys of the configuration, such as ``note`` and ``licence``.
        dtype: that the weights are stored in.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    target = Path(folder)
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in weights.items()}
    try:
        target.mkdir(parents=True, exist_ok=True)
        partial = target / f"{WEIGHTS}.partial"
        save_file(tensors, partial, metadata={"format": "pt"})
        # The library keeps the file for its owner alone; a checkpoint is read by whoever reads the folder.
        partial.chmod(0o644)
        os.replace(partial, target / WEIGHTS)
        # JSON is YAML that also reads without PyYAML.
        text = json.dumps({**architecture.to_config(), **(extra or {})}, indent=2) + "\n"
        (target / CONFIG).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    return target
