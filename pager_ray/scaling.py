"""The step that makes the scales of a run's sequences consistent: after the run, over what stands, as often as wanted.

Frames are compared by their depths, read once each and thinned to some two thousand directions.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pager_ray.config.schema import DepthConfig
from pager_ray.consistency import agreement
from pager_ray.errors import ConfigError
from pager_ray.plain import get_logger
from pager_ray.reader.run import Run, open_run
from pager_ray.runs.layout import RunLayout
from pager_ray.runs.scales import COLUMNS, ScaleReport, Steps, consistent_rows, drop_scales, write_scales
from pager_ray.storage import Folder

log = get_logger(__name__)

_ROWS, _COLUMNS, _SIDE = 32, 64, 16
# Beyond this share of the range depth is what the range's end made of it, as of skies.
_SATURATED: Final = 0.9
_THREADS: Final = 4

PART: Final = 256
"""Frames that are compared in one task."""

_TOLD: Final = 16


@dataclass(frozen=True, eq=False)
class Part:
    """Frames in order, their log scales (n,), and which of them are compared with the next, bool (n − 1,)."""

    ids: Sequence[str]
    log_scales: np.ndarray
    joined: np.ndarray


Comparer = Callable[[str, Sequence[Part]], Iterable[np.ndarray]]
"""Compares frames of the run at a URI, by threads of this process or tasks of a cluster; gives each part's steps, in
order."""


def settle_scales(output: str | os.PathLike[str], compare: Comparer | None = None) -> ScaleReport:
    """Make the scales of a run's sequences consistent, of all that is committed by now.

    Predictions stay as they are; ``scales/`` of the output is written, whole or not at all, the same for the same
    predictions whoever dies on the way.

    Args:
        output: the run's.
        compare: who compares frames; threads of this process by default.

    Raises:
        RunNotFoundError: there is no run.
        ConfigError: its checkpoint gives no metric scale.
        StorageError: something cannot be read or written.
    """
    run = open_run(output, scale="raw")
    table = run.table(COLUMNS)
    if table.num_rows and table.column("log_scale").null_count == table.num_rows:
        raise ConfigError(f"{run.uri}: its checkpoint has no scale heads, so there is none to make consistent")
    steps_of = _steps_by(str(output), compare or compare_here) if "depth" in run.maps else None
    scaled, report = consistent_rows(table, steps_of)
    write_scales(_layout(output), scaled, report)
    return report


def remove_scales(output: str | os.PathLike[str]) -> None:
    """Delete the scales of a run's sequences: readers give each frame its own again.

    Raises:
        RunNotFoundError: there is no run.
        StorageError: they cannot be deleted.
    """
    open_run(output, scale="raw")
    drop_scales(_layout(output))


def _layout(output: str | os.PathLike[str]) -> RunLayout:
    return RunLayout(Folder(os.fspath(output)))


def compare_here(uri: str, parts: Sequence[Part]) -> Iterator[np.ndarray]:
    """Compare the frames of each part in this process; gives the steps of each."""
    compared = Compared(open_run(uri, scale="raw"))
    for number, part in enumerate(parts):
        yield compared(part)
        if (number + 1) % _TOLD == 0:
            log.info("scale: %s of %s frames compared", f"{(number + 1) * PART:,}", f"{len(parts) * PART:,}")


def _steps_by(uri: str, compare: Comparer) -> Steps:
    """All frames compared part by part; each part ends with the frame that the next one begins with."""

    def steps_of(ids: Sequence[str], log_scales: np.ndarray, joined: np.ndarray) -> np.ndarray:
        places = [slice(first, min(first + PART, len(joined))) for first in range(0, len(joined), PART)]
        parts = [
            Part(ids[one.start : one.stop + 1], log_scales[one.start : one.stop + 1], joined[one]) for one in places
        ]
        return np.concatenate([*compare(uri, parts)])

    return steps_of


class Compared:
    """Compares neighbours of a run's sequences by their depths.

    Args:
        run: opened with its raw scales.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        depth = run.manifest.get("config", {}).get("depth", {})
        self._far = float(depth.get("max", DepthConfig().max)) * _SATURATED

    def __call__(self, part: Part) -> np.ndarray:
        """float64 (n − 1): by how much depth grows from each frame to the next; NaN where they are not compared.

        Raises:
            StorageError: a prediction cannot be read.
        """
        steps = np.full(len(part.joined), np.nan)
        wanted = np.zeros(len(part.ids), bool)
        wanted[:-1] |= part.joined
        wanted[1:] |= part.joined
        places: list[int] = np.flatnonzero(wanted).tolist()
        earlier, before = np.zeros(0, np.float32), -2
        samples = self._samples([part.ids[place] for place in places], part.log_scales[places])
        for place, later in zip(places, samples, strict=True):
            if place == before + 1 and part.joined[before]:
                steps[before] = agreement(earlier, later)
            earlier, before = later, place
        return steps

    def _samples(self, ids: Sequence[str], log_scales: np.ndarray) -> Iterator[np.ndarray]:
        """Log depth of each frame in order; a few are read ahead."""
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(_THREADS) as pool:
            for id, scale in zip(ids, log_scales.tolist(), strict=True):
                waiting.append(pool.submit(self._sample, id, scale))
                if len(waiting) > 2 * _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _sample(self, id: str, log_scale: float) -> np.ndarray:
        """float32 log depth along directions of equal solid angles; NaN where depth is its range's end, or not valid.

        A tripod or a car is the same in every frame, whatever the frames see.
        """
        prediction = self._run.read(id, ["depth"])
        faces = prediction.faces("depth")
        thin = _thinned if faces is None else _thinned_faces
        depth = np.asarray(thin(prediction.depth if faces is None else faces), np.float32)
        counts = (depth > 0) & (depth < self._far * np.exp(log_scale))
        if prediction.validity is not None:
            valid = prediction.valid if faces is None else prediction.faces("valid")
            counts &= np.asarray(thin(valid), bool)
        return np.log(depth, out=np.full(depth.shape, np.nan, np.float32), where=counts)


def _thinned_faces(faces: np.ndarray | None) -> np.ndarray:
    """Some pixels of each face."""
    if faces is None:
        return np.zeros(0, np.float32)
    step = max(1, faces.shape[1] // _SIDE)
    return faces[:, step // 2 :: step, step // 2 :: step].reshape(-1)


def _thinned(depth: np.ndarray | None) -> np.ndarray:
    """Some directions of an ERP map, as many at each height of the sphere."""
    if depth is None:
        return np.zeros(0, np.float32)
    height, width = depth.shape
    latitude = np.arcsin(1 - 2 * (np.arange(_ROWS) + 0.5) / _ROWS)
    rows = np.clip(np.rint((0.5 - latitude / np.pi) * height - 0.5), 0, height - 1).astype(int)
    columns = np.clip(np.rint((np.arange(_COLUMNS) + 0.5) * width / _COLUMNS - 0.5), 0, width - 1).astype(int)
    return depth[np.ix_(rows, columns)].reshape(-1)
