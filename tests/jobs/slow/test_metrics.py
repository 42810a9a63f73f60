"""Prometheus sees a job as the job sees itself: every series that the dashboard draws, and the same work.

The job stands still while both are read: a rate is a difference of counters, and equal counters have equal rates,
whatever the clocks of scrapes and looks did.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pager_ray.pipeline.metrics import METRICS, PREFIX
from tests.harness.head import RayHead
from tests.harness.valve import Valve

WAIT_SECONDS = 1800.0
REPORT_MS = 4000
"""Ray hands on what was added since its last report, and what it cannot hand on in half of this time is lost: with half
a second a busy machine lost two rows for good."""
ROWS, FIRST = 16, 8

SERIES = {
    PREFIX + "pager_ray_stage_panoramas_total": "rows",
    PREFIX + "pager_ray_stage_busy_seconds_total": "seconds",
    PREFIX + "pager_ray_stage_cpu_seconds_total": "cpu_seconds",
}
"""Counters, and what the job calls them."""

Series = dict[tuple[str, str | None], float]


def series_of(text: str) -> Series:
    """Values of the job's own metrics by name, and by stage where they have one."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith(PREFIX + "pager_ray_"):
            for sample in family.samples:
                found[sample.name, sample.labels.get("stage")] = sample.value
    return found


@dataclass
class Look:
    """What a job says of itself and what Prometheus is told, while nothing moves."""

    own: dict[str, Any]
    served: Series


def looked(head: RayHead, output: Path) -> Look | None:
    """Both, where they are of the same moment: what is served comes in parts, some of them later."""
    progress = output / "state" / "progress.json"
    if not progress.exists():
        return None
    look = Look(json.loads(progress.read_text()), series_of(head.scrape()))
    stages = look.own["stages"]
    if stages.get("write", {"rows": 0})["rows"] < FIRST or differences(look):
        return None
    return look


def missing(looks: list[Look]) -> set[str]:
    """Metrics that the dashboard may draw and Prometheus was told at none of the looks."""
    served = {name for look in looks for name, _ in look.served}
    return {PREFIX + name + ("_total" if metric.kind == "counter" else "") for name, metric in METRICS.items()} - served


def differences(look: Look) -> list[tuple[str, str]]:
    """Series and stages of which Prometheus is told something else than the job says."""
    return [
        (name, stage)
        for stage, facts in look.own["stages"].items()
        for name, key in SERIES.items()
        if look.served.get((name, stage)) != pytest.approx(facts[key], rel=1e-6)
    ]


@pytest.fixture(scope="module")
def looks(tiny_unified: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Look]:
    """A run with one reject, looked at when half of its rows are done and when all but one are."""
    folder = tmp_path_factory.mktemp("metrics")
    uris = sorted(str(path) for path in samples.parent.glob("*.jpg"))
    rows = [f"{number:03},{uris[number % len(uris)]},indoor" for number in range(ROWS)]
    (folder / "broken.jpg").write_bytes(b"no picture")
    # First, so that its series is there from the beginning.
    (folder / "listing.csv").write_text(
        "\n".join(["id,uri,scene", f"broken,{folder / 'broken.jpg'},indoor", *rows, ""])
    )
    output, valve, found = folder / "run", Valve(folder / "valve"), []
    with RayHead(cpus=2, gpus=1, environment={"RAY_metrics_report_interval_ms": str(REPORT_MS)}) as head:
        job = head.start(
            "tests.harness.fake_gpus",
            str(valve.folder),
            f"checkpoint={tiny_unified}",
            f"input.uris={folder / 'listing.csv'}",
            f"output.uri={output}",
            "output.rows_per_shard=2",
            log=folder / "job.log",
        )
        log = folder / "job.log"
        for count in (FIRST + 2, ROWS - FIRST - 2):
            # The reject takes its turn at the model too.
            valve.let_through(count)
            deadline = time.monotonic() + WAIT_SECONDS
            before = found[-1].own["stages"]["write"]["rows"] if found else 0
            last = bool(found)
            while (
                (look := looked(head, output)) is None
                or look.own["stages"]["write"]["rows"] <= before
                or (last and missing([*found, look]))
            ):
                assert job.poll() is None, log.read_text()[-4000:]
                assert time.monotonic() < deadline, "what is served is not what the job says"
                time.sleep(0.5)
            found.append(look)
        valve.open()
        assert job.wait(WAIT_SECONDS) == 3, log.read_text()[-4000:]
    return found


def test_every_metric_is_served(looks: list[Look]) -> None:
    """What METRICS names, and so what the dashboard may draw, is on `/metrics` while a job runs."""
    assert missing(looks) == set()


def test_work_is_that_of_the_job(looks: list[Look]) -> None:
    """Rows, busy and processor seconds of every stage are equal where both stand still, and so is any rate of them."""
    for look in looks:
        assert {"read", "infer", "stitch", "write"} == set(look.own["stages"])
        assert differences(look) == []
    first, last = (look.own["stages"]["write"]["rows"] for look in looks)
    assert FIRST <= first < last <= ROWS
