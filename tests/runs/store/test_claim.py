"""A run in a real S3 server without conditional puts: taken once, killed, resumed; the run file says so."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator

import pytest
from aiohttp import web

from pager_ray.errors import OutputInUseError
from pager_ray.runs.lease import Lease
from pager_ray.runs.runfile import read_run_file
from pager_ray.storage import Folder
from tests.harness.proxy import FaultProxy
from tests.harness.s3 import S3Server
from tests.runs.test_growing import claim, commit, finish, is_whole, listed


def no_conditions(request: web.BaseRequest) -> tuple[int, str] | None:
    """What several S3-compatible stores say to an exclusive put."""
    return (501, "NotImplemented") if request.method == "PUT" and "If-None-Match" in request.headers else None


@pytest.fixture
def proxy(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The way to the store, which answers 501 to conditional puts on it."""
    with FaultProxy(s3_server.url, refuse=no_conditions) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def undecided(s3_bucket: str, proxy: FaultProxy) -> Folder:
    """An output in a store without conditional puts."""
    return Folder(f"{s3_bucket}/run")


def test_a_run_without_conditional_puts(undecided: Folder) -> None:
    """Claimed, refused to a second job, left by one that died, resumed and complete; the run file names the way."""
    job = claim(undecided, listed("abc"))
    commit(job, "a")
    with pytest.raises(OutputInUseError, match="is running"):
        claim(undecided, listed("abc"))
    # Another attempt at the same task counts for nothing.
    other = job.layout.ledger.read()
    assert not job.layout.ledger.commit(job.generation, "a", other.set_column(1, "shard", [["0-00000000-0"]]))
    # It dies: its lease stays, its process does not.
    job.lease._stop.set()
    state = json.loads(job.layout.lease.read("00000001.json"))
    assert (state["host"], state["pid"]) == (platform.node(), os.getpid())
    job.layout.lease.write("00000001.json", json.dumps(state | {"renewed": time.time() - 3600}).encode())
    job = claim(undecided, listed("abc"))
    assert list(job.pending) == ["b", "c"]
    finish(job)
    assert is_whole(undecided, "abc")
    manifest = read_run_file(undecided)
    assert manifest is not None
    assert [start["lease"] for start in manifest["starts"]] == ["announced", "announced"]
    assert job.layout.lease.names() == ["00000002.json"]


def test_a_store_is_asked_once(s3_bucket: str, proxy: FaultProxy, undecided: Folder) -> None:
    """Whether a store decides who was first is found out by trying, and nothing of the trial stays."""
    assert not undecided.decides()
    refused = proxy.counts["error"]
    assert refused == 1
    with Lease(undecided / "lease").take() as lease:
        assert lease.announced
    assert proxy.counts["error"] == refused
    proxy.refuse = None
    whole = Folder(f"{s3_bucket}/whole")
    assert whole.decides()
    assert whole.entries() == []
    with Lease(whole / "lease").take() as lease:
        assert not lease.announced
