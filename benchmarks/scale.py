"""Listing, planning and resuming very large runs, without a panorama.

Makes a Parquet listing of object URIs, none of which is ever read, and does with it what a job does before and after
its pipeline. Every step is a process of its own, with a job's imports (torch and Ray included), so its peak memory is
what a driver needs. The output lies on a store that counts requests as an object store would be asked (a listing is a
request per 1,000 names, a bulk deletion one per 1,000 objects) and keeps its objects on the local disk: seconds are
without a network.

- row by row: the baseline, made only for up to a million rows: the same listing as a list of objects, ids settled with
  counters, digested and written, without a claim.
- start: list the inputs, settle ids, digest, claim a new output (manifest, ledger, run file), have the first rows.
- hand to Ray: the first rows as a dataset of a local Ray.
- resume: the same command again, with half of the rows done in shards of 16; of a larger run that is done in parts,
  with one part's records beside the snapshot of the parts before. Records are committed and folded by the ledger's own
  functions, all but the last 3,000, which came after the driver's last look and are read one by one; parts that are
  folded at once, as one record each.
- compact: fold those records into the next generation's snapshot, as a job does between parts.
- finish: everything done; the ledger is read, reconciled, and folded into one file.
- read ids: open the finished run without Ray, all ids, the places of 1,000 predictions.
- read table: open it, one row per prediction with all columns but maps, one column of all; up to a million rows, whose
  records carry them (see :mod:`pager_ray.runs.columnar`).
- list a folder: a bucket whose client gives a dictionary of 12 facts per object, without an output.

Each step is made once. Printed per step: seconds, processor seconds of its process, peak memory, requests by kind; for
the start how it compares with the baseline (times as fast, times the memory); at the end the output's objects.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from benchmarks.frame import ANSWER, Report, Table, in_own_process
from pager_ray.schemes import VARIABLE

MOST_SECONDS = 60.0
MOST_ROWS_IN_TIME = 10_000_000
MOST_BYTES = {1_000_000: 2e9, 10_000_000: 2e9, 100_000_000: 2.5e9}
MOST_REQUESTS = 100
MOST_ROWS_AS_OBJECTS = 1_000_000
ROWS_PER_SHARD = 16
ROWS_PER_CHUNK = 100_000
ROWS_PER_FOLDER = 4096
NAMES_PER_REQUEST = 1000
UNFOLDED = 3000
LOOKUPS = 1000
KINDS = ("get", "put", "list", "delete", "head")
CHECKPOINT = {"face_size": 504, "cube_fov": 90.0, "modalities": ["depth"]}


class CountedStore(AbstractFileSystem):
    """An object store, as clients see one, on the local disk; counts requests by kind."""

    protocol = "counted"
    cachable = False
    requests: ClassVar[Counter[str]] = Counter()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def _count(self, kind: str, number: int = 1) -> None:
        with self._lock:
            self.requests[kind] += number

    def _pages(self, names: int) -> int:
        return max(1, -(-names // NAMES_PER_REQUEST))

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What lies in a folder."""
        try:
            with os.scandir(path) as entries:
                found = [(entry.path, entry.is_dir()) for entry in entries]
        except FileNotFoundError:
            found = []
        self._count("list", self._pages(len(found)))
        if not found:
            raise FileNotFoundError(path)
        if not detail:
            return [name for name, _ in found]
        return [{"name": name, "size": 0, "type": "directory" if is_folder else "file"} for name, is_folder in found]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """What is known of one object."""
        self._count("head")
        if not os.path.exists(path):
            raise FileNotFoundError(path)
        is_folder = os.path.isdir(path)
        return {"name": path, "size": os.path.getsize(path), "type": "directory" if is_folder else "file"}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """An object's content."""
        self._count("get")
        with open(path, "rb") as file:
            file.seek(start or 0)
            return file.read() if end is None else file.read(end - (start or 0))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        """Put an object."""
        self._count("put")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb" if mode == "create" else "wb") as file:
            file.write(value)

    def rm_file(self, path: str) -> None:
        """Delete an object."""
        self._count("delete")
        os.unlink(path)

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete objects, 1,000 a request."""
        paths = [path] if isinstance(path, str) else path
        self._count("delete", self._pages(len(paths)))
        for name in paths:
            os.unlink(name)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """No request: object stores have no folders."""
        os.makedirs(path, exist_ok=exist_ok)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        return CountedFile(self, path, mode, **options)


class CountedFile(AbstractBufferedFile):
    """An object that is read in ranges, a request each."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start, end)


