"""Traces: every event on one line of time, numbered as viewers want it, written whatever ends the work."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pager_ray.errors import ConfigError
from pager_ray.tracing import Samples, entering, event, profiler_events, recorder, span, traced, write_trace


def events_of(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["traceEvents"]


def test_steps_are_written_in_order_with_the_start_of_the_program(tmp_path: Path) -> None:
    """Each span has its name and facts, the first event is at zero, and the program's own start is one of them."""
    file = tmp_path / "trace.json"
    with traced(file), span("outer"), span("inner", rows=3):
        time.sleep(0.01)
    found = {one["name"]: one for one in events_of(file) if one["ph"] == "X"}
    assert min(one["ts"] for one in found.values()) == 0
    assert found["inner"]["args"] == {"rows": 3}
    assert found["outer"]["ts"] <= found["inner"]["ts"]
    assert found["inner"]["dur"] >= 1e4
    assert recorder() is None


def test_a_trace_is_written_when_the_work_fails(tmp_path: Path) -> None:
    """The job that ends with an error leaves the trace of what it did before, and the error."""
    file = tmp_path / "trace.json"
    with pytest.raises(ValueError, match="broken"), traced(file), span("work"):
        raise ValueError("broken")
    assert "work" in {one["name"] for one in events_of(file)}


def test_nothing_is_recorded_where_nobody_traces() -> None:
    """Spans without a trace do what their blocks do."""
    with traced(None), span("work"), entering("enter", span("inner")):
        assert recorder() is None


@pytest.mark.parametrize(("name", "says"), [("missing/trace.json", "lies in no folder"), ("", "is a folder")])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str, says: str) -> None:
    """One line names the option and the way out, and nothing was begun."""
    begun = []
    with pytest.raises(ConfigError, match=rf"^--trace: .+ {says}"), traced(tmp_path / name):
        begun.append(True)
    assert not begun


def test_processes_and_threads_are_numbered_and_named(tmp_path: Path) -> None:
    """Viewers take numbers: each process and thread has one, and an event that names it."""
    write_trace(
        tmp_path / "t.json",
        [
            event("a", "stage", 10.0, 1.0, "read, process 7", {}, "first"),
            event("b", "stage", 11.0, 1.0, "infer, process 8", {}, "first"),
            event("c", "stage", 12.0, 1.0, "read, process 7", {}, "second"),
        ],
    )
    found = events_of(tmp_path / "t.json")
    spans = {one["name"]: one for one in found if one["ph"] == "X"}
    assert [spans[name]["ts"] for name in "abc"] == [0, 1e6, 2e6]
    assert spans["a"]["pid"] == spans["c"]["pid"] != spans["b"]["pid"]
    assert spans["a"]["tid"] != spans["c"]["tid"]
    names = {(one["name"], one["pid"]): one["args"]["name"] for one in found if one["ph"] == "M"}
    assert names["process_name", spans["b"]["pid"]] == "infer, process 8"


def test_looks_at_a_stack_become_nested_events() -> None:
    """A function that several looks in a row saw is one event that holds those of the functions that it called."""
    samples = Samples()
    samples._looks = [(1.0, ("main", "read")), (1.02, ("main", "read", "decode")), (1.04, ("main", "write"))]
    found = {one["name"]: one for one in samples.events("p", "t")}
    assert found["main"]["ts"] == 1.0e6
    assert found["main"]["dur"] == pytest.approx(0.06e6, abs=1)
    assert found["read"]["dur"] == pytest.approx(0.04e6, abs=1)
    assert found["decode"]["ts"] == pytest.approx(1.02e6, abs=1)
    assert found["write"]["dur"] == pytest.approx(0.02e6, abs=1)


def test_a_busy_thread_is_seen_in_the_function_that_it_is_in() -> None:
    """The sampler looks at the thread that started it, and at no other."""

    def work() -> None:
        ended = time.monotonic() + 5
        while not samples._looks and time.monotonic() < ended:
            time.sleep(0.001)

    with Samples() as samples:
        work()
    names = [name for name in (one["name"] for one in samples.events("p", "t")) if name.endswith("<locals>.work")]
    assert names


def test_a_profilers_times_are_put_on_the_wall_clock() -> None:
    """Times of torch's profiler count from a base of its own; tracks of devices keep their names beside ours."""
    content = json.dumps(
        {
            "baseTimeNanoseconds": 5_000_000_000,
            "traceEvents": [
                {"ph": "X", "name": "aten::mm", "ts": 10.5, "dur": 1, "pid": 77, "tid": 77},
                {"ph": "X", "name": "gap", "ts": 11, "dur": 1, "pid": "Spans", "tid": "P"},
                {"ph": "M", "name": "process_name", "pid": 77, "args": {}},
            ],
        }
    )
    found = profiler_events(content.encode(), "infer, process 77")
    assert [(one["name"], one["ts"], one["pid"]) for one in found] == [
        ("aten::mm", 5_000_010.5, "infer, process 77"),
        ("gap", 5_000_011.0, "infer, process 77, Spans"),
    ]
