"""The job on stores that are not Amazon's: read, written, killed and resumed on a Ray whose workers reach them."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest
import s3fs

import pager_ray
from pager_ray.reader.verify import verify_output
from pager_ray.samples import write_samples
from pager_ray.storage import Folder
from tests.harness import faults, stores
from tests.harness.proxy import FaultProxy
from tests.harness.s3 import S3Server
from tests.pipeline.slow.store.test_object_storage import LOOK_SECONDS, committed, start
from tests.runs.store.test_claim import no_conditions

ROWS, LET_THROUGH = 6, 2


@pytest.mark.parametrize("kinds", [("az", "sftp", "gs"), ("sftp", "gs")], ids="-".join)
def test_a_killed_job_goes_on(kinds: tuple[str, ...], tiny_unified: Path, tmp_path: Path, ray_address: str) -> None:
    """SIGKILL of the driver once a shard is there: the next start leaves it, does the rest, each once, and verifies.

    Panoramas lie on all of the stores, the output on the first.
    """
    with ExitStack() as stack:
        places = [stack.enter_context(stores.served(kind, tmp_path / kind)) for kind in kinds]
        told = {f"FSSPEC_{kind.upper()}": json.dumps(fsspec.config.conf[kind]) for kind in kinds}
        told |= {name: value for name, value in os.environ.items() if name.startswith("GCSFS_")}
        check(places, told, tiny_unified, tmp_path, ray_address)


def test_a_killed_job_goes_on_without_conditional_puts(
    s3_server: S3Server,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    tiny_unified: Path,
    tmp_path: Path,
    ray_address: str,
) -> None:
    """So too on an S3 that answers 501 to `If-None-Match`; the run file says which way the output was claimed."""
    with FaultProxy(s3_server.url, refuse=no_conditions) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()
        check([s3_bucket], {}, tiny_unified, tmp_path, ray_address)
        starts = pager_ray.open_run(f"{s3_bucket}/run").manifest["starts"]
        assert [start["lease"] for start in starts] == ["announced", "announced"]


def check(places: list[str], told: dict[str, str], checkpoint: Path, tmp_path: Path, ray_address: str) -> None:
    """Kill a job that reads from places and writes to the first, and let another end it.

    Args:
        told: variables with which drivers and workers reach the stores.
    """
    listing = Path(write_samples(tmp_path / "in", ROWS, height=64, ground_truth=False))
    pictures = sorted(listing.parent.glob("*.jpg"))
    for number, picture in enumerate(pictures):
        Folder(f"{places[number % len(places)]}/in").write(picture.name, picture.read_bytes())
    place = places[0]
    more = [f"input.uris=[{', '.join(f'{each}/in/' for each in places)}]", "input.schemes=[sftp]"]
    orders = tmp_path / "orders"
    orders.mkdir()
    valve = faults.hold(orders)
    valve.let_through(LET_THROUGH)
    first = start(place, checkpoint, orders, ray_address, *more, endpoint=told)
    deadline = time.monotonic() + 1800
    with faults.killed_in_the_end(first, orders):
        while len(committed(place)) < LET_THROUGH:
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline, "the first start did not get anywhere"
            time.sleep(LOOK_SECONDS)
    before = committed(place)
    valve.open()
    second = start(place, checkpoint, orders, ray_address, *more, endpoint=told)
    _, errors = second.communicate(timeout=1800)
    assert second.returncode == 0, errors
    run = pager_ray.open_run(f"{place}/run")
    assert sorted(run.ids()) == sorted(committed(place)) == [picture.stem for picture in pictures]
    assert set(before) <= set(run.ids())
    assert len(faults.predicted(orders)) <= ROWS + LET_THROUGH
    verified = verify_output(f"{place}/run", 1.0)
    assert (verified.state, list(verified.problems)) == ("complete", [])
