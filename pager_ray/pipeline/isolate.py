"""Rows that harm their stage are found and left out, and their neighbours are not.

Ray repeats a task whose worker died, for ever if need be: right for a node that was taken away, wrong for a file that
crashes its decoder each time. So a stage notes on the board what it is about to work on. A block that finds its earlier
attempt dead goes on row by row, each one noted before it is tried; a row that has killed its worker twice alone, after
once in company, becomes a reject. Deaths that are nobody's fault seldom meet the same row three times, and where they
do, the row can be tried again: ``--retry-rejects worker_death``.

An error that nobody foresaw is treated alike: the rows of its block run one by one, and the one that meets it again is
the reject. Errors of this package's own family are foreseen: they end the job, except for an array that does not have
the shape or type that a function takes, which is its row's trouble.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyarrow as pa
import ray

from pager_ray.errors import InputError, PagerError, ShapeError
from pager_ray.pipeline.progress import DEATHS_ALONE, Attempt
from pager_ray.stages.rows import IDENTITY, PUT_OFF, TableFunction, carry, iterate, naming_row, reject, to_table
from pager_ray.stages.work import Work

log = logging.getLogger(__name__)


def isolated(stage: str, function: TableFunction, schema: pa.Schema, board: Any) -> TableFunction:
    """A stage's block function that survives its rows.

    Args:
        stage: its name in rejects.
        function: maps rows 1:1; must give every row the same result alone as in its block.
        schema: of what it returns.
        board: the :class:`~pager_ray.pipeline.progress.Board`.
    """

    def call(table: pa.Table) -> pa.Table:
        return call_isolated(stage, function, table, schema, board)

    return call


def call_isolated(
    stage: str,
    function: TableFunction,
    table: pa.Table,
    schema: pa.Schema,
    board: Any,
    *,
    turn: AbstractContextManager[Any] | None = None,
    busy_seconds: Callable[[], float] | None = None,
) -> pa.Table:
    """Call a block function once; see :func:`isolated`.

    Args:
        turn: held while a row is tried by itself, where several calls share a process: no other row may be charged with
            the death that this one causes.
        busy_seconds: how long the call kept the stage's device busy; by default, as long as it took.
    """
    if not table.num_rows:
        return function(table)
    task, turn = _task(table), turn or nullcontext()
    began, cpu_began = time.perf_counter(), time.process_time()
    attempt: Attempt = ray.get(board.begin.remote(stage, task, table.num_rows))
    if attempt.fatal is not None:
        raise PagerError(attempt.fatal)
    if attempt.put_off:
        return _put_off(table, schema)
    if attempt.deaths:
        result = _one_by_one(stage, task, function, table, schema, board, turn)
    else:
        try:
            result = function(table)
        except Exception as error:
            # Whatever it is, it is met again below, by its row alone, and named there.
            if _ends_the_job(error):
                raise
            log.warning("stage %s: a block failed, its rows are tried one by one", stage, exc_info=True)
            result = _one_by_one(stage, task, function, table, schema, board, turn)
    seconds = busy_seconds() if busy_seconds is not None else time.perf_counter() - began
    work = Work(table.num_rows, seconds, time.process_time() - cpu_began, result.nbytes, this_node())
    board.end.remote(stage, task, work)
    return result


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


def _one_by_one(
    stage: str,
    task: str,
    function: TableFunction,
    table: pa.Table,
    schema: pa.Schema,
    board: Any,
    turn: AbstractContextManager[Any],
) -> pa.Table:
    results = []
    for number, scalars in enumerate(iterate(table)):
        with turn:
            results.append(_try_unless_deadly(stage, task, function, table.slice(number, 1), scalars, schema, board))
    return pa.concat_tables(results)


def _try_unless_deadly(
    stage: str,
    task: str,
    function: TableFunction,
    single: pa.Table,
    scalars: dict[str, pa.Scalar],
    schema: pa.Schema,
    board: Any,
) -> pa.Table:
    id = scalars["id"].as_py()
    # To be known after a death, it must have been heard before.
    deaths = ray.get(board.try_alone.remote(stage, task, id))
    if deaths >= DEATHS_ALONE:
        error = InputError(
            "worker_death",
            f"killed its worker {deaths + 1} times in stage {stage}, alone the last times: a crash in a library or "
            "want of memory; look at the file, give workers more memory, then --retry-rejects worker_death",
            attempts=deaths + 1,
        )
        return _rejected(scalars, stage, error, schema)
    result = _try_alone(stage, function, single, scalars, schema, board)
    ray.get(board.survived.remote(stage, task, id))
    return result


def _try_alone(
    stage: str, function: TableFunction, single: pa.Table, scalars: dict[str, pa.Scalar], schema: pa.Schema, board: Any
) -> pa.Table:
    try:
        return function(single)
    except Exception as error:
        # Nothing is lost: the row is a reject that says what was raised.
        if _ends_the_job(error):
            raise
        log.exception("stage %s: %s", stage, scalars["id"].as_py())
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        board.internal_error.remote(f"{what} (stage {stage})")
        message = (
            f"stage {stage} failed with {what}; please report it with the file, then --retry-rejects internal_error"
        )
        return _rejected(scalars, stage, InputError("internal_error", message), schema)


def _rejected(scalars: dict[str, pa.Scalar], stage: str, error: InputError, schema: pa.Schema) -> pa.Table:
    kept = [field for field in schema if field.name in scalars and not pa.types.is_large_binary(field.type)]
    row = carry(scalars, [*IDENTITY, *kept])
    return to_table([reject(row, stage, naming_row(row, error))], schema, 1, stage)
