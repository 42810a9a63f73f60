"""How far a run is: counted where shards are committed, shown where the job was started."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pager_ray.report.progress import Counts, progress_line
from pager_ray.report.stages import StageWork

log = logging.getLogger("pager_ray.progress")

REPORT_SECONDS = 10.0
DEATHS_ALONE = 2
"""How often a row may kill its worker by itself before it is left out."""

MAX_MODEL_DEATHS = 24
"""Deaths of model actors in a row, on the whole cluster, after which it is not the rows' fault. A single row that kills
takes three."""

MAX_INTERNAL_ERRORS = 32
"""Unforeseen errors from which on their share of all rows decides whether the job is broken."""

QUIET_SECONDS = 60.0
"""Without a new shard the line is repeated this rarely: a model on CPUs takes minutes per panorama."""


class Work(NamedTuple):
    """One block's share in :class:`~pager_ray.report.stages.StageWork`."""

    rows: int
    seconds: float
    cpu_seconds: float
    bytes_out: int


class Board:
    """One small actor that writers and model actors report to: what is done, what is being tried, why to stop.

    What is true is on the output storage; this one may be forgotten. It runs beside the driver and dies with it, and
    should it restart alone, deaths are counted from new and an exceeded budget is noticed at the reconciliation.
    """

    def __init__(self, counts: Counts, max_rejects: int | None) -> None:
        self.counts = counts
        self.max_rejects = max_rejects
        self.workers: list[dict[str, Any]] = []
        self.batch_sizes: dict[tuple[str, str], int] = {}
        self.work: dict[str, StageWork] = {}
        self.output_is_lost = False
        self.fatal: str | None = None
        self._open: dict[tuple[str, str], int] = {}
        self._alone: dict[tuple[str, str], dict[str, int]] = {}
        self._starts: dict[str, int] = {}
        self._model_deaths = 0
        self._internal_errors = 0
        self._before = counts.done

    def begin(self, stage: str, task: str) -> tuple[int, str | None]:
        """Some rows are about to be worked on.

        Returns:
            How many earlier attempts at them died, and why nobody should try, if so.
        """
        work = self.work.setdefault(stage, StageWork())
        if work.began is None:
            work.began = time.monotonic()
        deaths = self._open.get((stage, task), 0)
        self._open[stage, task] = deaths + 1
        if stage == "infer" and deaths:
            self._model_deaths += 1
            if self._model_deaths >= MAX_MODEL_DEATHS:
                self.fatal = (
                    f"model actors died {self._model_deaths} times in a row without finishing a batch; look at the "
                    "logs of the last nodes (memory, driver, hardware), then run the same command again"
                )
        return deaths, self.fatal

    def end(self, stage: str, task: str, work: Work | None = None, predicted: int = 0, rejected: int = 0) -> None:
        """They are done: with how much work, and writers say with how many predictions and rejects."""
        self._open.pop((stage, task), None)
        self._alone.pop((stage, task), None)
        if work is not None:
            done = self.work.setdefault(stage, StageWork())
            done.add(*work)
            done.ended = time.monotonic()
        self.counts.predicted += predicted
        self.counts.rejected += rejected
        if stage == "infer":
            self._model_deaths = 0

    def try_alone(self, stage: str, task: str, row: str) -> int:
        """One row of a block whose worker died is about to be tried by itself; returns how often that killed."""
        rows = self._alone.setdefault((stage, task), {})
        deaths = rows.get(row, 0)
        rows[row] = min(deaths + 1, DEATHS_ALONE)
        return deaths

    def survived(self, stage: str, task: str, row: str) -> None:
        """The row did no harm."""
        self._alone[stage, task].pop(row, None)

    def internal_error(self, message: str) -> None:
        """A row met an error that nobody foresaw; where most rows do, it is no fault of theirs."""
        self._internal_errors += 1
        done = self.counts.done - self._before
        if self._internal_errors >= MAX_INTERNAL_ERRORS and self._internal_errors > done // 2:
            self.fatal = (
                f"{self._internal_errors} rows met errors that nobody foresaw, the last one {message}: a fault of the "
                "program or of its installation, not of the inputs; check the installation, or report it, then run "
                "the same command again"
            )

    def worker_starting(self, actor: str) -> int:
        """A model actor begins to load; returns how often this one began before and never was ready.

        Ray restarts an actor that died under its old name, so a whole pool that loads at once is no failure.
        """
        failed = self._starts.get(actor, 0)
        self._starts[actor] = failed + 1
        return failed

    def worker_started(self, actor: str, worker: dict[str, Any]) -> None:
        """A model actor is ready; it describes its hardware and versions."""
        self._starts.pop(actor, None)
        self.workers.append(worker)

    def fits(self, device: str, worker: str, batch_size: int) -> None:
        """The largest batch that fits a worker's device has changed."""
        self.batch_sizes[device, worker] = batch_size

    def over_budget(self) -> bool:
        """Whether more inputs were rejected than the run allows."""
        return self.max_rejects is not None and self.counts.rejected > self.max_rejects

    def lose_output(self) -> None:
        """Another job has the output now: nothing more may be written there."""
        self.output_is_lost = True

    def why_stop(self) -> str | None:
        """Why writers must stop: ``lost``, ``budget`` or a sentence for the user; else None."""
        if self.output_is_lost:
            return "lost"
        return "budget" if self.over_budget() else self.fatal

    def state(self) -> tuple[Counts, list[dict[str, Any]], dict[str, int], dict[str, StageWork]]:
        """Counts so far, the model actors seen, the batch sizes that fit, by kind of device, and each stage's work."""
        sizes: dict[str, int] = {}
        for (device, _), size in self.batch_sizes.items():
            sizes[device] = min(size, sizes.get(device, size))
        return self.counts, self.workers, sizes, self.work


def start_board(counts: Counts, max_rejects: int | None) -> Any:
    """A board on the driver's own node, which no autoscaler takes away under it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Board)
    return remote.remote(counts, max_rejects)


@dataclass
class ProgressLog:
    """Logs rows, rate and time left every few seconds while a ``with`` block runs.

    ``workers`` is filled with what the model actors say of themselves, ``batch_sizes`` with what fitted them, ``work``
    with what each stage did, also when the block fails.
    """

    board: Any
    interval: float = REPORT_SECONDS
    workers: list[dict[str, Any]] = field(default_factory=list)
    batch_sizes: dict[str, int] = field(default_factory=dict)
    work: dict[str, StageWork] = field(default_factory=dict)
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
            counts, self.workers[:], fitting, work = ray.get(self.board.state.remote(), timeout=self.interval)
            self.batch_sizes.update(fitting)
            self.work.update(work)
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
