"""From a job's configuration to the settings of the stages that hold a model."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
from ray.data import ActorPoolStrategy

from pager_ray.config import JobConfig
from pager_ray.config.schema import ComputeConfig
from pager_ray.infer import InferenceSettings
from pager_ray.model import ResolvedCheckpoint, checkpoint_sha256
from pager_ray.pipeline.cluster import Reservation
from pager_ray.pipeline.infer import InferSettings
from pager_ray.pipeline.lifecycle import Claim
from pager_ray.postprocess import DepthRange, SkySettings

CALLS_PER_GPU_ACTOR = 2


def infer_settings(
    config: JobConfig, checkpoint: ResolvedCheckpoint, claim: Claim, reservation: Reservation, batch_size: int
) -> InferSettings:
    """What the model actors of a job need; the router only where a row needs it."""
    sky, depth_range = sky_settings(config)
    inputs = claim.inputs
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
        batch_size=batch_size,
        memory_share=_memory_share(config.compute),
        fitting=dict(claim.batch_sizes),
    )


def _memory_share(compute: ComputeConfig) -> float | None:
    """The part of a GPU's memory that one of the actors on it may fill, where the batch is ours to choose."""
    if compute.batch_size != "auto" or not compute.gpus_per_worker:
        return None
    return min(1.0, compute.gpus_per_worker)


def normals_arrive_half(precision: str, reservation: Reservation) -> bool:
    """Whether the model actors hand normals on as float16."""
    return precision not in ("auto", "float32") or (precision == "auto" and reservation.actor_gpus > 0)


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
        "checkpoint.config": checkpoint_sha256(checkpoint.config),
    }


def describe_checkpoint(checkpoint: ResolvedCheckpoint) -> dict[str, Any]:
    """Provenance, and what a reader needs to know of the network."""
    architecture = checkpoint.architecture
    return checkpoint.describe() | {
        "modalities": list(architecture.modalities),
        "face_size": architecture.face_size,
        "cube_fov": architecture.cube_fov,
    }
