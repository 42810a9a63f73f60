"""Predictions that stand in for a network's where there is no device to run it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


def template(
    size: int,
) -> tuple[Float[np.ndarray, "6 s s"], Float[np.ndarray, "6 s s 3"], Float[np.ndarray, "6 s s"]]:
    """Depth, float16 normals and sky that cost as much to encode as a network's.

    Smooth shapes, edges, and noise at the scale of pixels; the same for every call.
    """
    rng = np.random.default_rng(0)
    v, u = np.mgrid[0:size, 0:size].astype(np.float32) / size
    faces = np.arange(6, dtype=np.float32)[:, None, None]
    steps = np.floor(5 * np.sin(7 * u + faces) * np.cos(5 * v - faces))
    depth = 3 + 0.4 * steps + 0.3 * u + 0.01 * rng.standard_normal((6, size, size), dtype=np.float32)
    direction = np.stack([np.cos(steps), np.sin(steps), 0.3 * np.cos(3 * v + faces)], axis=-1)
    normals = direction + 0.02 * rng.standard_normal((6, size, size, 3), dtype=np.float32)
    sky = 1 / (1 + np.exp(20 * (v - 0.3) + faces))
    return depth.astype(np.float32), normals.astype(np.float16), sky.astype(np.float32)
