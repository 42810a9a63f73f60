"""How a job stands, from its output alone: from any machine, while it runs or years later, without Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from pager_ray.errors import RunNotFoundError, StorageError
from pager_ray.runs.layout import PROGRESS_FILE, RUN_FILE, EvaluationLayout, RunLayout
from pager_ray.runs.lease import life
from pager_ray.runs.reconcile import check_ledger_came_along
from pager_ray.runs.runfile import COMPLETE, DELETING, RUNNING, read_run_file
from pager_ray.storage import Folder

DIED = "died"
"""State of a job that says it runs and is not heard of any more; the same command resumes it."""


@dataclass(frozen=True)
class Status:
    """How a job stands.

    Attributes:
        output: where it lies, without secrets.
        job: ``run``, ``evaluate`` or ``score``.
        state: ``running``, ``complete``, ``stopped``, ``failed`` or ``died``.
        reason: why the last start ended, where it ended before all was done.
        total: inputs.
        predicted: of them that have a result.
        rejected: of them that were rejected.
        rate: panoramas per second since the first of this start; None where it is not known.
        seconds_left: until the end at this rate.
        workers: model actors that this start has seen, by device.
        rejects_by_class: of this start while it runs, of all once it is complete.
        last_error: message of the last reject while it runs.
        stages: panoramas that each stage has finished in this start.
        starts: how often the job was started.
        began: of the last start, ISO 8601 in UTC.
        ended: the same, or None.
        heard: when and how the running job was last heard of, in words.
        limit: how near the last start came to what its model workers could do, as ``run.json`` has it; None before.
        failure_code: what the last start's command exited with, where it ended before all was done and said so.
    """

    output: str
    job: str
    state: str
    reason: str | None
    total: int
    predicted: int
    rejected: int
    rate: float | None
    seconds_left: float | None
    workers: Mapping[str, int]
    rejects_by_class: Mapping[str, int]
    last_error: str | None
    stages: Mapping[str, int]
    starts: int
    began: str | None
    ended: str | None
    heard: str | None
    limit: Mapping[str, Any] | None = None
    failure_code: int | None = None

    @property
    def left(self) -> int:
        """Inputs without an outcome."""
        return self.total - self.predicted - self.rejected

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens unless somebody starts it again."""
        return self.state != RUNNING

    @property
    def exit_code(self) -> int:
        """The job's: 0 running or complete, 3 complete with rejects, else its last start's; 1 where that told none."""
        if self.state == COMPLETE:
            return 3 if self.rejected else 0
        return 0 if self.state == RUNNING else self.failure_code or 1

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        told = asdict(self) | {"left": self.left}
        del told["failure_code"]
        return told


def read_status(uri: str | os.PathLike[str]) -> Status:
    """Look at a job's output.

    Costs three or four small requests; where a job died before it could say how far it was, its ledger is read too.

    Args:
        uri: the job's ``output.uri``.

    Raises:
        RunNotFoundError: there is no job's output.
        StorageError: it cannot be read or understood.
    """
    layout = RunLayout(Folder(os.fspath(uri)))
    manifest = read_run_file(layout.root, may_be_deleted=True)
    if manifest is None:
        raise RunNotFoundError(f"{layout.root}: holds no run (no {RUN_FILE}); give the output.uri of a job")
    try:
        return _status(layout, manifest)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise StorageError(
            f"{layout.root}: its {RUN_FILE} or state/{PROGRESS_FILE} cannot be understood "
            f"({type(error).__name__}: {error}); restore it from a copy, or look at the job's own log"
        ) from error


def _status(layout: RunLayout, manifest: Mapping[str, Any]) -> Status:
    job = str(manifest["identity"].get("job", "run"))
    if job != "run":
        layout = EvaluationLayout(layout.root)
    start = manifest["starts"][-1]
    state, heard = str(manifest["state"]), None
    if state in (RUNNING, DELETING):
        heard = life(layout.lease)
        state = RUNNING if heard else DIED if state == RUNNING else DELETING
    facts = _progress(layout, len(manifest["starts"])) if state in (RUNNING, DIED) else None
    counts = manifest["counts"] if state not in (RUNNING, DIED, DELETING) else None
    total = int(manifest["listing"]["rows"])
    if counts is not None:
        check_ledger_came_along(layout, manifest)
        predicted, rejected = int(counts["predictions"]), int(counts["rejects"])
    elif facts is not None and state == RUNNING:
        predicted, rejected = int(facts["predicted"]), int(facts["rejected"])
    else:
        predicted, rejected = _committed(layout)
    facts = facts or {}
    running = state == RUNNING
    workers = {str(worker["device"]): int(worker["count"]) for worker in facts.get("workers", [])}
    return Status(
        output=str(layout.root),
        job=job,
        state=state,
        reason=str(start["outcome"]) if start["outcome"] and state != COMPLETE else None,
        total=total,
        predicted=predicted,
        rejected=rejected,
        rate=_number(facts.get("rate")) if running else None,
        seconds_left=_number(facts.get("seconds_left")) if running else None,
        workers=workers or _workers(start),
        rejects_by_class=dict(facts.get("rejects_by_class") or manifest.get("rejects_by_class") or {}),
        last_error=facts.get("last_error"),
        stages=_stages(start, facts),
        starts=len(manifest["starts"]),
        began=start["began"],
        ended=start["ended"],
        heard=heard,
        limit=facts.get("limit") or (start.get("stages") or {}).get("limit"),
        failure_code=_exit_code(start.get("exit_code")),
    )


def _progress(layout: RunLayout, start: int) -> dict[str, Any] | None:
    """The last look that the present start left, if it left one."""
    if not layout.progress.exists(PROGRESS_FILE):
        return None
    facts = layout.progress.read_json(PROGRESS_FILE)
    return facts if facts.get("start") == start else None


def _committed(layout: RunLayout) -> tuple[int, int]:
    standing = layout.ledger.read()
    rejected = standing.num_rows - standing.column("error_class").null_count
    return pc.count_distinct(standing.column("id")).as_py() - rejected, rejected


def _workers(start: Mapping[str, Any]) -> dict[str, int]:
    devices = [str(worker.get("device")) for worker in start.get("workers", [])]
    return {device: devices.count(device) for device in dict.fromkeys(devices)}


def _stages(start: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, int]:
    stages = facts.get("stages") or (start.get("stages") or {}).get("stages") or {}
    return {str(name): int(stage["rows"]) for name, stage in stages.items()}


def _exit_code(value: Any) -> int | None:
    """What a start says that it exited with; a run file may be anybody's, and those of earlier versions have none."""
    return value if type(value) is int and value in range(256) else None


def _number(value: Any) -> float | None:
    return float(value) if value is not None else None
