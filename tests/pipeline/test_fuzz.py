"""Hostile files under hostile names, through the job as users start it: nothing lost, nothing outside of the output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import ENVIRONMENT, run_fuzz
from tests.harness.mutations import REFUSED_IDS

COUNT = 80


def test_hostile_inputs_do_not_hurt_a_job(tmp_path: Path) -> None:
    """Every input ends once, no worker dies, no file appears or changes outside of the output, and it verifies."""
    result = run_fuzz(tmp_path, COUNT, seed=1, bomb_pixels=2**22)
    assert result.problems == []
    assert result.predictions + sum(result.rejects.values()) == COUNT
    assert result.predictions > COUNT / 8
    assert result.rejects["corrupt_image"] > COUNT / 4
    assert "worker_death" not in result.rejects
    assert result.verified == "verified: nothing lost, nothing twice"


@pytest.mark.parametrize("identity", ["nul\0inside", "\u202eright-to-left", "x" * 1025])
def test_ids_that_no_listing_may_have_stop_a_job_before_it_starts(
    tmp_path: Path, tiny_unified: Path, identity: str
) -> None:
    """An id that is no printable text of a sane length is a usage error in one line that names its row."""
    assert identity in REFUSED_IDS
    (tmp_path / "listing.csv").write_text(f'uri,id\na.jpg,fine\nb.jpg,"{identity}"\n', encoding="utf-8")
    command = [sys.executable, "-m", "pager_ray", "run", f"input.uris={tmp_path}/listing.csv"]
    command += [f"output.uri={tmp_path}/run", f"checkpoint={tiny_unified}", "compute.gpus_per_worker=0"]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "row 2" in done.stderr
    assert done.stderr.rstrip("\n").count("\n") == 0
    assert not (tmp_path / "run").exists()
