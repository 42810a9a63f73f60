"""Poison inputs: an input that kills its worker is lost alone, and named; its neighbours are predicted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pager_ray
from pager_ray.config import load_config
from pager_ray.reader.verify import verify_output
from pager_ray.samples import write_samples
from tests.harness import faults
from tests.harness.jobs import run_in_process


def test_poison_inputs_are_lost_alone(tmp_path: Path, tiny_unified: Path, ray_address: str) -> None:
    """Two files that crash their decoder among twelve, in one block: exactly those two are rejects, worker_death."""
    listing = Path(write_samples(tmp_path / "panoramas", 12, height=64, ground_truth=False))
    pictures = sorted(listing.parent.glob("*.jpg"))
    poisoned = [pictures[3], pictures[7]]
    for path in poisoned:
        # Behind the end of the image, where decoders do not look.
        path.write_bytes(path.read_bytes() + faults.POISON)
    orders = tmp_path / "orders"
    orders.mkdir()
    settings = [f"input.uris={listing}", f"output.uri={tmp_path / 'run'}", f"checkpoint={tiny_unified}"]
    settings += ["scene_mode=indoor", "compute.gpus_per_worker=0", "output.size=64x128", "output.rows_per_shard=6"]
    command = [sys.executable, "-m", "tests.harness.faults", "run", *settings]
    environment = faults.environment(orders, ray_address)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 3, ended.stderr
    # Ray's word of every worker that it could not make again.
    assert "constructor arguments" not in ended.stderr

    run = pager_ray.open_run(tmp_path / "run")
    rejects = run.rejects().to_pylist()
    assert sorted(row["id"] for row in rejects) == sorted(path.stem for path in poisoned)
    for row in rejects:
        assert (row["error_class"], row["stage"], row["attempts"]) == ("worker_death", "read", 3)
        assert "killed its worker 3 times in stage read" in row["message"]
        assert "--retry-rejects worker_death" in row["message"]
    assert len(run) == 10
    assert verify_output(tmp_path / "run").problems == []

    # The files are replaced: what was a reject becomes a prediction.
    for path in poisoned:
        path.write_bytes(path.read_bytes().removesuffix(faults.POISON))
    assert run_in_process(load_config(None, settings), retry_rejects="worker_death").fresh == len(poisoned)
    run.refresh()
    assert len(run) == 12
    assert run.rejects().num_rows == 0
    assert verify_output(tmp_path / "run").problems == []
