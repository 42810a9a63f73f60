"""A job's status is what its output says, whatever state it is in, and needs no Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pager_ray.errors import RunNotFoundError, StorageError
from pager_ray.reader.status import DIED, Status, read_status
from pager_ray.report import status_text
from pager_ray.report.status_text import show_status, status_lines
from pager_ray.runs.layout import PROGRESS_FILE
from pager_ray.runs.runfile import begin_start, end_start
from tests.reader.runs import SmallRun

ELSEWHERE = {"id": "x", "host": "elsewhere", "boot": "b", "pid": 7, "began": 0, "given_back": False}
LOOK = {
    "start": 1,
    "total": 10,
    "predicted": 4,
    "rejected": 1,
    "rate": 0.5,
    "seconds_left": 10.0,
    "rejects_by_class": {"transient": 1},
    "last_error": "s3://b/x.jpg: timed out",
    "workers": [{"device": "NVIDIA L4", "count": 2}],
    "batch_sizes": {},
    "stages": {
        "read": {"rows": 8, "seconds": 1, "cpu_seconds": 1},
        "write": {"rows": 5, "seconds": 1, "cpu_seconds": 1},
    },
}


@pytest.fixture
def run(tmp_path: Path) -> SmallRun:
    """A run of ten inputs that has begun, of which two are done."""
    run = SmallRun(tmp_path / "run")
    run.manifest["listing"] = {"rows": 10}
    run.save()
    run.write("0123456789ab-00000000-abcdef", run.prediction("a"), run.prediction("b"))
    return run


def lease(run: SmallRun, age: float) -> None:
    run.layout.lease.write_json("00000001.json", ELSEWHERE | {"renewed": time.time() - age})


def look(run: SmallRun, **changes: Any) -> None:
    run.layout.progress.write_json(PROGRESS_FILE, LOOK | changes)


def test_a_running_job_shows_its_last_look(run: SmallRun) -> None:
    """While the lease is renewed, counts, rate and workers are those of the last look."""
    lease(run, 5)
    look(run)
    status = read_status(run.folder)
    assert (status.state, status.predicted, status.rejected, status.left) == ("running", 4, 1, 5)
    assert (status.rate, status.seconds_left) == (0.5, 10.0)
    assert (status.workers, status.stages) == ({"NVIDIA L4": 2}, {"read": 8, "write": 5})
    assert status_lines(status)[2:] == [
        "done       5 of 10 panoramas (50.0%), 1 rejected, 5 left",
        "rate       30.0 panoramas/min, 10 s left",
        "workers    2 × NVIDIA L4",
        "stages     read 8, write 5",
        "rejects    transient 1",
        "last error s3://b/x.jpg: timed out",
    ]


def test_how_near_a_job_is_to_its_limit_stands_in_its_status(run: SmallRun) -> None:
    """While it runs of its last look, afterwards of its run file."""
    limit = {"panoramas_per_second": 1.5, "model_workers": 2, "workers_could": 2.0, "share": 0.75}
    line = "limit      1.5 panoramas/s, 75% of the 2 that 2 model workers alone could do"
    lease(run, 5)
    look(run, limit=limit)
    assert line in status_lines(read_status(run.folder))
    run.manifest["starts"][-1]["stages"] = {"limit": limit, "stages": {}}
    end_start(run.manifest, "stopped", "told to stop", {"inputs": 10, "predictions": 8, "rejects": 0, "missing": 2})
    run.save()
    assert line in status_lines(read_status(run.folder))


def test_a_run_that_is_being_deleted_is_none_to_resume(run: SmallRun) -> None:
    """While ``--overwrite`` deletes, somebody runs it; once that died nothing but deleting goes on."""
    run.manifest["state"] = "deleting"
    run.save()
    lease(run, 5)
    assert read_status(run.folder).state == "running"
    lease(run, 1000)
    status = read_status(run.folder)
    assert (status.state, status.exit_code) == ("deleting", 1)
    assert status_lines(status)[1].endswith("; --overwrite deletes the rest")


def test_a_job_that_has_not_looked_yet_shows_its_ledger(run: SmallRun) -> None:
    """A start that is loading its model has done what earlier starts committed; their look is none of its own."""
    lease(run, 5)
    begin_start(run.manifest)
    run.save()
    look(run)
    status = read_status(run.folder)
    assert (status.state, status.predicted, status.rate, status.starts) == ("running", 2, None, 2)


def test_a_job_that_is_not_heard_of_has_died(run: SmallRun) -> None:
    """Without a living lease nobody runs it: what counts is what the ledger has, not what it last said."""
    lease(run, 1000)
    look(run)
    status = read_status(run.folder)
    assert (status.state, status.predicted, status.rejected, status.rate) == (DIED, 2, 0, None)
    assert status.last_error == "s3://b/x.jpg: timed out"
    assert "the same command resumes it" in status_lines(status)[1]
    assert status.exit_code == 1


@pytest.mark.parametrize(
    ("state", "outcome", "rejects", "told", "code"),
    [
        ("complete", "complete", 0, None, 0),
        ("complete", "complete", 2, None, 3),
        ("failed", "StorageError: full", 0, 1, 1),
        ("failed", "ErrorBudgetExceeded: 2 inputs were rejected", 2, 4, 4),
        ("stopped", "terminated", 0, 143, 143),
        # Of an earlier version.
        ("stopped", "terminated", 0, None, 1),
        # Of a stranger.
        ("failed", "StorageError: full", 0, 0, 1),
        ("failed", "StorageError: full", 0, "4", 1),
        ("failed", "StorageError: full", 0, 2**40, 1),
    ],
)
def test_a_job_that_ended_shows_its_counts(
    run: SmallRun, state: str, outcome: str, rejects: int, told: Any, code: int
) -> None:
    """What the run file says of the end is the status, and the exit code the job's; a last look of before is not."""
    look(run)
    run.manifest["rejects_by_class"] = {"transient": rejects} if rejects else {}
    end_start(run.manifest, state, outcome, {"inputs": 10, "predictions": 8, "rejects": rejects, "missing": 0}, told)
    run.save()
    status = read_status(run.folder)
    assert (status.state, status.predicted, status.rejected, status.exit_code) == (state, 8, rejects, code)
    assert (status.reason is None) == (state == "complete")
    assert (status.rate, status.last_error, status.is_over) == (None, None, True)


