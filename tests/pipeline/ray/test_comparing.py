"""Frames that are compared by tasks of a cluster give the same scales as by threads here, to the last bit."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from pager_ray import scaling
from pager_ray.errors import StorageError
from pager_ray.here import run_here
from pager_ray.model import resolve_checkpoint
from pager_ray.pipeline import comparing
from tests.test_scaling import NOISE, Oracle
from tests.test_videos import config_of
from tests.walk import walk

COUNT = 24

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_tasks_and_threads_agree(tiny_unified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part; and a shard that is damaged ends either with its name."""
    one = walk(count=COUNT)
    errors = np.random.default_rng(3).normal(0, NOISE, COUNT)
    listing = one.write_folder(tmp_path / "in")
    config = config_of(listing, tmp_path / "out", tiny_unified, **{"output.size": "64x128"})
    run_here(config, resolve_checkpoint(config.checkpoint), Oracle(tiny_unified, one, errors))
    scaling.settle_scales(tmp_path / "out")
    file = tmp_path / "out" / "scales" / "sequences.parquet"
    whole = file.read_bytes()
    monkeypatch.setattr(scaling, "PART", 5)
    with ExitStack() as kept:
        scaling.settle_scales(tmp_path / "out", comparing.compare_on_cluster(None, kept))
        assert file.read_bytes() == whole
        shard = sorted((tmp_path / "out" / "predictions").glob("*.parquet"))[COUNT // 2]
        shard.write_bytes(b"PAR1" * 100)
        with pytest.raises(StorageError, match=shard.name):
            scaling.settle_scales(tmp_path / "out", comparing.compare_on_cluster(None, kept))
    assert file.read_bytes() == whole
