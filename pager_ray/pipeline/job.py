"""The inference job, from listing to ``run.json``: read :func:`run_job` from top to bottom."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

from pager_ray.config import RunConfig
from pager_ray.listing.remembered import Remembering, write_index
from pager_ray.model import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.pipeline.chain import ActorOptions, Chain, Stage, run_chain
from pager_ray.pipeline.cluster import READ_TASK_MEMORY, Connection, Reservation, actor_pool
from pager_ray.pipeline.comparing import compare_on_cluster
from pager_ray.pipeline.indexing import index_on_cluster
from pager_ray.pipeline.model_actor import InferActor
from pager_ray.plain import get_logger
from pager_ray.report.outcomes import RunSummary
from pager_ray.runs.claim import Claim
from pager_ray.runs.growing import Growing
from pager_ray.runs.planned import RunPlan
from pager_ray.scaling import settle_scales
from pager_ray.stages.claim_run import claim_run, known_containers, look_at_output
from pager_ray.stages.names import StageName
from pager_ray.stages.read import make_read_fn
from pager_ray.stages.rows import ENCODE_SCHEMA, INFER_SCHEMA, READ_SCHEMA, UNPACK_SCHEMA
from pager_ray.stages.settings import check_scales, run_settings
from pager_ray.stages.sources import index_settings, list_sources
from pager_ray.stages.stitch import make_stitch_fn
from pager_ray.stages.unpack import make_unpack_fn, split_groups
from pager_ray.tracing import span

log = get_logger(__name__)


def run_job(
    config: RunConfig,
    *,
    overwrite: bool = False,
    retry_rejects: str | None = None,
    plan: RunPlan | None = None,
    growing: Growing | None = None,
    model_stage: type[InferActor] = InferActor,
) -> RunSummary:
    """Run, or resume, one inference job to its end.

    Args:
        config: from :func:`pager_ray.config.load_config`.
        overwrite: delete a run of other settings that stands at the same output.
        retry_rejects: a class of rejects to do again, or ``all``.
        growing: take what the sources have by now into the run that stands; see
            :class:`pager_ray.runs.growing.Growing`.
        plan: what was planned; the run file and the summary set it beside what the job took.
        model_stage: what stands in for the model, where the job around it is measured.

    Raises:
        ConfigError: before any work, when the inputs, the output or the configuration cannot be used.
        CheckpointError: the checkpoint cannot be used.
        ErrorBudgetExceeded: too many rejects; the run can be resumed with a larger budget.
        PagerError: the job failed; the run can be resumed.
    """
    with ExitStack() as kept:
        return _run_job(config, kept, overwrite, retry_rejects, plan, growing, model_stage)


def _run_job(
    config: RunConfig,
    kept: ExitStack,
    overwrite: bool,
    retry_rejects: str | None,
    plan: RunPlan | None,
    growing: Growing | None,
    model_stage: type[InferActor],
) -> RunSummary:
    began = time.monotonic()

    # 1. The inputs: every source listed, every row with an id of its own. What is mistyped here, or stands in the way
    #    at the output, is told before a weight is fetched.
    with span("list inputs"):
        known = {} if overwrite else known_containers(config)
        index = Remembering(index_on_cluster(config.compute.address, kept), known)
        listed = list_sources(config, index)
        look_at_output(config)

    # 2. The checkpoint: found, pinned and digested once, here; actors load the same files. Ray starts meanwhile.
    connection = Connection(config.compute.address)
    kept.enter_context(connection.meanwhile())
    with span("find the checkpoint"):
        checkpoint = resolve_checkpoint(config.checkpoint, revision=config.revision)
    check_scales(config, checkpoint)
    log.info("%s inputs, checkpoint %s", f"{len(listed):,}", checkpoint.title)

    # 3. The output: a new run's manifest, or the same run found again, cleaned of what its writers left half-written.
    with span("claim the output"):
        claim = claim_run(config, checkpoint, listed, overwrite=overwrite, retry_rejects=retry_rejects, growing=growing)
        if not known or growing is not None:
            write_index(claim.layout.manifest, index.found, index_settings(config))
    claim.began = began

    # 4. The pipeline, on a cluster; the run file says how it ended, whatever ends it.
    fresh = len(claim.pending)
    if plan is not None and fresh:
        claim.manifest["plan"] = claim.planned = plan.beside(fresh)
    done = run_chain(claim, config.compute, partial(_inference, config, checkpoint, claim, model_stage), connection)

    # 5. Sequences: their scales, over what stands by now; where it dies here, the same command does this again.
    scales = None
    if config.scale.sequence != "off":
        with span("scales of sequences"):
            scales = settle_scales(config.output.uri, compare_on_cluster(config.compute.address, kept))
    seconds = time.monotonic() - claim.began
    previews, planned = config.output.previews, claim.planned
    return RunSummary(str(claim.layout.root), done, fresh, seconds, previews, planned, checkpoint.note, scales)


def _inference(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    claim: Claim,
    model_stage: type[InferActor],
    reservation: Reservation,
) -> Chain:
    """Stages of the Ray Data job; every stage maps rows 1:1, rejects included."""
    settings = run_settings(
        config,
        checkpoint,
        claim.inputs,
        on_gpu=reservation.actor_gpus > 0,
        threads=reservation.model_threads,
        fitting=claim.batch_sizes,
    )
    model = ActorOptions(settings.infer, actor_pool(config.compute), settings.infer.batch_size)
    return Chain(
        [
            # 1. list: the manifest's rows without those that earlier starts committed, a million at a time.
            # 2. split: small blocks, for a block is what a killed job repeats and what one shard holds.
            # 3. read + project, CPU, 1:1: bytes → ERP → six uint8 faces.
            Stage(StageName.READ, make_read_fn(settings.read), READ_SCHEMA, memory=READ_TASK_MEMORY),
            # 4. infer, GPU actors, 1:1: faces → depth, normals and sky on the faces.
            Stage(StageName.INFER, model_stage, INFER_SCHEMA, actor=model),
            # 5. stitch + encode, CPU, 1:1: faces → ERP maps → stored bytes.
            Stage(StageName.STITCH, make_stitch_fn(settings.stitch), ENCODE_SCHEMA),
        ],
        # 6. write, CPU, N:1: one shard per block, committed with its ids.
        stored=settings.stored,
        shard_rows=settings.shard_rows,
        # Before 3., for images in Parquet files, CPU, 1:N: a row group → its rows, each with its file's bytes.
        unpack=Stage(StageName.UNPACK, make_unpack_fn(settings.read), UNPACK_SCHEMA, pieces=split_groups),
    )
