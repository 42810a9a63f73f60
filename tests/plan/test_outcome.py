"""Plans that runs are given, and what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pager_ray.errors import ConfigError
from pager_ray.plan.estimate import estimate
from pager_ray.plan.outcome import read_plan
from pager_ray.plan.plan import Nodes
from pager_ray.runs.planned import RunPlan
from tests.plan.facts import job, measured, model

PLAN = RunPlan(1000, 1030.0, 830.0, 1230.0, 30.0, 4, 28.0, "infer")


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What a run reads of a plan's JSON is what the plan says."""
    plan = estimate(job(), measured(), model(), Nodes())
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()), encoding="utf-8")
    found = read_plan(str(path))
    assert (found.rows, found.model_workers, found.bottleneck) == (100_000, 4, "infer")
    assert found.seconds == pytest.approx(plan.seconds.estimate, rel=1e-5)
    assert found.low_seconds < found.seconds < found.high_seconds


def test_all_rows_are_planned_as_they_were() -> None:
    """A run that does all rows of its plan keeps the plan's seconds, and has no actual ones yet."""
    section = PLAN.beside(1000)
    assert (section["seconds"], section["low_seconds"], section["high_seconds"]) == (1030.0, 830.0, 1230.0)
    assert section["actual_seconds"] is None


def test_a_part_is_scaled_behind_the_start() -> None:
    """A resumed run with a tenth of the rows starts as slowly, and takes a tenth of the rest."""
    section = PLAN.beside(100)
    assert (section["rows"], section["planned_rows"]) == (100, 1000)
    assert (section["low_seconds"], section["seconds"], section["high_seconds"]) == (110.0, 130.0, 150.0)


GOOD = {
    "rows": 10,
    "seconds": {"estimate": 2.0, "low": 1.0, "high": 3.0},
    "start_seconds": 1.0,
    "gpu_workers": 1,
    "cores": 2.0,
    "bottleneck": "infer",
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 0}, "rows:"),
        ({"rows": "10"}, "rows:"),
        ({"rows": None}, "rows:"),
        ({"seconds": {"estimate": 5.0, "low": 1.0, "high": 3.0}}, "low ≤ estimate ≤ high"),
        ({"seconds": {"estimate": float("nan"), "low": 1.0, "high": 3.0}}, "seconds.estimate:"),
        ({"seconds": {"estimate": 1e300, "low": 1.0, "high": 1e301}}, "seconds.estimate:"),
        ({"seconds": 4}, "seconds:"),
        ({"cores": -1.0}, "cores:"),
        ({"bottleneck": "x" * 1000}, "bottleneck:"),
    ],
)
def test_wrong_plans_are_one_line(tmp_path: Path, change: dict[str, object], says: str) -> None:
    """What is no plan is refused with the key and what is taken, in one line."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(GOOD | change), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_plan(str(path))
    assert says in str(caught.value)
    assert "--plan takes" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 50_000])
def test_what_is_no_object(tmp_path: Path, content: str) -> None:
    """Files that are not JSON, or no object, are refused in one line."""
    path = tmp_path / "plan.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"--plan takes"):
        read_plan(str(path))
