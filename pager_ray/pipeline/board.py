"""The board: what is done, what is being tried and why to stop, counted where shards are committed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pager_ray.pipeline.metrics import Meters
from pager_ray.pipeline.plain_actors import Named, new_name
from pager_ray.pipeline.trace_log import TraceLog
from pager_ray.stages.counts import Counts
from pager_ray.stages.names import StageName
from pager_ray.stages.work import StageWork, Work
from pager_ray.tracing import Event

UNSEEN_DEATHS = 5
"""How often a worker may die while it has one and the same row alone, and nobody sees of what, before the row is left
out."""

MAX_MODEL_DEATHS = 24
"""Deaths of model actors in a row, on the whole cluster, after which it is not the rows' fault. A single row that kills
takes six."""

FIRST_OUTCOMES = 50
ALIKE_SHARE = 0.9
"""Where more than this share of so many first outcomes are rejects of one class, the inputs are not to blame."""

MAX_INTERNAL_ERRORS = 32
"""Unforeseen errors from which on their share of all rows decides whether the job is broken."""

RATE_SECONDS = 300.0
"""The present rate is that of so many seconds."""

HEARD_SECONDS = 600.0
"""A model actor that finished nothing for so long is no longer counted: it may be gone, with its node."""


class Attempt(NamedTuple):
    """What a stage hears when it is about to work on some rows.

    Attributes:
        deaths: how many earlier attempts at them died.
        fatal: why nobody should try, if so.
        put_off: whether the rows are to be left for the job's next start, because this one is told to stop.
        trace: 0, ``TIMED`` or ``SAMPLED``: what of the work is to be told to :meth:`Board.trace`.
    """

    deaths: int
    fatal: str | None = None
    put_off: bool = False
    trace: int = 0


class Suspicion(NamedTuple):
    """What is held against a row that is about to be tried alone.

    Attributes:
        deaths: how many of its trials ended with their process.
        verdict: how the last one ended, where that was seen and the row is to be left out.
    """

    deaths: int = 0
    verdict: str | None = None


class State(NamedTuple):
    """What a board knows.

    Counts so far, rejects among them as soon as they are known; the model actors that started; the batch sizes that fit
    by kind of device; each stage's work; rejects of this start by class; the last reject's message; and rows past the
    last gate that are not written.
    """

    counts: Counts
    workers: list[dict[str, Any]]
    batch_sizes: dict[str, int]
    work: dict[str, StageWork]
    rejects: dict[str, int]
    last_error: str | None
    in_flight: int


class Board:
    """One small actor that writers and model actors report to: what is done, what is being tried, why to stop.

    What is true is on the output storage; this one may be forgotten. It runs beside the driver and dies with it, and
    should it restart alone, deaths are counted from new and an exceeded budget is noticed at the reconciliation.

    Args:
        counts: what earlier starts finished.
        max_rejects: the error budget in rows.
        gates: stages that leave rows alone once the job is told to stop, in order; what is past the last is finished.
        output: the job's output, as metrics name it; without it there are none.
        stop_when_all_fail: whether first outcomes that are all rejects of one class stop the job.
        traced: whether stages tell what they did when.
    """

    def __init__(
        self,
        counts: Counts,
        max_rejects: int | None,
        gates: tuple[str, ...] = (StageName.UNPACK, StageName.READ, StageName.INFER),
        output: str | None = None,
        stop_when_all_fail: bool = True,
        traced: bool = False,
    ) -> None:
        self.counts = counts
        self._look_at_first = stop_when_all_fail
        self.max_rejects = max_rejects
        self.workers: list[dict[str, Any]] = []
        self.batch_sizes: dict[tuple[str, str], int] = {}
        self.work: dict[str, StageWork] = {}
        self.rejects: dict[str, int] = {}
        self._rejected_before = counts.rejected
        self._known: Counter[str] = Counter()
        self._known_tasks: set[int] = set()
        self.last_error: str | None = None
        self.output_is_lost = False
        self.fatal: str | None = None
        self._gates = gates
        self._stopping = False
        self._passed = 0
        self._open: dict[tuple[str, str], int] = {}
        self._alone: dict[tuple[str, str], dict[str, Suspicion]] = {}
        self._starts: dict[str, int] = {}
        self._model_deaths = 0
        self._internal_errors = 0
        self._before = counts.done
        self._finished: deque[tuple[float, int]] = deque()
        self._heard: dict[str, tuple[str, float, int, int]] = {}
        self._meters = Meters(output) if output is not None else None
        self._trace = TraceLog(traced)

    def begin(self, stage: str, task: str, rows: int = 0) -> Attempt:
        """Some rows are about to be worked on."""
        if self._stopping and stage in self._gates:
            return Attempt(0, None, put_off=True)
        work = self.work.setdefault(stage, StageWork())
        if work.began is None:
            work.began = time.monotonic()
        deaths = self._open.get((stage, task), 0)
        self._open[stage, task] = deaths + 1
        if stage == self._gates[-1] and not deaths:
            self._passed += rows
        if stage == StageName.INFER and deaths:
            self._model_deaths += 1
            if self._model_deaths >= MAX_MODEL_DEATHS:
                self.fatal = (
                    f"model actors died {self._model_deaths} times in a row without finishing a batch; look at the "
                    "logs of the last nodes (memory, driver, hardware), then run the same command again"
                )
        return Attempt(deaths, self.fatal, trace=self._trace.level(stage))

    def end(
        self,
        stage: str,
        task: str,
        work: Work | None = None,
        predicted: int = 0,
        rejects: Mapping[str, int] | None = None,
        last_error: str | None = None,
        known: Mapping[str, int] | None = None,
    ) -> None:
        """They are done: with how much work, and writers say with how many predictions and rejects of which class.

        Args:
            known: rejects by class that this stage made, which are not written yet.
        """
        if known and (key := hash((stage, task))) not in self._known_tasks:
            # Once a task: some are done again after a node's death.
            self._known_tasks.add(key)
            self._known.update(known)
        self._open.pop((stage, task), None)
        self._alone.pop((stage, task), None)
        if stage == StageName.INFER:
            self._model_deaths = 0
        for name, count in (rejects or {}).items():
            self.rejects[name] = self.rejects.get(name, 0) + count
        self.last_error = last_error or self.last_error
        rejected = sum((rejects or {}).values())
        self.counts.predicted += predicted
        self.counts.rejected += rejected
        if predicted or rejected:
            self._judge_the_first()
            self._finished.append((time.monotonic(), self.counts.done))
            while self._finished[-1][0] - self._finished[0][0] > RATE_SECONDS:
                self._finished.popleft()
        if work is not None:
            done = self.work.setdefault(stage, StageWork())
            done.add(work)
            done.ended = time.monotonic()
            self._measure(stage, work, predicted, rejects or {})

    def _judge_the_first(self) -> None:
        """Stop a start whose first inputs all fail alike; once, when there are enough of them."""
        outcomes = self.counts.done - self._before
        if not self._look_at_first or outcomes < FIRST_OUTCOMES:
            return
        self._look_at_first = False
        name, count = max(self.rejects.items(), key=lambda item: item[1], default=("", 0))
        if count > ALIKE_SHARE * outcomes:
            self.fatal = (
                f"{count} of the first {outcomes} inputs were rejected as {name} ({self.last_error}): most likely "
                "something is wrong that concerns all of them; correct it, then run the same command again with "
                f"--retry-rejects {name}, or go on as it is with errors.stop_when_all_fail=false"
            )

    def trace(self, events: list[Event]) -> None:
        """What a stage did when, for the trace of a job that has one."""
        self._trace.add(events)

    def may_profile(self) -> bool:
        """Whether a model actor is to profile a batch."""
        return self._trace.may_profile()

    def traced(self) -> list[Event]:
        """The job's trace so far."""
        return self._trace.events

    def rate(self) -> float | None:
        """Rows per second over the last minutes; None before there is one."""
        if len(self._finished) < 2:
            return None
        (began, before), (ended, after) = self._finished[0], self._finished[-1]
        return (after - before) / (ended - began) if ended > began else None

    def queues(self) -> dict[str, int]:
        """By stage, the rows that the one before has handed on and it has not finished."""
        stages = [name for name in self.work if name != StageName.WRITE]
        order = [*stages, StageName.WRITE] if StageName.WRITE in self.work else stages
        return {name: max(self.work[before].rows - self.work[name].rows, 0) for before, name in pairwise(order)}

    def _measure(self, stage: str, work: Work, predicted: int, rejects: Mapping[str, int]) -> None:
        if self._meters is None:
            return
        meters = self._meters
        meters.count("pager_ray_stage_panoramas", work.rows, stage)
        meters.count("pager_ray_stage_busy_seconds", work.seconds, stage)
        meters.count("pager_ray_stage_cpu_seconds", work.cpu_seconds, stage)
        meters.count("pager_ray_stage_bytes", work.bytes_out, stage)
        for name, rows in self.queues().items():
            meters.show("pager_ray_stage_queue", rows, name)
        if stage == StageName.WRITE:
            meters.count("pager_ray_bytes_written", work.bytes_out)
            meters.count("pager_ray_panoramas", predicted, "predicted")
            meters.count("pager_ray_panoramas", sum(rejects.values()), "rejected")
            for error_class, count in rejects.items():
                meters.count("pager_ray_rejects", count, error_class)
            left = self.counts.total - self.counts.done
            meters.show("pager_ray_panoramas_left", left)
            if rate := self.rate():
                meters.show("pager_ray_seconds_left", left / rate)

    def stop_taking(self) -> int:
        """Let no more rows through the gates; returns how many are past the last one and not written yet.

        Rows that are let through no more keep their place in the manifest: the next start does them.
        """
        self._stopping = True
        return self.in_flight()

    def in_flight(self) -> int:
        """Rows past the last gate that are not written yet."""
        return self._passed - (self.work[StageName.WRITE].rows if StageName.WRITE in self.work else 0)

    def try_alone(self, stage: str, task: str, row: str) -> Suspicion:
        """One row of a block whose worker died is about to be tried by itself; returns what earlier trials came to."""
        rows = self._alone.setdefault((stage, task), {})
        before = rows.get(row, Suspicion())
        if before.verdict is None and before.deaths < UNSEEN_DEATHS:
            rows[row] = Suspicion(before.deaths + 1)
        return before

    def convict(self, stage: str, task: str, row: str, deaths: int, verdict: str) -> None:
        """The row has killed so many processes, the last one before a witness."""
        self._alone[stage, task][row] = Suspicion(deaths, verdict)

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

    def hear(self, device: str, worker: str, memory: int, batch: int) -> None:
        """A model actor has finished a call; the most memory that it has held, in bytes, and its batch size."""
        now = time.monotonic()
        self._heard[worker] = (device, now, memory, batch)
        if self._meters is None:
            return
        for kind in {kind for kind, *_ in self._heard.values()}:
            alive = [heard for heard in self._heard.values() if heard[0] == kind and now - heard[1] < HEARD_SECONDS]
            self._meters.show("pager_ray_model_workers", len(alive), kind)
            self._meters.show("pager_ray_model_memory_bytes", max((held for *_, held, _ in alive), default=0), kind)
            self._meters.show("pager_ray_batch_size", min((size for *_, size in alive), default=0), kind)

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

    def state(self) -> State:
        """Everything at once; who asks keeps the gauges alive."""
        if self._meters is not None:
            self._meters.again()
        rejects = self._rejects_known()
        return State(
            Counts(self.counts.total, self.counts.predicted, self._rejected_before + sum(rejects.values())),
            self.workers,
            self._fitting(),
            self.work,
            rejects,
            self.last_error,
            self.in_flight(),
        )

    def _rejects_known(self) -> dict[str, int]:
        """This start's rejects by class, those included that stages behind the one that made them still carry."""
        names = [*self.rejects, *self._known]
        return {name: max(self._known[name], self.rejects.get(name, 0)) for name in names}

    def _fitting(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for (device, _), size in self.batch_sizes.items():
            sizes[device] = min(size, sizes.get(device, size))
        return sizes


def start_board(
    counts: Counts,
    max_rejects: int | None,
    gates: tuple[str, ...],
    output: str,
    *,
    stop_when_all_fail: bool = True,
    traced: bool = False,
) -> Any:
    """A board on the driver's own node, which no autoscaler takes away under it; see :class:`Board`."""
    # Softly, Ray takes any node for an actor without CPUs.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Board)
    name = new_name("board")
    handle = remote.options(name=name).remote(counts, max_rejects, gates, output, stop_when_all_fail, traced)
    return Named(handle, name)
