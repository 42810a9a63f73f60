"""Stage *write*: blocks to shards that count, through :func:`pager_ray.runs.write_shard` and the ledger."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from pager_ray.errors import ErrorBudgetExceeded, OutputInUseError, PagerError
from pager_ray.pipeline.isolate import this_node
from pager_ray.runs import RunLayout, write_shard
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import PUT_OFF
from pager_ray.stages.work import Work

# Ray keeps the write operation's id among the task's arguments under this name.
_WRITE_ID = "write_uuid"

MAX_DEATHS = 8
"""A shard whose writers died this often is not written by trying again: the job says so instead of going on."""


class ShardSink(Datasink[None]):
    """Writes each task's blocks as one shard: results, rejects, and their npz files and previews.

    The last of its puts is the record in the ledger; a task that dies before it has done nothing, and one that is
    repeated after it does nothing.

    Args:
        generation: of the ledger; see :mod:`pager_ray.runs.ledger`.
        rows_per_shard: rows to gather per task.
        board: the :class:`~pager_ray.pipeline.board.Board`.
    """

    def __init__(self, layout: RunLayout, generation: int, schema: pa.Schema, rows_per_shard: int, board: Any) -> None:
        self.layout = layout
        self.generation = generation
        self.schema = schema
        self.rows_per_shard = rows_per_shard
        self.board = board

    def get_name(self) -> str:
        """The stage's name in Ray's own reports."""
        return StageName.WRITE

    @property
    def min_rows_per_write(self) -> int:
        """Rows that Ray gathers for one task."""
        return self.rows_per_shard

    def write(self, blocks: Iterable[Block], ctx: Any) -> None:
        """Write one task's rows.

        Raises:
            ErrorBudgetExceeded: the run has more rejects than it may have; the rows are not committed.
            OutputInUseError: another job writes to the output by now.
            StorageError: something cannot be written.
            PagerError: the task's workers died too often.
        """
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        rows = pa.concat_tables([table for table in tables if table.num_rows])
        rows = rows.filter(pc.not_equal(pc.fill_null(rows.column("error_class"), ""), PUT_OFF))
        if not rows.num_rows:
            return
        task = f"{ctx.kwargs[_WRITE_ID][:12]}-{ctx.task_idx:08}"
        began, cpu_began = time.perf_counter(), time.process_time()
        attempt, reason = ray.get([self.board.begin.remote(StageName.WRITE, task), self.board.why_stop.remote()])
        if reason is not None:
            raise _why_stop(reason, self.layout)
        deaths = attempt.deaths
        if deaths >= MAX_DEATHS:
            first = rows.column("id")[0].as_py()
            raise PagerError(
                f"{self.layout.root}: writing the shard that starts with {first!r} killed its worker {deaths} times, "
                "most likely for want of memory; set output.rows_per_shard lower and run the same command again"
            )
        # Where nobody died this is the first attempt, or a repetition for Ray's sake: the commit tells them apart.
        record = self.layout.ledger.committed(self.generation, task) if deaths else None
        counts = record is not None
        if record is None:
            # Every attempt has a name of its own: none writes over a shard that counts.
            shard = f"{task}-{secrets.token_hex(3)}"
            record = write_shard(self.layout, shard, rows, self.schema)
            counts = self.layout.ledger.commit(self.generation, task, record)
            if not counts:
                self.layout.drop(shard)
        rejects = _rejects_by_class(record) if counts else {}
        predicted = record.num_rows - sum(rejects.values()) if counts else 0
        spent = time.perf_counter() - began, time.process_time() - cpu_began
        work = Work(rows.num_rows, *spent, rows.nbytes, this_node())
        ray.get(self.board.end.remote(StageName.WRITE, task, work, predicted, rejects, _last_message(rows)))


def _rejects_by_class(record: pa.Table) -> dict[str, int]:
    counts = pc.value_counts(record.column("error_class").drop_null()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counts}


def _last_message(rows: pa.Table) -> str | None:
    messages = rows.column("message").drop_null()
    return messages[-1].as_py() if len(messages) else None


def _why_stop(reason: str, layout: RunLayout) -> PagerError:
    if reason == "lost":
        return OutputInUseError(
            f"output.uri: another job has taken over {layout.root} and goes on there; wait for it, or choose another "
            "output"
        )
    if reason == "budget":
        return ErrorBudgetExceeded(
            f"more inputs were rejected than errors.max_rejects allows; look at {layout.rejects}, then run again with "
            "a larger errors.max_rejects"
        )
    return PagerError(reason)
