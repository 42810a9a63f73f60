"""The benchmark of a killed job kills one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_killed_job_goes_on_and_what_it_repeats_is_counted(tmp_path: Path) -> None:
    """Both starts note what they predict, together every row, and each of a Ray of its own."""
    file = tmp_path / "resume.json"
    command = [sys.executable, "-m", "benchmarks", "resume", "--rows", "32", "--json", str(file)]
    done = subprocess.run(command, env=os.environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = json.loads(file.read_text(encoding="utf-8"))["tables"]
    rows = {name: numbers for name, *numbers in table["rows"]}
    assert rows["first start"][0] + rows["second start"][0] >= 32
    assert rows["first start"][0] >= 16
    assert rows["second start"][1] == 32