class ListedBucket(AbstractFileSystem):
    """A bucket of folders that exists in listings alone; its root is called by the number of its objects."""

    protocol = "listed"

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What lies in a folder."""
        bucket, _, folder = path.strip("/").partition("/")
        rows = int(bucket)
        if not folder:
            names = [f"{bucket}/survey-{n:05}" for n in range(-(-rows // ROWS_PER_FOLDER))]
            return [{"name": name, "size": 0, "type": "directory"} for name in names] if detail else names
        first = int(folder.removeprefix("survey-")) * ROWS_PER_FOLDER
        names = [f"{bucket}/{folder}/pano_{n:09}.jpg" for n in range(first, min(first + ROWS_PER_FOLDER, rows))]
        return [_facts(name) for name in names] if detail else names

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """What is known of one object."""
        return {"name": path, "size": 0, "type": "directory"}


def _facts(name: str) -> dict[str, Any]:
    """What a client of an object store keeps of an object."""
    key = name.partition("/")[2]
    facts = {"Key": key, "LastModified": time.gmtime(), "ETag": f'"{hash(key):032x}"', "Size": 8_000_000 + len(key)}
    facts |= {"StorageClass": "STANDARD", "ChecksumAlgorithm": ["CRC64NVME"], "ChecksumType": "FULL_OBJECT"}
    return facts | {"type": "file", "size": facts["Size"], "name": name, "VersionId": None, "IsLatest": True}


def write_listing(path: Path, rows: int, with_ids: bool) -> None:
    """URIs as they lie in buckets: a few hundred folders of survey runs, names that do not compress to nothing."""
    schema = pa.schema({"uri": pa.string()} | ({"id": pa.string()} if with_ids else {}))
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, ROWS_PER_CHUNK):
            numbers = np.arange(start, min(start + ROWS_PER_CHUNK, rows))
            drawn = random.integers(10**11, 10**12, len(numbers))
            names = _joined(_digits(drawn, 12), "-", _digits(numbers, 9))
            folders = _digits(numbers // ROWS_PER_FOLDER, 5)
            uris = _joined("s3://street-panoramas/2026/survey-", folders, "/pano_", names, ".jpg")
            writer.write_table(pa.table([uris, names][: len(schema)], schema=schema))


def _digits(numbers: np.ndarray, width: int) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")


def _joined(*texts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*texts, "")


def claim(listing: str, output: str) -> Any:
    """What :func:`pager_ray.pipeline.job.run_job` does before its pipeline, without a checkpoint."""
    from pager_ray.config.schema import ErrorsConfig
    from pager_ray.listing import list_inputs
    from pager_ray.runs.claim import claim_output

    listed = list_inputs([listing])
    return claim_output(
        _layout(output),
        listed,
        config={"output": {"projection": "erp"}},
        identity={"benchmark": "scale"},
        sections={"checkpoint": CHECKPOINT},
        errors=ErrorsConfig(),
        overwrite=False,
    )


def _layout(output: str) -> Any:
    from pager_ray.runs import RunLayout
    from pager_ray.storage import Folder

    return RunLayout(Folder(output))


def shard_names(generation: int, first: int, number: int) -> list[str]:
    """Names that writers could have given their shards."""
    return [f"{generation:012x}-{place:08}-{place & 0xFFFFFF:06x}" for place in range(first, first + number)]


def commit(output: str, generation: int, rows: pa.Table, *, as_one: bool = False) -> None:
    """Empty shards for rows, and their records: as writers put them, or in one, where a compaction reads it at once."""
    from pager_ray.runs.columnar import with_scalars
    from pager_ray.runs.standing import LEDGER_SCHEMA

    layout = _layout(output)
    ids = rows.column("id").combine_chunks()
    names = [f"{generation:012x}-{n:08}-{n & 0xFFFFFF:06x}" for n in range(-(-len(ids) // ROWS_PER_SHARD))]
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]

    def record(first: int, number: int) -> pa.Table:
        part = ids.slice(first * ROWS_PER_SHARD, number * ROWS_PER_SHARD)
        places = pa.array(np.arange(len(part)) // ROWS_PER_SHARD)
        shards, sums = (pa.array(values[first : first + number]).take(places) for values in (names, digests))
        return pa.table([part, shards, pa.nulls(len(part), pa.string()), sums], schema=LEDGER_SCHEMA)

    scalars = None if as_one else scalars_of(rows)

    def write(place: int) -> None:
        layout.results.write(f"{names[place]}.parquet", b"")
        if scalars is not None:
            one = with_scalars(record(place, 1), scalars.slice(place * ROWS_PER_SHARD, ROWS_PER_SHARD))
            layout.ledger.commit(generation, names[place][:21], one)

    # What a driver folds as it goes, and what its last look was too early for.
    last = max(0, len(names) - UNFOLDED)
    with ThreadPoolExecutor(4) as pool:
        for places in (range(last), range(last, len(names))):
            for _ in pool.map(write, places, chunksize=NAMES_PER_REQUEST):
                pass
            if not as_one and places.start == 0:
                layout.ledger.fold(generation, set())
    if as_one:
        layout.ledger.commit(generation, names[0][:21], record(0, len(names)))


def scalars_of(rows: pa.Table) -> pa.Table:
    """What predictions of rows could have beside their maps."""
    from pager_ray.runs import predictions_schema
    from pager_ray.stages.rows import ENCODE_SCHEMA

    schema = predictions_schema(ENCODE_SCHEMA, (), codec=None, projection="erp", face_size=504, fov=90.0)
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {name: rows.column(name) for name in ("id", "uri")}
    columns["digest"] = [f"sha256:{n:064x}" for n in random.integers(0, 2**62, rows.num_rows)]
    for field in schema:
        if pa.types.is_floating(field.type):
            columns[field.name] = random.uniform(0, 10, rows.num_rows)
        elif pa.types.is_integer(field.type):
            columns[field.name] = np.full(rows.num_rows, 4096)
    arrays = [pa.array(columns[one.name]) if one.name in columns and isinstance(columns[one.name], list | np.ndarray)
              else columns.get(one.name, pa.nulls(rows.num_rows, one.type)) for one in schema]  # fmt: skip
    return pa.table(arrays, names=schema.names).cast(schema).combine_chunks()


def fill(listing: str, output: str, wanted: int, as_records: bool) -> None:
    """Have so many rows done, as a job that then dies leaves them: parts folded, the last one's records beside."""
    claimed = claim(listing, output)
    left = wanted - (len(claimed.inputs) - len(claimed.pending))
    for part in claimed.parts():
        is_last = left <= part.num_rows
        commit(output, claimed.generation, part.slice(0, left), as_one=not (is_last and as_records))
        left -= part.num_rows
        if is_last:
            break
    claimed.lease.give_back()


