"""Fixtures with a real S3 server; they skip where none is installed."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator

import pytest

from tests.harness.s3 import WHY_NOT, S3Server, installed


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the session; a test may kill it and restart it, its data stay."""
    if not installed():
        pytest.skip(WHY_NOT)
    folder = tmp_path_factory.mktemp("s3")
    with S3Server(folder / "server") as server:
        yield server
    # pytest keeps the folders of the last sessions; a disk is too large for that.
    shutil.rmtree(folder)


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a fresh bucket, with an environment in which every client of this process and its children reaches it."""
    import s3fs

    if len(s3_server.pids) < 3:
        # Left dead by a test that failed.
        s3_server.restart()
    # A developer's own settings; these two would be preferred to the keys or sent along with them.
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    s3_server.make_bucket(bucket)
    # Clients keep the endpoint that they were made with.
    s3fs.S3FileSystem.clear_instance_cache()
    yield f"s3://{bucket}"
    s3fs.S3FileSystem.clear_instance_cache()
