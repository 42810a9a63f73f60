"""A head that is killed leaves a run that another cluster resumes from the bucket alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import s3fs

import pager_ray
from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.storage import Folder
from tests.harness import faults
from tests.harness.head import RayHead

ROOT = Path(__file__).parents[4]
WAIT_SECONDS = 1800.0
ROWS, DONE = 12, 4


def put(bucket: str, checkpoint: Path, samples: Path) -> None:
    """Everything that a job needs, in the bucket: weights, panoramas, a listing of them."""
    store = s3fs.S3FileSystem()
    store.put(f"{checkpoint}/", f"{bucket}/checkpoint/", recursive=True)
    pictures = sorted(samples.parent.glob("*.jpg"))
    for picture in pictures:
        store.put(str(picture), f"{bucket}/panoramas/{picture.name}")
    uris = [pictures[number % len(pictures)].name for number in range(ROWS)]
    rows = [f"{number:03},{bucket}/panoramas/{name},indoor" for number, name in enumerate(uris)]
    store.pipe(f"{bucket}/listing.csv", "\n".join(["id,uri,scene", *rows, ""]).encode())


def test_another_cluster_goes_on_from_the_bucket(
    s3_bucket: str,
    tiny_unified: Path,
    samples: Path,
    tmp_path: Path,
    ray_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Head and driver are killed in mid-run and their disk is gone; another cluster ends with every row once."""
    put(s3_bucket, tiny_unified, samples)
    output = f"{s3_bucket}/run"
    overrides = [
        f"checkpoint={s3_bucket}/checkpoint",
        f"input.uris={s3_bucket}/listing.csv",
        f"output.uri={output}",
        "output.rows_per_shard=2",
        "compute.gpus_per_worker=0",
    ]
    held = ["--working-dir", ".", "--", "python", "-m", "tests.harness.faults", "run", *overrides]
    valve = faults.hold(tmp_path)
    valve.let_through(DONE)
    monkeypatch.setenv(faults.FOLDER, str(tmp_path))
    ledger = RunLayout(Folder(output)).ledger
    monkeypatch.setenv("PAGER_RAY_CACHE", str(tmp_path / "first"))
    with RayHead() as head:
        head.ray("job", "submit", "--no-wait", *held)
        deadline = time.monotonic() + WAIT_SECONDS
        while ledger.read().num_rows < DONE:
            assert time.monotonic() < deadline, "no shard was committed"
            time.sleep(0.5)
        head.nodes[0].kill()
    assert ledger.read().num_rows == DONE
    monkeypatch.setenv("PAGER_RAY_CACHE", str(tmp_path / "second"))
    valve.open()
    elsewhere = subprocess.run(
        [sys.executable, "-m", "tests.harness.faults", "run", *overrides],
        env=faults.environment(tmp_path, ray_address),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert elsewhere.returncode == 0, elsewhere.stderr[-4000:]
    run = pager_ray.open_run(output)
    assert len(run) == ROWS
    assert run.manifest["state"] == "complete"
    assert run.manifest["starts"][1]["stages"]["stages"]["infer"]["rows"] == ROWS - DONE
    assert verify_output(output, 0.1).problems == []
