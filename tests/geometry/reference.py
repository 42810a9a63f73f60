"""pytorch360convert, whose sample positions the released results were made with, behind our array layouts."""

from __future__ import annotations

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import pytorch360convert
import torch

from pager_ray.geometry.faces import inner_size

GOLDEN = Path(__file__).parents[1] / "golden"

FACE_ANGLES = ((0, 0), (90, 0), (180, 0), (-90, 0), (0, 90), (0, -90))


@functools.cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name) as archive:
        return dict(archive)


def library_erp_to_cubemap(erp: np.ndarray, size: int, fov: float) -> np.ndarray:
    """(H, W, C) float32 or float64 → (6, S, S, C), positions computed in the dtype of ``erp``."""
    image = torch.from_numpy(erp)
    if fov == 90:
        faces = pytorch360convert.e2c(image, size, cube_format="list", channels_first=False)
    else:
        faces = [pytorch360convert.e2p(image, fov, h, v, (size, size), channels_first=False) for h, v in FACE_ANGLES]
    return torch.stack(list(faces)).numpy()


def library_cubemap_to_erp(faces: np.ndarray, height: int, width: int, fov: float = 90.0) -> np.ndarray:
    """(6, S, S, C) → (H, W, C), positions computed in the dtype of ``faces``."""
    size = faces.shape[1]
    inner = inner_size(size, fov)
    start = (size - inner) // 2
    cropped = torch.from_numpy(faces[:, start : start + inner, start : start + inner])
    erp = pytorch360convert.c2e(list(cropped), height, width, cube_format="list", channels_first=False)
    return erp.numpy()


def golden_cubemap_to_erp(faces: np.ndarray, height: int, width: int) -> np.ndarray:
    """:func:`library_cubemap_to_erp` as the machine of the golden files computed it, whatever processor this one has.

    MKL rounds some tangents of float32 otherwise on Intel's processors than on others, which moves the positions that
    some pixels are sampled at. How it computes is decided once in a process, at the first call: this takes its own.
    """
    return _as_on_other_processors().submit(library_cubemap_to_erp, faces, height, width).result()


@functools.cache
def _as_on_other_processors() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MKL_CBWR", "COMPATIBLE")
        pool.submit(int).result()
    return pool


@functools.cache
def corner_pixels(size: int, height: int, width: int, fov: float = 90.0) -> np.ndarray:
    """(H, W) bool: output pixels that the library darkens because it leaves the padded corners at zero."""
    ones = np.ones((6, size, size, 1), np.float64)
    return library_cubemap_to_erp(ones, height, width, fov)[..., 0] < 1 - 1e-9
