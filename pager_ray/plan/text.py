"""A plan in words."""

from __future__ import annotations

from pager_ray.durations import format_duration
from pager_ray.plan.plan import Plan
from pager_ray.plan.spread import Band
from pager_ray.stages.names import StageName

_BUSY = 0.85
"""Share of a core below which other work slows the samples down."""

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def plan_lines(plan: Plan) -> list[str]:
    """What the job will take, one line per fact; the duration and its band last, with the cost where there is one."""
    rejects = f", {plan.rejects:,} of them rejected" if plan.rejects else ""
    lines = [
        f"{plan.rows:,} panoramas{rejects} ({plan.samples} measured)",
        f"in        {format_bytes(plan.bytes_in.estimate)} ({_byte_band(plan.bytes_in)})",
        f"out       {format_bytes(plan.bytes_out.estimate)} ({_byte_band(plan.bytes_out)}) in {plan.shards:,} shards",
        f"model     {plan.model_device}: {plan.model_source}",
    ]
    if plan.stand_in:
        lines.append("maps      a stand-in's, as dear to store as the noisiest of a network's")
    if plan.core_share < _BUSY:
        lines.append(f"machine   busy with other work: the samples had {plan.core_share:.0%} of a core")
    for name, stage in plan.stages.items():
        cpu = stage.cpu_seconds
        lines.append(
            f"{name:9} {_seconds(stage.seconds)} per panorama, processor {_seconds(cpu.estimate)} "
            f"({_seconds(cpu.low)} – {_seconds(cpu.high)}), {format_bytes(stage.bytes_out)} out"
        )
    per, ratio = "GPU" if plan.on_gpu else "model worker", plan.cores_per_gpu
    lines.append(f"balanced  {ratio.estimate:.1f} CPUs per {per} ({ratio.low:.1f} – {ratio.high:.1f})")
    lines.append(f"pool      {_pool(plan)}")
    if plan.fed_workers < plan.gpu_workers:
        lines.append(
            f"advice    {plan.cores:g} CPUs feed {_count(plan.fed_workers, 'model worker')}; give more CPUs, or set "
            f"compute.gpu_workers={plan.fed_workers}"
        )
    if plan.hours_asked is not None:
        lines.append(f"within    {plan.hours_asked:g} h: {_pool_within(plan)}")
    slower = "the model" if plan.bottleneck == StageName.INFER else f"the CPUs, most of all {plan.bottleneck}"
    lines.append(f"held up   by {slower}")
    if plan.cost is not None:
        lines.append(f"cost      {plan.cost.estimate:,.2f} ({plan.cost.low:,.2f} – {plan.cost.high:,.2f})")
    lines.append(f"duration  {format_duration(plan.seconds.estimate)} ({_duration_band(plan.seconds)})")
    return lines


def format_bytes(count: float) -> str:
    """Bytes with three digits and a decimal unit."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def _byte_band(band: Band) -> str:
    return f"{format_bytes(band.low)} – {format_bytes(band.high)}"


def _duration_band(band: Band) -> str:
    return f"{format_duration(band.low)} – {format_duration(band.high)}"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _pool(plan: Plan) -> str:
    nodes = [
        _count(count, kind) for count, kind in ((plan.gpu_nodes, "GPU node"), (plan.cpu_nodes, "CPU node")) if count
    ]
    where = " and ".join(nodes) or "this machine"
    return f"{_count(plan.gpu_workers, 'model worker')} on {where}, {plan.cores:g} CPUs for the other stages"


def _pool_within(plan: Plan) -> str:
    if plan.workers_for_hours is None:
        return "no pool finishes in that time"
    return f"compute.gpu_workers={plan.workers_for_hours}"
