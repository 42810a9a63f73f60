"""Pictures with ground truth from anywhere to the files that training reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.train.panoramas import told_normals

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from pager_ray.datasets import GroundTruth

_NORMAL_SCALE = 127


def convert_sample(rgb: UInt8[np.ndarray, "h w 3"], truth: GroundTruth, height: int) -> dict[str, np.ndarray]:
    """Reduce a dataset's sample to ``height`` rows: the picture as means, the truth as nearest pixels.

    Returns:
        ``rgb``, ``depth`` (NaN where the mask leaves it out) and ``normals`` (zero where there are none).
    """
    picture = _reduced(rgb, height)
    rows, columns = _nearest(truth.depth.shape[0], height), _nearest(truth.depth.shape[1], 2 * height)
    there = np.ix_(rows, columns)
    normals = np.zeros((height, 2 * height, 3), np.float32)
    if truth.normals is not None:
        normals = told_normals(truth.normals[there])
        normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return {
        "rgb": picture,
        "depth": np.where(truth.mask[there], truth.depth[there], np.nan).astype(np.float32),
        "normals": np.rint(normals * _NORMAL_SCALE).astype(np.int8),
    }


def rendered(
    rgb: UInt8[np.ndarray, "h w 3"], depth: Float32[np.ndarray, "h w"], normals: Float32[np.ndarray, "h w 3"]
) -> dict[str, np.ndarray]:
    """The arrays of a rendered panorama as they are stored."""
    return {"rgb": rgb, "depth": depth, "normals": np.rint(normals * _NORMAL_SCALE).astype(np.int8)}


def write_arrays(target: Path, arrays: dict[str, np.ndarray], *, outdoor: bool) -> None:
    """Write one file; a reader sees all of it or nothing."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, outdoor=np.array(outdoor))
    partial.replace(target)


def _nearest(have: int, want: int) -> np.ndarray:
    """The pixels whose centres are nearest to those of ``want`` pixels over the same extent."""
    return np.minimum(((np.arange(want) + 0.5) * have / want).astype(int), have - 1)


def _reduced(rgb: UInt8[np.ndarray, "h w 3"], height: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Means over whole blocks of pixels, then the nearest block."""
    step = max(1, rgb.shape[0] // height)
    rows, columns = rgb.shape[0] // step, rgb.shape[1] // step
    blocks = rgb[: rows * step, : columns * step].reshape(rows, step, columns, step, 3).mean((1, 3))
    chosen = blocks[np.ix_(_nearest(rows, height), _nearest(columns, 2 * height))]
    return np.rint(chosen).astype(np.uint8)
