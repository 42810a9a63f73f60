"""What cameras and developers do to a picture, so that the network does not learn the renderer's tones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32


def photometric(faces: Float32[np.ndarray, "6 3 s s"], rng: np.random.Generator) -> Float32[np.ndarray, "6 3 s s"]:
    """Random gamma, exposure, white balance, saturation, contrast, noise, blur and grey levels of one panorama."""
    x = np.clip(faces, 1e-3, 1.0) ** np.float32(math.exp(rng.uniform(-0.35, 0.35)))
    gains = np.exp(rng.uniform(-0.15, 0.15, 3) + rng.uniform(-0.25, 0.25)).astype(np.float32)
    x *= gains[None, :, None, None]
    grey = x.mean(axis=1, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.0 if rng.random() < 0.05 else 0.3, 1.5))
    mean = x.mean()
    x = mean + (x - mean) * np.float32(rng.uniform(0.7, 1.25))
    if rng.random() < 0.25:
        x = _blurred(x)
    if rng.random() < 0.5:
        x += rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.05))
    return np.clip(x, 0.0, 1.0).astype(np.float32)


def _blurred(x: Float32[np.ndarray, "6 3 s s"]) -> Float32[np.ndarray, "6 3 s s"]:
    """Weights 1-2-1 along both sides of a face."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]) * np.float32(0.25)
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) * np.float32(0.25)
