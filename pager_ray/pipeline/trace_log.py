"""What a traced job's stages tell: which blocks, how much of each, and the bound on all of it."""

from __future__ import annotations

from pager_ray.tracing import Event

TIMED, SAMPLED = 1, 2
"""Of a traced block: when it began and ended; also what its thread was seen doing."""

SAMPLED_BLOCKS = 8
"""Blocks of each stage whose stacks are sampled: stacks are large, and a stage's blocks are alike."""

MAX_EVENTS = 300_000
"""Of a trace: some 60 MB, as much as viewers open at once."""


class TraceLog:
    """The events of a job's stages, kept on its board; of a job that is not traced nothing is kept.

    Args:
        wanted: whether the job is traced.
    """

    def __init__(self, wanted: bool) -> None:
        self.events: list[Event] = []
        self._wanted = wanted
        self._sampled: dict[str, int] = {}
        self._profiled = False

    def level(self, stage: str) -> int:
        """How much is to be told of a block that a stage begins: 0, ``TIMED`` or ``SAMPLED``."""
        if not self._wanted or len(self.events) >= MAX_EVENTS:
            return 0
        self._sampled[stage] = self._sampled.get(stage, 0) + 1
        return SAMPLED if self._sampled[stage] <= SAMPLED_BLOCKS else TIMED

    def add(self, events: list[Event]) -> None:
        """Keep events, as far as there is room."""
        if self._wanted:
            self.events += events[: max(0, MAX_EVENTS - len(self.events))]

    def may_profile(self) -> bool:
        """Whether a model actor is to profile a batch: the first one that asks."""
        first, self._profiled = self._wanted and not self._profiled, True
        return first
