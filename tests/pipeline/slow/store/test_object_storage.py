"""The job on a real S3 server: read, written, killed, resumed and verified there, through a network that fails."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.runs import RunLayout
from pager_ray.runs.lease import Lease
from pager_ray.samples import write_samples
from pager_ray.storage import Folder
from tests.harness import faults
from tests.harness.proxy import FaultProxy, Faults
from tests.harness.s3 import S3Server

ROOT = Path(__file__).parents[4]
ROWS = 24
KILLED_ROWS, LET_THROUGH = 8, 4
"""Of the run that is killed, and how many of them before."""

LOOK_SECONDS = 0.5
"""Between two looks at a ledger in a bucket, each of which asks the store several times."""


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_samples(tmp_path_factory.mktemp("panoramas"), ROWS, height=64, ground_truth=False))


def start(
    bucket: str, checkpoint: Path, orders: Path, address: str, *settings: str, endpoint: dict[str, str] | None = None
) -> subprocess.Popen[str]:
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


def upload(panoramas: Path, bucket: str, count: int = ROWS) -> list[str]:
    """Put so many of the panoramas into a bucket; returns their ids."""
    filesystem, path = fsspec.core.url_to_fs(f"{bucket}/in")
    pictures = sorted(panoramas.parent.glob("*.jpg"))[:count]
    for picture in pictures:
        filesystem.pipe_file(f"{path}/{picture.name}", picture.read_bytes())
    return [picture.stem for picture in pictures]


def committed(bucket: str) -> list[str]:
    return RunLayout(Folder(f"{bucket}/run")).ledger.read().column("id").to_pylist()


def test_a_killed_run_in_a_bucket_is_resumed(
    panoramas: Path, s3_bucket: str, tiny_unified: Path, tmp_path: Path, ray_address: str
) -> None:
    """Read from and written to S3, killed halfway, resumed: every input once, and `pager-ray verify` agrees."""
    ids = upload(panoramas, s3_bucket, KILLED_ROWS)
    settings = ["output.format=npz", "output.previews=true"]
    valve = faults.hold(tmp_path)
    valve.let_through(LET_THROUGH)
    first = start(s3_bucket, tiny_unified, tmp_path, ray_address, *settings)
    deadline = time.monotonic() + 1800
    with faults.killed_in_the_end(first, tmp_path):
        while len(committed(s3_bucket)) < LET_THROUGH:
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline, "the first start did not get anywhere"
            time.sleep(LOOK_SECONDS)
    before = committed(s3_bucket)
    assert len(before) == LET_THROUGH
    valve.open()
    second = start(s3_bucket, tiny_unified, tmp_path, ray_address, *settings)
    _, errors = second.communicate(timeout=1800)
    assert second.returncode == 0, errors
    run = pager_ray.open_run(f"{s3_bucket}/run")
    assert sorted(run.ids()) == ids
    assert set(before) <= set(run.ids())
    assert exit_code(["verify", f"{s3_bucket}/run"]) == 0


def test_a_failing_network_loses_nothing(
    panoramas: Path, s3_server: S3Server, s3_bucket: str, tiny_unified: Path, tmp_path: Path, ray_address: str
) -> None:
    """With 5 % of requests each failing, slow, reset and cut off, the job ends with every input predicted once."""
    ids = upload(panoramas, s3_bucket)
    with FaultProxy(s3_server.url, Faults(error=0.05, slow=0.05, reset=0.05, truncate=0.05), seed=7) as proxy:
        job = start(s3_bucket, tiny_unified, tmp_path, ray_address, endpoint=s3_server.environment(proxy.url))
        _, errors = job.communicate(timeout=1800)
        assert job.returncode == 0, errors
        counts = dict(proxy.counts)
    assert all(counts[kind] for kind in ("error", "slow", "reset")), counts
    assert sorted(committed(s3_bucket)) == ids
    assert exit_code(["verify", f"{s3_bucket}/run"]) == 0


def test_a_store_that_cannot_be_reached_stops_the_job(
    s3_bucket: str, tiny_unified: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An endpoint where nobody listens is one line with the place, the trouble and what to do, and exit code 1."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    arguments = ["run", f"input.uris={s3_bucket}/in/a.jpg", f"output.uri={s3_bucket}/run", f"checkpoint={tiny_unified}"]
    assert exit_code([*arguments, "compute.gpus_per_worker=0", "errors.retry_seconds=0"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"pager-ray: input.uris[0]: {s3_bucket}/in/a.jpg cannot be listed")
    assert re.search(r"Could not connect to the endpoint.*; check its store, then run the same command again", line)


def test_of_several_jobs_one_gets_a_bucket(s3_bucket: str) -> None:
    """A lease in a bucket is taken once: the second job is refused while the first lives, and follows it after."""
    folder = RunLayout(Folder(f"{s3_bucket}/run")).lease
    with Lease(folder).take() as first:
        assert first.generation == 1
        with pytest.raises(pager_ray.PagerError, match="writes to this output"):
            Lease(folder).take()
    with Lease(folder).take() as second:
        assert second.generation == 2
