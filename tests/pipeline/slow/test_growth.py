"""A collection that grows under jobs that are killed: one run in the end, with every input once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.runs import RunLayout
from pager_ray.samples import write_samples
from pager_ray.storage import Folder
from tests.harness import faults

ROOT = Path(__file__).parents[3]
FIRST, SECOND, ALL = 4, 6, 8
DONE = 2
"""Of the first inputs, before their job is killed."""


def test_grown_twice_and_killed_in_between(tiny_unified: Path, tmp_path: Path, ray_address: str) -> None:
    """Killed in its middle, and again as soon as it had grown: the third start of one command does what is left."""
    listing = Path(write_samples(tmp_path / "panoramas", ALL, height=64, ground_truth=False))
    pictures = sorted(listing.parent.glob("*.jpg"))
    folder, output, orders = (tmp_path / name for name in ("in", "run", "orders"))
    folder.mkdir()
    orders.mkdir()
    command = [sys.executable, "-m", "tests.harness.faults", "run", "--append", f"input.uris={folder}"]
    command += [f"output.uri={output}", f"checkpoint={tiny_unified}", "scene_mode=indoor", "compute.gpus_per_worker=0"]
    command += ["output.size=64x128", "output.rows_per_shard=1"]

    def start(count: int) -> subprocess.Popen[str]:
        for picture in pictures[:count]:
            if not (folder / picture.name).exists():
                shutil.copy2(picture, folder)
        environment = faults.environment(orders, ray_address)
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def committed() -> list[str]:
        return RunLayout(Folder(str(output))).ledger.read().column("id").to_pylist()

    valve = faults.hold(orders)
    valve.let_through(DONE)
    first = start(FIRST)
    deadline = time.monotonic() + 1800
    with faults.killed_in_the_end(first, orders):
        while len(committed()) < DONE:
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline, "the first start did not get anywhere"
            time.sleep(0.1)
    before = committed()
    assert len(before) == DONE
    valve.open()
    faults.order(orders, "after putting manifest")
    second = start(SECOND)
    _, errors = second.communicate(timeout=1800)
    assert second.returncode == -signal.SIGKILL, errors
    assert committed() == before
    third = start(ALL)
    _, errors = third.communicate(timeout=1800)
    assert third.returncode == 0, errors
    names = [picture.stem for picture in pictures]
    run = pager_ray.open_run(output)
    assert sorted(run.ids()) == sorted(committed()) == names
    # Nothing was predicted twice, not even where its start did not live to say so.
    assert sorted(faults.predicted(orders)) == names
    assert [start.get("appended", {}).get("new") for start in run.manifest["starts"]][-1] == ALL - SECOND
    assert exit_code(["verify", str(output)]) == 0
