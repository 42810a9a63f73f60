"""From what a few panoramas took to what a job will take: arithmetic alone, without files and without Ray.

A job is a start, then two things at once: the model workers go through the panoramas, and the cores prepare and finish
them. The slower of the two decides. Before the first batch and after the last one the model waits for cores, or the
cores for the model; that is added to either.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pager_ray.errors import ConfigError
from pager_ray.plan.measure import Measured, Sample
from pager_ray.plan.plan import Job, Nodes, Plan, StagePlan
from pager_ray.plan.profile import ModelProfile
from pager_ray.plan.spread import Band, mean_band
from pager_ray.stages.names import StageName
from pager_ray.stages.settings import SMALL_CLUSTER_CPUS

# What the samples cannot know, as factors or seconds at the low end, in the middle, at the high end.

START_SECONDS = Band(20.0, 6.0, 60.0)
"""Ray, its workers and their imports, a minute where other work shares the cores; the checkpoint comes on top."""

LOAD_BYTES_PER_SECOND = Band(0.3e9, 1.5e9, 0.1e9)
"""How fast a worker loads a checkpoint where that was not measured; the low end is that of the time."""

DEVICE_SHARE = Band(1 / 0.98, 1.0, 1.08)
"""A job keeps its devices busy for 97 to 99 % of the time (benchmarks/pipeline.py), where nothing else holds it up."""

BUSY_CORES = Band(1.15, 0.95, 1.5)
"""A panorama costs more processor time where all cores work: they share caches and memory, and copy blocks between
processes. Samples are measured one at a time."""

RAY_CPU_SECONDS = Band(0.1, 0.04, 0.15)
"""Ray's own processor time per panorama, with faces of 504 pixels: half of it driver and schedulers, half of it model
workers that put their results into the object store."""

STAND_IN_BYTES = Band(1.0, 0.4, 1.1)
"""Maps that stand in for a network's are as noisy as the worst: real ones are stored in half of that, or less."""

SPARE_CORES = 1.2
"""How many more cores than the estimate asks for are suggested, so that the model is what the job waits for."""

FETCHES_AT_ONCE = 8
MOST_WORKERS = 4096


def estimate(
    job: Job,
    measured: Measured,
    model: ModelProfile,
    nodes: Nodes,
    *,
    stand_in: bool = False,
    hours: float | None = None,
) -> Plan:
    """Plan a job.

    Args:
        stand_in: whether the samples' maps are a stand-in's.
        hours: also look for the smallest pool that finishes within them.

    Raises:
        ConfigError: the nodes have no cores for the job.
    """
    plan = _plan(job, measured, model, nodes, stand_in)
    if hours is None:
        return plan
    return replace(plan, hours_asked=hours, workers_for_hours=_workers_within(hours, job, measured, model, nodes))


def _plan(job: Job, measured: Measured, model: ModelProfile, nodes: Nodes, stand_in: bool) -> Plan:
    predicted = max(1, round(job.rows * len(measured.samples) / measured.tried))
    on_gpu = job.gpus_per_worker > 0
    per_row = model.band()
    unit = min(max(job.shard_rows, job.batch), predicted)

    # The model: whole blocks, so the last ones leave workers idle.
    turns = math.ceil(math.ceil(predicted / unit) / job.workers)
    model_seconds = per_row.times(min(turns * unit, predicted)).times(*_factors(DEVICE_SHARE))

    # What else runs on this machine may go on, or end; other machines are taken for free.
    core_share = _core_share(measured.samples)
    slowed = 1 / core_share if nodes.here is not None else 1.0
    crowded = Band(slowed, 1.0, slowed)

    # The cores: every stage on CPUs, and the model where it runs there too.
    work = _cpu_per_row(measured).plus(RAY_CPU_SECONDS)
    if not on_gpu:
        work = work.plus(mean_band(model.cpu_seconds))
    waiting = _mean([sample.fetch_seconds for sample in measured.samples]) / min(FETCHES_AT_ONCE, job.shard_rows)
    gpu_nodes, cpu_nodes, cores = _cluster(job, nodes, work.estimate * predicted, model_seconds.estimate)
    cpu_seconds = work.times(predicted / cores)
    cpu_seconds = cpu_seconds.plus(Band(0, 0, waiting * predicted / cores))
    cpu_seconds = cpu_seconds.times(*_factors(crowded))

    # Start, and the ways in and out of the first and the last block, several of them at once in a larger pool.
    load = _load_seconds(job, model)
    start = START_SECONDS.times(*_factors(crowded)).plus(load)
    crowd = max(1.0, min(job.workers, math.ceil(predicted / unit)) / cores)
    ways = (
        _cpu_per_row(measured, StageName.READ, StageName.STITCH, StageName.WRITE)
        .times(unit * crowd)
        .times(*_factors(crowded))
    )
    with_model = model_seconds.plus(ways)
    with_cores = cpu_seconds.plus(per_row.times(unit))
    seconds = start.plus(_slower(with_model, with_cores))

    stages = _stage_plans(measured.samples, model)
    on_cpus = [name for name in stages if name != StageName.INFER]
    bottleneck: str = StageName.INFER
    if with_cores.estimate > with_model.estimate:
        bottleneck = max(on_cpus, key=lambda name: stages[name].cpu_seconds.estimate)
    cores_per_worker = work.times(1 / per_row.estimate)
    price = _hourly_price(gpu_nodes, cpu_nodes, nodes)
    stored = mean_band([float(sample.stored_bytes) for sample in measured.samples]).times(predicted)
    return Plan(
        rows=job.rows + job.rejected,
        rejects=job.rejected + job.rows - predicted,
        samples=measured.tried,
        bytes_in=mean_band([float(sample.bytes_in) for sample in measured.samples]).times(job.rows),
        bytes_out=stored.times(*_factors(STAND_IN_BYTES)) if stand_in else stored,
        shards=math.ceil((job.rows + job.rejected) / job.shard_rows),
        core_share=core_share,
        stages=stages,
        model_device=model.device,
        model_source=model.source,
        stand_in=stand_in,
        on_gpu=on_gpu,
        cores_per_gpu=cores_per_worker.times(1 / (job.gpus_per_worker or 1)),
        gpu_workers=job.workers,
        fed_workers=max(1, int(cores / cores_per_worker.estimate)) if on_gpu else job.workers,
        gpu_nodes=gpu_nodes,
        cpu_nodes=cpu_nodes,
        cores=cores,
        bottleneck=bottleneck,
        start_seconds=start.estimate,
        model_seconds=model_seconds,
        cpu_seconds=cpu_seconds,
        seconds=seconds,
        cost=seconds.times(price / 3600) if price is not None else None,
    )


