"""Clusters of different nodes, which come and go: the model runs on GPU nodes alone, nothing is lost with a node."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.storage import Folder
from tests.harness.head import RayHead
from tests.harness.valve import Valve

WAIT_SECONDS = 300.0
BACKLOG = 8 * 8
TRICKLE_SECONDS = 5.0
"""Of a backlog that is not done within the time that the tests wait."""

JOB = "tests.harness.fake_gpus"
TIMELINE = "tests.harness.timeline"
HEAD_ID = "ffffffffffffffffffffffffffffffffffffffffffffffffffff0000"


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    return pytest.fail(f"waited {WAIT_SECONDS:g} s for {what}")


def listing(samples: Path, folder: Path, times: int) -> Path:
    """A listing that names each of the eight samples several times, under ids of their own."""
    uris = sorted(str(path) for path in samples.parent.glob("*.jpg"))
    rows = [f"{number:03}-{Path(uri).stem},{uri},indoor" for number in range(times) for uri in uris]
    path = folder / "many.csv"
    path.write_text("\n".join(["id,uri,scene", *rows]) + "\n")
    return path


def job(head: RayHead, folder: Path, checkpoint: Path, inputs: Path, valve: Valve, *more: str) -> subprocess.Popen:
    overrides = [f"checkpoint={checkpoint}", f"input.uris={inputs}", f"output.uri={folder / 'run'}", *more]
    return head.start(JOB, str(valve.folder), "output.rows_per_shard=2", *overrides, log=folder / "job.log")


def done(folder: Path) -> int:
    """Rows that are committed."""
    if not (folder / "run" / "run.json").exists():
        return 0
    return RunLayout(Folder(str(folder / "run"))).ledger.read().num_rows


def finished(process: subprocess.Popen, folder: Path) -> dict[str, Any]:
    """The run file of a job that ended well and whose every row is there."""
    assert process.wait(WAIT_SECONDS) == 0, (folder / "job.log").read_text()[-4000:]
    assert verify_output(str(folder / "run"), 0.1).problems == []
    return json.loads((folder / "run" / "run.json").read_text())


def described(head: RayHead) -> list[dict[str, Any]]:
    """All nodes that the cluster has had, with what they offer: what `ray list nodes` asks, without its start."""
    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    request = urllib.request.Request(
        f"{head.jobs_url}/api/v0/nodes?limit=100", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["data"]["result"]["result"]


def test_the_model_runs_on_gpu_nodes_and_nodes_may_go(tiny_unified: Path, samples: Path, tmp_path: Path) -> None:
    """The model runs on GPU nodes alone, the other stages wherever a CPU is free; a node of each kind is taken away in
    mid-job, and every row comes out once.

    Where things run is driven, not hoped for: the first GPU node has no CPU, so the CPU node does all the rest; once
    both are gone, the second GPU node, which joins only then, does all that is left.
    """
    valve = Valve(tmp_path / "valve")
    count, first = 8 * 2, 4
    with RayHead(cpus=0) as head:
        cpu_node = head.add_node(cpus=3)
        gpu_node = head.add_node(cpus=0, gpus=1)
        valve.let_through(first)
        more = ("compute.gpu_workers=[1,2]", "compute.cpus_per_task=1")
        process = job(head, tmp_path, tiny_unified, listing(samples, tmp_path, count // 8), valve, *more)
        # The last shard may wait for its second row.
        until(lambda: done(tmp_path) >= first - 2 or process.poll() is not None, "the first rows")
        before = {node["node_id"]: node for node in described(head)}
        head.add_node(cpus=3, gpus=1)
        gpu_node.kill()
        cpu_node.kill()
        valve.open()
        run = finished(process, tmp_path)
        joined = [node["node_id"] for node in described(head) if node["node_id"] not in before]
    (gpus,) = (id for id, node in before.items() if node["resources_total"].get("GPU"))
    (cpus,) = (id for id, node in before.items() if node["resources_total"].get("CPU"))
    assert run["counts"]["predictions"] == count
    stages = run["starts"][0]["stages"]["stages"]
    # What the dead nodes did is known: the board is on the driver's own node, which no test takes away.
    assert stages["write"]["rows"] >= count, stages
    assert set(stages["infer"]["nodes"]) == {gpus, *joined}, stages
    assert set(stages["stitch"]["nodes"]) == {cpus, *joined}
    # Whether it was done with reading before the node went is nobody's business.
    assert cpus in stages["read"]["nodes"]
    assert set(stages["read"]["nodes"]) <= {cpus, *joined}


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[RayHead]:
    """A head without CPUs under Ray's own autoscaler, which starts up to two GPU nodes and a CPU node on this
    machine when they are asked for, and ends them when they have been idle for some seconds."""
    head = RayHead(
        cpus=0,
        environment={
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        },
    )
    config = {
        "cluster_name": "growing",
        "max_workers": 3,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            # By its module: under its own name it wants a template that Ray's wheel lacks.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "launch_multiple": True,
            "head_node_id": HEAD_ID,
            "gcs_address": f"127.0.0.1:{head.port}",
        },
        "auth": {},
        "docker": {},
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "cpu": {"resources": {"CPU": 2, "object_store_memory": 2**28}, "node_config": {}, "max_workers": 1},
            "gpu": {
                "resources": {"CPU": 2, "GPU": 1, "object_store_memory": 2**28},
                "node_config": {},
                "max_workers": 2,
            },
        },
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }
    path = head.folder / "autoscaling.yaml"
    path.write_text(yaml.safe_dump(config))
    head.add_options(f"--autoscaling-config={path}")
    with head:
        yield head


def test_gpu_nodes_come_with_work_and_go_after_it(
    growing: RayHead, tiny_unified: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From no node but the head, a job's backlog brings both GPU nodes and its end takes all away.

    The backlog stays until both are there: before, the model gets one panorama now and then, too few to end it.
    """
    log = tmp_path / "timeline.jsonl"
    growing.start(TIMELINE, str(log))
    looks = lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []  # noqa: E731
    until(looks, "the first look")
    valve = Valve(tmp_path / "valve")
    process = job(
        growing, tmp_path, tiny_unified, listing(samples, tmp_path, BACKLOG // 8), valve, "compute.gpu_workers=[1,2]"
    )
    deadline = time.monotonic() + WAIT_SECONDS
    while (looks()[-1]["gpu_nodes"], looks()[-1]["model_actors"]) != (2, 2):
        assert process.poll() is None, (tmp_path / "job.log").read_text()[-4000:]
        assert time.monotonic() < deadline, "no second GPU node with a model came"
        valve.let_through(1)
        time.sleep(TRICKLE_SECONDS)
    valve.open()
    run = finished(process, tmp_path)
    until(lambda: looks()[-1]["gpu_nodes"] == 0, "GPU nodes to go")
    timeline = looks()
    began = timeline[0]["time"]
    table, before = ["", " seconds  GPU nodes  CPU nodes  model actors"], None
    for look in timeline:
        now = look["gpu_nodes"], look["cpu_nodes"], look["model_actors"]
        if now != before:
            table.append(f"{look['time'] - began:8.0f} {now[0]:10} {now[1]:10} {now[2]:13}")
        before = now
    with capsys.disabled():
        sys.stdout.write("\n".join([*table, ""]))
    gpus = [look["gpu_nodes"] for look in timeline]
    assert (gpus[0], max(gpus), gpus[-1]) == (0, 2, 0)
    assert max(look["model_actors"] for look in timeline) == 2
    assert run["counts"]["predictions"] == BACKLOG
