"""Rows of prediction shards, read by Ray Data."""

from __future__ import annotations

import pytest
import ray

import pager_ray
from tests.reader.runs import SmallRun
from tests.reader.test_rows import same, small

__all__ = ["small"]


@pytest.mark.usefixtures("ray_cluster")
def test_ray_data_maps_rows(small: SmallRun) -> None:
    """``ray.data.read_parquet(run.files()).map(decoder)``, on Ray's own workers."""
    run = pager_ray.open_run(small.folder)
    rows = ray.data.read_parquet(run.files()).map(pager_ray.row_decoder(run.uri)).take_all()
    assert sorted(row["id"] for row in rows) == sorted(run.ids())
    for row in rows:
        same(row, run)
