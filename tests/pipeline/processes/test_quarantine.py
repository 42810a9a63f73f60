"""A row's process of its own: what it gives or raises comes back, and its death is told apart from all else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from pager_ray.errors import InputError
from pager_ray.pipeline import quarantine
from pager_ray.pipeline.quarantine import Convicted, NotStarted, try_in_quarantine

TABLE = pa.table({"id": ["a", "b"], "pid": [0, 0]})


def noisy(table: pa.Table) -> pa.Table:
    """Says where it ran, and prints as libraries do."""
    os.write(1, b"a library's banner\n")
    return table.set_column(1, "pid", [[os.getpid()]])


def test_the_answer_comes_back() -> None:
    """The function's table is returned, made elsewhere from the one row; what it prints is no part of it."""
    (row,) = try_in_quarantine(noisy, TABLE.slice(1, 1)).to_pylist()
    assert row["id"] == "b"
    assert row["pid"] != os.getpid()


class Stubborn(Exception):
    """Can be written and not read back, as some libraries' errors."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one}, {other}")


def test_errors_come_back() -> None:
    """What the function raises is raised here, with all that it carries; what cannot travel keeps its name and text."""

    def fail(table: pa.Table) -> pa.Table:
        raise InputError("missing", "/in/b.jpg: gone", 7)

    def fail_stubbornly(table: pa.Table) -> pa.Table:
        raise Stubborn("width", "height")

    with pytest.raises(InputError, match=r"/in/b\.jpg: gone") as caught:
        try_in_quarantine(fail, TABLE.slice(1, 1))
    assert (caught.value.error_class, caught.value.attempts) == ("missing", 7)
    with pytest.raises(RuntimeError, match="Stubborn: width, height"):
        try_in_quarantine(fail_stubbornly, TABLE.slice(1, 1))


def test_an_exit_without_an_answer_convicts() -> None:
    """A library that ends the process, though with success, has killed it."""

    def leave(table: pa.Table) -> Any:
        os._exit(0)

    with pytest.raises(Convicted) as caught:
        try_in_quarantine(leave, TABLE.slice(1, 1))
    assert (caught.value.cause, caught.value.deaths) == ("exit code 0", 1)


def test_a_process_that_does_not_come_up_convicts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that fails before the row is its turn is no death of the row."""
    monkeypatch.setattr(quarantine, "CODE", "import sys; sys.exit(3)")
    with pytest.raises(NotStarted, match="exit code 3"):
        try_in_quarantine(noisy, TABLE.slice(1, 1))
    monkeypatch.setattr(quarantine.sys, "executable", "/no/such/interpreter")
    with pytest.raises(NotStarted, match="No such file"):
        try_in_quarantine(noisy, TABLE.slice(1, 1))


def wait_for_ever(folder: str) -> None:
    """A worker whose suspected row never ends."""

    def hang(table: pa.Table) -> Any:
        (Path(folder) / str(os.getpid())).touch()
        time.sleep(3600)

    try_in_quarantine(hang, TABLE.slice(1, 1))


def test_it_ends_with_its_worker(tmp_path: Path) -> None:
    """A worker that is killed leaves no process behind that goes on with its row."""
    code = f"from {__name__} import wait_for_ever; wait_for_ever({str(tmp_path)!r})"
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    try:
        deadline = time.monotonic() + 300
        while not (pids := [int(path.name) for path in tmp_path.iterdir()]):
            assert time.monotonic() < deadline
            assert worker.poll() is None
            time.sleep(0.05)
        child = psutil.Process(pids[0])
    finally:
        worker.kill()
        worker.wait()
    # It is nobody's child now: whoever adopts it may take its time to bury it.
    child_is_over = lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # noqa: E731
    while not child_is_over():
        assert time.monotonic() < deadline
        time.sleep(0.05)
