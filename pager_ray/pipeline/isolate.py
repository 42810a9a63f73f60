"""Rows that harm their stage are found and left out, and their neighbours are not.

Ray repeats a task whose worker died, for ever if need be: right for a node that was taken away, wrong for a file that
crashes its decoder each time. So a stage notes on the board what it is about to work on. A block that finds its earlier
attempt dead goes on row by row, each one noted before it is tried and alone in its process.

A row whose worker died while it was alone is suspected, no more: nodes are taken away, workers are killed. What may run
anywhere is tried in quarantine from then on, where an end is seen with its cause
(:mod:`~pager_ray.pipeline.quarantine`): a row that ends it is a reject, one that leaves it is innocent whatever
happened before. The model cannot be had a second time beside itself, and a row that takes its whole node along leaves
nobody to see it. There alone deaths are counted: after :data:`~pager_ray.pipeline.board.UNSEEN_DEATHS` of the same
row, each time by itself, it is a reject too, and every row comes to an end. To lose an innocent one takes four kills
from outside, each at the moment in which it is alone, after one of its block; and it can be tried again:
``--retry-rejects worker_death``.

An error that nobody foresaw is treated alike: the rows of its block run one by one, and the one that meets it again is
the reject. Errors of this package's own family are foreseen: they end the job, except for an array that does not have
the shape or type that a function takes, which is its row's trouble.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from pager_ray.errors import InputError, PagerError, ShapeError
from pager_ray.pipeline.board import UNSEEN_DEATHS, Attempt, Suspicion
from pager_ray.pipeline.quarantine import Convicted, NotStarted, try_in_quarantine
from pager_ray.pipeline.trace_log import SAMPLED
from pager_ray.plain import get_logger
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import IDENTITY, PUT_OFF, TableFunction, carry, iterate, naming_row, reject, to_table
from pager_ray.stages.work import Work
from pager_ray.tracing import Event, Samples, event

log = get_logger(__name__)


class Room:
    """The process that several calls share: blocks work in it side by side, a row that is tried alone has it to itself.

    No other row may be charged with the death that this one causes, nor this one with another's.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside = 0
        self._waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Beside others that share."""
        with self._change:
            self._change.wait_for(lambda: not self._waiting and self._inside >= 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """With nobody else, and before those that came later."""
        with self._change:
            self._waiting += 1
            self._change.wait_for(lambda: not self._inside)
            self._waiting -= 1
            self._inside = -1
        try:
            yield
        finally:
            with self._change:
                self._inside = 0
                self._change.notify_all()


Pieces = Callable[[pa.Table], Sequence[pa.Table]]


def single_rows(table: pa.Table) -> Sequence[pa.Table]:
    """A block's rows, each a table."""
    return [table.slice(number, 1) for number in range(table.num_rows)]


def isolated(
    stage: str, function: TableFunction, schema: pa.Schema, board: Any, pieces: Pieces = single_rows
) -> TableFunction:
    """A stage's block function that survives its rows.

    Args:
        stage: its name in rejects.
        function: maps rows 1:1; must give every row the same result alone as in its block.
        schema: of what it returns.
        board: the :class:`~pager_ray.pipeline.board.Board`.
        pieces: the parts of a block that can be tried alone, single rows where the stage does not read several at once.
    """

    def call(table: pa.Table) -> pa.Table:
        return call_isolated(stage, function, table, schema, board, pieces=pieces)

    return call


def call_isolated(
    stage: str,
    function: TableFunction,
    table: pa.Table,
    schema: pa.Schema,
    board: Any,
    *,
    room: Room | None = None,
    busy_seconds: Callable[[], float] | None = None,
    pieces: Pieces = single_rows,
) -> pa.Table:
    """Call a block function once; see :func:`isolated`.

    Args:
        room: that this call shares with others, where one process takes several at once and holds what no second one
            can have: rows are never tried elsewhere.
        pieces: as in :func:`isolated`.
        busy_seconds: how long the call kept the stage's device busy; by default, as long as it took.
    """
    if not table.num_rows:
        return function(table)
    task, trial = _task(table), _Trial(stage, function, schema, board, room or Room(), room is None, pieces)
    began, cpu_began, clock = time.perf_counter(), time.process_time(), time.time()
    attempt: Attempt = ray.get(board.begin.remote(stage, task, table.num_rows))
    if attempt.fatal is not None:
        raise PagerError(attempt.fatal)
    if attempt.put_off:
        return _put_off(table, schema)
    samples = Samples() if attempt.trace == SAMPLED else None
    with samples or nullcontext():
        if attempt.deaths:
            result = trial.one_by_one(task, table)
        else:
            try:
                with trial.room.shared():
                    result = function(table)
            except Exception as error:
                # Whatever it is, it is met again below, by its row alone, and named there.
                if _ends_the_job(error):
                    raise
                log.warning("stage %s: a block failed, its rows are tried one by one", stage, exc_info=True)
                result = trial.one_by_one(task, table)
    seconds = busy_seconds() if busy_seconds is not None else time.perf_counter() - began
    work = Work(table.num_rows, seconds, time.process_time() - cpu_began, result.nbytes, this_node())
    board.end.remote(stage, task, work, known=_new_rejects(result, stage))
    if attempt.trace:
        board.trace.remote(_events(stage, clock, work, samples))
    return result


