"""Drivers of the job with a bucket for their output: started, killed once some rows are there, followed by another."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pager_ray.runs import RunLayout
from pager_ray.storage import Folder
from tests.harness import faults
from tests.harness.valve import Valve

ROOT = Path(__file__).parents[4]
DEADLINE_SECONDS = 1800
LOOK_SECONDS = 0.5
"""Between two looks at a ledger in a bucket, each of which asks the store several times."""


def start(
    bucket: str, checkpoint: Path, orders: Path, address: str, *settings: str, endpoint: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """A driver that joins the Ray at an address, reads `in/` in a bucket and writes `run` there."""
    command = [
        sys.executable,
        "-m",
        "tests.harness.faults",
        "run",
        f"input.uris={bucket}/in/",
        f"output.uri={bucket}/run",
    ]
    command += [f"checkpoint={checkpoint}", "scene_mode=indoor", "compute.gpus_per_worker=0", "output.size=64x128"]
    command += ["output.rows_per_shard=2", *settings]
    environment = faults.environment(orders, address) | (endpoint or {})
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def committed(bucket: str) -> list[str]:
    """Ids with an outcome."""
    return RunLayout(Folder(f"{bucket}/run")).ledger.read().column("id").to_pylist()


def killed_and_followed(
    bucket: str, enough: int, begin: Callable[[], subprocess.Popen[str]], valve: Valve, orders: Path
) -> list[str]:
    """Kill a driver once so many rows are committed, which the valve lets through; another does the rest, and succeeds.

    Returns:
        The ids that were committed when nobody of the first was left.
    """
    valve.let_through(enough)
    first = begin()
    deadline = time.monotonic() + DEADLINE_SECONDS
    with faults.killed_in_the_end(first, orders):
        while len(committed(bucket)) < enough:
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline, "the first start did not get anywhere"
            time.sleep(LOOK_SECONDS)
    before = committed(bucket)
    valve.open()
    second = begin()
    _, errors = second.communicate(timeout=DEADLINE_SECONDS)
    assert second.returncode == 0, errors
    return before
