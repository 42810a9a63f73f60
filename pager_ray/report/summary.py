"""The closing summary of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pager_ray.report.plan_text import outcome_line
from pager_ray.report.progress import format_duration, format_rate

if TYPE_CHECKING:
    from pager_ray.pipeline.job import RunSummary


def summary_lines(summary: RunSummary) -> list[str]:
    """What was done, beside its plan, and where to look; the last line names the rejects when there are any."""
    result = summary.reconciliation
    lines = [f"{result.predictions:,} of {result.inputs:,} panoramas predicted in {format_duration(summary.seconds)}"]
    if summary.fresh and summary.seconds > 0:
        lines[0] += f" ({summary.fresh:,} in this start, {format_rate(summary.fresh / summary.seconds)})"
    lines.append(f"output    {summary.output}")
    lines.append(f'read it   pager_ray.open_run("{summary.output}")')
    if summary.previews:
        lines.append(f"pictures  {summary.output}/previews")
    if summary.plan is not None and (beside := outcome_line(summary.plan)) is not None:
        lines.append(beside)
    if result.rejects:
        classes = ", ".join(f"{name} {count:,}" for name, count in result.rejects_by_class.items())
        lines.append(f"reasons   {classes}")
        lines.append(f"{result.rejects:,} rejects: {summary.output}/rejects")
    return lines
