"""A job's metrics: what a gauge shows is handed on again when the job is looked at, counters count once, and what Ray
does not take harms nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pager_ray.pipeline import metrics
from pager_ray.pipeline.metrics import Meters


class Recorded:
    """In place of Ray's counters and gauges: every value that was handed on, by the metric's name."""

    handed: list[tuple[str, float, str]]
    tags: list[dict[str, str]]

    def __init__(self, name: str, **_: Any) -> None:
        self._name = name

    def _hand(self, value: float, tags: dict[str, str]) -> None:
        self.tags.append(tags)
        self.handed.append((self._name, value, tags.get("stage", "")))

    inc = set = _hand


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    monkeypatch.setattr(Recorded, "handed", [], raising=False)
    monkeypatch.setattr(Recorded, "tags", [], raising=False)
    monkeypatch.setattr(metrics, "Counter", Recorded)
    monkeypatch.setattr(metrics, "Gauge", Recorded)
    return Recorded


def test_gauges_are_handed_on_again_and_counters_are_not(recorded: type[Recorded]) -> None:
    """The last value of each gauge under each of its labels, once per look."""
    meters = Meters("s3://bucket/run")
    meters.count("pager_ray_stage_panoramas", 3, "read")
    meters.show("pager_ray_stage_queue", 1, "read")
    meters.show("pager_ray_stage_queue", 4, "read")
    meters.show("pager_ray_stage_queue", 2, "infer")
    before = len(recorded.handed)
    meters.again()
    assert recorded.handed[before:] == [("pager_ray_stage_queue", 4, "read"), ("pager_ray_stage_queue", 2, "infer")]


def test_every_label_is_ascii(recorded: type[Recorded]) -> None:
    """Ray encodes labels as ASCII: no output, class of rejects or device brings it anything else."""
    meters = Meters("/Läufe/" + "ü" * 300)
    meters.count("pager_ray_rejects", 1, "Größenfehler")
    meters.show("pager_ray_batch_size", 4, "NVIDIA H200™")
    assert [tag for tags in recorded.tags for tag in tags.values() if not tag.isascii()] == []
    assert recorded.tags[0]["error_class"] == "Gr%C3%B6%C3%9Fenfehler"
    assert recorded.tags[1]["output"].startswith("/L%C3%A4ufe/%C3%BC")


def test_a_metric_that_fails_harms_nothing(
    recorded: type[Recorded], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be made or set is told once, by one line; the others go on, and no error reaches the job."""

    class Refusing(Recorded):
        def __init__(self, name: str, **options: Any) -> None:
            if name == "pager_ray_bytes_written":
                raise ValueError("no such metric")
            super().__init__(name, **options)

        def inc(self, value: float, tags: dict[str, str]) -> None:
            raise RuntimeError("the exporter is gone")

    monkeypatch.setattr(metrics, "Counter", Refusing)
    meters = Meters("/runs/one")
    for _ in range(3):
        meters.count("pager_ray_bytes_written", 1)
        meters.count("pager_ray_panoramas", 1, "predicted")
        meters.show("pager_ray_panoramas_left", 5)
        meters.again()
    assert {name for name, *_ in recorded.handed} == {"pager_ray_panoramas_left"}
    assert [one.getMessage() for one in caplog.records] == [
        "metrics are incomplete, the job goes on: ValueError: no such metric"
    ]
