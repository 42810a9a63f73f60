"""The closing summary: what was done, where to look, and the rejects last."""

from __future__ import annotations

import pytest

from pager_ray.report.outcomes import RunSummary
from pager_ray.runs import Reconciliation


def summary(predictions: int, rejects: dict[str, int], **values: object) -> RunSummary:
    count = sum(rejects.values())
    result = Reconciliation(predictions + count, predictions, count, [], [], [], rejects)
    settings: dict[str, object] = {"fresh": predictions + count, "seconds": 100.0, "previews": False}
    return RunSummary("s3://bucket/run", result, **(settings | values))  # type: ignore[arg-type]


def test_a_clean_run() -> None:
    """Without rejects the summary says how many, how fast and where, and nothing of rejects or pictures."""
    assert summary(1200, {}).lines() == [
        "1,200 of 1,200 panoramas predicted in 1 min 40 s (1,200 in this start, 12.0 panoramas/s)",
        "output    s3://bucket/run",
        'read it   pager_ray.open_run("s3://bucket/run")',
    ]


def test_rejects_come_last_with_their_reasons() -> None:
    """The last line has the number of rejects and their folder, the one before it the reasons with their counts."""
    lines = summary(8, {"missing": 1500, "corrupt_image": 2}).lines()
    assert lines[0].startswith("8 of 1,510 panoramas predicted")
    assert lines[-2:] == ["reasons   missing 1,500, corrupt_image 2", "1,502 rejects: s3://bucket/run/rejects"]


def test_pictures_are_named_where_there_are_some() -> None:
    """The folder of previews is named by runs that write them."""
    assert "pictures  s3://bucket/run/previews" in summary(8, {}, previews=True).lines()


@pytest.mark.parametrize("values", [{"fresh": 0}, {"seconds": 0.0}])
def test_no_rate_without_work_or_time(values: dict[str, float]) -> None:
    """A start that had nothing left to do, or took no time, claims no rate."""
    assert "panoramas/" not in summary(8, {}, **values).lines()[0]


def test_the_rate_is_that_of_this_start() -> None:
    """What earlier starts finished does not make this one faster."""
    line = summary(1000, {}, fresh=10, seconds=100.0).lines()[0]
    assert line == "1,000 of 1,000 panoramas predicted in 1 min 40 s (10 in this start, 6.0 panoramas/min)"