@dataclass
class Row:
    """An input as a Python object."""

    uri: str
    id: str
    scene: str | None = None
    error_class: str | None = None
    message: str | None = None
    sample: str | None = None
    origin: str | None = None


def list_row_by_row(listing: str, output: str) -> int:
    """The baseline; returns the number of rows."""
    from pager_ray.listing import MANIFEST_SCHEMA
    from pager_ray.masking import carries_secret, mask_uri

    table = pq.read_table(listing)
    uris: list[str] = table.column("uri").to_pylist()
    if any(carries_secret(uri) for uri in uris):
        raise SystemExit("the listing carries secrets")
    given = table.column("id").to_pylist() if "id" in table.column_names else [None] * len(uris)
    names = [uri.rpartition("/")[2] for uri in uris]
    stems = [os.path.splitext(name)[0] for name in names]
    wholes = [mask_uri(uri).split("://", 1)[-1] for uri in uris]
    taken, stem_counts, name_counts = Counter(filter(None, given)), Counter(stems), Counter(names)
    rows, seen = [], set()
    for place, uri in enumerate(uris):
        id = given[place] or stems[place]
        if not given[place] and (stem_counts[id] > 1 or id in taken):
            id = names[place] if name_counts[names[place]] == 1 else wholes[place]
        if id in seen:
            raise SystemExit("the listing has an id twice")
        seen.add(id)
        rows.append(Row(uri, id))
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.id, row.uri, row.scene, row.sample]).encode() + b"\n")
    columns = {name: [getattr(row, name, None) for row in rows] for name in MANIFEST_SCHEMA.names}
    os.makedirs(output)
    pq.write_table(pa.table(columns, schema=MANIFEST_SCHEMA), f"{output}/{digest.hexdigest()}.parquet")
    return len(rows)


