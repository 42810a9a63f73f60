"""SIGTERM: what the model has begun is finished, the rest is left for the next start, and the job says so."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from pager_ray.errors import Terminated
from pager_ray.pipeline import stopping
from pager_ray.pipeline.stopping import finishing_what_is_begun, patience
from pager_ray.stages.work import Work
from pager_ray.submitted import RAY_JOB
from tests.pipeline.boards import LocalBoard, answers_at_once

__all__ = ["answers_at_once"]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# A job that waits for what it should not wait for ends in this test's failure, on a busy machine too.
LONG = 600.0
FOR_EVER = 3600.0


def wait(seconds: float = LONG) -> None:
    """What a pipeline does as seen from the main thread."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)
    pytest.fail("nothing has ended the wait")


def run(board: Any, seconds: float, body: Any) -> None:
    with finishing_what_is_begun(board, seconds):
        body()


def test_nothing_in_flight_ends_at_once() -> None:
    """A job that has begun nothing stops when it is told to, and its gates are closed."""
    board = LocalBoard()
    with pytest.raises(Terminated):
        run(board, FOR_EVER, lambda: (terminate(), wait()))
    assert board.board.begin("read", "t", 1).put_off


def test_what_is_begun_is_finished_first() -> None:
    """The job goes on until the last row past the gates is written, and no longer."""
    board = LocalBoard()
    board.board.begin("infer", "i", 4)
    written: list[bool] = []

    def write() -> None:
        time.sleep(4 * stopping.POLL_SECONDS)
        written.append(True)
        board.board.end("write", "w", Work(4, 1, 1, 1), 4)

    with pytest.raises(Terminated):
        run(board, FOR_EVER, lambda: (threading.Thread(target=write).start(), terminate(), wait()))
    assert written


def test_patience_ends() -> None:
    """What never finishes is not waited for longer than the job may."""
    board = LocalBoard()
    board.board.begin("infer", "i", 4)
    with pytest.raises(Terminated):
        run(board, 0.5, lambda: (terminate(), wait()))


def test_a_second_signal_ends_at_once() -> None:
    """Whoever says it twice means it."""
    board = LocalBoard()
    board.board.begin("infer", "i", 4)

    def twice() -> None:
        terminate()
        time.sleep(0.1)
        terminate()
        wait()

    with pytest.raises(Terminated):
        run(board, FOR_EVER, twice)


def test_the_handler_of_before_comes_back() -> None:
    """After the block SIGTERM does what it did, and a job that ended meanwhile is not ended again."""
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    try:
        board = LocalBoard()
        board.board.begin("infer", "i", 4)
        with finishing_what_is_begun(board, 60) as told:
            terminate()
            time.sleep(0.1)
        assert told.is_set()
        time.sleep(4 * stopping.POLL_SECONDS)
        assert caught == []
        terminate()
        time.sleep(0.1)
        assert caught == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_signals_alone() -> None:
    """A job in a thread changes no handler: only the main thread may."""
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: run(LocalBoard(), 1, lambda: seen.append(signal.getsignal(15))))
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize(
    ("job", "allowed", "seconds"),
    [(False, None, 90), (True, None, 2), (True, "120", 90), (True, "31", 30), (True, "0", 0), (True, "soon", 2)],
)
def test_submitted_jobs_take_no_longer_than_ray_leaves_them(
    monkeypatch: pytest.MonkeyPatch, job: bool, allowed: str | None, seconds: float
) -> None:
    """Ray kills a submitted job some seconds after telling it to stop: a second of them is for the run file."""
    monkeypatch.delenv(stopping.RAY_JOB_WAIT, raising=False)
    monkeypatch.delenv(RAY_JOB, raising=False)
    if job:
        monkeypatch.setenv(RAY_JOB, "{}")
    if allowed is not None:
        monkeypatch.setenv(stopping.RAY_JOB_WAIT, allowed)
    assert patience(90) == seconds
