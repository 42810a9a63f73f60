"""Progress: said in panoramas, ever more rarely in a log and at every look on a terminal."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pager_ray.pipeline import progress
from pager_ray.pipeline.board import State
from pager_ray.pipeline.progress import FIRST_PAUSE, LOOK_SECONDS, ProgressLog
from pager_ray.stages.counts import Counts
from pager_ray.tracing import watching


class Clock:
    """Time that passes only while the log waits; stops after the last state."""

    def __init__(self, states: list[Any], step: float | None) -> None:
        self.states, self.step, self.now = list(states), step, 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += self.step or seconds
        return not self.states

    def get(self, *_: object, **__: object) -> State:
        state = self.states.pop(0)
        if isinstance(state, Exception):
            raise state
        return State(Counts(100, predicted=state), [], {}, {}, {}, None, 0)


def told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    states: list[Any],
    step: float | None = None,
    **options: Any,
) -> list[str]:
    """The lines that a log says while the board goes through the states, ``step`` seconds apart."""
    clock = Clock(states, step)
    board = SimpleNamespace(state=SimpleNamespace(remote=lambda: None))
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "pager_ray.progress"):
        patch.setattr(progress.time, "monotonic", clock.monotonic)
        patch.setattr(ray, "get", clock.get)
        ProgressLog(board, _stop=clock, **options)._run()  # type: ignore[arg-type]
    return [record.getMessage() for record in caplog.records]


def test_the_rate_starts_with_the_first_rows(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Starting workers is no part of the rate: it counts from the last look at which nothing new was done."""
    lines = told(monkeypatch, caplog, [5, 5, 5, 15, 35], step=60)
    assert lines[:3] == ["5/100 panoramas (5%), 0 rejected"] * 3
    assert lines[3:] == [
        "15/100 panoramas (15%), 0 rejected, 10.0 panoramas/min, 8 min 30 s left",
        "35/100 panoramas (35%), 0 rejected, 15.0 panoramas/min, 4 min 20 s left",
    ]


def test_no_time_is_left_before_it_means_something(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A few rows, or a few seconds, decide by chance how long all of them will take."""
    lines = told(monkeypatch, caplog, [0, 3, 7, 7, 12], step=60)
    assert ["left" in line for line in lines] == [False, False, False, False, True]
    caplog.clear()
    quick = told(monkeypatch, caplog, [0, 20, 20, 40], step=FIRST_PAUSE)
    assert not any("left" in line for line in quick)


def test_an_hour_is_one_page(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Lines come after 5 s, 10 s, … and at last every two minutes, whatever happens between them."""
    lines = told(monkeypatch, caplog, [0] * int(3600 / FIRST_PAUSE))
    assert 20 < len(lines) < 50


def test_a_board_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A board that does not answer for a while ends neither the log nor the job."""
    lines = told(monkeypatch, caplog, [ray.exceptions.GetTimeoutError(), ray.exceptions.RayActorError(), 7], step=10)
    assert lines == ["7/100 panoramas (7%), 0 rejected"]


def test_who_watches_sees_every_look(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """On a terminal each look is shown and no line is logged; notes for others stay as rare as without one."""
    seen: list[Mapping[str, Any]] = []
    notes: list[Mapping[str, Any]] = []
    with watching(SimpleNamespace(begin=lambda step: None, look=seen.append)):
        lines = told(monkeypatch, caplog, [*range(25)], note=notes.append, bottleneck=lambda work: "read")
    assert lines == []
    assert [facts["predicted"] for facts in seen] == [*range(25)]
    assert {facts["bottleneck"] for facts in seen} == {"read"}
    assert len(notes) == 25 * LOOK_SECONDS // 10


def test_the_log_stops_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the block ends the thread, also when the job fails."""
    monkeypatch.setattr(ray, "get", lambda *_, **__: State(Counts(1), [], {}, {}, {}, None, 0))
    log = ProgressLog(SimpleNamespace(state=SimpleNamespace(remote=lambda: None)))

    def fail() -> None:
        with log:
            assert log._thread is not None
            assert log._thread.is_alive()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert log._thread is not None
    assert not log._thread.is_alive()
