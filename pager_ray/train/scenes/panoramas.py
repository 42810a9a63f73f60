"""Rendered training panoramas: one at a time, or a folder of them made by a process per core."""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pager_ray.errors import ConfigError, InputError, PagerError, RunMismatchError, StorageError
from pager_ray.pools import ProcessPool
from pager_ray.samples import render
from pager_ray.train.scenes.catalogue import training_scene

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike

    from jaxtyping import Float16, Int8, UInt8
    from numpy import ndarray

SETTINGS = "scenes.json"
# float16 holds no more than 65,504; nothing in a scene is nearly so far away.
_FARTHEST = 60000.0
_NORMAL_SCALE = 127


@dataclass(frozen=True)
class TrainingPanorama:
    """A rendered ERP and its truth in the types that it is stored in; x forward, y up, z right.

    Attributes:
        rgb: (H, W, 3) uint8, sRGB.
        depth: (H, W) float16, metres along the ray; 0 at sky.
        normals: (H, W, 3) int8, unit vectors toward the camera times 127; zeros at sky.
        outdoor: whether it is a place outdoors.
        style: family or kind of place.
        eye_height: metres from the ground or floor to the camera.
    """

    rgb: UInt8[ndarray, "h w 3"]
    depth: Float16[ndarray, "h w"]
    normals: Int8[ndarray, "h w 3"]
    outdoor: bool
    style: str
    eye_height: float


def render_training_panorama(
    index: int, seed: int, height: int = 256, *, leave_out: tuple[str, ...] = ()
) -> TrainingPanorama:
    """Render the training scene of an index, ``height`` by twice that; see :func:`training_scene`.

    Picture rays go through pixel centres alone, as the truth does: training blurs and scales its pictures anyway.
    """
    scene = training_scene(index, seed, leave_out=leave_out)
    shot = render(scene, height, 2 * height, supersample=1)
    return TrainingPanorama(
        rgb=shot.rgb,
        depth=np.minimum(shot.depth, _FARTHEST).astype(np.float16),
        normals=np.round(shot.normals * _NORMAL_SCALE).astype(np.int8),
        outdoor=scene.kind == "outdoor",
        style=scene.style,
        eye_height=float(scene.eye[1]),
    )


def panorama_path(folder: str | PathLike[str], index: int) -> Path:
    """Where the panorama of an index lies in a folder."""
    return Path(folder) / f"{index:07d}.npz"


def save_panorama(folder: str | PathLike[str], index: int, panorama: TrainingPanorama) -> Path:
    """Write one panorama; a reader sees all of it or nothing."""
    target = panorama_path(folder, index)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with partial.open("wb") as file:
        np.savez(file, **vars(panorama))
    partial.replace(target)
    return target


def load_panorama(path: str | PathLike[str]) -> TrainingPanorama:
    """Read one panorama back.

    Raises:
        InputError: the file is no whole panorama.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return TrainingPanorama(
                stored["rgb"],
                stored["depth"],
                stored["normals"],
                bool(stored["outdoor"]),
                str(stored["style"]),
                float(stored["eye_height"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            "bad_panorama", f"{path} is no training panorama: {error}; delete it and render its index again"
        ) from error


def render_settings(height: int, seed: int, leave_out: Sequence[str]) -> dict[str, Any]:
    """What decides the rendered scenes of a folder."""
    return {"height": height, "seed": seed, "leave_out": sorted(leave_out)}


def check_settings(folder: str | PathLike[str], settings: Mapping[str, Any]) -> bool:
    """Refuse a folder whose scenes were made with other settings.

    Returns:
        Whether it says what its scenes were made with.

    Raises:
        RunMismatchError: names every setting that differs, with both values.
        StorageError: what it says cannot be understood.
    """
    path = Path(folder) / SETTINGS
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before, now = dict(found), dict(settings)
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{path}: does not say what the scenes beside it were made with ({error}); choose another folder"
        ) from error
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if keys:
        was, wanted = ({key: one[key] for key in keys if key in one} for one in (before, now))
        raise RunMismatchError(f"{path.parent} holds scenes of {was}, not of {wanted}; choose another folder")
    return True


def agree_on_settings(folder: str | PathLike[str], settings: Mapping[str, Any]) -> None:
    """Note what the scenes of a folder are made with, or refuse it as :func:`check_settings` does."""
    if not check_settings(folder, settings):
        write_json(Path(folder) / SETTINGS, dict(settings))


def write_json(path: Path, value: Any) -> None:
    """Write a file of JSON; a reader sees all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)


def write_panoramas(
    folder: str | PathLike[str],
    start: int,
    count: int,
    *,
    height: int = 256,
    seed: int = 0,
    leave_out: tuple[str, ...] = (),
    processes: int = 1,
) -> Iterator[int]:
    """Render the panoramas of ``count`` indices from ``start`` into a folder, leaving alone those that are there.

    Yields:
        Each index when its file is whole, in the order in which they become so.

    Raises:
        ConfigError: a count or a number of processes below 1, or a folder that holds scenes of other settings.
        StorageError: the folder cannot be written to.
        PagerError: a process died.
    """
    if count < 1 or processes < 1 or height < 2:
        raise ConfigError(f"cannot render {count} panoramas {height} high in {processes} processes: all count from 1")
    # A faulty seed or family must stop the run before a process starts.
    training_scene(start, seed, leave_out=leave_out)
    settings = render_settings(height, seed, leave_out)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        agree_on_settings(folder, settings)
    except OSError as error:
        raise StorageError(
            f"cannot write scenes to {folder}: {error}; choose a folder that can be written to"
        ) from error
    todo = [index for index in range(start, start + count) if not panorama_path(folder, index).exists()]
    work = [(str(folder), index, seed, height, leave_out) for index in todo]
    if processes == 1:
        yield from map(_write_one, work)
        return
    try:
        yield from _in_processes(work, processes)
    except BrokenProcessPool as error:
        raise PagerError(
            f"a process that rendered into {folder} died, perhaps for want of memory; run again with fewer processes "
            f"than {processes}: what is rendered is kept"
        ) from error


def _in_processes(work: list[tuple[str, int, int, int, tuple[str, ...]]], processes: int) -> Iterator[int]:
    waiting = iter(work)
    with ProcessPool(processes) as pool:
        # Little is queued at a time: a reader that stops waits for no more than that.
        running = {pool.submit(_write_one, job) for job in itertools.islice(waiting, 2 * processes)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(_write_one, job) for job in itertools.islice(waiting, len(done))}
            yield from (one.result() for one in done)


def _write_one(work: tuple[str, int, int, int, tuple[str, ...]]) -> int:
    folder, index, seed, height, leave_out = work
    save_panorama(folder, index, render_training_panorama(index, seed, height, leave_out=leave_out))
    return index
