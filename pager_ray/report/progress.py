"""How far a run is, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Rows of a run by outcome."""

    total: int
    predicted: int = 0
    rejected: int = 0

    @property
    def done(self) -> int:
        """Rows that have their final outcome."""
        return self.predicted + self.rejected


def progress_line(counts: Counts, rate: float | None) -> str:
    """One line: rows done, share, rejects and, where there is a rate in rows per second, rate and time left."""
    share = counts.done / counts.total if counts.total else 1.0
    line = f"{counts.done:,}/{counts.total:,} panoramas ({share:.0%}), {counts.rejected:,} rejected"
    if not rate:
        return line
    return f"{line}, {format_rate(rate)}, {format_duration((counts.total - counts.done) / rate)} left"


def format_rate(rate: float) -> str:
    """Panoramas per second, or per minute where that reads better."""
    return f"{rate:.1f} panoramas/s" if rate >= 1 else f"{rate * 60:.1f} panoramas/min"


def format_duration(seconds: float) -> str:
    """Seconds as ``45 s``, ``12 min 5 s`` or ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
