"""The inference job, from listing to ``run.json``: read :func:`run_job` from top to bottom."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig, CheckpointManager

from pager_ray.config import RunConfig
from pager_ray.errors import ErrorBudgetExceeded, PagerError, StorageError
from pager_ray.infer import InferenceSettings
from pager_ray.listing import list_inputs, listing_digest, read_manifest, write_manifest, write_pending
from pager_ray.model import ResolvedCheckpoint, checkpoint_sha256, resolve_checkpoint
from pager_ray.pipeline.cluster import READ_TASK_MEMORY, Reservation, connected, reserve
from pager_ray.pipeline.infer import InferActor, InferSettings
from pager_ray.pipeline.progress import ProgressBoard, ProgressLog
from pager_ray.pipeline.read import ReadSettings, make_read_fn
from pager_ray.pipeline.rows import ENCODE_SCHEMA
from pager_ray.pipeline.sink import ShardSink
from pager_ray.pipeline.stitch import PREVIEW_WIDTH, StitchSettings, make_stitch_fn
from pager_ray.postprocess import DepthRange, SkySettings
from pager_ray.report.progress import Counts
from pager_ray.storage import Folder, mask_uri
from pager_ray.write import Reconciliation, RunLayout, predictions_schema, reconcile
from pager_ray.write.layout import RUN_FILE
from pager_ray.write.runfile import (
    COMPLETE,
    FAILED,
    begin_start,
    check_same_run,
    end_start,
    new_run_file,
    read_run_file,
)

log = logging.getLogger(__name__)

AUTO_SHARDS = 64
AUTO_ROWS_PER_SHARD = 16
AUTO_GPU_BATCH = 4

# What Ray Data appends to the message of an error that a stage raised.
_RAY_ADVICE = "\nFailed to apply UDF transform"

# Depth, normals and sky on the faces are at least 18 MB a panorama: at Ray's default of 128 MB blocks of more than
# seven panoramas would be cut up on the way to the writer.
BLOCK_BYTES = 2**30


class CommitsOnly(CheckpointManager):
    """Ray Data's checkpointing for its commit records alone: what is left to do is decided before the pipeline starts.

    Ray's own filter is an actor that reserves a CPU and a gigabyte; with a model actor beside it, a machine of two
    CPUs never starts the next stage.
    """

    def load_checkpoint(self, data_file_dir: str | None = None, data_file_filesystem: Any = None) -> tuple[None, int]:
        """Nothing to filter."""
        return None, 0


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    ``fresh`` counts the rows that this start finished; the others were finished by earlier ones.
    """

    output: str
    reconciliation: Reconciliation
    fresh: int
    seconds: float
    previews: bool

    @property
    def exit_code(self) -> int:
        """0 complete; 3 complete, but with rejects."""
        return 3 if self.reconciliation.rejects else 0


