"""How far a job is: rows by outcome."""

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
