"""A run that was planned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pager_ray.cli import exit_code
from tests.cli.test_plan import arguments


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_beside_its_plan(
    samples: Path, tiny_unified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was given its plan keeps it in run.json with what it took, and tells both; a start with nothing left
    to do leaves them as they are."""
    rest = arguments(samples, tiny_unified, tmp_path / "run", "compute.gpus_per_worker=0")
    assert exit_code(["plan", *rest, "--samples", "2", "--json", str(tmp_path / "plan.json")]) == 0
    capsys.readouterr()
    assert exit_code(["run", *rest, "--plan", str(tmp_path / "plan.json")]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    section = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["plan"]
    assert section["rows"] == section["planned_rows"] == 8
    assert section["actual_seconds"] > 0
    assert told.startswith("planned   ")
    assert ", took " in told
    assert exit_code(["run", *rest, "--plan", str(tmp_path / "plan.json")]) == 0
    assert "planned" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["plan"] == section
