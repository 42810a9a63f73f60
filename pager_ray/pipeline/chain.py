"""How a list of stages becomes Ray Data operators: one row of data per stage, one function that wires them.

A stage maps blocks of rows 1:1 and knows nothing of this. What Ray has to know of it, its resources and whether it runs
in actors, stands in its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from pager_ray.config.schema import ComputeConfig
from pager_ray.pipeline.causes import known_cause
from pager_ray.pipeline.cluster import Reservation, connected, reserve
from pager_ray.pipeline.isolate import isolated
from pager_ray.pipeline.sink import ShardSink
from pager_ray.pipeline.supervision import board_of, partitions, progress
from pager_ray.runs import Reconciliation
from pager_ray.runs.claim import Claim, run_to_end
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import TableFunction
from pager_ray.tracing import entering, span

# Depth, normals and sky on the faces are at least 18 MB a panorama: at Ray's default of 128 MB blocks of more than
# seven panoramas would be cut up on the way to the writer.
BLOCK_BYTES = 2**30


@dataclass(frozen=True)
class ActorOptions:
    """What a stage's actors are made with.

    Attributes:
        settings: the first argument of the actor's class; the second is the board.
        pool: how many there are, and how many calls one takes at a time.
        batch_size: rows per call.
    """

    settings: Any
    pool: ActorPoolStrategy
    batch_size: int


@dataclass(frozen=True)
class Stage:
    """One stage of a chain.

    Attributes:
        name: in rejects, metrics and reports.
        function: of blocks, 1:1 in rows; or the class of its actors, which isolate their rows themselves.
        schema: of what it returns.
        memory: bytes that Ray reserves per task.
        actor: None for tasks.
    """

    name: StageName
    function: TableFunction | type
    schema: pa.Schema
    memory: int | None = None
    actor: ActorOptions | None = None


@dataclass(frozen=True)
class Chain:
    """The stages of a job between its listing and its shards.

    Attributes:
        stages: in order.
        stored: columns of the shards.
        shard_rows: rows per block and shard: what a killed job repeats.
        gates: stages that take no more rows once the job is told to stop; what is past the last is finished.
    """

    stages: Sequence[Stage]
    stored: pa.Schema
    shard_rows: int
    gates: tuple[str, ...] = (StageName.READ, StageName.INFER)


def run_chain(claim: Claim, compute: ComputeConfig, make_chain: Callable[[Reservation], Chain]) -> Reconciliation:
    """Run a claim to its end on a cluster, which is connected to, or started, if something is left to do.

    Args:
        compute: where, and how much of it.
        make_chain: makes the stages for what tasks and actors reserve there.

    Raises:
        ConfigError: the cluster has not what ``compute`` asks for.
        PagerError: as :func:`~pager_ray.runs.claim.run_to_end`.
    """

    def on_cluster() -> None:
        with entering("find or start Ray", connected(compute.address)), span("pipeline"):
            reservation = reserve(compute)
            run_stages(claim, reservation, make_chain(reservation))

    return run_to_end(claim, on_cluster, known_cause)


def run_stages(claim: Claim, reservation: Reservation, chain: Chain) -> None:
    """Send a claim's pending rows through the stages, and write them; returns when every row is committed."""
    board = board_of(claim, chain.gates)
    with DataContext.current(job_context()), progress(claim, board, reservation):
        # The manifest's rows without those that earlier starts committed, a million at a time.
        for rows in partitions(claim):
            rows = rows.repartition(target_num_rows_per_block=chain.shard_rows)
            for stage in chain.stages:
                rows = add_stage(rows, stage, board, reservation)
            # One shard per block, committed with its ids.
            rows.write_datasink(
                ShardSink(claim.layout, claim.generation, chain.stored, chain.shard_rows, board),
                ray_remote_args={"num_cpus": reservation.task_cpus},
            )


def add_stage(rows: ray.data.Dataset, stage: Stage, board: Any, reservation: Reservation) -> ray.data.Dataset:
    """The dataset behind one more stage."""
    if stage.actor is not None:
        return rows.map_batches(
            stage.function,
            fn_constructor_args=(stage.actor.settings, board),
            compute=stage.actor.pool,
            batch_format="pyarrow",
            batch_size=stage.actor.batch_size,
            zero_copy_batch=True,
            num_cpus=reservation.actor_cpus,
            num_gpus=reservation.actor_gpus,
        )
    memory = {} if stage.memory is None else {"memory": stage.memory}
    return rows.map_batches(
        isolated(stage.name, stage.function, stage.schema, board),
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
        num_cpus=reservation.task_cpus,
        **memory,
    )


def job_context() -> DataContext:
    """Ray Data's settings for a job."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    # Our own errors reach the driver as they are, not as text in Ray Data's wrapper.
    context.raise_original_map_exception = True
    return context
