"""How far a run is, told where the job was started: on the terminal, in the log and for ``pager-ray status``."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from pager_ray.pipeline.board import State
from pager_ray.plain import get_logger
from pager_ray.report.progress import progress_line
from pager_ray.stages.limits import limit_of
from pager_ray.stages.names import StageName
from pager_ray.stages.work import StageWork
from pager_ray.tracing import watcher

log = get_logger("pager_ray.progress")

LOOK_SECONDS = 1.0
"""Between two looks where somebody watches a terminal."""

FIRST_PAUSE, LONG_PAUSE, LONGEST_PAUSE = 5.0, 60.0, 120.0
"""Lines of a log: the second comes so long after the first; pauses double up to a minute, and to two after half an
hour, so that an hour's job is one page."""

LONG_JOB_SECONDS = 1800.0

NOTE_SECONDS = 10.0
"""Between two notes for ``pager-ray status``, each of which is an object written to the store."""

ANSWER_SECONDS = 10.0
"""How long a board may take to answer."""

MEANT_ROWS, MEANT_SECONDS = 8, 15.0
"""From so many rows in so many seconds on, the time left means something: before, the first blocks decide it."""


@dataclass
class ProgressLog:
    """Tells rows, rate and time left while a ``with`` block runs: a terminal every second, a log ever more rarely.

    ``workers`` is filled with what the model actors say of themselves, ``batch_sizes`` with what fitted them, ``work``
    with what each stage did, also when the block fails. ``note`` is given the same facts every few seconds, for whoever
    watches from elsewhere. ``model_workers`` is how many of them the job wants at most. ``bottleneck`` says which stage
    holds the others up.
    """

    board: Any
    workers: list[dict[str, Any]] = field(default_factory=list)
    batch_sizes: dict[str, int] = field(default_factory=dict)
    work: dict[str, StageWork] = field(default_factory=dict)
    note: Callable[[dict[str, Any]], None] | None = None
    model_workers: int | None = None
    bottleneck: Callable[[Mapping[str, StageWork]], str | None] | None = None
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

    def _look(self) -> State | None:
        """What the board knows, or None while it cannot answer; workers are noted on the way."""
        try:
            state: State = ray.get(self.board.state.remote(), timeout=ANSWER_SECONDS)
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
            # The board is restarting or the cluster is going down: the next look, or the job itself, will say.
            return None
        self.workers[:] = state.workers
        self.batch_sizes.update(state.batch_sizes)
        self.work.update(state.work)
        return state

    def _run(self) -> None:
        display = watcher()
        began = time.monotonic()
        pace, pauses, noted = Pace(began), Pauses(began), began
        while not self._stop.wait(FIRST_PAUSE if display is None else LOOK_SECONDS):
            state = self._look()
            if state is None:
                continue
            now = time.monotonic()
            pace.see(state.counts.done, now)
            facts = _facts(state, pace, self.model_workers)
            if display is not None:
                display.look(facts | {"bottleneck": self._held_up_by(state.work)})
            elif pauses.are_over(now):
                log.info("%s", progress_line(state.counts, pace.rate, facts["seconds_left"]))
            if self.note is not None and now - noted >= NOTE_SECONDS:
                noted = now
                self.note(facts)

    def _held_up_by(self, work: Mapping[str, StageWork]) -> str | None:
        try:
            return self.bottleneck(work) if self.bottleneck is not None else None
        except ray.exceptions.RayError:
            # It asks the cluster how large it is, which may be going down.
            return None


class Pace:
    """Rows per second since the first ones of a start: what came before, workers' starts and a model's loading, is no
    part of it."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._first: int | None = None
        self._rows, self._seconds = 0, 0.0

    def see(self, done: int, now: float) -> None:
        """So many rows are done."""
        if self._first is None or done <= self._first:
            self._first, self._since = done, now
        self._rows, self._seconds = done - self._first, now - self._since

    @property
    def rate(self) -> float | None:
        """Rows per second; None before there is one."""
        return self._rows / self._seconds if self._rows and self._seconds > 0 else None

    def seconds_left(self, rows: int) -> float | None:
        """How long so many rows will take; None before that means something."""
        if self.rate is None or self._rows < MEANT_ROWS or self._seconds < MEANT_SECONDS:
            return None
        return rows / self.rate


class Pauses:
    """When the next line of a log is due."""

    def __init__(self, began: float) -> None:
        self._began = self._last = began
        self._pause = FIRST_PAUSE

    def are_over(self, now: float) -> bool:
        """Whether a line is due; if so, the next pause begins."""
        if now - self._last < self._pause:
            return False
        longest = LONGEST_PAUSE if now - self._began > LONG_JOB_SECONDS else LONG_PAUSE
        self._last, self._pause = now, min(2 * self._pause, longest)
        return True


def _facts(state: State, pace: Pace, most_workers: int | None) -> dict[str, Any]:
    """A look at a running job as JSON, for ``pager-ray status``."""
    counts, infer = state.counts, state.work.get(StageName.INFER)
    # Actors that died and came again have told of themselves more than once.
    model_workers = min(len(state.workers), most_workers or len(state.workers))
    return {
        "limit": limit_of(infer, model_workers, state.workers) if infer is not None else None,
        "total": counts.total,
        "predicted": counts.predicted,
        "rejected": counts.rejected,
        "rate": pace.rate,
        "seconds_left": pace.seconds_left(counts.total - counts.done),
        "rejects_by_class": state.rejects,
        "last_error": state.last_error,
        "workers": [
            {"device": device, "count": count}
            for device, count in Counter(str(worker.get("device")) for worker in state.workers).items()
        ],
        "batch_sizes": state.batch_sizes,
        "stages": {
            name: {"rows": work.rows, "seconds": work.seconds, "cpu_seconds": work.cpu_seconds}
            for name, work in state.work.items()
        },
    }
