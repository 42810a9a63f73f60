"""Where a job's time went, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pager_ray.stages.names import StageName


def stage_lines(summary: Mapping[str, Any]) -> list[str]:
    """The same in words, one line per fact."""
    stages = summary["stages"]
    shares = ", ".join(f"{name} {facts['busy_share']:.0%}" for name, facts in stages.items())
    where = f"{summary['cores']:g} CPUs"
    if StageName.INFER in stages:
        count = summary["model_workers"]
        where = f"{count} model worker{'s' if count != 1 else ''} and {where}"
    lines = [f"busy shares of {where}: {shares}"]
    bottleneck = summary["bottleneck"]
    line = f"bottleneck: {bottleneck}, {stages[bottleneck]['seconds_per_panorama']:.3g} s per panorama"
    if summary["waits_for_storage"]:
        line += ", waiting for storage or for the job to start and end: neither model workers nor CPUs were busy"
    lines.append(line)
    if per_gpu := summary.get("cores_per_gpu"):
        lines.append(f"balanced: {per_gpu:.1f} CPUs per GPU")
    elif per_worker := summary.get("cores_per_worker"):
        lines.append(f"balanced: {per_worker:.1f} CPUs beside each model worker")
    if limit := summary.get("limit"):
        lines.append(f"limit: {limit_text(limit)}")
    return lines


def limit_text(limit: Mapping[str, Any]) -> str:
    """How near a job came to what its model workers could do, and they to their chip; see
    :func:`pager_ray.stages.limits.limit_of`."""
    count = limit["model_workers"]
    workers = f"{count} model worker{'s' if count != 1 else ''}"
    text = (
        f"{limit['panoramas_per_second']:.3g} panoramas/s, {limit['share']:.0%} of the "
        f"{limit['workers_could']:.3g} that {workers} alone could do"
    )
    if "matrix_share" in limit:
        rate = limit["matrix_rate"] / 1e12
        text += f"; the network at {limit['matrix_share']:.0%} of the {rate:,.0f} TFLOP/s of {limit['device']}"
    return text
