"""What happened when, as a Chrome trace: a JSON file that Perfetto (ui.perfetto.dev) and chrome://tracing open.

Everything is an event of the trace's own format, with wall-clock times in microseconds, so that what other processes
and nodes did lies on one line of time. Only the standard library is used here: every stage's process may trace.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

from pager_ray.errors import ConfigError, StorageError

Value = TypeVar("Value")

Event = dict[str, Any]
"""A complete event (``ph`` X): ``name``, ``cat``, ``ts`` and ``dur`` in microseconds, ``pid``, ``tid``, ``args``."""

SAMPLE_SECONDS = 0.02
"""Between two looks at a thread's stack: a look takes some 50 µs, a quarter of a percent of it."""

_DEEPEST = 40


class Recorder:
    """Collects the events of one process.

    Args:
        process: what the process is called in the trace.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.events: list[Event] = []

    def add(self, name: str, began: float, facts: Mapping[str, Any]) -> None:
        """Record something that began at a time of the clock and ends now."""
        self.events.append(event(name, "driver", began, time.time() - began, self.process, facts))


_CURRENT: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def recorder() -> Recorder | None:
    """What records here now; None where nobody traces."""
    return _CURRENT.get()


class Watcher(Protocol):
    """Who shows a person what this process does; of its methods, those of spans are called here."""

    def begin(self, step: str) -> None:
        """A span begins."""

    def look(self, facts: Mapping[str, Any]) -> None:
        """So far is the work: ``total``, ``predicted``, ``rejected`` and what else is known."""


_watcher: Watcher | None = None


def watcher() -> Watcher | None:
    """Who watches this process, from whatever thread; None where nobody does."""
    return _watcher


@contextmanager
def watching(who: Watcher) -> Iterator[None]:
    """Have somebody told of every span that begins while a ``with`` block runs."""
    global _watcher
    before, _watcher = _watcher, who
    try:
        yield
    finally:
        _watcher = before


@contextmanager
def span(name: str, **facts: Any) -> Iterator[None]:
    """Record what a ``with`` block takes, whatever ends it; costs nothing where nobody traces."""
    began, current = time.time(), recorder()
    if _watcher is not None:
        _watcher.begin(name)
    try:
        yield
    finally:
        if current is not None:
            current.add(name, began, facts)


@contextmanager
def entering(name: str, context: AbstractContextManager[Value]) -> Iterator[Value]:
    """A context manager whose beginning is recorded."""
    with ExitStack() as stack:
        with span(name):
            value = stack.enter_context(context)
        yield value


@contextmanager
def traced(path: str | os.PathLike[str] | None, what: str = "--trace") -> Iterator[None]:
    """Record what a ``with`` block does and write it to a file at its end, however it ends; None records nothing.

    Args:
        path: of the file.
        what: how the user calls it, for errors.

    Raises:
        ConfigError: at once, where no file can be written there.
        StorageError: at the end, where it could not be.
    """
    if path is None:
        yield
        return
    check_target(path, what)
    current = Recorder("driver")
    if (began := _started()) is not None:
        current.add("Python and imports", began, {})
    token = _CURRENT.set(current)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        write_trace(path, current.events, what)


def event(
    name: str, category: str, began: float, seconds: float, process: str, facts: Mapping[str, Any], thread: str = ""
) -> Event:
    """One event of a trace.

    Args:
        began: seconds since the epoch.
        process: name of the process; events of one name share a row of the trace.
        thread: name of its thread.
    """
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": round(1e6 * began, 1),
        "dur": round(1e6 * seconds, 1),
        "pid": process,
        "tid": thread or "main",
        "args": dict(facts),
    }


class Samples:
    """Looks at the calling thread's stack every few milliseconds while a ``with`` block runs."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._looks: list[tuple[float, tuple[str, ...]]] = []
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._run, name="samples", daemon=True)

    def __enter__(self) -> Samples:
        """Start looking."""
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._sampler.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            frame = sys._current_frames().get(self._thread)
            if frame is not None:
                self._looks.append((time.time(), _stack(frame)))

    def events(self, process: str, thread: str) -> list[Event]:
        """The looks as nested events: a function that two looks in a row saw was there all the time between."""
        found: list[Event] = []
        open_: list[tuple[str, float]] = []
        last = 0.0
        for at, stack in [*self._looks, (None, ())]:
            same = 0
            while same < min(len(open_), len(stack)) and open_[same][0] == stack[same]:
                same += 1
            until = last + SAMPLE_SECONDS if at is None else at
            for name, began in reversed(open_[same:]):
                found.append(event(name, "samples", began, until - began, process, {}, thread))
            del open_[same:]
            if at is not None:
                open_ += [(name, at) for name in stack[same:]]
                last = at
        return found


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """Functions from the outermost to the innermost that is not this module's."""
    names: list[str] = []
    while frame is not None and len(names) < _DEEPEST:
        code = frame.f_code
        names.append(f"{Path(code.co_filename).stem}.{code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(names))


def profiler_events(content: bytes, process: str) -> list[Event]:
    """What ``torch.profiler`` exported, on the wall clock, its processes named after ours.

    Args:
        content: of the file that ``export_chrome_trace`` wrote.
        process: what the worker is called.
    """
    profile = json.loads(content)
    base = profile.get("baseTimeNanoseconds", 0) / 1e3
    found = []
    for one in profile.get("traceEvents", []):
        if one.get("ph") != "X" or not isinstance(one.get("ts"), int | float):
            continue
        track = f"{process}, {one['pid']}" if isinstance(one.get("pid"), str) else process
        found.append(one | {"ts": one["ts"] + base, "pid": track, "tid": f"{one.get('tid')}"})
    return found


def check_target(path: str | os.PathLike[str], what: str) -> None:
    """Refuse a file that a trace cannot be written to, before there is something to write.

    Raises:
        ConfigError: its folder is not there, or it is a folder.
    """
    target = Path(path)
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"{what}: {target} lies in no folder that there is; make {target.absolute().parent}")
    if target.is_dir():
        raise ConfigError(f"{what}: {target} is a folder; name a file in it, such as {target / 'trace.json'}")


def write_trace(path: str | os.PathLike[str], events: Iterable[Event], what: str = "--trace") -> None:
    """Write a trace whose first event is at zero.

    Raises:
        StorageError: it cannot be written.
    """
    found = list(events)
    first = min((one["ts"] for one in found), default=0.0)
    numbers = _numbered(one["pid"] for one in found)
    threads = _numbered((one["pid"], one["tid"]) for one in found)
    written = [
        one | {"ts": round(one["ts"] - first, 1), "pid": numbers[one["pid"]], "tid": threads[one["pid"], one["tid"]]}
        for one in found
    ]
    names = [_name("process_name", number, 0, process) for process, number in numbers.items()]
    names += [_name("thread_name", numbers[process], number, thread) for (process, thread), number in threads.items()]
    content = json.dumps({"displayTimeUnit": "ms", "traceEvents": names + written})
    try:
        Path(path).write_text(content, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{what}: {os.fspath(path)} cannot be written ({error.strerror or error}); choose a file that can be"
        ) from error


def _numbered(values: Iterable[Any]) -> dict[Any, int]:
    """A number from 1 for each different value, in order of appearance: what viewers take for processes."""
    return {value: number for number, value in enumerate(dict.fromkeys(values), start=1)}


def _name(kind: str, process: int, thread: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _started() -> float | None:
    """When this program was started, in seconds since the epoch; None where the kernel does not say."""
    try:
        fields: Sequence[str] = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")