def _new_rejects(result: pa.Table, stage: str) -> dict[str, int]:
    """Rejects by class that a stage made; the first stage also tells of those that the listing made."""
    if not {"error_class", "stage"} <= {*result.column_names}:
        return {}
    made = (StageName.LIST, stage) if stage in (StageName.UNPACK, StageName.READ) else (stage,)
    mine = pc.is_in(result.column("stage"), pa.array(made, pa.string()))
    counted = pc.value_counts(result.column("error_class").filter(mine).drop_null()).to_pylist()
    return {one["values"]: one["counts"] for one in counted if one["values"] != PUT_OFF}


def traced_process(stage: str) -> str:
    """What this process is called in a trace."""
    node = this_node()
    return f"{stage}, process {os.getpid()}" + (f" of node {node[:8]}" if node else "")


def _events(stage: str, began: float, work: Work, samples: Samples | None) -> list[Event]:
    """A block's events: the whole, and what its thread was seen doing."""
    process, thread = traced_process(stage), threading.current_thread().name
    facts = {"rows": work.rows, "cpu_seconds": round(work.cpu_seconds, 4), "bytes": work.bytes_out}
    whole = event(stage, "stage", began, time.time() - began, process, facts, thread)
    return [whole, *(samples.events(process, thread) if samples is not None else [])]


def this_node() -> str | None:
    """The cluster's name for the node that this process runs on; None outside a cluster."""
    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else None


def _put_off(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows without anything done to them, marked so that the writer leaves them out."""
    rows = [
        {name: scalars[name].as_py() for name in ("id", "uri")} | {"error_class": PUT_OFF} for scalars in iterate(table)
    ]
    return to_table(rows, schema, table.num_rows, PUT_OFF)


def _ends_the_job(error: Exception) -> bool:
    return isinstance(error, PagerError) and not isinstance(error, ShapeError)


def _task(table: pa.Table) -> str:
    """A name for a block: its ids, whatever else comes with them."""
    digest = hashlib.blake2b(digest_size=16)
    for id in table.column("id").to_pylist():
        digest.update(f"{id}\0".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Trial:
    """How the rows of a stage are tried one by one; ``elsewhere`` says whether another process can do it as well."""

    stage: str
    function: TableFunction
    schema: pa.Schema
    board: Any
    room: Room
    elsewhere: bool
    pieces: Pieces

    def one_by_one(self, task: str, table: pa.Table) -> pa.Table:
        results = []
        for piece in self.pieces(table):
            with self.room.alone():
                results.append(self._unless_deadly(task, piece))
        return pa.concat_tables(results)

    def _unless_deadly(self, task: str, single: pa.Table) -> pa.Table:
        # Of several rows the first one's stands for all.
        id = single.column("id")[0].as_py()
        # To be known after a death, it must have been heard before.
        before: Suspicion = ray.get(self.board.try_alone.remote(self.stage, task, id))
        if before.verdict is not None:
            return self._convicted(single, before.deaths, before.verdict)
        if before.deaths >= UNSEEN_DEATHS:
            return self._convicted(single, before.deaths, "alone each time but the first")
        try:
            result = self._alone(self._in_quarantine if before.deaths and self.elsewhere else self.function, single)
        except Convicted as convicted:
            deaths = before.deaths + convicted.deaths
            verdict = f"at last by {convicted.cause} in a process of its own"
            # Another row of the block may still end this worker.
            ray.get(self.board.convict.remote(self.stage, task, id, deaths, verdict))
            return self._convicted(single, deaths, verdict)
        ray.get(self.board.survived.remote(self.stage, task, id))
        return result

    def _in_quarantine(self, single: pa.Table) -> pa.Table:
        try:
            return try_in_quarantine(self.function, single)
        except NotStarted as error:
            log.warning("stage %s: no process to try a row in, it is tried in the worker's own: %s", self.stage, error)
            return self.function(single)

    def _alone(self, function: TableFunction, single: pa.Table) -> pa.Table:
        try:
            return function(single)
        except Convicted:
            raise
        except Exception as error:
            # Nothing is lost: the row is a reject that says what was raised.
            if _ends_the_job(error):
                raise
            log.exception("stage %s: %s", self.stage, single.column("id")[0].as_py())
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self.board.internal_error.remote(f"{what} (stage {self.stage})")
            message = (
                f"stage {self.stage} failed with {what}; please report it with the file, then --retry-rejects "
                "internal_error"
            )
            return _rejected(single, self.stage, InputError("internal_error", message), self.schema)

    def _convicted(self, single: pa.Table, alone: int, how: str) -> pa.Table:
        # The first death was in company.
        deaths = alone + 1
        error = InputError(
            "worker_death",
            f"killed its worker {deaths} times in stage {self.stage}, {how}: a crash in a library or want of memory; "
            "look at the file, give workers more memory, then --retry-rejects worker_death",
            attempts=deaths,
        )
        return _rejected(single, self.stage, error, self.schema)


def _rejected(rows: pa.Table, stage: str, error: InputError, schema: pa.Schema) -> pa.Table:
    there = rows.column_names
    kept = [field for field in schema if field.name in there and not pa.types.is_large_binary(field.type)]
    carried = [carry(scalars, [*IDENTITY, *kept]) for scalars in iterate(rows)]
    return to_table([reject(row, stage, naming_row(row, error)) for row in carried], schema, len(carried), stage)
