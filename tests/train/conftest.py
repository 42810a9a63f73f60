"""A tiny network and a folder of two tiny panoramas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TINY: Mapping[str, Any] = {
    "pretrained_model_name": "custom",
    "modalities": ["depth", "normals", "sky", "scale_indoor", "scale_outdoor"],
    "scene_router": True,
    "backbone": {
        "embed_dim": 32,
        "depth": 4,
        "num_heads": 2,
        "out_layers": [0, 1, 2, 3],
        "alt_start": 1,
        "qknorm_start": 1,
        "rope_start": 1,
    },
    "head": {"features": 8, "out_channels": [8, 8, 8, 8]},
}


def corridor(height: int, *, outdoor: bool) -> dict[str, Any]:
    """A floor 1.5 m below, walls 2 m left and right, and above a ceiling at 1 m or sky."""
    row, column = np.meshgrid(np.arange(height), np.arange(2 * height), indexing="ij")
    latitude, longitude = (0.5 - (row + 0.5) / height) * np.pi, ((column + 0.5) / (2 * height) - 0.5) * 2 * np.pi
    y, z = np.sin(latitude), np.cos(latitude) * np.sin(longitude)
    with np.errstate(divide="ignore"):
        planes = [
            (np.where(y < 0, -1.5 / y, np.inf), (0, 1, 0), (200, 120, 60)),
            (2.0 / np.abs(z), None, (90, 160, 90)),
            (np.where(y > 0, np.inf if outdoor else 1.0 / y, np.inf), (0, -1, 0), (240, 240, 250)),
        ]
    distance = np.stack([plane[0] for plane in planes])
    if outdoor:
        # Walls end at eye level.
        distance[1] = np.where(y > 0.3, np.inf, distance[1])
    nearest, depth = distance.argmin(0), distance.min(0)
    normals = np.zeros((height, 2 * height, 3))
    rgb = np.full((height, 2 * height, 3), 230, np.uint8)
    for k, (_, normal, color) in enumerate(planes):
        own = (nearest == k) & np.isfinite(depth)
        normals[own] = normal if normal is not None else np.stack([0 * z, 0 * z, -np.sign(z)], -1)[own]
        rgb[own] = color
    return {
        "rgb": rgb,
        "depth": np.where(np.isfinite(depth), np.minimum(depth, 60), 0).astype(np.float16),
        "normals": np.rint(normals * 127).astype(np.int8),
        "outdoor": outdoor,
    }


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one panorama indoors and one outdoors."""
    folder = tmp_path_factory.mktemp("scenes")
    for number, outdoor in enumerate((False, True)):
        np.savez(folder / f"{number:07d}.npz", **corridor(64, outdoor=outdoor))
    return folder
