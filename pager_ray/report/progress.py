"""How far a run is, in words."""

from __future__ import annotations

from pager_ray.durations import format_duration, format_rate
from pager_ray.stages.counts import Counts


def progress_line(counts: Counts, rate: float | None = None, seconds_left: float | None = None) -> str:
    """One line: rows done, share, rejects and, where they are known, rows per second and the time left."""
    share = counts.done / counts.total if counts.total else 1.0
    line = f"{counts.done:,}/{counts.total:,} panoramas ({share:.0%}), {counts.rejected:,} rejected"
    if rate:
        line += f", {format_rate(rate)}"
    return line if seconds_left is None else f"{line}, {format_duration(seconds_left)} left"
