"""A run as a PyTorch dataset, in workers that import all anew."""

from __future__ import annotations

from pathlib import Path

from tests.reader.runs import SmallRun
from tests.reader.test_torch_dataset import check_workers, fill


def test_spawned_workers_open_the_run_themselves(tmp_path: Path) -> None:
    """One shows that it can."""
    check_workers(fill(SmallRun(tmp_path / "run")), "spawn", 1)
