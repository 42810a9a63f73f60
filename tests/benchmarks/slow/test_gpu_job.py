"""The GPU's benchmark measures the job, too, where Ray is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_job_is_measured_where_its_libraries_are(tmp_path: Path, ray_address: str) -> None:
    """The last part but one runs the job in a process of its own and sets its rate beside the predictor's."""
    file = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks", "gpu", "--device=cpu", "--preset=tiny", "--repeats=1", "--rows=8"]
    command += ["--minutes=50", "--parts", "predictor", "job", "--json", str(file)]
    environment = os.environ | {"RAY_ADDRESS": ray_address}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(file.read_text(encoding="utf-8"))["details"]["job"]
    assert job["rows"] == 8
    assert job["steady_rate"] > 0
    assert job["stages"]["limit"]["share"] > 0
