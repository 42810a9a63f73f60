"""The job on a real S3 server that cannot be reached, or that another job writes to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.runs import RunLayout
from pager_ray.runs.lease import Lease
from pager_ray.storage import Folder


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
