"""The step that makes the scales of a run's sequences consistent: after the run, over what stands, as often as wanted.

Frames are compared by their depths, read once each and thinned to some two thousand directions.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from pager_ray.config.schema import DepthConfig
from pager_ray.consistency import agreement
from pager_ray.errors import ConfigError
from pager_ray.plain import get_logger
from pager_ray.reader.run import Run, open_run
from pager_ray.runs.layout import RunLayout
from pager_ray.runs.scales import COLUMNS, ScaleReport, consistent_rows, drop_scales, write_scales
from pager_ray.storage import Folder

log = get_logger(__name__)

_ROWS, _COLUMNS, _SIDE = 32, 64, 16
# Beyond this share of the range depth is what the range's end made of it, as of skies.
_SATURATED: Final = 0.9
_THREADS: Final = 4
_TOLD: Final = 10_000


def settle_scales(output: str | os.PathLike[str]) -> ScaleReport:
    """Make the scales of a run's sequences consistent, of all that is committed by now.

    Predictions stay as they are; ``scales/`` of the output is written, whole or not at all, the same for the same
    predictions whoever dies on the way.

    Raises:
        RunNotFoundError: there is no run.
        ConfigError: its checkpoint gives no metric scale.
        StorageError: something cannot be read or written.
    """
    run = open_run(output, scale="raw")
    table = run.table(COLUMNS)
    if table.num_rows and table.column("log_scale").null_count == table.num_rows:
        raise ConfigError(f"{run.uri}: its checkpoint has no scale heads, so there is none to make consistent")
    compared = _Compared(run)
    scaled, report = consistent_rows(table, compared if "depth" in run.maps else None)
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


class _Compared:
    """Compares neighbours of a run's sequences by their depths."""

    def __init__(self, run: Run) -> None:
        self._run = run
        depth = run.manifest.get("config", {}).get("depth", {})
        self._far = float(depth.get("max", DepthConfig().max)) * _SATURATED
        self._seen = 0

    def __call__(self, ids: Sequence[str], log_scales: np.ndarray) -> np.ndarray:
        steps = np.full(max(len(ids) - 1, 0), np.nan)
        earlier = None
        for number, later in enumerate(self._samples(ids, log_scales)):
            if earlier is not None:
                steps[number - 1] = agreement(earlier, later)
            earlier = later
            self._seen += 1
            if self._seen % _TOLD == 0:
                log.info("scale: %s frames compared", f"{self._seen:,}")
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
