"""The evaluation's job script behaves as the command line does."""

import subprocess
import sys
from pathlib import Path

JOB = Path(__file__).parents[3] / "jobs" / "evaluate.py"


def run_job_script(*arguments):
    return subprocess.run([sys.executable, str(JOB), *arguments], capture_output=True, text=True, timeout=900)


def test_wrong_configuration_exits_with_2():
    """Exit code and message are those of ``pager-ray evaluate``."""
    finished = run_job_script("evaluation.alignment=metric")
    assert finished.returncode == 2
    assert finished.stderr == ("pager-ray: evaluation.alignment: unknown key; did you mean evaluation.alignments?\n")


def test_help_lists_the_keys():
    """``--help`` shows the keys with their defaults."""
    finished = run_job_script("--help")
    assert finished.returncode == 0
    assert "evaluation.alignments=[metric, scale, scale_and_shift]" in finished.stdout
