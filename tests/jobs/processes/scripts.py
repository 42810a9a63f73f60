"""Job scripts, run as Ray runs their entrypoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

JOBS = Path(__file__).parents[3] / "jobs"


def run_job_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a script of jobs/ wrote, and how it ended."""
    return subprocess.run([sys.executable, str(JOBS / name), *arguments], capture_output=True, text=True, timeout=900)
