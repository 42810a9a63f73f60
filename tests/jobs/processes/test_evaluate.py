"""The evaluation's job script behaves as the command line does."""

from tests.jobs.processes.scripts import run_job_script


def test_wrong_configuration_exits_with_2():
    """Exit code and message are those of ``pager-ray evaluate``."""
    finished = run_job_script("evaluate.py", "evaluation.alignment=metric")
    assert finished.returncode == 2
    assert finished.stderr == ("pager-ray: evaluation.alignment: unknown key; did you mean evaluation.alignments?\n")


def test_help_lists_the_keys():
    """``--help`` shows the keys with their defaults."""
    finished = run_job_script("evaluate.py", "--help")
    assert finished.returncode == 0
    assert "evaluation.alignments=[metric, scale, scale_and_shift]" in finished.stdout
