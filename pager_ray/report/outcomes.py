"""How each job ended: its exit code, and what a person is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pager_ray.durations import format_duration, format_rate
from pager_ray.export.records import REJECTS_FILE
from pager_ray.report.scales import scale_lines
from pager_ray.runs import Reconciliation
from pager_ray.runs.scales import ScaleReport


class Outcome(Protocol):
    """The end of any job."""

    @property
    def exit_code(self) -> int:
        """0 complete; 3 complete, but with rejects."""

    def lines(self) -> list[str]:
        """What was done and where to look; the last line names the rejects when there are any."""


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    ``fresh`` counts the rows that this start finished; the others were finished by earlier ones. ``plan`` is the
    section of ``run.json`` that tells the plan, where the run was given one and had something left to do. ``note`` is
    what the checkpoint says that it is, ``scales`` what became of sequences, where that was asked for.
    """

    output: str
    reconciliation: Reconciliation
    fresh: int
    seconds: float
    previews: bool
    plan: Mapping[str, Any] | None = None
    note: str | None = None
    scales: ScaleReport | None = None

    @property
    def exit_code(self) -> int:
        """0 complete; 3 complete, but with rejects."""
        return 3 if self.reconciliation.rejects else 0

    def lines(self) -> list[str]:
        """What was done, beside its plan, and where to look; the last line names the rejects when there are any."""
        result = self.reconciliation
        lines = [f"{result.predictions:,} of {result.inputs:,} panoramas predicted in {format_duration(self.seconds)}"]
        if self.fresh and self.seconds > 0:
            lines[0] += f" ({self.fresh:,} in this start, {format_rate(self.fresh / self.seconds)})"
        if self.scales is not None:
            lines += scale_lines(self.scales)
        if self.note:
            lines.append(f"weights   {self.note}")
        lines.append(f"output    {self.output}")
        lines.append(f'read it   pager_ray.open_run("{self.output}")')
        if self.previews:
            lines.append(f"pictures  {self.output}/previews")
        if self.plan is not None and (beside := outcome_line(self.plan)) is not None:
            lines.append(beside)
        if result.rejects:
            classes = ", ".join(f"{name} {count:,}" for name, count in result.rejects_by_class.items())
            lines.append(f"reasons   {classes}")
            lines.append(f"{result.rejects:,} rejects: {self.output}/rejects")
        return lines


@dataclass(frozen=True)
class EvaluationOutcome:
    """How an evaluation ended.

    Attributes:
        output: where it lies.
        report: content of ``metrics/report.json``.
        seconds: how long this start took.
    """

    output: str
    report: dict[str, Any]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 complete; 3 complete, but with samples that could not be scored."""
        return 3 if self.report["counts"]["excluded"] else 0

    def lines(self) -> list[str]:
        """What was measured and where to look; the last line names the rejects when there are any."""
        # Only an evaluation needs the metrics, and OpenCV with them.
        from pager_ray.report.evaluation_text import summary_text

        lines = summary_text(self.report)
        lines.append(f"report    {self.output}/metrics/report.md ({format_duration(self.seconds)})")
        if rejects := self.report["counts"]["excluded"]:
            lines.append(f"{rejects:,} rejects: {self.output}/rejects")
        return lines


@dataclass(frozen=True)
class ExportOutcome:
    """How an export ended.

    Attributes:
        output: where it lies, without secrets.
        selected: panoramas asked for.
        exported: those that have their files.
        fresh: those of them that this start made.
        bytes: size of all files of the selected panoramas.
        rejects_by_class: the others.
        seconds: what this start took.
    """

    output: str
    selected: int
    exported: int
    fresh: int
    bytes: int
    seconds: float
    rejects_by_class: Mapping[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 complete; 3 complete, but with rejects."""
        return 3 if self.rejects_by_class else 0

    def lines(self) -> list[str]:
        """What was made and where to look; the last line names the rejects when there are any."""
        told = f"{self.exported:,} of {self.selected:,} panoramas exported in {format_duration(self.seconds)}"
        if self.fresh and self.seconds > 0:
            told += f" ({self.fresh:,} in this start, {format_rate(self.fresh / self.seconds)})"
        lines = [told, f"output    {self.output} ({self.bytes / 1e6:,.1f} MB)"]
        if self.rejects_by_class:
            classes = ", ".join(f"{name} {count:,}" for name, count in self.rejects_by_class.items())
            lines.append(f"reasons   {classes}")
            lines.append(f"{sum(self.rejects_by_class.values()):,} rejects: {self.output}/{REJECTS_FILE}")
        return lines


@dataclass(frozen=True)
class ConvertOutcome:
    """How a conversion ended.

    Attributes:
        output: where it lies, without secrets.
        formats: by name, how each went.
        seconds: what this start took.
    """

    output: str
    formats: Mapping[str, ExportOutcome]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 complete; 3 complete, but with rejects."""
        return max(one.exit_code for one in self.formats.values())

    def lines(self) -> list[str]:
        """What was made and where to look; the last lines name the rejects when there are any."""
        inputs = max(one.selected for one in self.formats.values())
        whole = min(one.exported for one in self.formats.values())
        lines = [f"{whole:,} of {inputs:,} panoramas converted in {format_duration(self.seconds)}"]
        for name, one in self.formats.items():
            made = "" if one.exported == one.selected else f"{one.exported:,} of {one.selected:,}, "
            lines.append(f"{name:9} {one.output} ({made}{one.bytes / 1e6:,.1f} MB)")
        told = [line for one in self.formats.values() for line in one.lines()[2:]]
        return lines + list(dict.fromkeys(told))


def outcome_line(section: Mapping[str, Any]) -> str | None:
    """The plan beside what the run took, from ``run.json``'s ``plan``; None where the run did not come to its end."""
    actual = section.get("actual_seconds")
    if actual is None:
        return None
    low, high = format_duration(section["low_seconds"]), format_duration(section["high_seconds"])
    line = f"planned   {format_duration(section['seconds'])} ({low} – {high}), took {format_duration(actual)}"
    if section["rows"] != section["planned_rows"]:
        line += f" for {section['rows']:,} panoramas; the plan was made for {section['planned_rows']:,}"
    return line
