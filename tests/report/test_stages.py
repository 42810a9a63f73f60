"""Where the time went: shares are of the room that a stage had, and the bottleneck is the fullest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pager_ray.report.stages import stage_lines
from pager_ray.stages.work import StageWork, Work, summarise_stages


def work_of(infer: float | None, read: float, stitch: float, *, crowd: float = 1.0) -> dict[str, StageWork]:
    """100 panoramas in a window of 50 seconds; arguments are seconds per panorama, on CPUs of processor time.

    Tasks on CPUs take ``crowd`` times as long as they work.
    """
    per_panorama = {"read": read, "infer": infer, "stitch": stitch}
    work = {}
    for name, seconds in per_panorama.items():
        if seconds is not None:
            took = seconds if name == "infer" else crowd * seconds
            work[name] = StageWork(100, 100 * took, 100 * seconds, 100 * 5_000_000, began=3.0, ended=60.0)
    if infer is not None:
        work["infer"].began, work["infer"].ended = 10.0, 60.0
    return work


def summary_of(work: dict[str, StageWork], workers: int = 2, cores: float = 4) -> dict[str, Any]:
    summary = summarise_stages(work, model_workers=workers, workers_per_gpu=1.0, cores=cores)
    assert summary is not None
    return summary


def test_shares_are_of_what_a_stage_could_have_used() -> None:
    """The model's time counts against its workers, a CPU stage's processor time against the cluster's cores."""
    summary = summary_of(work_of(0.9, 0.2, 0.4))
    shares = {name: facts["busy_share"] for name, facts in summary["stages"].items()}
    assert shares == pytest.approx({"infer": 90 / (50 * 2), "read": 20 / (50 * 4), "stitch": 40 / (50 * 4)})
    assert summary["window_seconds"] == 50
    assert json.loads(json.dumps(summary)) == summary


def test_the_fullest_is_the_bottleneck() -> None:
    """Busy model workers hold the job up; where the cores are fuller, the CPU stage with most work does."""
    assert summary_of(work_of(0.9, 0.2, 0.4))["bottleneck"] == "infer"
    assert summary_of(work_of(0.3, 0.6, 1.2))["bottleneck"] == "stitch"
    assert summary_of(work_of(0.3, 1.2, 0.6))["bottleneck"] == "read"


def test_balance_is_cores_per_model_worker() -> None:
    """As many cores as the CPU stages need seconds per second of the model; per GPU, for all workers on it."""
    work = work_of(0.5, 0.5, 1.5)
    assert summary_of(work)["cores_per_worker"] == pytest.approx(4.0)
    shared = summarise_stages(work, model_workers=2, workers_per_gpu=2.0, cores=4)
    assert shared is not None
    assert shared["cores_per_gpu"] == pytest.approx(8.0)
    on_cpus = summarise_stages(work, model_workers=2, workers_per_gpu=None, cores=4)
    assert on_cpus is not None
    assert on_cpus["cores_per_gpu"] is None
    assert "balanced: 4.0 CPUs beside each model worker" in stage_lines(on_cpus)


def test_lines_say_what_to_change() -> None:
    """Shares, bottleneck and balance have a line each; a stage that waits for files is told from a busy one."""
    assert stage_lines(summary_of(work_of(0.9, 0.2, 0.4))) == [
        "busy shares of 2 model workers and 4 CPUs: read 10%, infer 90%, stitch 20%",
        "bottleneck: infer, 0.9 s per panorama",
        "balanced: 0.7 CPUs per GPU",
        "limit: 2 panoramas/s, 90% of the 2.22 that 2 model workers alone could do",
    ]
    waiting = stage_lines(summary_of(work_of(0.1, 0.15, 0.1, crowd=10)))
    assert waiting[1].startswith("bottleneck: read, 1.5 s per panorama, waiting for storage")


def test_tasks_that_share_cores_are_not_taken_for_busy_ones() -> None:
    """More tasks than cores take longer each; how busy the cores are, and what balances them, does not change."""
    alone, crowded = summary_of(work_of(0.9, 0.2, 0.4)), summary_of(work_of(0.9, 0.2, 0.4, crowd=4))
    for key in ("bottleneck", "cores_per_gpu", "waits_for_storage"):
        assert alone[key] == crowded[key]
    shares = [{name: facts["busy_share"] for name, facts in each["stages"].items()} for each in (alone, crowded)]
    assert shares[0] == shares[1]


def test_a_job_without_a_model_has_no_balance() -> None:
    """Scoring alone has a bottleneck among its CPU stages and asks for no GPU."""
    summary = summary_of(work_of(None, 0.7, 1.4), workers=0)
    assert summary["bottleneck"] == "stitch"
    assert summary["window_seconds"] == 57
    assert "cores_per_worker" not in summary
    assert stage_lines(summary)[0] == "busy shares of 4 CPUs: read 31%, stitch 61%"


def test_nothing_done_says_nothing() -> None:
    """A start that ended before any block was done has no summary."""
    assert summarise_stages({}, model_workers=1, workers_per_gpu=None, cores=2) is None
    begun = {"read": StageWork(began=1.0)}
    assert summarise_stages(begun, model_workers=1, workers_per_gpu=None, cores=2) is None


def test_work_adds_up() -> None:
    """Blocks of a stage are summed, whoever did them."""
    stage = StageWork()
    stage.add(Work(4, 2.0, 1.5, 400))
    stage.add(Work(2, 1.0, 0.5, 100))
    assert stage == StageWork(6, 3.0, 2.0, 500)
