"""Plans in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pager_ray.durations import format_duration
from pager_ray.plan.estimate import estimate
from pager_ray.plan.plan import Nodes
from pager_ray.plan.text import format_bytes, plan_lines
from pager_ray.report.outcomes import outcome_line
from pager_ray.runs.planned import RunPlan
from tests.plan.facts import job, measured, model

PLAN = RunPlan(1000, 7500.0, 6600.0, 9000.0, 30.0, 4, 28.0, "infer")


def test_the_duration_and_its_band_come_last() -> None:
    """The last line has the duration and both ends of its band; without prices no line tells a cost."""
    plan = estimate(job(), measured(), model(), Nodes())
    lines = plan_lines(plan)
    whole, low, high = (format_duration(s) for s in (plan.seconds.estimate, plan.seconds.low, plan.seconds.high))
    assert lines[-1] == f"duration  {whole} ({low} – {high})"
    assert not any(line.startswith("cost") for line in lines)
    assert lines[0] == "100,000 panoramas (8 measured)"


def test_what_was_measured_is_named() -> None:
    """The model's device and source are told, and a stand-in for its maps where there was one."""
    plan = estimate(job(), measured(), replace(model(), source="profile p.json"), Nodes(), stand_in=True)
    lines = plan_lines(plan)
    assert "model     H100: profile p.json" in lines
    assert any(line.startswith("maps      a stand-in's") for line in lines)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_other_work_on_the_machine_is_named(share: float) -> None:
    """Samples that shared their core say so; others say nothing."""
    plan = replace(estimate(job(), measured(), model(), Nodes()), core_share=share)
    told = [line for line in plan_lines(plan) if line.startswith("machine")]
    assert bool(told) == (share < 1)


def test_a_pool_that_cannot_be_fed() -> None:
    """Where the cores feed fewer workers than are asked for, the plan says so and what to set."""
    plan = estimate(job(), measured(), model(0.01), Nodes(cpu_nodes=0))
    advice = next(line for line in plan_lines(plan) if line.startswith("advice"))
    assert advice.endswith(f"compute.gpu_workers={plan.fed_workers}")
    assert "held up   by the CPUs, most of all stitch" in plan_lines(plan)


@pytest.mark.parametrize(("hours", "says"), [(1.0, "compute.gpu_workers="), (1e-4, "no pool finishes")])
def test_a_pool_for_given_hours(hours: float, says: str) -> None:
    """Hours that were asked for are answered with a pool, or with why not."""
    lines = plan_lines(estimate(job(), measured(), model(0.5), Nodes(), hours=hours))
    assert says in next(line for line in lines if line.startswith("within"))


def test_a_run_beside_its_plan() -> None:
    """Planned, its band and what it took, on one line."""
    section = PLAN.beside(1000) | {"actual_seconds": 7860.0}
    assert outcome_line(section) == "planned   2 h 5 min (1 h 50 min – 2 h 30 min), took 2 h 11 min"


def test_a_part_of_the_plan() -> None:
    """A resumed run says for how many panoramas it speaks, and for how many the plan was made."""
    line = outcome_line(PLAN.beside(100) | {"actual_seconds": 700.0})
    assert line is not None
    assert line.endswith("took 11 min 40 s for 100 panoramas; the plan was made for 1,000")


def test_a_run_that_did_not_end() -> None:
    """Without an actual duration there is nothing to compare."""
    assert outcome_line(PLAN.beside(1000)) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (1.5e6, "1.5 MB"),
        (99.96e6, "100 MB"),
        (999.7e9, "1.0 TB"),
        (8e18, "8000 PB"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    """Bytes are told with at most three digits, in decimal units."""
    assert format_bytes(count) == text
