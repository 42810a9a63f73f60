"""A suspected row's last trial, in a process of its own whose end is seen.

A worker that dies cannot say why, and Ray knows no more than that it is gone: a crash, want of memory, a node that was
taken away and a kill from outside look alike. So a row that is suspected is tried in a child of the worker. Nothing
else runs there, and if it dies the worker lives and learns from the system how. A signal that a fault raises, or an
exit in mid-work, convicts at once. SIGKILL is what the system sends for want of memory, but also what anybody else may
send, as SIGTERM is: such an end convicts when it comes each of :data:`KILLS` times. A worker that dies with its child
convicts nobody.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any, NamedTuple

import pyarrow as pa
from ray import cloudpickle

from pager_ray.stages.rows import TableFunction

KILLS = 3
"""How often a signal that anybody may send must end a row's process to be the row's doing."""

FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
"""Signals that a process brings upon itself."""

CODE = "from pager_ray.pipeline.quarantine import answer; answer()"
"""What the child runs."""

_READY = b"ready\n"


class Convicted(Exception):
    """The row has killed its process.

    Attributes:
        cause: how the process ended, as the system says it.
        deaths: of how many processes.
    """

    def __init__(self, cause: str, deaths: int) -> None:
        super().__init__(cause, deaths)
        self.cause, self.deaths = cause, deaths


class NotStarted(Exception):
    """No process came up to try the row in."""


class _End(NamedTuple):
    """What a child left behind: its exit code, negative for a signal, and its answer, where it gave one."""

    code: int
    answer: bytes


def try_in_quarantine(function: TableFunction, table: pa.Table) -> pa.Table:
    """Call a stage's function on a row in a process of its own.

    Args:
        function: of a stage; must be such that Ray could send it to a worker.
        table: one row.

    Raises:
        Convicted: the row's process died of it.
        NotStarted: no process could be started.
        Exception: whatever the function raised.
    """
    question = cloudpickle.dumps((function, _to_bytes(table)))
    deaths = 0
    while True:
        end = _ask(question)
        if end.answer:
            failed, content = pickle.loads(end.answer)  # noqa: S301 - of our own child
            if failed:
                raise content
            return _to_table(content)
        deaths += 1
        if end.code >= 0 or -end.code in FAULTS or deaths == KILLS:
            raise Convicted(_name(end.code), deaths)


def _ask(question: bytes) -> _End:
    """Start a child, hand it the question, wait for its end."""
    # Where this worker finds its modules: a job's working folder is no part of the environment.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", CODE]
    try:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise NotStarted(str(error)) from error
    assert child.stdin is not None
    assert child.stdout is not None
    # A child that is gone does not read; its exit code says more than that.
    gone = suppress(BrokenPipeError)
    try:
        with gone:
            child.stdin.write(len(question).to_bytes(8, "little") + question)
            child.stdin.flush()
        ready = child.stdout.readline() == _READY
        answer = child.stdout.read()
    finally:
        # Not before: its end tells the child that this process is gone.
        with gone:
            child.stdin.close()
        child.stdout.close()
        child.wait()
    if not ready:
        raise NotStarted(f"it ended with {_name(child.returncode)}")
    # A process that died while it answered has given no answer.
    return _End(child.returncode, answer if child.returncode == 0 else b"")


def _name(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def answer() -> None:
    """The child: read a question from standard input, write its answer to standard output."""
    faulthandler.enable()
    # What libraries print is no part of the answer.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = sys.stdin.buffer
    function, content = cloudpickle.loads(source.read(int.from_bytes(source.read(8), "little")))
    table = _to_table(content)
    threading.Thread(target=_end_with_parent, args=(source,), daemon=True).start()
    # From here on a death is the row's.
    output.write(_READY)
    output.flush()
    result: tuple[bool, Any]
    try:
        result = False, _to_bytes(function(table))
    except Exception as error:  # noqa: BLE001 - raised again by the worker, which knows what to make of it
        result = True, error
    output.write(_pickled(result))
    output.flush()
    # Past whatever libraries do at the end: the row has done no harm.
    os._exit(0)


def _end_with_parent(source: IO[bytes]) -> None:
    source.read(1)
    os._exit(1)


def _pickled(result: tuple[bool, Any]) -> bytes:
    try:
        content = pickle.dumps(result)
        pickle.loads(content)  # noqa: S301 - our own; some errors can be written and not read
    except Exception:  # noqa: BLE001 - an error that cannot travel is told
        error = result[1]
        return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))
    return content


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _to_table(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()
