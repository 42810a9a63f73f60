"""The export job script behaves as the command line does."""

from tests.export.runs import scene_run
from tests.jobs.processes.scripts import run_job_script


def test_an_unknown_format_exits_with_2():
    """Exit code and message are those of ``pager-ray export``."""
    finished = run_job_script("export.py", "out", "--to", "obj")
    assert finished.returncode == 2
    assert finished.stderr.startswith("pager-ray: --to: got 'obj'; takes glb, ply, laz, splats, mesh, depth-exr")


def test_few_panoramas_need_no_cluster(tmp_path):
    """A complete export exits with 0 and says where it lies."""
    scene_run(tmp_path, ("a", "b"))
    images = ["--images-from", str(tmp_path / "sources")]
    finished = run_job_script(
        "export.py", str(tmp_path / "run"), "--to", "ply", "--ids", "a", "--max-points", "100", *images
    )
    assert finished.returncode == 0, finished.stderr
    assert "1 of 1 panoramas exported" in finished.stdout
    assert (tmp_path / "run" / "exports" / "ply" / "a.ply").exists()
