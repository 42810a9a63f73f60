"""How a list of stages becomes Ray Data operators: one row of data per stage, one function that wires them.

A stage maps blocks of rows 1:1 and knows nothing of this. What Ray has to know of it, its resources and whether it runs
in actors, stands in its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy, DataContext

from pager_ray.config.schema import ComputeConfig
from pager_ray.pipeline.causes import known_cause
from pager_ray.pipeline.cluster import Connection, Reservation, giving_back, reserve
from pager_ray.pipeline.isolate import Pieces, isolated, single_rows
from pager_ray.pipeline.sink import ShardSink
from pager_ray.pipeline.supervision import board_of, dataset_of, progress
from pager_ray.runs import Reconciliation
from pager_ray.runs.claim import Claim, run_to_end
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import TableFunction
from pager_ray.stages.unpack import in_row_groups, pack_groups, refuse_large, task_memory, unpack_groups
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
        pieces: the parts of a block that can be tried alone.
    """

    name: StageName
    function: TableFunction | type
    schema: pa.Schema
    memory: int | None = None
    actor: ActorOptions | None = None
    pieces: Pieces = single_rows


@dataclass(frozen=True)
class Chain:
    """The stages of a job between its listing and its shards.

    Attributes:
        stages: in order.
        stored: columns of the shards.
        shard_rows: rows per block and shard: what a killed job repeats.
        gates: stages that take no more rows once the job is told to stop; what is past the last is finished.
        unpack: in front of the others, for rows that lie in row groups; None where there can be none.
    """

    stages: Sequence[Stage]
    stored: pa.Schema
    shard_rows: int
    gates: tuple[str, ...] = (StageName.UNPACK, StageName.READ, StageName.INFER)
    unpack: Stage | None = None


def run_chain(
    claim: Claim,
    compute: ComputeConfig,
    make_chain: Callable[[Reservation], Chain],
    connection: Connection | None = None,
) -> Reconciliation:
    """Run a claim to its end on a cluster, which is connected to, or started, if something is left to do.

    Args:
        compute: where, and how much of it.
        make_chain: makes the stages for what tasks and actors reserve there.
        connection: the cluster, where it was begun to be connected before; None: here.

    Raises:
        ConfigError: the cluster has not what ``compute`` asks for.
        PagerError: as :func:`~pager_ray.runs.claim.run_to_end`.
    """

    def on_cluster() -> None:
        with entering("find or start Ray", (connection or Connection(compute.address)).opened()), span("pipeline"):
            reservation = reserve(compute)
            run_stages(claim, reservation, make_chain(reservation))

    with giving_back():
        return run_to_end(claim, on_cluster, known_cause)


def run_stages(claim: Claim, reservation: Reservation, chain: Chain) -> None:
    """Send a claim's pending rows through the stages, and write them; returns when every row is committed."""
    board = board_of(claim, chain.gates)
    with DataContext.current(job_context()), progress(claim, board, reservation):
        # The manifest's rows without those that earlier starts committed, a million at a time.
        for part in claim.parts():
            rows = _begun(part, chain, board, reservation)
            for stage in chain.stages:
                rows = add_stage(rows, stage, board, reservation)
            # One shard per block, committed with its ids.
            rows.write_datasink(
                ShardSink(claim.layout, claim.generation, chain.stored, chain.shard_rows, board),
                ray_remote_args={"num_cpus": reservation.task_cpus},
            )


def _begun(part: pa.Table, chain: Chain, board: Any, reservation: Reservation) -> ray.data.Dataset:
    """A part's rows in blocks as large as a shard, the row groups that they lie in read."""
    if chain.unpack is None or not pc.any(in_row_groups(part)).as_py():
        return dataset_of(part).repartition(target_num_rows_per_block=chain.shard_rows)
    part = refuse_large(part, reservation.node_memory)
    unpack = replace(chain.unpack, memory=task_memory(part, reservation.node_memory))
    units = dataset_of(pack_groups(part, chain.shard_rows)).repartition(target_num_rows_per_block=1)
    rows = add_stage(units, unpack, board, reservation, unpack_groups)
    return rows.repartition(target_num_rows_per_block=chain.shard_rows)


def add_stage(
    rows: ray.data.Dataset,
    stage: Stage,
    board: Any,
    reservation: Reservation,
    opened: TableFunction | None = None,
) -> ray.data.Dataset:
    """The dataset behind one more stage.

    Args:
        opened: what makes the stage's rows of those that arrive, where they are packed.
    """
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
    function = isolated(stage.name, stage.function, stage.schema, board, stage.pieces)
    return rows.map_batches(
        function if opened is None else lambda table: function(opened(table)),
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
