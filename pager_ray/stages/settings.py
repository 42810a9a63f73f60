"""From a job's configuration to the settings of its stages."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import ActorPoolStrategy

from pager_ray.config import JobConfig, RunConfig
from pager_ray.config.schema import ComputeConfig
from pager_ray.infer import InferenceSettings
from pager_ray.model import ResolvedCheckpoint, file_sha256
from pager_ray.model.memory import MAX_BATCH
from pager_ray.pipeline.cluster import Reservation
from pager_ray.pipeline.infer import InferSettings
from pager_ray.pipeline.lifecycle import Claim
from pager_ray.postprocess import DepthRange, SkySettings
from pager_ray.retrying import Retry
from pager_ray.runs import predictions_schema
from pager_ray.stages.read import ReadSettings
from pager_ray.stages.rows import ENCODE_SCHEMA
from pager_ray.stages.stitch import PREVIEW_WIDTH, StitchSettings

CALLS_PER_GPU_ACTOR = 2


def infer_settings(
    config: JobConfig, checkpoint: ResolvedCheckpoint, claim: Claim, reservation: Reservation, batch_size: int
) -> InferSettings:
    """What the model actors of a job need; the router only where a row needs it."""
    return InferSettings(
        checkpoint=checkpoint.source,
        revision=checkpoint.revision,
        precision=config.precision,
        device="cuda" if reservation.actor_gpus else "cpu",
        inference=inference_settings(config),
        use_router=needs_router(config, checkpoint, claim.inputs),
        router_weights=config.router_weights,
        threads=reservation.model_threads,
        sha256=checkpoint.sha256,
        batch_size=batch_size,
        memory_share=memory_share(config.compute),
        fitting=dict(claim.batch_sizes),
    )


def needs_router(config: JobConfig, checkpoint: ResolvedCheckpoint, inputs: pa.Table) -> bool:
    """Whether some row's scene is for CLIP to decide.

    Args:
        inputs: the listing, ``MANIFEST_SCHEMA``.
    """
    unlabelled = pc.any(pc.and_(pc.is_null(inputs.column("scene")), pc.is_null(inputs.column("error_class")))).as_py()
    two_scales = {"scale_indoor", "scale_outdoor"} <= set(checkpoint.architecture.modalities)
    return bool(two_scales and unlabelled and config.scene_mode == "auto")


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
        schemes=tuple(config.input.schemes),
        private=config.input.private,
    )


def stitch_settings(config: RunConfig, checkpoint: ResolvedCheckpoint, *, half_normals: bool) -> StitchSettings:
    """How stage *stitch* turns faces into stored maps; see :func:`normals_arrive_half`."""
    modalities = checkpoint.architecture.modalities
    return StitchSettings(
        output=config.output,
        face_size=checkpoint.architecture.face_size,
        fov=checkpoint.architecture.cube_fov,
        half_normals=half_normals,
        # A lone depth head predicts metres; with other heads beside it, metres need a scale head.
        metric=tuple(modalities) == ("depth",) or any(name.startswith("scale_") for name in modalities),
        preview_sky=sky_settings(config) if config.output.previews and not config.sky.fill else None,
    )


def stored_schema(config: RunConfig, checkpoint: ResolvedCheckpoint) -> pa.Schema:
    """The columns of a run's prediction shards."""
    architecture, output = checkpoint.architecture, config.output
    return predictions_schema(
        ENCODE_SCHEMA,
        tuple(name for name in ("depth", "normals", "sky") if name in architecture.modalities),
        codec=output.codec if output.format == "parquet" else None,
        projection=output.projection,
        face_size=architecture.face_size,
        fov=architecture.cube_fov,
    )


def normals_arrive_half(precision: str, reservation: Reservation) -> bool:
    """Whether the model actors hand normals on as float16."""
    return half_normals(precision, on_gpu=reservation.actor_gpus > 0)


def half_normals(precision: str, *, on_gpu: bool) -> bool:
    """Whether a model gives normals as float16."""
    return precision not in ("auto", "float32") or (precision == "auto" and on_gpu)


def sky_settings(config: JobConfig) -> tuple[SkySettings, DepthRange]:
    """The sky's knobs and the range of depth."""
    settings = SkySettings(config.sky.threshold, config.sky.softness, config.sky.open_kernel)
    return settings, DepthRange(config.depth.min, config.depth.max)


def actor_pool(compute: ComputeConfig) -> ActorPoolStrategy:
    """The pool of model actors that the configuration asks for.

    An actor on a GPU takes two calls at once: one is on the device while the other's results are on their way out and
    the next blocks on their way in. On CPUs the model has the cores that this would need.
    """
    workers = compute.gpu_workers
    size = {"size": workers} if isinstance(workers, int) else {"min_size": workers[0], "max_size": workers[1]}
    if not compute.gpus_per_worker:
        return ActorPoolStrategy(**size)
    return ActorPoolStrategy(
        **size, max_concurrent_calls_per_actor=CALLS_PER_GPU_ACTOR, enable_true_multi_threading=True
    )


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
