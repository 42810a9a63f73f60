"""What a job shows on a terminal while it runs: one live display of its present step and of how far it is.

It is the process's :class:`~pager_ray.tracing.Watcher`; without a terminal there is none, and the log tells.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pager_ray.durations import format_duration, format_rate
from pager_ray.plain import plain_text
from pager_ray.tracing import watching

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

REFRESHES_PER_SECOND = 4
BAR_WIDTH = 60


class Display:
    """The facts of one job, drawn anew several times a second."""

    def __init__(self) -> None:
        self._began = self._step_began = time.monotonic()
        self._step = "start"
        self._facts: Mapping[str, Any] | None = None

    def begin(self, step: str) -> None:
        """The job does something else from now on; or says more of what it does, where the words up to a comma stay."""
        if step.partition(",")[0] != self._step.partition(",")[0]:
            self._step_began = time.monotonic()
        self._step = step

    def look(self, facts: Mapping[str, Any]) -> None:
        """Show how far the job is: ``total``, ``predicted``, ``rejected`` and, where known, ``rate``, ``seconds_left``,
        ``rejects_by_class``, ``workers``, ``bottleneck``."""
        self._facts = facts

    def lines(self) -> list[tuple[str, str]]:
        """Names and values, those that there are."""
        now = time.monotonic()
        step = f"{self._step}, {format_duration(now - self._step_began)}"
        facts = self._facts
        if facts is None:
            return [("now", step)]
        done = facts["predicted"] + facts["rejected"]
        share = done / facts["total"] if facts["total"] else 1.0
        lines = [
            ("now", step if done else f"{self._waits_for(facts)}, {format_duration(now - self._step_began)}"),
            ("done", f"{done:,} of {facts['total']:,} panoramas ({share:.1%}), {facts['rejected']:,} rejected"),
        ]
        if facts.get("rate"):
            left = facts.get("seconds_left")
            lines.append(("rate", format_rate(facts["rate"]) + (f", {format_duration(left)} left" if left else "")))
        if facts.get("rejects_by_class"):
            classes = facts["rejects_by_class"].items()
            lines.append(("rejects", ", ".join(f"{name} {count:,}" for name, count in classes)))
        if facts.get("bottleneck"):
            lines.append(("held up by", facts["bottleneck"]))
        return lines

    def _waits_for(self, facts: Mapping[str, Any]) -> str:
        if "workers" in facts and not facts["workers"]:
            return "start workers, load the model"
        return "first panoramas"

    def __rich__(self) -> RenderableType:
        """A table, and a bar where it is known how far the job is."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        for name, value in self.lines():
            # Text as it is: an input's name may hold what looks like markup.
            grid.add_row(name, Text(plain_text(value)))
        if self._facts is None:
            return Group(grid, Spinner("dots", style="cyan"))
        done = self._facts["predicted"] + self._facts["rejected"]
        return Group(grid, ProgressBar(total=max(self._facts["total"], 1), completed=done, width=BAR_WIDTH))


def has_terminal() -> bool:
    """Whether standard error is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def shown() -> Iterator[Display | None]:
    """Show a job on the terminal while a ``with`` block runs; what is logged meanwhile stands above it.

    Nothing is shown without a terminal, nor where details are wanted: their lines come too fast for a display.
    """
    if not has_terminal() or logging.getLogger().isEnabledFor(logging.DEBUG):
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    display, console = Display(), Console(stderr=True)
    live = Live(display, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True)
    with _above(console), watching(display), live:
        yield display


@contextmanager
def _above(console: Console) -> Iterator[None]:
    """Have the root logger's lines printed by the console, which keeps them out of the display."""

    class Lines:
        """A stream of what handlers write."""

        def write(self, text: str) -> None:
            if line := text.rstrip("\n"):
                console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

        def flush(self) -> None:
            pass

    handlers = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    before = [handler.setStream(Lines()) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)
