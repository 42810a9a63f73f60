"""A collection that grows under jobs that are killed: one run in the end, with every input once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.runs import RunLayout
from pager_ray.runs.growing import Growing
from pager_ray.samples import write_samples
from pager_ray.storage import Folder
from tests.harness import drivers, faults

ROOT = Path(__file__).parents[3]
FIRST, SECOND, ALL = 4, 6, 8


def test_grown_twice_and_killed_in_between(tiny_unified: Path, tmp_path: Path, ray_address: str) -> None:
    """Killed in its middle, and again as soon as it had grown: the third start of one command does what is left.

    The first needs no Ray, which the run does not show: the others go on with it on one.
    """
    listing = Path(write_samples(tmp_path / "panoramas", ALL, height=64, ground_truth=False))
    pictures = sorted(listing.parent.glob("*.jpg"))
    folder, output, orders = (tmp_path / name for name in ("in", "run", "orders"))
    folder.mkdir()
    orders.mkdir()
    settings = [f"input.uris={folder}", f"output.uri={output}", f"checkpoint={tiny_unified}", "scene_mode=indoor"]
    settings += ["compute.gpus_per_worker=0", "output.size=64x128", "output.rows_per_shard=1"]

    def grow(count: int) -> None:
        for picture in pictures[:count]:
            if not (folder / picture.name).exists():
                shutil.copy2(picture, folder)

    def start() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.harness.faults", "run", "--append", *settings]
        environment = faults.environment(orders, ray_address)
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False
        )

    def committed() -> list[str]:
        return RunLayout(Folder(str(output))).ledger.read().column("id").to_pylist()

    grow(FIRST)
    faults.order(orders, "after putting record")
    assert drivers.drive(orders, settings, growing=Growing()) == -signal.SIGKILL
    before = committed()
    assert len(before) == 1
    grow(SECOND)
    faults.order(orders, "after putting manifest")
    second = start()
    assert second.returncode == -signal.SIGKILL, second.stderr
    assert committed() == before
    grow(ALL)
    third = start()
    assert third.returncode == 0, third.stderr
    names = [picture.stem for picture in pictures]
    run = pager_ray.open_run(output)
    assert sorted(run.ids()) == sorted(committed()) == names
    # Nothing was predicted again, and nothing twice.
    assert sorted(faults.predicted(orders)) == [name for name in names if name not in before]
    assert [start.get("appended", {}).get("new") for start in run.manifest["starts"]][-1] == ALL - SECOND
    assert exit_code(["verify", str(output)]) == 0
