"""A plan beside the run that it was made for, as ``run.json`` keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RunPlan:
    """What a run needs of its plan: seconds for all its rows, estimated and at both ends of the band."""

    rows: int
    seconds: float
    low_seconds: float
    high_seconds: float
    start_seconds: float
    model_workers: int
    cores: float
    bottleneck: str

    def beside(self, rows: int) -> dict[str, Any]:
        """The section of ``run.json``: the plan for as many rows as this start has to do.

        A resumed run, or one whose listing has grown, has other rows than the plan: all but the start is scaled.
        ``actual_seconds`` is for the run to fill in.
        """
        share = rows / self.rows

        def scaled(seconds: float) -> float:
            start = min(self.start_seconds, seconds)
            return round(start + (seconds - start) * share, 1)

        return asdict(self) | {
            "rows": rows,
            "planned_rows": self.rows,
            "seconds": scaled(self.seconds),
            "low_seconds": scaled(self.low_seconds),
            "high_seconds": scaled(self.high_seconds),
            "actual_seconds": None,
        }