def step(name: str, listing: str, output: str) -> None:
    """One step, in this process; prints its figures as JSON."""
    import pager_ray.pipeline.job  # noqa: F401  (a job's imports count)
    from pager_ray.runs.claim import _finish

    if name in ("hand to Ray", "compact", "finish"):
        claimed = claim(listing, output)
        if name != "hand to Ray":
            commit(output, claimed.generation, next(claimed.parts()))
    calls: dict[str, Callable[[], int]] = {
        "row by row": lambda: list_row_by_row(listing, output),
        "start": lambda: _begin(listing, output),
        "resume": lambda: _begin(listing, output),
        "hand to Ray": lambda: _to_ray(claimed),
        "compact": lambda: claimed.layout.ledger.compact(claimed.generation),
        "finish": lambda: _finish(claimed).predictions,
        "read ids": lambda: _read_ids(output),
        "read table": lambda: _read_table(output),
        "list a folder": lambda: _list_folder(listing),
    }
    CountedStore.requests.clear()
    began, cpu_began = time.perf_counter(), time.process_time()
    rows = calls[name]()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    requests = dict(CountedStore.requests)
    figures = {"rows": rows, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak": peak, "requests": requests}
    print(ANSWER + json.dumps(figures), flush=True)
    # Its lease is not given back: that of a process that is gone is followed at once.
    os._exit(0)


def _begin(listing: str, output: str) -> int:
    """List, claim and have the first rows; returns how many are to be done."""
    claimed = claim(listing, output)
    next(claimed.parts())
    return len(claimed.pending)


def _to_ray(claimed: Any) -> int:
    import ray

    from pager_ray.pipeline.supervision import dataset_of

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    rows: int = dataset_of(next(claimed.parts())).count()
    ray.shutdown()
    return rows


def _read_ids(output: str) -> int:
    from pager_ray.reader import open_run

    run = open_run(output)
    ids = run.ids()
    if not all(id in run for id in ids[:: max(1, len(ids) // LOOKUPS)]):
        raise SystemExit("a prediction that was listed is not there")
    return len(ids)


def _read_table(output: str) -> int:
    from pager_ray.reader import open_run

    run = open_run(output)
    table = run.table()
    if not run.table(["id"]).column("id").equals(table.column("id")):
        raise SystemExit("one column alone is another than among all")
    return int(table.num_rows)


def _list_folder(listing: str) -> int:
    from pager_ray.listing import list_inputs

    return len(list_inputs([f"listed://{pq.read_metadata(listing).num_rows}"]))


def steps_of(
    report: Report, table: Table, folder: Path, rows: int, *, with_ids: bool, start_only: bool
) -> dict[str, dict[str, Any]]:
    """All steps for one number of rows, or the first."""
    from pager_ray.runs.claim import PARTITION_ROWS

    listing, output = str(folder / f"{rows}.parquet"), f"counted://{folder}/run-{rows}"
    write_listing(Path(listing), rows, with_ids)
    figures: dict[str, dict[str, Any]] = {}

    def do(name: str, place: str = output) -> None:
        figures[name] = one = in_own_process("scale:step", name, listing, place)
        base = figures.get("row by row")
        # The other steps do something else.
        compared = base is not None and name in ("row by row", "start")
        against = (base["seconds"] / one["seconds"], one["peak"] / base["peak"]) if base and compared else (None, None)
        requests = [one["requests"].get(kind, 0) for kind in KINDS]
        table.row(f"{rows:,} {name}", one["seconds"], one["cpu_seconds"], one["peak"] / 1e9, *against, *requests)

    def have(done: int, *, as_records: bool) -> None:
        in_own_process("scale:fill", listing, output, done, as_records)

    if rows <= MOST_ROWS_AS_OBJECTS:
        do("row by row", str(folder / f"objects-{rows}"))
    do("start")
    if start_only:
        return figures
    do("hand to Ray")
    have(rows // 2, as_records=True)
    do("resume")
    if rows > PARTITION_ROWS:
        do("compact")
        have(rows - PARTITION_ROWS, as_records=False)
    do("finish")
    do("read ids")
    if rows <= PARTITION_ROWS:
        do("read table")
    if rows <= MOST_ROWS_AS_OBJECTS:
        do("list a folder")
    stored = Path(output.removeprefix("counted://"))
    objects = Counter(path.relative_to(stored).parts[0] for path in stored.rglob("*") if path.is_file())
    report.line(f"{rows:,} objects: " + ", ".join(f"{name} {count:,}" for name, count in sorted(objects.items())))
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--start-only", action="store_true", help="no resume and no end, for which shards are made")
    parser.add_argument("--ids", action="store_true", help="a listing with ids of its own")


def measure(options: argparse.Namespace, report: Report) -> None:
    columns = {"seconds": ".1f", "processor": ".1f", "memory GB": ".2f", "faster": ".1f", "of memory": ".2f"}
    table = report.table("steps", columns | dict.fromkeys((f"{kind}s" for kind in KINDS), ",d"), "rows, step", 28)
    with tempfile.TemporaryDirectory() as temporary:
        for rows in options.rows:
            figures = steps_of(
                report, table, Path(temporary), rows, with_ids=options.ids, start_only=options.start_only
            )
            report.details[str(rows)] = figures
            for name in [step for step in ("start", "resume") if step in figures]:
                is_bound = rows in MOST_BYTES
                in_time = MOST_SECONDS if is_bound and rows <= MOST_ROWS_IN_TIME else None
                memory = MOST_BYTES[rows] / 1e9 if is_bound else None
                report.figure(f"{name}, {rows:,} rows", figures[name]["seconds"], "s", most=in_time)
                report.figure(f"{name}, {rows:,} rows: memory", figures[name]["peak"] / 1e9, "GB", most=memory)
            if "read table" in figures:
                requests = sum(figures["read table"]["requests"].values())
                report.figure(f"read table, {rows:,} rows", requests, "requests", most=MOST_REQUESTS)


# Processes of steps take both.
os.environ[VARIABLE] = ",".join(filter(None, [os.environ.get(VARIABLE), "counted", "listed"]))
fsspec.register_implementation("counted", CountedStore)
fsspec.register_implementation("listed", ListedBucket)
