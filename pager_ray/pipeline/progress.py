"""How far a run is: counted where shards are committed, shown where the job was started."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import ray

from pager_ray.report.progress import Counts, progress_line

log = logging.getLogger("pager_ray.progress")

REPORT_SECONDS = 10.0
QUIET_SECONDS = 60.0
"""Without a new shard the line is repeated this rarely: a model on CPUs takes minutes per panorama."""


class Board:
    """One small actor that writers and model actors report to.

    It counts; what is true is on the output storage. Lost with its node it restarts from ``counts``, so a run's error
    budget may then be noticed late, at the reconciliation.
    """

    def __init__(self, counts: Counts, max_rejects: int | None) -> None:
        self.counts = counts
        self.max_rejects = max_rejects
        self.workers: list[dict[str, Any]] = []
        self.output_is_lost = False

    def add(self, predicted: int, rejected: int) -> None:
        """A shard with so many rows was written."""
        self.counts.predicted += predicted
        self.counts.rejected += rejected

    def worker_started(self, worker: dict[str, Any]) -> None:
        """A model actor is ready; it describes its hardware and versions."""
        self.workers.append(worker)

    def over_budget(self) -> bool:
        """Whether more inputs were rejected than the run allows."""
        return self.max_rejects is not None and self.counts.rejected > self.max_rejects

    def lose_output(self) -> None:
        """Another job has the output now: nothing more may be written there."""
        self.output_is_lost = True

    def why_stop(self) -> str | None:
        """``lost`` or ``budget`` when writers must stop, else None."""
        if self.output_is_lost:
            return "lost"
        return "budget" if self.over_budget() else None

    def state(self) -> tuple[Counts, list[dict[str, Any]]]:
        """Counts so far, and the model actors seen."""
        return self.counts, self.workers


ProgressBoard: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board)


@dataclass
class ProgressLog:
    """Logs rows, rate and time left every few seconds while a ``with`` block runs.

    ``workers`` is filled with what the model actors say of themselves, also when the block fails.
    """

    board: Any
    interval: float = REPORT_SECONDS
    workers: list[dict[str, Any]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> ProgressLog:
        """Start reporting."""
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reporting."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._look()

    def _look(self) -> Counts | None:
        """Counts so far, or None while the board cannot answer; workers are noted on the way."""
        try:
            counts, self.workers[:] = ray.get(self.board.state.remote(), timeout=self.interval)
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
            # The board is restarting or the cluster is going down: the next look, or the job itself, will say.
            return None
        return counts

    def _run(self) -> None:
        started, first, shown, spoke = time.monotonic(), None, None, time.monotonic()
        while not self._stop.wait(self.interval):
            counts = self._look()
            if counts is None:
                continue
            now = time.monotonic()
            if first is None or counts.done == first:
                # Starting workers and loading the model is no part of the rate.
                first, started = counts.done, now
            if counts.done == shown and now - spoke < QUIET_SECONDS:
                continue
            shown, spoke = counts.done, now
            log.info("%s", progress_line(counts, counts.done - first, now - started))
