"""Reading from containers on a store: the rate of stage *read* from tars, zips and Parquet files over that from files.

The same JPEGs of 4096×2048 lie on one store as files, tars, zips and Parquet files. Blocks of the job's stages, first
*unpack* where row groups are read, then *read* (fetch, decode, project), are made of each form in turn, so that what
else the machine does meets all of them alike; ratios are medians over rounds, the first of which warms up. Told are
panoramas per second by form, the ratio to files, processor time, and what listing takes per member.

``--store`` is a folder on any fsspec URL. Without it an S3 server on loopback is started, the one that tests use, and
ended with the benchmark; where none is installed, a local folder is taken, and the report says so.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.frame import ROOT, Report
from pager_ray.listing import list_inputs, rows_to_do
from pager_ray.retrying import Retry
from pager_ray.samples import write_samples
from pager_ray.stages.read import ReadSettings, make_read_fn
from pager_ray.stages.unpack import in_row_groups, make_unpack_fn, pack_groups, unpack_groups

LEAST = 0.95
FORMS = ("files", "tars", "zips", "parquet")
ROWS_PER_BLOCK = 8
ROWS_PER_SHARD = 32
PICTURES = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", metavar="URL", help="where the pictures are put; default: an S3 server on loopback")
    parser.add_argument("--rows", type=int, default=96, help="panoramas of each form, at least 16 (default: 96)")
    parser.add_argument("--height", type=int, default=2048, help="of the panoramas (default: 2048)")
    parser.add_argument("--face-size", type=int, default=504, help="default: 504")


def measure(options: argparse.Namespace, report: Report) -> None:
    if options.rows < 2 * ROWS_PER_BLOCK:
        raise SystemExit(f"--rows: takes at least {2 * ROWS_PER_BLOCK}, as the first {ROWS_PER_BLOCK} warm up")
    with tempfile.TemporaryDirectory(prefix="pager-ray-containers-") as temporary:
        folder = Path(temporary)
        listing = Path(write_samples(folder / "pictures", PICTURES, height=options.height, ground_truth=False))
        pictures = [path.read_bytes() for path in sorted(listing.parent.glob("*.jpg"))]
        with store(options.store, folder, report) as url:
            for form in FORMS:
                put(form, f"{url}/{form}", pictures, options.rows)
            compare(url, options, report)


def compare(url: str, options: argparse.Namespace, report: Report) -> None:
    """Block by block, form by form."""
    settings = ReadSettings(options.face_size, 90.0, 2**28, 2**30, None, Retry(0))
    read, unpack = make_read_fn(settings), make_unpack_fn(settings)
    blocks = {}
    for form in FORMS:
        began = time.perf_counter()
        listed = list_inputs([f"{url}/{form}"], Retry(0))
        report.figure(f"listing, {form}", 1e3 * (time.perf_counter() - began) / len(listed), "ms per panorama")
        rows = rows_to_do(listed.table, listed.table.column("id").to_pylist(), {})
        blocks[form] = [rows.slice(first, ROWS_PER_BLOCK) for first in range(0, rows.num_rows, ROWS_PER_BLOCK)]
        if in_row_groups(rows)[0].as_py():
            packed = pack_groups(rows, ROWS_PER_BLOCK)
            blocks[form] = [packed.slice(number, 1) for number in range(packed.num_rows)]
    spent: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
    for number, together in enumerate(zip(*blocks.values(), strict=True)):
        turn = [*zip(blocks, together, strict=True)]
        # Each form comes first, second, … in turn.
        for form, block in (*turn[number % len(turn) :], *turn[: number % len(turn)]):
            began, cpu = time.perf_counter(), time.process_time()
            done = read(unpack(unpack_groups(block)) if form == "parquet" else block)
            seconds = time.perf_counter() - began, time.process_time() - cpu
            assert done.column("error_class").null_count == done.num_rows, done.column("message")
            spent[form].append((seconds[0] / done.num_rows, seconds[1] / done.num_rows))
    columns = {"panoramas/s": ".2f", "of files": ".1%", "processor ms each": ".0f"}
    table = report.table(f"read, {options.rows} JPEGs of {2 * options.height}×{options.height}", columns, "form")
    files = [seconds for seconds, _ in spent["files"][1:]]
    for form, times in spent.items():
        seconds, cpus = zip(*times[1:], strict=True)
        # Of the blocks of one round, which met the same neighbours.
        share = statistics.median(theirs / ours for theirs, ours in zip(files, seconds, strict=True))
        cpu = 1e3 * statistics.median(cpus)
        table.row(form, 1 / statistics.median(seconds), share, cpu)
        note = f"{cpu:.0f} processor ms each, median of {len(files)} blocks"
        if form == "files":
            report.figure("rate of reading, files", 1 / statistics.median(files), "panoramas/s", note=note)
        else:
            bound = {"least": LEAST} if form == "tars" else {}
            report.figure(f"rate of reading, {form} over files", share, "×", note=note, **bound)


def put(form: str, url: str, pictures: list[bytes], rows: int) -> None:
    """The same pictures, again and again, in one form."""
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.makedirs(path, exist_ok=True)
    names = [f"p{number:05}" for number in range(rows)]
    for first in range(0, rows, ROWS_PER_SHARD):
        part = {name: pictures[int(name[1:]) % len(pictures)] for name in names[first : first + ROWS_PER_SHARD]}
        shard = f"{path}/shard-{first // ROWS_PER_SHARD:05}"
        file = io.BytesIO()
        if form == "files":
            for name, content in part.items():
                filesystem.pipe_file(f"{path}/{name}.jpg", content)
            continue
        if form == "tars":
            with tarfile.open(fileobj=file, mode="w") as archive:
                for name, content in part.items():
                    member = tarfile.TarInfo(f"{name}.jpg")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        elif form == "zips":
            with zipfile.ZipFile(file, "w") as archive:
                for name, content in part.items():
                    archive.writestr(f"{name}.jpg", content)
        else:
            images = pa.array([{"bytes": content} for content in part.values()], pa.struct([("bytes", pa.binary())]))
            pq.write_table(pa.table({"id": [*part], "image": images}), file, row_group_size=ROWS_PER_BLOCK)
        suffix = {"tars": "tar", "zips": "zip", "parquet": "parquet"}[form]
        filesystem.pipe_file(f"{shard}.{suffix}", file.getvalue())


@contextmanager
def store(given: str | None, folder: Path, report: Report) -> Iterator[str]:
    """A place for the pictures: the one that is given, an S3 server of one's own, or a folder."""
    if given is not None:
        url = f"{given.rstrip('/')}/containers-{np.random.default_rng().integers(1 << 40):x}"
        yield url
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.rm(path, recursive=True)
        return
    if shutil.which("radosgw") is None:
        report.line("no S3 server is installed: read from a local folder")
        yield str(folder / "store")
        return
    command = [sys.executable, "-m", "tests.harness.s3", str(folder / "server"), "pictures"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            os.environ |= json.loads(server.stdout.readline())
            yield "s3://pictures"
        finally:
            server.send_signal(signal.SIGTERM)
