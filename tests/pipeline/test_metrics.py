"""A job's metrics: what a gauge shows is handed on again when the job is looked at, and counters count once."""

from __future__ import annotations

from typing import Any

import pytest

from pager_ray.pipeline import metrics
from pager_ray.pipeline.metrics import Meters


class Recorded:
    """In place of Ray's counters and gauges: every value that was handed on, by the metric's name."""

    handed: list[tuple[str, float, str]]

    def __init__(self, name: str, **_: Any) -> None:
        self._name = name

    def _hand(self, value: float, tags: dict[str, str]) -> None:
        self.handed.append((self._name, value, tags.get("stage", "")))

    inc = set = _hand


def test_gauges_are_handed_on_again_and_counters_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last value of each gauge under each of its labels, once per look."""
    monkeypatch.setattr(Recorded, "handed", [], raising=False)
    monkeypatch.setattr(metrics, "Counter", Recorded)
    monkeypatch.setattr(metrics, "Gauge", Recorded)
    meters = Meters("s3://bucket/run")
    meters.count("pager_ray_stage_panoramas", 3, "read")
    meters.show("pager_ray_stage_queue", 1, "read")
    meters.show("pager_ray_stage_queue", 4, "read")
    meters.show("pager_ray_stage_queue", 2, "infer")
    before = len(Recorded.handed)
    meters.again()
    assert Recorded.handed[before:] == [("pager_ray_stage_queue", 4, "read"), ("pager_ray_stage_queue", 2, "infer")]
