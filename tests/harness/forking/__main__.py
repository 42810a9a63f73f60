"""``python -m tests.harness.forking FD FOLDER``: the process that Ray's workers are forked from, in two steps.

Ray's core reads the environment when it is loaded, so this process, which lives as long as the tests, loads all but
Ray. For each environment, which is that of one job's workers, it forks a process that loads Ray in it; that one forks
the workers, until Ray's node is gone.

Args:
    FD: a listening socket that the starter has opened, at which workers are asked for.
    FOLDER: where each living worker has a file called after its process, with its environment.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

# None that reads the environment when it is imported, as fsspec does.
WITHOUT_RAY = ("pandas", "pyarrow.compute", "pyarrow.parquet", "PIL.Image", "torch")
OF_RAY = (
    "ray._private.workers.default_worker",
    "ray.data",
    "pager_ray.pipeline.job",
    "pager_ray.pipeline.evaluation",
    "pager_ray.pipeline.model_actor",
    "pager_ray.infer.predictor",
)
"""What the workers of most tests import, which is most of what they cost."""

ALLOCATOR = "jemalloc_bg_thd"
LOOK_SECONDS = 5.0
MESSAGE_BYTES = 2**17


class Asked(NamedTuple):
    """A worker to be: what it was started with, where its standard streams go, and who waits for it."""

    told: dict[str, Any]
    streams: Sequence[int]
    asking: socket.socket

    @property
    def environment(self) -> dict[str, str]:
        """What a worker's imports and Ray's core read."""
        return dict(self.told["environment"])

    def close(self) -> None:
        """Let go of the streams and of who waits."""
        self.asking.close()
        for stream in self.streams:
            os.close(stream)


def load(modules: Sequence[str]) -> None:
    """Import what the processes to be forked have in common.

    Raises:
        RuntimeError: a thread was started: a lock that it holds would be held in the others for ever.
    """
    for name in modules:
        importlib.import_module(name)
    names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    # Arrow's allocator sees to its own.
    if others := [name for name in names if name != ALLOCATOR][1:]:
        raise RuntimeError(f"one of {', '.join(modules)} starts threads when it is imported: {', '.join(others)}")
    gc.collect()
    gc.freeze()


def serve(listening: socket.socket, folder: Path) -> None:
    """Give each that asks to the process for its environment, until whoever started this process is gone."""
    load(WITHOUT_RAY)
    jobs: dict[str, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        asked = accepted(listening)
        if asked is None:
            continue
        key = json.dumps(sorted(asked.environment.items()))
        for ended in [name for name, (pid, _) in jobs.items() if os.waitpid(pid, os.WNOHANG)[0]]:
            jobs.pop(ended)[1].close()
        if key not in jobs:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = os.fork()
            if not pid:
                for kept in (listening, ours, *(way for _, way in jobs.values())):
                    kept.close()
                serve_job(theirs, folder, asked)
                return
            theirs.close()
            jobs[key] = pid, ours
        else:
            # It may end just now: then the worker hears nothing, and starts by itself.
            with suppress(OSError):
                socket.send_fds(
                    jobs[key][1], [json.dumps(asked.told).encode()], [asked.asking.fileno(), *asked.streams]
                )
        asked.close()


def accepted(listening: socket.socket) -> Asked | None:
    """What the next that asks for a worker says; None where it is gone before it has said all."""
    asking, _ = listening.accept()
    try:
        _, streams, _, _ = socket.recv_fds(asking, 1, 3)
        told = json.loads(b"".join(iter(lambda: asking.recv(2**16), b"")))
    except (OSError, ValueError):
        asking.close()
        return None
    return Asked(told, streams, asking)


def serve_job(way: socket.socket, folder: Path, first: Asked) -> None:
    """Load Ray in the environment of a job's workers and fork them, until the node is gone or nobody is left to ask."""
    become(first)
    with nothing_random():
        load(OF_RAY)
    alive: set[int] = set()

    def reap(*_: Any) -> None:
        # One that ends meanwhile calls this within itself.
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                alive.discard(pid)
                (folder / str(pid)).unlink(missing_ok=True)

    signal.signal(signal.SIGCHLD, reap)
    asked: Asked | None = first
    while True:
        if asked is not None:
            pid = forked(asked, folder, alive)
            if not pid:
                way.close()
                work(asked)
                return
            with suppress(OSError):
                asked.asking.sendall(b".")
            asked.close()
        asked = None
        if select.select([way], [], [], LOOK_SECONDS)[0]:
            message, descriptors, _, _ = socket.recv_fds(way, MESSAGE_BYTES, 4)
            if not message:
                return
            asking, *streams = descriptors
            asked = Asked(json.loads(message), streams, socket.socket(fileno=asking))
        elif not alive and not Path("/proc", first.environment["RAY_RAYLET_PID"]).exists():
            return


def forked(asked: Asked, folder: Path, alive: set[int]) -> int:
    """The new worker's process; 0 in it. It goes on once its file says whose it is."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        (folder / str(pid)).write_text(json.dumps(asked.environment))
        alive.add(pid)
        os.close(writing)
    else:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(writing)
        os.read(reading, 1)
    os.close(reading)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return pid


@contextmanager
def nothing_random() -> Iterator[None]:
    """Let Ray's core draw nothing at random in a ``with`` block: all workers would go on from the same state, and give
    the same names to different objects. A class of actors takes a random name when it is made."""
    from ray import actor

    class Names:
        @staticmethod
        def from_random() -> Any:
            return ray_names(os.urandom(ray_names.size()))

    ray_names, actor.ActorClassID = actor.ActorClassID, Names
    try:
        yield
    finally:
        actor.ActorClassID = ray_names


def become(asked: Asked) -> None:
    """Take the environment and the module path of a worker."""
    here = {"", *json.loads(os.environ["PAGER_RAY_TESTS_PATHS"])}
    script, paths = asked.told["arguments"][0], asked.told["paths"]
    sys.path[:] = [os.path.dirname(script), *paths, *(path for path in sys.path if path not in here)]
    os.environ.clear()
    os.environ.update(asked.environment)


def work(asked: Asked) -> None:
    """Go on as the worker: its streams, its group, by which Ray ends it, its program."""
    os.setpgid(0, 0)
    for number, stream in enumerate(asked.streams):
        os.dup2(stream, number)
    asked.close()
    os.chdir(asked.told["folder"])
    script, *arguments = asked.told["arguments"]
    sys.argv[:] = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