def test_no_output_is_an_error(tmp_path: Path) -> None:
    """A folder without a run is named, and so is one whose run file is no such thing."""
    with pytest.raises(RunNotFoundError, match="holds no run"):
        read_status(tmp_path)
    run = SmallRun(tmp_path / "run")
    with pytest.raises(StorageError, match=r"run\.json or state/progress\.json cannot be understood \(KeyError"):
        read_status(run.folder)


def test_status_needs_no_ray(run: SmallRun) -> None:
    """The command reads a run where neither Ray nor torch is imported, and answers as JSON."""
    lease(run, 5)
    look(run)
    code = (
        "import sys, pager_ray.cli as cli\n"
        f"code = cli.exit_code(['status', '--json', {str(run.folder)!r}])\n"
        "assert not {'ray', 'torch'} & set(sys.modules), 'heavy imports'\n"
        "sys.exit(code)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert (answer["state"], answer["left"], answer["workers"]) == ("running", 5, {"NVIDIA L4": 2})


def test_watching_ends_with_the_job(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every look is one JSON line, the last one is of the job's end, and the exit code is the job's."""
    lease(run, 5)
    looks: list[Status] = []

    def end(_: float) -> None:
        end_start(run.manifest, "complete", "complete", {"inputs": 10, "predictions": 9, "rejects": 1, "missing": 0})
        run.save()

    def read() -> Status:
        looks.append(read_status(run.folder))
        return looks[-1]

    monkeypatch.setattr(status_text.time, "sleep", end)
    assert show_status(read, watch=True, interval=1, as_json=True) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["state"] for line in lines] == ["running", "complete"]
    assert len(looks) == 2
    assert show_status(read, watch=False, interval=1, as_json=False) == 0


def test_a_terminal_shows_text_as_it_is(run: SmallRun) -> None:
    """What an input is called is no markup, and the bar is as full as the job."""
    from rich.console import Console

    lease(run, 5)
    look(run, last_error="[red]x[/red].jpg: timed out")
    console = Console(record=True, width=200, force_terminal=True)
    console.print(status_text.status_view(read_status(run.folder)))
    text = console.export_text()
    assert "[red]x[/red].jpg: timed out" in text
    assert text.count("━") >= status_text.BAR_WIDTH // 2
