"""The job script behaves as the command line does."""

from tests.jobs.processes.scripts import run_job_script


def test_wrong_configuration_exits_with_2():
    """Exit code and message are those of ``pager-ray run``."""
    finished = run_job_script("infer.py", "output.formt=npz")
    assert finished.returncode == 2
    assert finished.stderr == "pager-ray: output.formt: unknown key; did you mean output.format?\n"


def test_help_lists_the_keys():
    """``--help`` shows the keys with their defaults."""
    finished = run_job_script("infer.py", "--help")
    assert finished.returncode == 0
    assert "sky.threshold=0.3" in finished.stdout
