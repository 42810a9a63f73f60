"""Progress in words: rows, rate and time left, in units that read well."""

from __future__ import annotations

import pytest

from pager_ray.durations import format_duration, format_rate
from pager_ray.report.progress import progress_line
from pager_ray.stages.counts import Counts


def test_lines_say_what_is_done_and_left() -> None:
    """A line has rows, share and rejects, and rate and time left once they are known."""
    counts = Counts(10_000, predicted=2_400, rejected=100)
    assert progress_line(counts) == "2,500/10,000 panoramas (25%), 100 rejected"
    assert progress_line(counts, 5.0) == "2,500/10,000 panoramas (25%), 100 rejected, 5.0 panoramas/s"
    assert progress_line(counts, 5.0, 1500) == (
        "2,500/10,000 panoramas (25%), 100 rejected, 5.0 panoramas/s, 25 min 0 s left"
    )


def test_lines_at_the_ends() -> None:
    """Nothing listed is all done, and a finished run has no time left."""
    assert progress_line(Counts(0)) == "0/0 panoramas (100%), 0 rejected"
    assert progress_line(Counts(4, 4), 2.0, 0.0).endswith("2.0 panoramas/s, 0 s left")


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(12.34, "12.3 panoramas/s"), (1, "1.0 panoramas/s"), (0.5, "30.0 panoramas/min"), (0.01, "0.6 panoramas/min")],
)
def test_rates_read_well(rate: float, shown: str) -> None:
    """From one panorama per second on rates are per second, below it per minute."""
    assert format_rate(rate) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.5, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.6, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (360_000, "100 h 0 min"),
    ],
)
def test_durations_read_well(seconds: float, shown: str) -> None:
    """Durations are rounded first and then split, so that no line says 60 seconds or 60 minutes."""
    assert format_duration(seconds) == shown
