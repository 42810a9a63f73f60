"""SIGTERM, which ``ray job stop``, a spot notice and Kubernetes send: finish what the model has begun, then end.

The first signal closes the gates of the pipeline (:meth:`~pager_ray.pipeline.board.Board.stop_taking`): rows that
the model has not begun are left for the next start, the others are predicted, written and committed. When nothing is in
flight, or when the time for it is over, or at the second signal, :class:`Terminated` is raised in the main thread.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ray

from pager_ray.errors import Terminated
from pager_ray.plain import get_logger
from pager_ray.submitted import is_submitted

log = get_logger(__name__)

POLL_SECONDS = 0.25

# Ray's job supervisor kills a job this long after it has told it to stop, where the cluster says nothing else.
RAY_JOB_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
RAY_JOB_WAIT_SECONDS = 3.0

# What recording the end in the run file takes.
RECORD_SECONDS = 1.0


def patience(wanted: float) -> float:
    """Seconds that there are to finish: as wanted, and within a submitted job no more than Ray leaves it."""
    if not is_submitted():
        return wanted
    try:
        allowed = float(os.environ.get(RAY_JOB_WAIT, RAY_JOB_WAIT_SECONDS))
    except ValueError:
        allowed = RAY_JOB_WAIT_SECONDS
    return max(0.0, min(wanted, allowed - RECORD_SECONDS))


@contextmanager
def finishing_what_is_begun(board: Any, seconds: float) -> Iterator[threading.Event]:
    """Within the block, SIGTERM ends the job gracefully; in a thread other than the main one nothing changes.

    Args:
        board: the job's :class:`~pager_ray.pipeline.board.Board`.
        seconds: how long at most.

    Yields:
        What is set once the signal came.

    Raises:
        Terminated: by the signal, unless the block ended before.
    """
    told, over = threading.Event(), threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def handle(_: int, __: FrameType | None) -> None:
        if told.is_set():
            raise Terminated
        told.set()
        threading.Thread(target=_finish, args=(board, seconds, over), name="stopping", daemon=True).start()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield told
    finally:
        over.set()
        signal.signal(signal.SIGTERM, before)


def _finish(board: Any, seconds: float, over: threading.Event) -> None:
    """Wait until nothing is in flight, then have the main thread raise."""
    deadline = time.monotonic() + seconds
    try:
        left = ray.get(board.stop_taking.remote(), timeout=seconds)
        log.warning(
            "told to stop: %d panoramas that the model has begun are finished first, within %g s", left, seconds
        )
        while left > 0 and time.monotonic() < deadline and not over.wait(POLL_SECONDS):
            left = ray.get(board.in_flight.remote(), timeout=seconds)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        log.warning("told to stop, and nobody knows what is in flight (%s)", type(error).__name__)
    if not over.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
