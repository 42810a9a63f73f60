"""The display of a job: its step at once, its facts when there are some, and nothing at all without a terminal."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from rich.console import Console

from pager_ray.report import display
from pager_ray.report.display import Display, shown
from pager_ray.tracing import span, watcher


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


FACTS = {"total": 200, "predicted": 40, "rejected": 10, "workers": [{"device": "cpu", "count": 1}]}


def drawn(job: Display) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(job)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_step_is_shown_before_anything_is_done() -> None:
    """What takes its time says what it is, and for how long it has been."""
    job = Display()
    job.begin("find or start Ray")
    assert "find or start Ray, 0 s" in drawn(job)
    job.look(FACTS | {"predicted": 0, "rejected": 0, "workers": []})
    assert "start workers, load the model" in drawn(job)


def test_a_step_that_says_more_of_itself_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is counted from its first word; another step's begins anew."""
    now = 100.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    job = Display()
    job.begin("fetch weights, 1.0 of 5.6 GB")
    now += 30
    job.begin("fetch weights, 2.0 of 5.6 GB")
    assert job.lines() == [("now", "fetch weights, 2.0 of 5.6 GB, 30 s")]
    job.begin("claim the output")
    assert job.lines() == [("now", "claim the output, 0 s")]


def test_facts_are_shown_as_they_are_known() -> None:
    """Rows at once; rate, time left, rejects by class and the stage that holds the others up where there are any."""
    job = Display()
    job.look(FACTS)
    assert "50 of 200 panoramas (25.0%), 10 rejected" in drawn(job)
    assert "left" not in drawn(job)
    more = {"rate": 2.0, "seconds_left": 75.0, "rejects_by_class": {"missing": 10}, "bottleneck": "read"}
    job.look(FACTS | more)
    text = drawn(job)
    for words in ("2.0 panoramas/s, 1 min 15 s left", "missing 10", "held up by", "read"):
        assert words in text


def test_text_of_strangers_moves_no_cursor() -> None:
    """A class or a name may hold what a terminal takes for an order."""
    job = Display()
    job.look(FACTS | {"rejects_by_class": {"\x1b[2Jgone[bold]": 1}})
    assert "\\x1b[2Jgone[bold] 1" in drawn(job)


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe or a file gets the log alone."""
    with shown() as job:
        assert job is None
        assert watcher() is None
    assert capsys.readouterr().err == ""


def test_a_log_stands_above_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal spans name the step, lines of the log are whole, and both streams are as before at the end."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(display, "REFRESHES_PER_SECOND", 50)
    handler = logging.StreamHandler(terminal)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    with shown() as job:
        assert job is not None
        with span("list inputs"):
            assert ("now", "list inputs, 0 s") in job.lines()
        logging.getLogger("somebody").warning("a line of [some] log")
    assert watcher() is None
    assert handler.stream is terminal
    assert "a line of [some] log" in terminal.getvalue()