def _cluster(job: Job, nodes: Nodes, cpu_work: float, model_seconds: float) -> tuple[int, int, float]:
    """GPU nodes, CPU nodes, and the cores that they have for stages on CPUs.

    A model worker on a GPU holds a core that it hardly uses; on small machines it reserves next to nothing.
    """
    on_gpu = job.gpus_per_worker > 0
    if nodes.here is not None:
        held = job.workers if on_gpu and nodes.here >= SMALL_CLUSTER_CPUS else 0
        return 0, 0, float(max(1, nodes.here - held))
    gpu_nodes = math.ceil(job.workers * job.gpus_per_worker / nodes.gpus_per_node) if on_gpu else 0
    beside = float(gpu_nodes * nodes.cpus_per_gpu_node - job.workers) if on_gpu else 0.0
    cpu_nodes = nodes.cpu_nodes
    if cpu_nodes is None:
        lacking = SPARE_CORES * cpu_work / model_seconds - beside
        cpu_nodes = max(0 if beside >= 1 else 1, math.ceil(lacking / nodes.cpus_per_cpu_node))
    cores = max(0.0, beside) + cpu_nodes * nodes.cpus_per_cpu_node
    if cores < 1:
        raise ConfigError(
            f"--cpu-nodes: got {cpu_nodes}, but {gpu_nodes} GPU nodes of {nodes.cpus_per_gpu_node} cores have none "
            f"left beside {job.workers} model workers; give more of either"
        )
    return gpu_nodes, cpu_nodes, cores


def _workers_within(hours: float, job: Job, measured: Measured, model: ModelProfile, nodes: Nodes) -> int | None:
    """The smallest pool whose estimate keeps the time; the nodes without GPUs grow with it unless they are given."""

    def keeps(workers: int) -> bool:
        plan = _plan(replace(job, workers=workers), measured, model, nodes, stand_in=False)
        return plan.seconds.estimate <= hours * 3600

    high = 1
    while not keeps(high):
        high *= 2
        if high > MOST_WORKERS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def _cpu_per_row(measured: Measured, *names: str) -> Band:
    """Processor seconds of some stages (all of them, with the handling of the model's maps) per panorama."""
    totals = [
        sum(cost.cpu_seconds for name, cost in sample.stages.items() if not names or name in names)
        for sample in measured.samples
    ]
    return mean_band(totals).times(*_factors(BUSY_CORES))


def _load_seconds(job: Job, model: ModelProfile) -> Band:
    if model.load_seconds is not None:
        return Band(1.0, 0.7, 2.0).times(model.load_seconds)
    rate = LOAD_BYTES_PER_SECOND
    return Band(*(job.checkpoint_bytes / speed for speed in (rate.estimate, rate.low, rate.high)))


def _stage_plans(samples: tuple[Sample, ...], model: ModelProfile) -> dict[str, StagePlan]:
    plans = {}
    for name in samples[0].stages:
        costs = [sample.stages[name] for sample in samples]
        seconds = _mean(list(model.seconds)) if name == StageName.INFER else _mean([cost.seconds for cost in costs])
        cpu = mean_band([cost.cpu_seconds for cost in costs])
        if name == StageName.INFER:
            cpu = cpu.plus(mean_band(model.cpu_seconds))
        plans[name] = StagePlan(seconds, cpu, round(_mean([float(cost.bytes_out) for cost in costs])))
    return plans


def _core_share(samples: tuple[Sample, ...]) -> float:
    """Of the stage that only computes."""
    costs = [sample.stages[StageName.STITCH] for sample in samples]
    share = sum(cost.cpu_seconds for cost in costs) / max(sum(cost.seconds for cost in costs), 1e-9)
    return min(1.0, max(share, 0.05))


def _hourly_price(gpu_nodes: int, cpu_nodes: int, nodes: Nodes) -> float | None:
    """None where a node that is used has no price."""
    price = 0.0
    for count, each in ((gpu_nodes, nodes.gpu_node_price), (cpu_nodes, nodes.cpu_node_price)):
        if count and each is None:
            return None
        price += count * (each or 0.0)
    return price if gpu_nodes + cpu_nodes else None


def _slower(one: Band, other: Band) -> Band:
    return Band(max(one.estimate, other.estimate), max(one.low, other.low), max(one.high, other.high))


def _factors(band: Band) -> tuple[float, float, float]:
    return band.estimate, band.low, band.high


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
