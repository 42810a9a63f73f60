"""Chaos, in short: `tests/stress/chaos.py` with a few kills of every kind; its own exit code is the verdict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.harness.s3 import installed

ROOT = Path(__file__).parents[2]

# With this seed the first six kills are: reader, store, driver, writer, model actor, node. Reading is done long before
# the rest, so its turn is first.
SEED, KILLS = 3440, 6


def test_a_run_under_fire_loses_nothing() -> None:
    """Driver, node, store, model actor, reader and writer killed in one run: 0 missing, 0 duplicated, 0 unreadable."""
    store = "s3" if installed() else "local"
    command = [
        sys.executable,
        "-m",
        "tests.stress.chaos",
        "--rows=48",
        "--workers=1",
        f"--kills={KILLS}",
        f"--seed={SEED}",
        "--nodes=2",
    ]
    ended = subprocess.run(
        [*command, f"--store={store}"], cwd=ROOT, capture_output=True, text=True, timeout=3500, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    killed = dict(re.findall(r"^\| (.+) \| ([1-9]\d*) \|$", ended.stdout, re.MULTILINE))
    assert {"driver", "node"} <= set(killed), ended.stdout
    assert store == "local" or "S3 server" in killed
    assert sum(map(int, killed.values())) >= KILLS - 2
    for line in ("missing", "duplicated", "unreadable or out of bounds"):
        assert re.search(rf"^{line} +0$", ended.stdout, re.MULTILINE), ended.stdout
