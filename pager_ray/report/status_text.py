"""A job's status in words: plain lines, or a table with a bar in a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pager_ray.durations import format_duration, format_rate
from pager_ray.plain import plain_text
from pager_ray.report.stages import limit_text
from pager_ray.runs.runfile import COMPLETE, DELETING, RUNNING, STOPPED

if TYPE_CHECKING:
    from pager_ray.reader.status import Status

COLOURS = {RUNNING: "cyan", COMPLETE: "green", STOPPED: "yellow"}
ENDED_BADLY = "red"
BAR_WIDTH = 60


def status_facts(status: Status) -> list[tuple[str, str]]:
    """Names and values, those that there are."""
    share = (status.total - status.left) / status.total if status.total else 1.0
    done = f"{status.total - status.left:,} of {status.total:,} panoramas ({share:.1%}), {status.rejected:,} rejected"
    facts = [(status.job, status.output), ("state", _state(status)), ("done", f"{done}, {status.left:,} left")]
    if status.rate:
        facts.append(("rate", format_rate(status.rate)))
    if status.seconds_left is not None:
        facts[-1] = ("rate", f"{facts[-1][1]}, {format_duration(status.seconds_left)} left")
    if status.workers:
        facts.append(("workers", ", ".join(f"{count} × {device}" for device, count in status.workers.items())))
    if status.stages:
        facts.append(("stages", ", ".join(f"{name} {rows:,}" for name, rows in status.stages.items())))
    if status.limit:
        facts.append(("limit", limit_text(status.limit)))
    if status.rejects_by_class:
        facts.append(("rejects", ", ".join(f"{name} {count:,}" for name, count in status.rejects_by_class.items())))
    if status.last_error:
        facts.append(("last error", status.last_error))
    if status.reason:
        facts.append(("reason", status.reason))
    # A run file may be anybody's.
    return [(name, plain_text(value)) for name, value in facts]


def status_lines(status: Status) -> list[str]:
    """One line per fact, for pipes and files."""
    return [f"{name:<10} {value}" for name, value in status_facts(status)]


def status_view(status: Status) -> RenderableType:
    """The same for a terminal, with a bar."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in status_facts(status):
        # Text as it is: an input's name may hold what looks like markup.
        style = COLOURS.get(status.state, ENDED_BADLY) if name == "state" else ""
        grid.add_row(name, Text(value, style=style))
    bar = ProgressBar(total=max(status.total, 1), completed=status.total - status.left, width=BAR_WIDTH)
    return Group(grid, bar)


def show_status(look: Callable[[], Status], *, watch: bool, interval: float, as_json: bool) -> int:
    """Print a job's status once, or until the job is over; returns an exit code.

    Args:
        look: reads the status.
        watch: look again and again.
        interval: seconds between two looks.
        as_json: one JSON object per look, a line each, in place of words.
    """
    console = Console()
    if watch and console.is_terminal and not as_json:
        status = look()
        with Live(status_view(status), console=console, auto_refresh=False) as live:
            while not status.is_over:
                time.sleep(interval)
                status = look()
                live.update(status_view(status), refresh=True)
        return status.exit_code
    while True:
        status = look()
        if as_json:
            click.echo(json.dumps(status.to_json(), allow_nan=False))
        elif console.is_terminal:
            console.print(status_view(status))
        else:
            click.echo("\n".join(status_lines(status)))
        if not watch or status.is_over:
            return status.exit_code if watch else 0
        time.sleep(interval)


def _state(status: Status) -> str:
    start = f"start {status.starts}, began {status.began}"
    if status.state == RUNNING:
        return f"running ({start}; it {status.heard})"
    if status.state == COMPLETE:
        return f"complete ({start}, ended {status.ended})"
    again = "--overwrite deletes the rest" if status.state == DELETING else "the same command resumes it"
    ended = f", ended {status.ended}" if status.ended else ""
    return f"{status.state} ({start}{ended}); {again}"
