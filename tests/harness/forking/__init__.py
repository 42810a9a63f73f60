"""Workers of Ray that are forked from a process which has imported what they import.

A test with a Ray starts ten workers or so, and each spends seconds of processor on importing Ray, Ray Data and torch,
Ray itself twice: more than on all that the test is about. Nothing else of a worker changes: it has the environment, the
folder and the module path that Ray gave it, and what is imported before these are known depends on none of them. One
that is to have a shell or an interpreter of its own starts as Ray starts it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
SITE = Path(__file__).parent / "site"

WORKERS = "PAGER_RAY_TESTS_WORKERS"
"""Environment variable that names the socket at which workers are asked for; without it Ray starts its own."""

PATHS = "PAGER_RAY_TESTS_PATHS"
"""What may stand in the ``PYTHONPATH`` of a forked worker."""


@contextmanager
def forking() -> Iterator[None]:
    """Workers that processes of a ``with`` block start, and processes started by these, are forked."""
    with (
        pytest.MonkeyPatch.context() as patched,
        tempfile.TemporaryDirectory(prefix="pf-", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        patched.setenv("PYTHONPATH", str(SITE), prepend=os.pathsep)
        paths = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path]
        # With these alone the modules are those that a worker would find itself.
        patched.setenv(PATHS, json.dumps([*paths, str(ROOT)]))
        listening.bind(f"{folder}/socket")
        listening.listen(1024)
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listening.fileno()), folder],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        # Only the server listens: should it end, workers are told so, and start by themselves.
        listening.close()
        patched.setenv(WORKERS, f"{folder}/socket")
        try:
            yield
        finally:
            server.communicate()


def environment_of(process: psutil.Process) -> dict[str, str]:
    """The environment that a process was started with; what the system knows of a forked one is its parent's.

    Raises:
        psutil.Error: there is none, or it is not for us to see.
    """
    return _forked().get(process.pid) or process.environ()


def workers_of(raylets: Iterable[int]) -> list[psutil.Process]:
    """The forked workers of nodes, which are no children of theirs."""
    ids = {str(raylet) for raylet in raylets}
    found = []
    for pid, environment in _forked().items():
        if environment.get("RAY_RAYLET_PID") in ids:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
    return found


def _forked() -> dict[int, dict[str, str]]:
    """The environment of each forked worker that is alive, by its process."""
    server = os.environ.get(WORKERS)
    found = {}
    for path in Path(server).parent.glob("[0-9]*") if server else ():
        # One that ends meanwhile takes its file along.
        with suppress(FileNotFoundError, ValueError):
            found[int(path.name)] = json.loads(path.read_text())
    return found
