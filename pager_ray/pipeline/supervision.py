"""A claim's time on a cluster: its board, what it tells of itself, its rows for Ray Data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import ray

from pager_ray.errors import StorageError
from pager_ray.pipeline.board import start_board
from pager_ray.pipeline.cluster import Reservation
from pager_ray.pipeline.progress import ProgressLog
from pager_ray.pipeline.stopping import finishing_what_is_begun, patience
from pager_ray.plain import get_logger
from pager_ray.report.stages import stage_lines
from pager_ray.runs.claim import Claim
from pager_ray.runs.layout import PROGRESS_FILE
from pager_ray.stages.counts import Counts
from pager_ray.stages.work import StageWork, summarise_stages
from pager_ray.tracing import recorder

log = get_logger(__name__)

TRACE_SECONDS = 30.0
"""How long the board may take to hand over a trace."""

# Rows of a listing are small: a block of them is a few megabytes.
ROWS_PER_CHUNK = 65_536


def board_of(claim: Claim, gates: tuple[str, ...]) -> Any:
    """A progress board that starts from what earlier starts finished, and stops writers if the lease is lost.

    Args:
        gates: stages that take no more rows once the job is told to stop; what is past the last is finished.
    """
    again = len(claim.pending) - len(claim.before.missing)
    counts = Counts(claim.before.inputs, claim.before.predictions, claim.before.rejects - again)
    board = start_board(
        counts,
        claim.errors.budget_rows(claim.before.inputs),
        gates,
        str(claim.layout.root),
        stop_when_all_fail=claim.errors.stop_when_all_fail,
        traced=recorder() is not None,
    )
    claim.lease.when_lost(lambda: board.lose_output.remote())
    return board


@contextmanager
def progress(claim: Claim, board: Any, reservation: Reservation) -> Iterator[None]:
    """Tell of the job while a ``with`` block runs; note in the run file what workers and stages did.

    SIGTERM lets the model finish what it has begun, see :mod:`pager_ray.pipeline.stopping`.
    """
    start = claim.manifest["starts"][-1]
    told = ProgressLog(
        board,
        workers=start["workers"],
        batch_sizes=claim.batch_sizes,
        note=partial(_note, claim),
        model_workers=reservation.model_workers,
        bottleneck=lambda work: (_summary(work, start["workers"], reservation) or {}).get("bottleneck"),
    )
    try:
        with told, finishing_what_is_begun(board, patience(claim.errors.stop_seconds)) as stop:
            yield
            claim.told_to_stop = stop.is_set()
    finally:
        _take_trace(board)
        start["stages"] = _summary(told.work, start["workers"], reservation)
        for line in stage_lines(start["stages"]) if start["stages"] else []:
            log.info("%s", line)


def _summary(
    work: Mapping[str, StageWork], workers: Sequence[Mapping[str, Any]], reservation: Reservation
) -> dict[str, Any] | None:
    return summarise_stages(
        {name: work[name] for name in sorted(work, key=lambda name: work[name].began or 0.0)},
        model_workers=min(len(workers), reservation.model_workers),
        workers_per_gpu=1 / reservation.actor_gpus if reservation.actor_gpus else None,
        cores=ray.cluster_resources().get("CPU", 0.0),
        workers=workers,
    )


def _take_trace(board: Any) -> None:
    """Add what the stages did to the driver's trace, where there is one."""
    current = recorder()
    if current is None:
        return
    try:
        current.events += ray.get(board.traced.remote(), timeout=TRACE_SECONDS)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        log.warning("the trace has the driver alone, the stages' part is lost with the job's board: %s", error)


def _note(claim: Claim, facts: dict[str, Any]) -> None:
    """Leave what a look at the job showed where ``pager-ray status`` finds it."""
    try:
        claim.layout.progress.once().write_json(PROGRESS_FILE, facts | {"start": len(claim.manifest["starts"])})
    except StorageError as error:
        # The next look comes soon; nothing depends on it.
        log.debug("progress could not be noted: %s", error)


def dataset_of(rows: pa.Table) -> ray.data.Dataset:
    """Rows of the manifest for Ray Data: the driver has them, no task waits for the store to list them.

    As blocks: to count the rows of tables Ray Data would run a task, and the job would wait for its worker to start, on
    a head without CPUs for a node of its own, before any model is asked for.
    """
    starts = range(0, rows.num_rows, ROWS_PER_CHUNK)
    return ray.data.from_blocks([rows.slice(start, ROWS_PER_CHUNK) for start in starts])
