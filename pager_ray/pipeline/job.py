"""The inference job, from listing to ``run.json``: read :func:`run_job` from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.data import DataContext

from pager_ray.config import RunConfig
from pager_ray.listing import Listing, list_inputs
from pager_ray.model import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.pipeline.cluster import READ_TASK_MEMORY, connected, reserve
from pager_ray.pipeline.infer import InferActor
from pager_ray.pipeline.isolate import isolated
from pager_ray.pipeline.lifecycle import Claim, claim_output, job_context, rows_per_shard, run_to_end
from pager_ray.pipeline.sink import ShardSink
from pager_ray.plan.outcome import RunPlan
from pager_ray.retrying import Retry
from pager_ray.runs import Reconciliation, RunLayout
from pager_ray.stages.read import make_read_fn
from pager_ray.stages.rows import ENCODE_SCHEMA, READ_SCHEMA
from pager_ray.stages.settings import (
    actor_pool,
    checkpoint_identity,
    describe_checkpoint,
    infer_settings,
    largest_batch,
    normals_arrive_half,
    read_settings,
    stitch_settings,
    stored_schema,
)
from pager_ray.stages.stitch import make_stitch_fn
from pager_ray.storage import Folder, mask_uri

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    ``fresh`` counts the rows that this start finished; the others were finished by earlier ones. ``plan`` is the
    section of ``run.json`` that tells the plan, where the run was given one and had something left to do.
    """

    output: str
    reconciliation: Reconciliation
    fresh: int
    seconds: float
    previews: bool
    plan: Mapping[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """0 complete; 3 complete, but with rejects."""
        return 3 if self.reconciliation.rejects else 0


def run_job(
    config: RunConfig,
    *,
    overwrite: bool = False,
    retry_rejects: str | None = None,
    plan: RunPlan | None = None,
    model_stage: type[InferActor] = InferActor,
) -> RunSummary:
    """Run, or resume, one inference job to its end.

    Args:
        config: from :func:`pager_ray.config.load_config`.
        overwrite: delete a run of other settings that stands at the same output.
        retry_rejects: a class of rejects to do again, or ``all``.
        plan: what was planned; the run file and the summary set it beside what the job took.
        model_stage: what stands in for the model, where the job around it is measured.

    Raises:
        ConfigError: before any work, when the inputs, the output or the configuration cannot be used.
        CheckpointError: the checkpoint cannot be used.
        ErrorBudgetExceeded: too many rejects; the run can be resumed with a larger budget.
        PagerError: the job failed; the run can be resumed.
    """
    began = time.monotonic()

    # 1. The checkpoint: found, pinned and digested once, here; actors load the same files.
    checkpoint = resolve_checkpoint(config.checkpoint, revision=config.revision)

    # 2. The inputs: every source listed, every row with an id of its own.
    listed = list_inputs(config.input.uris, Retry(config.errors.retry_seconds), config.input.schemes)
    log.info("%s inputs, checkpoint %s", f"{len(listed):,}", checkpoint.name)

    # 3. The output: a new run's manifest, or the same run found again, cleaned of what its writers left half-written.
    claim = claim_run(config, checkpoint, listed, overwrite=overwrite, retry_rejects=retry_rejects)

    # 4. The pipeline, on a cluster; the run file says how it ended, whatever ends it.
    fresh = len(claim.pending)
    beside = plan.beside(fresh) if plan is not None and fresh else None
    if beside is not None:
        claim.manifest["plan"] = beside

    def pipeline() -> None:
        _run_pipeline(config, checkpoint, claim, model_stage)
        if beside is not None and not claim.told_to_stop:
            beside["actual_seconds"] = round(time.monotonic() - began, 1)

    result = run_to_end(claim, connected(config.compute.address), pipeline)
    return RunSummary(str(claim.layout.root), result, fresh, time.monotonic() - began, config.output.previews, beside)


def _run_pipeline(
    config: RunConfig, checkpoint: ResolvedCheckpoint, claim: Claim, model_stage: type[InferActor]
) -> None:
    """Stages of the Ray Data job; every stage maps rows 1:1, rejects included."""
    reservation = reserve(config.compute)
    shard_rows = rows_per_shard(config.output.rows_per_shard, claim.before.inputs)
    batch_size = largest_batch(config.compute, shard_rows)
    half_normals = normals_arrive_half(config.precision, reservation)
    stitching = stitch_settings(config, checkpoint, half_normals=half_normals)
    schema = stored_schema(config, checkpoint)
    board = claim.board()
    with DataContext.current(job_context()), claim.progress(board, reservation):
        # 1. list: the manifest's rows without those that earlier starts committed, a million at a time.
        for rows in claim.partitions():
            # 2. Small blocks: a block is what a killed job repeats and what one shard holds.
            rows = rows.repartition(target_num_rows_per_block=shard_rows)
            # 3. read + project, CPU: bytes → ERP → six uint8 faces.
            rows = rows.map_batches(
                isolated("read", make_read_fn(read_settings(config, checkpoint)), READ_SCHEMA, board),
                batch_format="pyarrow",
                batch_size=None,
                zero_copy_batch=True,
                num_cpus=reservation.task_cpus,
                memory=READ_TASK_MEMORY,
            )
            # 4. infer, GPU actors: faces → depth, normals and sky on the faces.
            rows = rows.map_batches(
                model_stage,
                fn_constructor_args=(infer_settings(config, checkpoint, claim, reservation, batch_size), board),
                compute=actor_pool(config.compute),
                batch_format="pyarrow",
                batch_size=batch_size,
                zero_copy_batch=True,
                num_cpus=reservation.actor_cpus,
                num_gpus=reservation.actor_gpus,
            )
            # 5. stitch + encode, CPU: faces → ERP maps → stored bytes.
            rows = rows.map_batches(
                isolated("stitch", make_stitch_fn(stitching), ENCODE_SCHEMA, board),
                batch_format="pyarrow",
                batch_size=None,
                zero_copy_batch=True,
                num_cpus=reservation.task_cpus,
            )
            # 6. write, CPU: one shard per block, committed with its ids.
            rows.write_datasink(
                ShardSink(claim.layout, claim.generation, schema, shard_rows, board),
                ray_remote_args={"num_cpus": reservation.task_cpus},
            )


def claim_run(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    listed: Listing,
    *,
    overwrite: bool = False,
    retry_rejects: str | None = None,
) -> Claim:
    """Make the output that a configuration names its own; see :func:`~pager_ray.pipeline.lifecycle.claim_output`."""
    return claim_output(
        RunLayout(Folder(config.output.uri, Retry(config.errors.retry_seconds))),
        listed,
        config=_shown_config(config),
        identity=config.result_keys() | checkpoint_identity(checkpoint),
        sections={"checkpoint": describe_checkpoint(checkpoint)},
        errors=config.errors,
        overwrite=overwrite,
        retry_rejects=retry_rejects,
    )


def _shown_config(config: RunConfig) -> dict[str, Any]:
    """The configuration as written to ``run.json``: URIs without credentials."""
    shown = config.model_dump(mode="json")
    shown["input"]["uris"] = [mask_uri(uri) for uri in config.input.uris]
    for section, key in ((shown["output"], "uri"), (shown, "checkpoint")):
        section[key] = mask_uri(section[key])
    return shown
