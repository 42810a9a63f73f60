"""What was done without Ray is the job's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pager_ray
from pager_ray.errors import RunMismatchError
from pager_ray.here import run_here
from pager_ray.model import resolve_checkpoint
from pager_ray.pipeline.job import run_job
from tests.test_here import Dying, config_of, inputs

__all__ = ["inputs"]


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_takes_it_for_its_own(inputs: Path, tmp_path: Path) -> None:
    """The job on Ray finds nothing left to do, and one of its own holds the same maps; other settings are refused."""
    config = config_of(inputs, tmp_path / "here", **{"output.codec": "exact"})
    run_here(config, resolve_checkpoint(config.checkpoint), Dying(config))
    assert run_job(config).fresh == 0
    other = config_of(inputs, tmp_path / "there", **{"output.codec": "exact"})
    run_job(other)
    here, there = (pager_ray.open_run(tmp_path / name) for name in ("here", "there"))
    assert sorted(here.ids()) == sorted(there.ids())
    for id in here.ids():
        np.testing.assert_allclose(here[id].depth, there[id].depth, rtol=1e-4)
        np.testing.assert_allclose(here[id].normals, there[id].normals, atol=1e-3)
    changed = config_of(inputs, tmp_path / "here", **{"output.codec": "small"})
    with pytest.raises(RunMismatchError, match=r"output\.codec"):
        run_here(changed, resolve_checkpoint(changed.checkpoint), Dying(changed))