def run_job(config: RunConfig, *, overwrite: bool = False) -> RunSummary:
    """Run, or resume, one inference job to its end.

    Args:
        config: from :func:`pager_ray.config.load_config`.
        overwrite: delete a run of other settings that stands at the same output.

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
    listed = list_inputs(config.input.uris)
    log.info("%s inputs, checkpoint %s", f"{len(listed):,}", checkpoint.name)

    # 3. The output: a new run's manifest, or the same run found again.
    layout = RunLayout(Folder(config.output.uri))
    identity = config.result_keys() | {
        "checkpoint.sha256": checkpoint.sha256,
        "checkpoint.config": checkpoint_sha256(checkpoint.config),
        "listing.sha256": listing_digest(listed),
    }
    manifest = read_run_file(layout.root)
    if manifest is not None and overwrite:
        log.warning("--overwrite: deleting the run at %s", layout.root)
        layout.clear()
        manifest = None
    if manifest is None:
        layout.check_is_free()
        layout.make()
        write_manifest(layout.manifest, listed)
        manifest = new_run_file(
            _shown_config(config),
            identity,
            checkpoint=_describe_checkpoint(checkpoint),
            listing={"rows": len(listed), "sha256": identity["listing.sha256"]},
        )
    check_same_run(manifest, identity, layout.root)
    begin_start(manifest)
    layout.root.write_json(RUN_FILE, manifest)

    # 4. What earlier starts finished stays; what they left half-written goes.
    if dropped := layout.drop_uncommitted():
        log.info("%d shards that an earlier start had not committed are done again", dropped)
    inputs = read_manifest(layout.manifest)
    before = reconcile(layout, inputs)
    if not before.missing:
        log.info("nothing left to do: %s", layout.root)
        return _finish(layout, manifest, before, config, fresh=0, began=began)

    # 5. The pipeline, on a cluster; the run file says how it ended, whatever ends it.
    try:
        with connected(config.compute.address):
            _run_pipeline(config, checkpoint, layout, inputs, before, manifest)
        after = reconcile(layout, inputs)
        if not after.is_whole:
            raise PagerError(
                f"{layout.root}: {len(after.missing)} of {after.inputs} inputs have no outcome (first: "
                f"{', '.join(after.missing[:3])}), {len(after.duplicated)} have several; run the same command again"
            )
    except BaseException as error:
        # Whatever it is, an interrupt included, is raised again below.
        known = _known_cause(error)
        _record_failure(layout, manifest, inputs, known or error)
        if isinstance(known, ErrorBudgetExceeded):
            raise ErrorBudgetExceeded(_budget_message(layout, reconcile(layout, inputs), config)) from None
        if known is not None and known is not error:
            raise known from error
        raise
    return _finish(layout, manifest, after, config, fresh=len(before.missing), began=began)


def _run_pipeline(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    layout: RunLayout,
    inputs: pa.Table,
    before: Reconciliation,
    manifest: dict[str, Any],
) -> None:
    """Stages of the Ray Data job; every stage maps rows 1:1, rejects included."""
    architecture, output = checkpoint.architecture, config.output
    reservation = reserve(config)
    rows_per_shard = _rows_per_shard(config, before.inputs)
    schema = predictions_schema(
        ENCODE_SCHEMA,
        tuple(name for name in ("depth", "normals", "sky") if name in architecture.modalities),
        codec=output.codec if output.format == "parquet" else None,
        projection=output.projection,
        face_size=architecture.face_size,
        fov=architecture.cube_fov,
    )
    board = ProgressBoard.remote(
        Counts(before.inputs, before.predictions, before.rejects), config.errors.budget_rows(before.inputs)
    )

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    # Our own errors reach the driver as they are, not as text in Ray Data's wrapper.
    context.raise_original_map_exception = True
    committed_filesystem, committed_path = layout.committed.arrow()
    context.checkpoint_config = CheckpointConfig(
        id_column="id",
        checkpoint_path=committed_path,
        override_filesystem=committed_filesystem,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=CommitsOnly,
    )
    manifest_filesystem, manifest_path = layout.manifest.arrow()

    with DataContext.current(context), ProgressLog(board, workers=manifest["starts"][-1]["workers"]):
        # 1. list: the manifest's rows without those that earlier starts committed.
        pending = write_pending(layout.manifest, inputs, before.missing)
        rows = ray.data.read_parquet(
            f"{manifest_path}/{pending}",
            filesystem=manifest_filesystem,
            # A folder of the output's path called "id=7" is no column.
            partitioning=None,
            num_cpus=reservation.task_cpus,
        )
        # 2. Small blocks: a block is what a killed job repeats and what one shard holds.
        rows = rows.repartition(target_num_rows_per_block=rows_per_shard)
        # 3. read + project, CPU: bytes → ERP → six uint8 faces.
        rows = rows.map_batches(
            make_read_fn(_read_settings(config, checkpoint)),
            batch_format="pyarrow",
            batch_size=None,
            zero_copy_batch=True,
            num_cpus=reservation.task_cpus,
            memory=READ_TASK_MEMORY,
        )
        # 4. infer, GPU actors: faces → depth, normals and sky on the faces.
        rows = rows.map_batches(
            InferActor,
            fn_constructor_args=(_infer_settings(config, checkpoint, inputs, reservation), board),
            compute=_pool(config),
            batch_format="pyarrow",
            batch_size=_batch_size(config),
            zero_copy_batch=True,
            num_cpus=reservation.actor_cpus,
            num_gpus=reservation.actor_gpus,
        )
        # 5. stitch + encode, CPU: faces → ERP maps → stored bytes.
        rows = rows.map_batches(
            make_stitch_fn(_stitch_settings(config, checkpoint, reservation)),
            batch_format="pyarrow",
            batch_size=None,
            zero_copy_batch=True,
            num_cpus=reservation.task_cpus,
        )
        # 6. write, CPU: one shard per block, committed with its ids.
        rows.write_datasink(
            ShardSink(layout, schema, rows_per_shard, board), ray_remote_args={"num_cpus": reservation.task_cpus}
        )


def _known_cause(error: BaseException) -> PagerError | None:
    """Our own error inside what Ray wrapped around it; one line about Ray's otherwise; None for what is neither."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        # Ray's task errors also pass for the class of their cause: take the cause itself, it is the shorter message.
        inner = getattr(current, "cause", None)
        if isinstance(current, PagerError) and not isinstance(inner, BaseException):
            current.args = (str(current).split(_RAY_ADVICE)[0], *current.args[1:])
            return current
        current = inner if isinstance(inner, BaseException) else current.__cause__ or current.__context__
    if isinstance(error, ray.exceptions.RayError):
        reason = str(error).split(_RAY_ADVICE)[0].strip().splitlines()[-1]
        log.debug("the job failed", exc_info=error)
        return PagerError(f"the job failed on the cluster: {reason} (pager-ray --verbose shows the traceback)")
    return None


def _record_failure(layout: RunLayout, manifest: dict[str, Any], inputs: pa.Table, error: BaseException) -> None:
    """Note in the run file how this start ended, with what is done so far; the error itself goes on to the caller."""
    outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
    try:
        layout.drop_uncommitted()
        end_start(manifest, FAILED, outcome[:2000], reconcile(layout, inputs).counts())
        layout.root.write_json(RUN_FILE, manifest)
    except (StorageError, OSError) as second:
        log.error("the run file could not be updated: %s", second)


