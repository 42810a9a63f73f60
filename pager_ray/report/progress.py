"""How far a run is, in words."""

from __future__ import annotations

from pager_ray.durations import format_duration, format_rate
from pager_ray.stages.counts import Counts


def progress_line(counts: Counts, rate: float | None) -> str:
    """One line: rows done, share, rejects and, where there is a rate in rows per second, rate and time left."""
    share = counts.done / counts.total if counts.total else 1.0
    line = f"{counts.done:,}/{counts.total:,} panoramas ({share:.0%}), {counts.rejected:,} rejected"
    if not rate:
        return line
    return f"{line}, {format_rate(rate)}, {format_duration((counts.total - counts.done) / rate)} left"
