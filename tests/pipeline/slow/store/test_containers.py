"""The job and containers on a real S3 server: killed halfway, resumed and verified there, through a network that fails;
of containers few bytes are read."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import s3fs

import pager_ray
from pager_ray.cli import exit_code
from pager_ray.listing import list_inputs, rows_to_do
from pager_ray.retrying import Retry
from pager_ray.samples import write_samples
from pager_ray.stages.read import ReadSettings, fetch_row
from pager_ray.stages.unpack import make_unpack_fn, pack_groups, unpack_groups
from tests.harness import faults
from tests.harness.proxy import FaultProxy, Faults
from tests.harness.s3 import S3Server
from tests.pipeline.slow.store.resuming import committed, killed_and_followed, start
from tests.read.packed import FORMS, pack

PICTURES = 4


def upload(folder: Path, url: str) -> None:
    filesystem, path = fsspec.core.url_to_fs(url)
    for file in folder.rglob("*"):
        if file.is_file():
            filesystem.pipe_file(f"{path}/{file.relative_to(folder)}", file.read_bytes())


def test_a_killed_run_in_a_bucket_is_resumed(
    s3_server: S3Server, s3_bucket: str, tiny_unified: Path, tmp_path: Path, ray_address: str
) -> None:
    """The same pictures in every form: what was committed stays, the rest of a shard and of a row group is done, each
    once, and all forms of a picture are predicted alike to the byte, before the kill and after it; all the while 5 % of
    requests each fail, are slow, reset and cut off."""
    listing = Path(write_samples(tmp_path / "in", PICTURES, height=64, ground_truth=False))
    pictures = {path.stem: path.read_bytes() for path in sorted(listing.parent.glob("*.jpg"))}
    for form in FORMS:
        named = {f"{form}-{name}": content for name, content in pictures.items()}
        pack(form, tmp_path / "packed" / form, named, suffix="jpg", shards=1)
        # The job has that folder among its inputs.
        upload(tmp_path / "packed" / form, f"{s3_bucket}/{'in' if form == 'files' else form}")
    settings = [f"input.uris=[{', '.join(f'{s3_bucket}/{form}' for form in FORMS[1:])}]", "output.codec=exact"]
    orders = tmp_path / "orders"
    orders.mkdir()
    valve = faults.hold(orders)
    # Half of all, some shards of each kind of reading.
    enough = len(FORMS) * PICTURES // 2 // 2 * 2
    with FaultProxy(s3_server.url, Faults(error=0.05, slow=0.05, reset=0.05, truncate=0.05), seed=7) as proxy:
        endpoint = s3_server.environment(proxy.url)
        begin = partial(start, s3_bucket, tiny_unified, orders, ray_address, *settings, endpoint=endpoint)
        before = killed_and_followed(s3_bucket, enough, begin, valve, orders)
        counts = dict(proxy.counts)
    assert len(before) == enough
    assert all(counts[kind] for kind in ("error", "slow", "reset")), counts
    run = pager_ray.open_run(f"{s3_bucket}/run")
    names = sorted(f"{form}-{name}" for form in FORMS for name in pictures)
    # Of a zip ids begin with its name.
    names = sorted(f"shard-0000/{name}" if name.startswith("zip-") else name for name in names)
    assert sorted(run.ids()) == sorted(committed(s3_bucket)) == names
    assert set(before) <= set(run.ids())
    assert exit_code(["verify", f"{s3_bucket}/run"]) == 0
    filesystem, _ = fsspec.core.url_to_fs(s3_bucket)
    by_picture = defaultdict(list)
    for file in run.files():
        table = pq.read_table(filesystem.open(file), columns=["digest", "depth", "normals", "sky"])
        for row in table.to_pylist():
            by_picture[row["digest"]].append(tuple(row.values()))
    assert sorted(map(len, by_picture.values())) == [len(FORMS)] * PICTURES
    assert all(len(set(maps)) == 1 for maps in by_picture.values())


@pytest.mark.parametrize("form", FORMS[1:])
def test_few_bytes_are_read(
    form: str, s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing and reading take at most 1.05 times the members' bytes, of Parquet 1.1 times, on the server."""
    noise = np.random.default_rng(0)
    pictures = {f"p{number:02}": noise.bytes(400_000) for number in range(60)}
    pack(form, tmp_path, pictures)
    upload(tmp_path, f"{s3_bucket}/in")
    with FaultProxy(s3_server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()
        listing = list_inputs([f"{s3_bucket}/in"], Retry(0))
        rows = rows_to_do(listing.table, listing.table.column("id").to_pylist(), {})
        settings = ReadSettings(56, 90.0, 2**28, 2**30, None, Retry(0))
        if form in ("parquet", "hub"):
            packed = pack_groups(rows, 4)
            parts = [make_unpack_fn(settings)(unpack_groups(packed.slice(k, 1))) for k in range(packed.num_rows)]
            found = [content for part in parts for content in part.column("content").to_pylist()]
        else:
            found = [fetch_row(row, settings) for row in rows.to_pylist()]
        bucket = s3_bucket.removeprefix("s3://")
        read = sum(count for path, count in proxy.sent.items() if path.startswith(f"/{bucket}/in/"))
        s3fs.S3FileSystem.clear_instance_cache()
    assert sorted(found) == sorted(pictures.values())
    share = read / sum(map(len, pictures.values()))
    print(f"{form}: {share:.4f} times the members' bytes")  # noqa: T201
    assert 1 <= share <= (1.1 if form in ("parquet", "hub") else 1.05)
