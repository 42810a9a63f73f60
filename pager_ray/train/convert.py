"""Pictures with ground truth from anywhere to the files that training reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray.errors import RunMismatchError, StorageError
from pager_ray.train.panoramas import read_panorama, told_normals
from pager_ray.train.scenes.panoramas import agree_on_settings, check_settings, panorama_path, write_json

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from pager_ray.datasets import GroundTruth

SAMPLES: Final = "samples.json"
"""Beside converted panoramas: the ids of their samples in the order of their numbers."""

_NORMAL_SCALE = 127
_SAME_PICTURE: Final = 2.0
"""Mean difference of 8-bit values up to which pictures are the same, decoded by other versions."""


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


def number_samples(
    folder: Path,
    settings: Mapping[str, Any],
    ids: Sequence[str],
    picture: Callable[[int], UInt8[np.ndarray, "h w 3"] | None],
) -> dict[str, int]:
    """Number a dataset's samples as the files of a folder are, and note there which is which.

    A sample keeps its number whatever is added to the dataset or taken from it; what is new comes behind. A folder of
    an earlier version has no note of them: its files are taken for the samples in their order, where they show nothing
    else.

    Args:
        folder: of the converted panoramas.
        settings: whatever else decides what they are; ``height`` among it.
        ids: of all samples, in the dataset's order.
        picture: reads the picture of the sample at a place among ``ids``; None where that cannot be read.

    Raises:
        RunMismatchError: the folder holds other scenes.
        StorageError: its note of the samples cannot be understood.
    """
    check_settings(folder, settings)
    path = folder / SAMPLES
    known: list[str] = []
    if path.exists():
        known = _known(path)
    else:
        _check_unnoted(folder, settings, len(ids), picture)
    agree_on_settings(folder, settings)
    numbers = {name: number for number, name in enumerate(known)}
    new = [name for name in ids if name not in numbers]
    if new:
        write_json(path, [*known, *new])
        numbers |= {name: number for number, name in enumerate(new, start=len(known))}
    return {name: numbers[name] for name in ids}


def _known(path: Path) -> list[str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
        raise StorageError(f"{path}: is no list of the samples that lie beside it; choose another folder")
    return known


def _check_unnoted(
    folder: Path,
    settings: Mapping[str, Any],
    count: int,
    picture: Callable[[int], UInt8[np.ndarray, "h w 3"] | None],
) -> None:
    """Compare the first and the last file with the samples that they are taken for: one more or less would shift it."""
    there = sorted(int(path.stem) for path in folder.glob("*.npz") if path.stem.isdecimal())
    for number in dict.fromkeys([*there[:1], *there[-1:]]):
        path, height = panorama_path(folder, number), settings["height"]
        found = read_panorama(path).rgb
        other = f"{folder} holds scenes of another dataset or scenes.height than {settings}"
        if number >= count:
            raise RunMismatchError(f"{other}: it has {count} samples, none is {path.name}; choose another folder")
        if found.shape[0] != height:
            raise RunMismatchError(f"{other}: height was {found.shape[0]}, now {height}; choose another folder")
        expected = picture(number)
        if expected is not None and _distance(found, _reduced(expected, height)) > _SAME_PICTURE:
            raise RunMismatchError(f"{other}: {path.name} shows another picture; choose another folder")


def _distance(one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


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
