"""Prometheus sees a job as the job sees itself: every series that the dashboard draws, and the same rates."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pager_ray.pipeline.metrics import METRICS, PREFIX
from tests.harness.head import RayHead

WAIT_SECONDS = 240.0
ROWS = 96
SECONDS = 0.5

Series = dict[tuple[str, str | None], float]


def series_of(text: str) -> Series:
    """Values of the job's own metrics by name, and by stage where they have one."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith(PREFIX + "pager_ray_"):
            for sample in family.samples:
                found[sample.name, sample.labels.get("stage")] = sample.value
    return found


@pytest.fixture(scope="module")
def scraped(tiny_unified: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list, str]:
    """A run of about a minute at a steady pace with one reject, scraped twice a second."""
    folder = tmp_path_factory.mktemp("metrics")
    uris = sorted(str(path) for path in samples.parent.glob("*.jpg"))
    rows = [f"{number:03},{uris[number % len(uris)]},indoor" for number in range(ROWS)]
    (folder / "broken.jpg").write_bytes(b"no picture")
    # First, so that its series is there from the beginning.
    (folder / "listing.csv").write_text(
        "\n".join(["id,uri,scene", f"broken,{folder / 'broken.jpg'},indoor", *rows, ""])
    )
    output = folder / "run"
    looks: list[tuple[float, Series]] = []
    with RayHead(cpus=2, gpus=1, environment={"RAY_metrics_report_interval_ms": "500"}) as head:
        job = head.start(
            "tests.harness.fake_gpus",
            str(SECONDS),
            f"checkpoint={tiny_unified}",
            f"input.uris={folder / 'listing.csv'}",
            f"output.uri={output}",
            "output.rows_per_shard=2",
            log=folder / "job.log",
        )
        deadline = time.monotonic() + WAIT_SECONDS
        while job.poll() is None and time.monotonic() < deadline:
            looks.append((time.time(), series_of(head.scrape())))
            time.sleep(0.5)
        assert job.poll() == 3, (folder / "job.log").read_text()[-4000:]
    return output, looks, (folder / "job.log").read_text()


def test_every_metric_is_served(scraped: tuple[Path, list, str]) -> None:
    """What METRICS names, and so what the dashboard may draw, is on `/metrics` while a job runs."""
    _, looks, _ = scraped
    served = {name for _, series in looks for name, _ in series}
    wanted = {PREFIX + name + ("_total" if metric.kind == "counter" else "") for name, metric in METRICS.items()}
    assert wanted - served == set()


def test_rates_are_those_of_the_summary(scraped: tuple[Path, list, str]) -> None:
    """The counters' slope over a run is the rate that the run states of itself, within 5 %."""
    output, looks, _ = scraped
    summary = json.loads((output / "run.json").read_text())["starts"][0]["stages"]
    name = PREFIX + "pager_ray_stage_panoramas_total", "infer"
    points = [(when, series[name]) for when, series in looks if name in series]
    first = points[0]
    most = max(value for _, value in points)
    last = next((when, value) for when, value in points if value == most)
    seen = (last[1] - first[1]) / (last[0] - first[0])
    stated = summary["stages"]["infer"]["rows"] / summary["window_seconds"]
    assert seen == pytest.approx(stated, rel=0.05)


def test_work_is_that_of_the_summary(scraped: tuple[Path, list, str]) -> None:
    """Busy seconds and rows of the last scrape are those that the run states, short of its last second."""
    output, looks, _ = scraped
    stages = json.loads((output / "run.json").read_text())["starts"][0]["stages"]["stages"]
    last = looks[-1][1]
    for stage, facts in stages.items():
        rows = last[PREFIX + "pager_ray_stage_panoramas_total", stage]
        assert facts["rows"] - 4 <= rows <= facts["rows"]
        busy = last[PREFIX + "pager_ray_stage_busy_seconds_total", stage]
        assert busy / rows == pytest.approx(facts["seconds_per_panorama"], rel=0.05)
