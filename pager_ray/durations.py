"""Times and rates as a person reads them."""

from __future__ import annotations


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
