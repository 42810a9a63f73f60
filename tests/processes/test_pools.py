"""Pools: an interrupt is for the process that started the others, which ends them without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from pager_ray.pools import ProcessPool

INTERRUPTED = """
import signal, time
from pager_ray.pools import ProcessPool

# Whoever is started in the background by a shell without jobs, as tests may be, ignores it, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with ProcessPool(2) as pool:
        working = [pool.submit(time.sleep, 600) for _ in range(8)]
        print("begun", flush=True)
        working[0].result()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_workers_are_told_of_no_interrupt() -> None:
    """The signal is held back in each of them, from before its first line on, and in the parent as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with ProcessPool(1) as pool:
        assert signal.SIGINT in pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
        os.kill(pool.submit(os.getpid).result(), signal.SIGINT)
        assert pool.submit(abs, -3).result() == 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_ctrl_c_ends_a_pool_quietly() -> None:
    """Whatever its workers are at, imports included: the command alone answers, and waits for no work."""
    command = [sys.executable, "-c", INTERRUPTED]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "begun\n"
        # As a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        try:
            out, err = process.communicate(timeout=300)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
