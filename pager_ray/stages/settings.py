"""From a job's configuration to the settings of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.config import JobConfig, RunConfig
from pager_ray.config.schema import ComputeConfig
from pager_ray.errors import ConfigError
from pager_ray.infer.routing import needs_clip
from pager_ray.infer.settings import InferenceSettings
from pager_ray.listing import Listing
from pager_ray.listing.kept import kept_fields
from pager_ray.modalities import SCALE_HEADS, is_metric, maps_of
from pager_ray.model import ResolvedCheckpoint, file_sha256
from pager_ray.model.architecture import MAX_BATCH
from pager_ray.ranges import DepthRange, SkySettings
from pager_ray.retrying import Retry
from pager_ray.runs import predictions_schema
from pager_ray.stages.infer import InferSettings
from pager_ray.stages.read import ReadSettings
from pager_ray.stages.rows import ENCODE_SCHEMA
from pager_ray.stages.sources import without_own
from pager_ray.stages.stitch import PREVIEW_WIDTH, StitchSettings

SMALL_CLUSTER_CPUS = 4
"""With fewer, tasks reserve shares of a CPU: whole ones would leave nothing for the other stages."""

SMALL_TASK_CPUS = 0.25
"""Such a share. Reservations are no limits."""

AUTO_SHARDS = 64
AUTO_ROWS_PER_SHARD = 16


@dataclass(frozen=True)
class RunSettings:
    """What the stages of an inference job need to know, each its own part, and the columns and rows of its shards."""

    read: ReadSettings
    infer: InferSettings
    stitch: StitchSettings
    stored: pa.Schema
    shard_rows: int


def run_settings(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    inputs: Listing,
    *,
    on_gpu: bool,
    threads: int | None = None,
    fitting: Mapping[str, int] | None = None,
) -> RunSettings:
    """The settings of every stage of a job.

    Args:
        inputs: the listing.
        on_gpu, threads, fitting: as in :class:`~pager_ray.stages.infer.InferSettings`.
    """
    shard_rows = rows_per_shard(config.output.rows_per_shard, len(inputs))
    batch_size = largest_batch(config.compute, shard_rows)
    return RunSettings(
        read=read_settings(config, checkpoint),
        infer=infer_settings(
            config, checkpoint, inputs, on_gpu=on_gpu, threads=threads, batch_size=batch_size, fitting=fitting
        ),
        stitch=stitch_settings(config, checkpoint, half=half_normals(config.precision, on_gpu=on_gpu)),
        stored=_stored_schema(config, checkpoint, inputs),
        shard_rows=shard_rows,
    )


def infer_settings(
    config: JobConfig,
    checkpoint: ResolvedCheckpoint,
    inputs: Listing,
    *,
    on_gpu: bool,
    threads: int | None,
    batch_size: int,
    fitting: Mapping[str, int] | None = None,
) -> InferSettings:
    """What a model worker of a job needs; the router only where a row needs it.

    Args:
        inputs: the listing.
        on_gpu, threads, batch_size, fitting: as in :class:`~pager_ray.stages.infer.InferSettings`.
    """
    return InferSettings(
        checkpoint=checkpoint.source,
        revision=checkpoint.revision,
        precision=config.precision,
        device="cuda" if on_gpu else "cpu",
        inference=inference_settings(config),
        use_router=needs_router(config, checkpoint, inputs),
        router_weights=config.router_weights,
        threads=threads,
        sha256=checkpoint.sha256,
        batch_size=batch_size,
        memory_share=memory_share(config.compute),
        fitting=dict(fitting or {}),
        acceleration=config.compute.acceleration,
        project=isinstance(config, RunConfig) and projects_on_device(config),
    )


def projects_on_device(config: RunConfig) -> bool:
    """Whether faces are sampled beside the network; ``auto`` leaves it to the CPUs.

    Sampling is 17 ms of the 0.5 core seconds that a panorama takes, and whole panoramas are 25 MB where faces are 5 MB.
    """
    return config.compute.project_on == "gpu"


def needs_router(config: JobConfig, checkpoint: ResolvedCheckpoint, inputs: Listing) -> bool:
    """Whether some row's scene is for CLIP to decide.

    Args:
        inputs: the listing.
    """
    if config.scene_mode != "auto" or not needs_clip(checkpoint.architecture, config.router_weights):
        return False
    parts = inputs.parts(["scene", "error_class"])
    return any(pc.any(pc.and_(*map(pc.is_null, part.columns))).as_py() for part in parts)


def memory_share(compute: ComputeConfig) -> float | None:
    """The part of a GPU's memory that one of the actors on it may fill, where the batch is ours to choose."""
    if compute.batch_size != "auto" or not compute.gpus_per_worker:
        return None
    return min(1.0, compute.gpus_per_worker)