def _read_settings(config: RunConfig, checkpoint: ResolvedCheckpoint) -> ReadSettings:
    return ReadSettings(
        face_size=checkpoint.architecture.face_size,
        fov=checkpoint.architecture.cube_fov,
        max_pixels=config.input.max_pixels,
        thumbnail_width=PREVIEW_WIDTH if config.output.previews else None,
    )


def _infer_settings(
    config: RunConfig, checkpoint: ResolvedCheckpoint, inputs: pa.Table, reservation: Reservation
) -> InferSettings:
    sky, depth_range = _sky(config)
    unlabelled = pc.any(pc.and_(pc.is_null(inputs.column("scene")), pc.is_null(inputs.column("error_class")))).as_py()
    two_scales = {"scale_indoor", "scale_outdoor"} <= set(checkpoint.architecture.modalities)
    return InferSettings(
        checkpoint=checkpoint.source,
        revision=checkpoint.revision,
        precision=config.precision,
        device="cuda" if reservation.actor_gpus else "cpu",
        inference=InferenceSettings(
            depth_range=depth_range,
            sky=sky,
            fill=config.sky.fill,
            scene_mode=config.scene_mode,
        ),
        use_router=bool(two_scales and unlabelled and config.scene_mode == "auto"),
        router_weights=config.router_weights,
        threads=reservation.model_threads,
    )


def _stitch_settings(config: RunConfig, checkpoint: ResolvedCheckpoint, reservation: Reservation) -> StitchSettings:
    modalities = checkpoint.architecture.modalities
    half = config.precision in ("float16", "bfloat16") or (config.precision == "auto" and reservation.actor_gpus > 0)
    return StitchSettings(
        output=config.output,
        face_size=checkpoint.architecture.face_size,
        fov=checkpoint.architecture.cube_fov,
        half_normals=half,
        # A lone depth head predicts metres; with other heads beside it, metres need a scale head.
        metric=tuple(modalities) == ("depth",) or any(name.startswith("scale_") for name in modalities),
        preview_sky=_sky(config) if config.output.previews and not config.sky.fill else None,
    )


def _sky(config: RunConfig) -> tuple[SkySettings, DepthRange]:
    settings = SkySettings(config.sky.threshold, config.sky.softness, config.sky.open_kernel)
    return settings, DepthRange(config.depth.min, config.depth.max)


def _pool(config: RunConfig) -> ActorPoolStrategy:
    workers = config.compute.gpu_workers
    if isinstance(workers, int):
        return ActorPoolStrategy(size=workers)
    return ActorPoolStrategy(min_size=workers[0], max_size=workers[1])


def _batch_size(config: RunConfig) -> int:
    if config.compute.batch_size == "auto":
        return AUTO_GPU_BATCH if config.compute.gpus_per_worker else 1
    return config.compute.batch_size


def _rows_per_shard(config: RunConfig, rows: int) -> int:
    if config.output.rows_per_shard == "auto":
        return min(max(rows // AUTO_SHARDS, 1), AUTO_ROWS_PER_SHARD)
    return config.output.rows_per_shard


def _describe_checkpoint(checkpoint: ResolvedCheckpoint) -> dict[str, Any]:
    """Provenance, and what a reader needs to know of the network."""
    architecture = checkpoint.architecture
    return checkpoint.describe() | {
        "modalities": list(architecture.modalities),
        "face_size": architecture.face_size,
        "cube_fov": architecture.cube_fov,
    }


def _shown_config(config: RunConfig) -> dict[str, Any]:
    """The configuration as written to ``run.json``: URIs without credentials."""
    shown = config.model_dump(mode="json")
    shown["input"]["uris"] = [mask_uri(uri) for uri in config.input.uris]
    for section, key in ((shown["output"], "uri"), (shown, "checkpoint")):
        section[key] = mask_uri(section[key])
    return shown


def _finish(
    layout: RunLayout, manifest: dict[str, Any], result: Reconciliation, config: RunConfig, *, fresh: int, began: float
) -> RunSummary:
    budget = config.errors.budget_rows(result.inputs)
    if budget is not None and result.rejects > budget:
        end_start(manifest, FAILED, "error budget exceeded", result.counts())
        layout.root.write_json(RUN_FILE, manifest)
        raise ErrorBudgetExceeded(_budget_message(layout, result, config))
    manifest["rejects_by_class"] = result.rejects_by_class
    end_start(manifest, COMPLETE, "complete", result.counts())
    layout.root.write_json(RUN_FILE, manifest)
    return RunSummary(str(layout.root), result, fresh, time.monotonic() - began, config.output.previews)


def _budget_message(layout: RunLayout, result: Reconciliation, config: RunConfig) -> str:
    worst = ", ".join(f"{name} {count}" for name, count in list(result.rejects_by_class.items())[:3])
    return (
        f"{result.rejects} inputs were rejected ({worst}), errors.max_rejects allows {config.errors.max_rejects}; "
        f"see {layout.rejects}, then run the same command with a larger budget to go on"
    )
