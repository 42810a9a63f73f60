"""The job on stores that are not Amazon's: read, written, killed and resumed, with a Ray and without."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import fsspec
import pytest
import s3fs

import pager_ray
from pager_ray.reader.verify import verify_output
from pager_ray.runs import RunLayout
from pager_ray.samples import write_samples
from pager_ray.storage import Folder
from tests.harness import drivers, faults, stores
from tests.harness.proxy import FaultProxy
from tests.harness.s3 import S3Server
from tests.pipeline.slow.store.resuming import committed, killed_and_followed, start
from tests.runs.store.test_claim import no_conditions

ROWS, LET_THROUGH = 6, 2
SCHEMES = "input.schemes=[sftp]"


@contextmanager
def served(kinds: Sequence[str], folder: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Places on servers of some kinds, and the variables with which other processes reach them."""
    with ExitStack() as stack:
        places = [stack.enter_context(stores.served(kind, folder / kind)) for kind in kinds]
        told = {f"FSSPEC_{kind.upper()}": json.dumps(fsspec.config.conf[kind]) for kind in kinds}
        yield places, told | {name: value for name, value in os.environ.items() if name.startswith("GCSFS_")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small panoramas."""
    listing = Path(write_samples(tmp_path_factory.mktemp("panoramas"), ROWS, height=64, ground_truth=False))
    return sorted(listing.parent.glob("*.jpg"))


def spread(places: Sequence[str], pictures: Sequence[Path]) -> list[str]:
    """Put panoramas on all of the places, in turn; returns their ids."""
    for number, picture in enumerate(pictures):
        Folder(f"{places[number % len(places)]}/in").write(picture.name, picture.read_bytes())
    return [picture.stem for picture in pictures]


def check(place: str, ids: Sequence[str], before: Sequence[str]) -> pager_ray.Run:
    """The run is whole, and has what it had when it was killed."""
    run = pager_ray.open_run(f"{place}/run")
    assert sorted(run.ids()) == sorted(committed(place)) == ids
    assert set(before) <= set(run.ids())
    verified = verify_output(f"{place}/run", 1.0)
    assert (verified.state, list(verified.problems)) == ("complete", [])
    return run


def test_a_killed_job_goes_on(pictures: list[Path], tiny_unified: Path, tmp_path: Path, ray_address: str) -> None:
    """SIGKILL of the driver once a shard is there: the next start leaves it, does the rest, each once, and verifies.

    Panoramas lie on stores of three kinds, which the workers of a Ray reach as their driver does; the output on one.
    """
    orders = tmp_path / "orders"
    orders.mkdir()
    with served(["az", "sftp", "gs"], tmp_path) as (places, told):
        place, ids = places[0], spread(places, pictures)
        more = [f"input.uris=[{', '.join(f'{each}/in/' for each in places)}]", SCHEMES]
        valve = faults.hold(orders)
        begin = partial(start, place, tiny_unified, orders, ray_address, *more, endpoint=told)
        before = killed_and_followed(place, LET_THROUGH, begin, valve, orders)
        check(place, ids, before)
        assert len(faults.predicted(orders)) <= ROWS + LET_THROUGH


def kill_and_resume(
    places: Sequence[str], told: dict[str, str], pictures: Sequence[Path], checkpoint: Path, orders: Path
) -> pager_ray.Run:
    """A driver dies behind its first panorama, which it committed; another does the rest, and not that one again."""
    orders.mkdir()
    place, ids = places[0], spread(places, pictures)
    settings = [f"input.uris=[{', '.join(f'{each}/in/' for each in places)}]", SCHEMES, f"output.uri={place}/run"]
    settings += [f"checkpoint={checkpoint}", "scene_mode=indoor", "compute.gpus_per_worker=0", "output.size=64x128"]
    faults.order(orders, "after putting record")
    assert drivers.drive(orders, settings, told) == -signal.SIGKILL
    before = RunLayout(Folder(f"{place}/run")).ledger.read().to_pylist()
    assert len(before) == 1
    assert drivers.drive(orders, settings, told) == 0
    after = RunLayout(Folder(f"{place}/run")).ledger.read().to_pylist()
    # In the shards that they were in.
    assert [row for row in after if row in before] == before
    return check(place, ids, [row["id"] for row in before])


@pytest.mark.parametrize("kinds", [("sftp", "gs"), ("gs", "az")], ids="-".join)
def test_a_killed_job_without_a_cluster_goes_on(
    kinds: Sequence[str], pictures: list[Path], tiny_unified: Path, tmp_path: Path
) -> None:
    """So too with the output on each of the others."""
    with served(kinds, tmp_path) as (places, told):
        kill_and_resume(places, told, pictures, tiny_unified, tmp_path / "orders")


def test_a_killed_job_goes_on_without_conditional_puts(
    s3_server: S3Server,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    pictures: list[Path],
    tiny_unified: Path,
    tmp_path: Path,
) -> None:
    """So too on an S3 that answers 501 to `If-None-Match`; the run file says which way the output was claimed."""
    with FaultProxy(s3_server.url, refuse=no_conditions) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()
        told = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        run = kill_and_resume([s3_bucket], told, pictures, tiny_unified, tmp_path / "orders")
        assert [start["lease"] for start in run.manifest["starts"]] == ["announced", "announced"]