def inference_settings(config: JobConfig) -> InferenceSettings:
    """How the network's output becomes stored geometry."""
    sky, depth_range = sky_settings(config)
    return InferenceSettings(depth_range=depth_range, sky=sky, fill=config.sky.fill, scene_mode=config.scene_mode)


def largest_batch(compute: ComputeConfig, shard_rows: int) -> int:
    """The most panoramas that a model actor gets at once; left to us, no more than a block has."""
    if compute.batch_size == "auto":
        return min(MAX_BATCH, shard_rows) if compute.gpus_per_worker else 1
    return compute.batch_size


def read_settings(config: RunConfig, checkpoint: ResolvedCheckpoint) -> ReadSettings:
    """What stage *read* needs to know."""
    return ReadSettings(
        face_size=checkpoint.architecture.face_size,
        fov=checkpoint.architecture.cube_fov,
        max_pixels=config.input.max_pixels,
        max_bytes=config.input.max_bytes,
        thumbnail_width=PREVIEW_WIDTH if config.output.previews else None,
        retry=Retry(config.errors.retry_seconds),
        project=not projects_on_device(config),
        schemes=tuple(config.input.schemes),
        private=config.input.private,
        decode=config.input.reading(),
        max_row_group_bytes=config.input.max_row_group_bytes,
        nadir_degrees=config.input.mask.nadir_degrees,
        zenith_degrees=config.input.mask.zenith_degrees,
        upright=config.input.upright,
        missing_mask=config.input.mask.missing,
    )


def stitch_settings(config: RunConfig, checkpoint: ResolvedCheckpoint, *, half: bool) -> StitchSettings:
    """How stage *stitch* turns faces into stored maps; see :func:`half_normals`."""
    return StitchSettings(
        output=config.output,
        face_size=checkpoint.architecture.face_size,
        fov=checkpoint.architecture.cube_fov,
        half_normals=half,
        metric=is_metric(checkpoint.architecture.modalities),
        preview_sky=sky_settings(config) if config.output.previews and not config.sky.fill else None,
    )


def _stored_schema(config: RunConfig, checkpoint: ResolvedCheckpoint, inputs: Listing) -> pa.Schema:
    """The columns of a run's prediction shards."""
    names = without_own(config.input.keep_columns)
    architecture, output = checkpoint.architecture, config.output
    return predictions_schema(
        ENCODE_SCHEMA,
        maps_of(architecture.modalities),
        codec=output.codec if output.format == "parquet" else None,
        projection=output.projection,
        face_size=architecture.face_size,
        fov=architecture.cube_fov,
        kept=kept_fields((part.column("kept") for part in inputs.parts(["kept"])), names) if names else [],
    )


def check_scales(config: RunConfig, checkpoint: ResolvedCheckpoint) -> None:
    """Refuse to make scales consistent where there will be none.

    Raises:
        ConfigError: the checkpoint has no scale heads.
    """
    if config.scale.sequence == "off":
        return
    if not any(name in SCALE_HEADS for name in checkpoint.architecture.modalities):
        raise ConfigError(
            f"scale.sequence: {checkpoint.title} has no scale heads, so there is none to make consistent; take off, "
            "or a checkpoint with scale heads"
        )


def half_normals(precision: str, *, on_gpu: bool) -> bool:
    """Whether a model gives normals as float16."""
    return precision not in ("auto", "float32") or (precision == "auto" and on_gpu)


def sky_settings(config: JobConfig) -> tuple[SkySettings, DepthRange]:
    """The sky's knobs and the range of depth."""
    settings = SkySettings(config.sky.threshold, config.sky.softness, config.sky.open_kernel)
    return settings, DepthRange(config.depth.min, config.depth.max)


def rows_per_shard(wanted: int | str, rows: int) -> int:
    """Rows per block and shard: as asked, or (``auto``) a 64th of the rows between 1 and 16."""
    if isinstance(wanted, int):
        return wanted
    return min(max(rows // AUTO_SHARDS, 1), AUTO_ROWS_PER_SHARD)


def checkpoint_identity(checkpoint: ResolvedCheckpoint) -> dict[str, str]:
    """Digests of weights and configuration: what a resumed job must find unchanged, whatever the files are called."""
    return {
        "checkpoint.sha256": checkpoint.sha256,
        "checkpoint.config": file_sha256(checkpoint.config),
    }


def describe_checkpoint(checkpoint: ResolvedCheckpoint) -> dict[str, Any]:
    """Provenance, and what a reader needs to know of the network."""
    architecture = checkpoint.architecture
    return checkpoint.describe() | {
        "modalities": list(architecture.modalities),
        "face_size": architecture.face_size,
        "cube_fov": architecture.cube_fov,
    }
