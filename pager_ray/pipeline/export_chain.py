"""The export job: ids in, files out; nothing but ids and outcomes passes through the driver or the object store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import DataContext, Datasink
from ray.data.block import Block, BlockAccessor

from pager_ray.errors import PagerError, Terminated
from pager_ray.export.exporter import EXPORT_SCHEMA, make_export_fn
from pager_ray.export.formats import ExportSettings
from pager_ray.export.records import Records
from pager_ray.pipeline.board import start_board
from pager_ray.pipeline.causes import known_cause
from pager_ray.pipeline.chain import Stage, add_stage, job_context
from pager_ray.pipeline.cluster import Reservation, connected, giving_back
from pager_ray.pipeline.isolate import this_node
from pager_ray.pipeline.progress import ProgressLog
from pager_ray.pipeline.stopping import finishing_what_is_begun, patience
from pager_ray.pipeline.supervision import dataset_of
from pager_ray.runs.claim import PARTITION_ROWS
from pager_ray.stages.counts import Counts
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import PUT_OFF
from pager_ray.stages.settings import SMALL_CLUSTER_CPUS
from pager_ray.stages.work import Work

ROWS_PER_TASK = 32
"""What a killed task repeats, and what one record holds; smaller where there are few rows for the cores."""

TASKS_PER_CPU = 8
STOP_SECONDS = 30.0

# A record is a request: it needs no core of its own.
RECORD_CPUS = 0.1


def run_export_job(
    run: str,
    ids: Sequence[str],
    records: Records,
    settings: ExportSettings,
    *,
    already: int = 0,
    address: str | None = None,
) -> None:
    """Export predictions on a Ray cluster; every id has its record at the end.

    Args:
        run: the run's URI.
        ids: to export, shard by shard, so that a task reads few of them.
        records: of the export.
        settings: what to make.
        already: panoramas that earlier starts exported, for the progress line.
        address: of the cluster.

    Raises:
        Terminated: by SIGTERM; the same job goes on.
        PagerError: the job failed; the same job goes on.
    """
    with connected(address), giving_back():
        try:
            _run(run, ids, records, settings, already)
        except Exception as error:
            known = known_cause(error)
            if known is not None and known is not error:
                raise known from error
            raise


def _run(run: str, ids: Sequence[str], records: Records, settings: ExportSettings, already: int) -> None:
    board = start_board(
        Counts(already + len(ids), already), None, (StageName.EXPORT,), str(records.output), stop_when_all_fail=False
    )
    cpus = ray.cluster_resources().get("CPU", 0.0)
    rows_per_task = max(1, min(ROWS_PER_TASK, len(ids) // max(1, int(cpus * TASKS_PER_CPU))))
    task_cpus = 1 if cpus >= SMALL_CLUSTER_CPUS or not cpus else 1 - RECORD_CPUS
    reservation = Reservation(task_cpus, actor_cpus=0, actor_gpus=0, model_threads=None, model_workers=0)
    stage = Stage(StageName.EXPORT, make_export_fn(run, records.output, settings), EXPORT_SCHEMA)
    stopping = finishing_what_is_begun(board, patience(STOP_SECONDS))
    with DataContext.current(job_context()), ProgressLog(board), stopping as told:
        for first in range(0, len(ids), PARTITION_ROWS):
            # 1. ids, in chunks: the driver has them from the ledger.
            part = pa.table({"id": pa.array(ids[first : first + PARTITION_ROWS], pa.string())})
            # URIs are in shards that only workers open: until then a row goes by its id.
            part = part.append_column("uri", part.column("id"))
            rows = dataset_of(part).repartition(target_num_rows_per_block=rows_per_task)
            # 2. read + make + put, CPU, 1:1: a prediction and its picture → files on the output.
            rows = add_stage(rows, stage, board, reservation)
            # 3. record: what became of the ids of a task.
            rows.write_datasink(RecordSink(records, board), ray_remote_args={"num_cpus": RECORD_CPUS})
        if told.is_set():
            raise Terminated


class RecordSink(Datasink[None]):
    """Records the outcomes of each task's rows."""

    def __init__(self, records: Records, board: Any) -> None:
        self.records = records
        self.board = board

    def get_name(self) -> str:
        """The stage's name in Ray's own reports."""
        return "record"

    def write(self, blocks: Iterable[Block], ctx: Any) -> None:
        """Record one task's rows.

        Raises:
            StorageError: the record cannot be put.
            PagerError: most rows meet errors that nobody foresaw.
        """
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        rows = pa.concat_tables([EXPORT_SCHEMA.empty_table(), *(table for table in tables if table.num_rows)])
        rows = rows.filter(pc.not_equal(pc.fill_null(rows.column("error_class"), ""), PUT_OFF))
        if not rows.num_rows:
            return
        if reason := ray.get(self.board.why_stop.remote()):
            raise PagerError(reason)
        began, cpu_began = time.perf_counter(), time.process_time()
        self.records.commit(rows)
        classes = pc.value_counts(rows.column("error_class").drop_null()).to_pylist()
        rejects = {entry["values"]: entry["counts"] for entry in classes}
        messages = rows.column("message").drop_null()
        spent = time.perf_counter() - began, time.process_time() - cpu_began
        ray.get(
            self.board.end.remote(
                StageName.WRITE,
                f"record-{ctx.task_idx}",
                Work(rows.num_rows, *spent, rows.nbytes, this_node()),
                rows.num_rows - sum(rejects.values()),
                rejects,
                messages[-1].as_py() if len(messages) else None,
            )
        )
