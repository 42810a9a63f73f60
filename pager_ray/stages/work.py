"""Where a job's time went: how busy each stage was, which one held the others up, what would have balanced them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pager_ray.stages.limits import limit_of
from pager_ray.stages.names import StageName

# Where neither cores nor model workers are busy for half of the time, something else holds the job up.
IDLE_SHARE = 0.5


class Work(NamedTuple):
    """What one block took in one stage.

    Attributes:
        rows: panoramas in it.
        seconds: time that the worker, or for *infer* its device, was at it.
        cpu_seconds: processor time of the worker meanwhile.
        bytes_out: what was handed on.
        node: the cluster's name for the node that did it.
    """

    rows: int
    seconds: float
    cpu_seconds: float
    bytes_out: int
    node: str | None = None


@dataclass
class StageWork:
    """What one stage did so far, the sum of its blocks.

    Attributes:
        rows: panoramas that went through.
        seconds: time that its workers, or for *infer* its devices, were at work; the sum over workers.
        cpu_seconds: processor time of the workers meanwhile.
        bytes_out: what it handed on.
        began: when it first had work, on one clock for all stages.
        ended: when it last finished some.
        nodes: rows by the cluster's node that did them.
    """

    rows: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_out: int = 0
    began: float | None = None
    ended: float | None = None
    nodes: dict[str, int] = field(default_factory=dict)

    def add(self, work: Work) -> None:
        """Count one block."""
        if work.node is not None:
            self.nodes[work.node] = self.nodes.get(work.node, 0) + work.rows
        self.rows += work.rows
        self.seconds += work.seconds
        self.cpu_seconds += work.cpu_seconds
        self.bytes_out += work.bytes_out


def summarise_stages(
    work: Mapping[str, StageWork],
    *,
    model_workers: int,
    workers_per_gpu: float | None,
    cores: float,
    workers: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any] | None:
    """Turn what stages did into what it means, for ``run.json``.

    Stages on CPUs share the cluster's cores, *infer* has its workers: a stage's ``busy_share`` is its processor time,
    or its devices' working time, over all that the cores or workers had. More tasks than cores may run at once,
    so a task's own time says how long it took, not how busy a core was. The window runs from the first panorama in
    *infer* (the first in any stage, without a model) to the last. The bottleneck is whichever of the two kinds was
    busier; among the stages on CPUs, the one with most work. Where both were idle for half of the time, it is the stage
    on CPUs that took longest, which waited for storage.

    Args:
        work: by stage, in order of the pipeline.
        model_workers: model actors that were at work.
        workers_per_gpu: how many of them share a GPU; None on CPUs.
        cores: CPUs of the cluster.
        workers: what the model actors say of themselves.

    Returns:
        None where nothing was done; else ``window_seconds``, ``stages`` (each with ``rows``, ``seconds_per_panorama``,
        ``cpu_seconds_per_panorama``, ``busy_share``, ``bytes_per_panorama``, and rows by node in
        ``nodes``), ``bottleneck``, ``waits_for_storage``, ``cores``, ``model_workers`` and, with a model,
        ``cores_per_worker`` and ``cores_per_gpu``: how many cores keep one model worker, or one GPU, fed and cleared,
        beside the core that it has itself; and ``limit``, see :func:`~pager_ray.stages.limits.limit_of`.
    """
    done = {name: stage for name, stage in work.items() if stage.rows}
    clock = done.get(StageName.INFER) or next(iter(done.values()), None)
    if clock is None or clock.began is None or clock.ended is None:
        return None
    window = max(clock.ended - clock.began, 1e-6)
    stages: dict[str, dict[str, Any]] = {}
    for name, stage in done.items():
        room, busy = (model_workers, stage.seconds) if name == StageName.INFER else (cores, stage.cpu_seconds)
        stages[name] = {
            "rows": stage.rows,
            "seconds_per_panorama": _rounded(stage.seconds / stage.rows),
            "cpu_seconds_per_panorama": _rounded(stage.cpu_seconds / stage.rows),
            "busy_share": _rounded(min(busy / (window * max(room, 1e-6)), 1.0)),
            "bytes_per_panorama": stage.bytes_out // stage.rows,
            "nodes": dict(stage.nodes),
        }
    on_cpus = [name for name in stages if name != StageName.INFER]
    cores_share = sum(stages[name]["busy_share"] for name in on_cpus)
    infer_share = stages[StageName.INFER]["busy_share"] if StageName.INFER in stages else 0.0
    waits = bool(on_cpus) and max(cores_share, infer_share) < IDLE_SHARE
    if waits:
        bottleneck = max(on_cpus, key=lambda name: done[name].seconds)
    elif infer_share >= cores_share:
        bottleneck = StageName.INFER
    else:
        bottleneck = max(on_cpus, key=lambda name: done[name].cpu_seconds)
    summary: dict[str, Any] = {
        "window_seconds": _rounded(window),
        "cores": cores,
        "model_workers": model_workers,
        "stages": stages,
        "bottleneck": bottleneck,
        "waits_for_storage": waits,
    }
    if StageName.INFER in done:
        per_panorama = sum(done[name].cpu_seconds / done[name].rows for name in on_cpus)
        cores_per_worker = per_panorama / max(done[StageName.INFER].seconds / done[StageName.INFER].rows, 1e-9)
        summary["limit"] = limit_of(done[StageName.INFER], model_workers, workers, workers_per_gpu)
        summary["cores_per_worker"] = _rounded(cores_per_worker)
        summary["cores_per_gpu"] = _rounded(cores_per_worker * workers_per_gpu) if workers_per_gpu else None
    return summary


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
