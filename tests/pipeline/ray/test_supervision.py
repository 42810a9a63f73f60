"""A job's rows reach Ray Data from the driver alone; a Ray of one's own has the processes of a node."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
import ray
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET, PROCESS_TYPE_REAPER

from pager_ray.pipeline.supervision import ROWS_PER_CHUNK, dataset_of

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_rows_wait_for_no_task() -> None:
    """They are there while no CPU is free, so that the model's nodes are asked for before the first CPU has come."""

    class Holds:
        def ready(self) -> None:
            pass

    held = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Holds).remote()
    ray.get(held.ready.remote())
    table = pa.table({"id": pa.array(map(str, range(ROWS_PER_CHUNK + 1)))})
    try:
        with ThreadPoolExecutor(1) as thread:
            making = thread.submit(dataset_of, table)
            try:
                rows = making.result(timeout=300)
            finally:
                # Nor does a failure wait for ever.
                ray.kill(held)
        assert rows.count() == ROWS_PER_CHUNK + 1
        assert rows.num_blocks() == 2
    finally:
        del held


def test_a_ray_of_ones_own_has_no_servers() -> None:
    """Its node's processes are all that is started: no dashboard, no autoscaler, no monitor of logs."""
    node = ray._private.worker._global_node
    assert node.is_head()
    assert {*node.all_processes} - {PROCESS_TYPE_REAPER} == {PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET}
