"""What a plan is made from beside its samples, and what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pager_ray.plan.spread import Band


@dataclass(frozen=True)
class Job:
    """What is to be done, from the listing and the configuration.

    Attributes:
        rows: listed, without those that the listing rejects.
        rejected: those.
        shard_rows: panoramas per block and shard.
        batch: the most that a model worker gets at once.
        workers: model workers, the largest pool.
        gpus_per_worker: 0 for a model on CPUs.
        checkpoint_bytes: of the weights.
    """

    rows: int
    rejected: int
    shard_rows: int
    batch: int
    workers: int
    gpus_per_worker: float
    checkpoint_bytes: int


@dataclass(frozen=True)
class Nodes:
    """What it runs on. Prices are per node and hour, in any currency; None where they are not given.

    Attributes:
        gpus_per_node: GPUs of a GPU node; with ``cpus_per_gpu_node`` cores beside them.
        cpu_nodes: how many nodes without GPUs; None leaves the choice to the plan.
        here: this machine's cores, where the job is to run on it alone.
    """

    gpus_per_node: int = 1
    cpus_per_gpu_node: int = 8
    gpu_node_price: float | None = None
    cpus_per_cpu_node: int = 16
    cpu_node_price: float | None = None
    cpu_nodes: int | None = None
    here: int | None = None


@dataclass(frozen=True)
class StagePlan:
    """One stage, per panorama: seconds of one core or worker, processor seconds, bytes handed on."""

    seconds: float
    cpu_seconds: Band
    bytes_out: int


@dataclass(frozen=True)
class Plan:
    """What a job will take.

    Attributes:
        rows: listed, rejects included.
        rejects: expected; those of the listing are known.
        core_share: of a core that the samples had, where 1 is a machine without other work.
        model_device, model_source: what ``infer`` was measured on, and how.
        stand_in: whether the maps that were stored are a stand-in's.
        on_gpu: whether model workers have GPUs.
        cores_per_gpu: cores that one GPU (one worker, on CPUs) keeps busy.
        gpu_workers: model workers of the plan; ``fed_workers`` is how many the cores can feed.
        bottleneck: ``infer``, or the stage on CPUs that takes most.
        model_seconds, cpu_seconds: what each of the two would take alone, without start and ends.
        cost: None without prices.
        hours_asked, workers_for_hours: what pool finishes in the time that was asked for; None where none does.
    """

    rows: int
    rejects: int
    samples: int
    bytes_in: Band
    bytes_out: Band
    shards: int
    core_share: float
    stages: dict[str, StagePlan]
    model_device: str
    model_source: str
    stand_in: bool
    on_gpu: bool
    cores_per_gpu: Band
    gpu_workers: int
    fed_workers: int
    gpu_nodes: int
    cpu_nodes: int
    cores: float
    bottleneck: str
    start_seconds: float
    model_seconds: Band
    cpu_seconds: Band
    seconds: Band
    cost: Band | None
    hours_asked: float | None = None
    workers_for_hours: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, seconds and bytes throughout."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
