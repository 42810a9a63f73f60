"""``pager-ray plan``: lists the inputs, measures a few of them, and plans the job."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from pager_ray.config import RunConfig
from pager_ray.errors import ConfigError
from pager_ray.infer.batching import FittingBatches
from pager_ray.infer.device import device_kind
from pager_ray.infer.predictor import FacePrediction
from pager_ray.infer.settings import Validities
from pager_ray.listing import Listing
from pager_ray.modalities import maps_of
from pager_ray.model import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.model.checkpoint import EMBEDDED
from pager_ray.plain import get_logger
from pager_ray.plan.estimate import estimate
from pager_ray.plan.measure import Measured, StandIn, measure_samples, usable_rows
from pager_ray.plan.plan import Job, Nodes, Plan
from pager_ray.plan.profile import ModelProfile, read_profile
from pager_ray.stages.infer import load_predictor
from pager_ray.stages.settings import half_normals, infer_settings, largest_batch, rows_per_shard
from pager_ray.stages.sources import list_sources

log = get_logger(__name__)

GPU_TURNS = 5


@dataclass(frozen=True)
class Request:
    """What ``pager-ray plan`` was asked for beside the configuration.

    Attributes:
        samples: panoramas to measure.
        profile: where to find what the model takes; None measures it here.
        nodes: what the job is to run on.
        local: on this machine alone instead.
        hours: also look for a pool that finishes within them.
    """

    samples: int = 8
    profile: str | None = None
    nodes: Nodes = field(default_factory=Nodes)
    local: bool = False
    hours: float | None = None

    @classmethod
    def of(cls, *, samples: int, profile: str | None, local: bool, hours: float | None, **nodes: Any) -> Request:
        """From the command line's options; ``nodes`` are fields of :class:`Nodes`."""
        return cls(samples, profile, Nodes(**nodes), local, hours)


def plan_job(config: RunConfig, request: Request) -> Plan:
    """Plan one inference job; nothing is written to its output, and Ray is not started.

    On CPUs a plan without a checkpoint is one with that of the package.

    Raises:
        ConfigError: the inputs or the profile cannot be used, or the model needs a GPU that is not here, or none is
            named for one.
        CheckpointError: the checkpoint cannot be used.
    """
    on_gpu = config.compute.gpus_per_worker > 0
    if on_gpu and request.profile is None and not torch.cuda.is_available():
        raise ConfigError(
            f"compute.gpus_per_worker: got {config.compute.gpus_per_worker:g}, but this machine has no GPU to measure "
            "the model on; give --profile with what the model takes per panorama, or set it to 0 to plan a run on CPUs"
        )
    profile = read_profile(request.profile) if request.profile is not None else None
    if on_gpu and not config.checkpoint:
        raise ConfigError(f"checkpoint: got nothing; takes {RunConfig.REQUIRED['checkpoint']}")
    listed = list_sources(config)
    checkpoint = resolve_checkpoint(config.checkpoint or EMBEDDED, revision=config.revision)
    usable = usable_rows(listed).num_rows
    log.info("%s inputs, checkpoint %s", f"{len(listed):,}", checkpoint.title)
    shard_rows = rows_per_shard(config.output.rows_per_shard, len(listed))
    workers = config.compute.gpu_workers
    job = Job(
        rows=usable,
        rejected=len(listed) - usable,
        shard_rows=shard_rows,
        batch=largest_batch(config.compute, shard_rows),
        workers=workers if isinstance(workers, int) else workers[1],
        gpus_per_worker=config.compute.gpus_per_worker,
        checkpoint_bytes=checkpoint.weights.stat().st_size,
    )
    # Where the model runs on CPUs and nobody says which, it runs here.
    local = request.local or (not on_gpu and request.nodes.cpu_nodes is None)
    nodes = replace(request.nodes, here=os.cpu_count() or 1) if local else request.nodes
    if profile is not None:
        arrays = maps_of(checkpoint.architecture.modalities)
        half = half_normals(config.precision, on_gpu=on_gpu)
        stand_in = StandIn(checkpoint.architecture.face_size, arrays, half_normals=half)
        measured = measure_samples(config, checkpoint, listed, request.samples, stand_in, on_gpu=on_gpu)
        return estimate(job, measured, profile, nodes, stand_in=True, hours=request.hours)
    model = _Model(config, checkpoint, job, Listing.of(listed))
    measured = measure_samples(config, checkpoint, listed, request.samples, model, on_gpu=on_gpu)
    return estimate(job, measured, model.profile(measured), nodes, hours=request.hours)


class _Model:
    """The checkpoint's network on this machine, as a model worker has it."""

    def __init__(self, config: RunConfig, checkpoint: ResolvedCheckpoint, job: Job, inputs: Listing) -> None:
        on_gpu = job.gpus_per_worker > 0
        threads = None
        if not on_gpu:
            asked = config.compute.threads_per_worker
            threads = max(1, (os.cpu_count() or 1) // job.workers) if asked == "auto" else asked
        settings = infer_settings(config, checkpoint, inputs, on_gpu=on_gpu, threads=threads, batch_size=job.batch)
        began = time.perf_counter()
        # The weights were digested when the checkpoint was found.
        loaded = load_predictor(replace(settings, sha256=None))
        batches: FittingBatches[Any] = FittingBatches(loaded.batch_size)
        loaded.predictor.prepare(settings.acceleration, batches)
        self.load_seconds = time.perf_counter() - began
        self.predictor, self.batch = loaded.predictor, batches.size
        self._last: tuple[np.ndarray, list[str | None]] | None = None

    def __call__(
        self, faces: np.ndarray, scenes: Sequence[str | None], valid: Validities = None
    ) -> list[FacePrediction]:
        self._last = faces, list(scenes)
        return self.predictor(faces, scenes, valid)

    def profile(self, measured: Measured) -> ModelProfile:
        """What a worker takes per panorama: of the samples one by one on CPUs, of whole batches on a GPU."""
        device = self.predictor.model.device
        if device.type != "cuda" or self._last is None:
            network = [sample.network for sample in measured.samples]
            return ModelProfile(
                f"CPU, {torch.get_num_threads()} threads",
                tuple(cost.seconds for cost in network),
                tuple(cost.cpu_seconds for cost in network),
                self.load_seconds,
            )
        faces, scenes = self._last
        seconds = []
        for _ in range(GPU_TURNS + 1):
            pending = self.predictor.submit(np.repeat(faces, self.batch, axis=0), scenes * self.batch)
            pending.result()
            seconds.append(pending.seconds / self.batch)
        # The first call of a size chooses its kernels.
        source = f"measured here, batches of {self.batch}"
        return ModelProfile(device_kind(device), tuple(seconds[1:]), (0.0,), self.load_seconds, source)
