"""Forged files: python -m tests.safety.forge [--count 5000] [--seed 0].

Takes a small sound run, a checkpoint and listings, and forges one file at a time: bytes flipped, cut and repeated; JSON
and YAML values replaced by hostile ones; Parquet files with other columns, other types, millions of equal rows. Each is
read by everything that reads such a file. What comes of it is a result or one of our errors; anything else, more than
ten seconds for one, or more than a gigabyte in all, is a problem. Exits with 1 then.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pager_ray.config import load_config
from pager_ray.errors import PagerError
from pager_ray.export.records import Records
from pager_ray.listing import Listed, list_inputs, listing_digest, write_manifest
from pager_ray.model import resolve_checkpoint
from pager_ray.model.weights import read_entries
from pager_ray.reader import open_run
from pager_ray.reader.status import read_status
from pager_ray.reader.verify import verify_output
from pager_ray.storage import Folder
from tests.reader.runs import SmallRun

SECONDS, MEGABYTES = 10.0, 1024
CHECKPOINT = Path(__file__).parents[1] / "golden" / "tiny_normals"
SHARD = "0123456789ab-00000000-abcdef"

HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 7, 14_000_000, 2**31, 2**63, 10**400, 1e308, -0.5, "", "x", "../../../etc/passwd", "a\0b",
    "\x1b[2J",
    "x" * 100_000, [], {}, [[]], {"": {}}, ["depth"], [None], {"a": "b"}, list(range(1000)), "nan", "2", float(2**60),
]  # fmt: skip
TEXTS = [
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"{}",
    b"[]",
    b"null",
    b"",
    b"\xff\xfe",
    b"1e999",
    b'{"a": NaN}',
    b"\0" * 4096,
]
YAML_BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@dataclass
class Forged:
    """What became of all files."""

    count: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    peak_mb: int = 0
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What to show a person."""
        told = ", ".join(f"{name} {count}" for name, count in self.errors.most_common())
        slowest = f"slowest  {self.slowest[0]:.2f} s of processor time: {self.slowest[1]}"
        lines = [f"forged   {self.count}", f"ended as {told}", slowest, f"peak     {self.peak_mb} MB above the start"]
        return lines + [f"PROBLEM  {problem}" for problem in self.problems[:20]]


class Forge:
    """A sound run, a checkpoint and listings in a folder, and one forged file in it at a time."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.made: dict[Any, bytes] = {}
        run = SmallRun(folder / "run")
        self.run = Path(run.folder)
        listed = [Listed(f"/in/{name}.jpg", name) for name in "abc"]
        write_manifest(run.layout.manifest, listed)
        run.manifest["listing"] = {"rows": 3, "sha256": listing_digest(listed)}
        run.write(SHARD, run.prediction("a"), run.prediction("b"), run.reject("c"))
        run.complete()
        shutil.copytree(CHECKPOINT, folder / "checkpoint")
        records = Records(Folder(str(folder / "export")))
        records.claim({"run": "x"}, overwrite=False)
        self.inputs = folder / "in"
        self.inputs.mkdir()
        rows = {"uri": [f"{k}.jpg" for k in range(50)], "id": [f"id{k}" for k in range(50)], "scene": ["indoor"] * 50}
        pq.write_table(pa.table(rows), self.inputs / "list.parquet")
        (self.inputs / "list.csv").write_text("uri,id,scene\n" + "".join(f"{k}.jpg,id{k},indoor\n" for k in range(50)))
        (self.inputs / "list.txt").write_text("".join(f"{k}.jpg\n" for k in range(50)))
        (folder / "config.yaml").write_text("checkpoint: embedded\ninput:\n  uris: [a.jpg]\noutput:\n  uri: out\n")
        self.targets: list[tuple[Path, list[Callable[[], object]]]] = [
            (self.run / "run.json", [self._status, self._open, self._verify]),
            (self.run / "state/ledger/00000001.parquet", [self._open]),
            (self.run / f"state/ledger/00000001/{SHARD}.parquet", [self._open, self._verify]),
            (self.run / "state/manifest/manifest.parquet", [self._verify]),
            (self.run / f"predictions/{SHARD}.parquet", [self._open, self._verify]),
            (self.run / f"rejects/{SHARD}.parquet", [self._open, self._verify]),
            (folder / "checkpoint/config.yaml", [self._checkpoint]),
            (folder / "checkpoint/model.safetensors", [self._weights]),
            (folder / "export/export.json", [self._export]),
            (folder / "config.yaml", [lambda: load_config(folder / "config.yaml")]),
        ]
        for kind in ("parquet", "csv", "txt"):
            path = self.inputs / f"list.{kind}"
            self.targets.append((path, [lambda path=path: list_inputs([str(path)])]))  # type: ignore[misc]
        self.sound = {path: path.read_bytes() for path, _ in self.targets}

    def _status(self) -> object:
        return read_status(self.run).to_json()

    def _open(self) -> object:
        run = open_run(self.run)
        run.table()
        run.rejects()
        return [(p.depth is None, p.normals is None, p.sky is None) for p in (run[id] for id in run.ids()[:4])]

    def _verify(self) -> object:
        return verify_output(self.run).lines()

    def _checkpoint(self) -> object:
        return resolve_checkpoint(self.folder / "checkpoint").architecture

    def _weights(self) -> object:
        return read_entries(self.folder / "checkpoint/model.safetensors")

    def _export(self) -> object:
        records = Records(Folder(str(self.folder / "export")))
        records.claim({"run": "x"}, overwrite=False)
        return records.standing()

    def forge(self, path: Path) -> tuple[str, bytes]:
        """What was done, and the file that came of it."""
        sound = self.sound[path]
        kinds = [self._bytes]
        if path.suffix == ".json":
            kinds += [self._json, self._json, self._text]
        elif path.suffix == ".yaml":
            kinds += [self._yaml, self._yaml, self._text]
        elif path.suffix == ".parquet":
            kinds += [self._columns, self._columns]
        elif path.suffix in (".csv", ".txt"):
            kinds += [self._text]
        return self.chance.choice(kinds)(sound)

    def _bytes(self, sound: bytes) -> tuple[str, bytes]:
        data = bytearray(sound)
        for _ in range(self.chance.randint(1, 8)):
            place = self.chance.randrange(len(data) + 1)
            part = bytes(self.chance.randrange(256) for _ in range(self.chance.randint(0, 8)))
            data[place : place + self.chance.choice([0, 1, len(part), 50])] = part
        if self.chance.random() < 0.3:
            data = data[: self.chance.randrange(len(data) + 1)]
        return "bytes", bytes(data)

    def _text(self, sound: bytes) -> tuple[str, bytes]:
        text = self.chance.choice([*TEXTS, YAML_BOMB.encode(), sound * 200, b"a" * (1 << 20)])
        return f"text of {len(text)} bytes", text

    def _replaced(self, value: Any) -> Any:
        value = copy.deepcopy(value)
        places = list(_places(value))
        for _ in range(self.chance.randint(1, 3)):
            holder, key = self.chance.choice(places)
            if self.chance.random() < 0.2:
                holder.pop(key, None) if isinstance(holder, dict) else None
            elif isinstance(holder, dict) or key < len(holder):
                holder[key] = self.chance.choice(HOSTILE)
        return value

    def _json(self, sound: bytes) -> tuple[str, bytes]:
        return "values", json.dumps(self._replaced(json.loads(sound))).encode("utf-8", "replace")

    def _yaml(self, sound: bytes) -> tuple[str, bytes]:
        import yaml

        value = self._replaced(yaml.safe_load(sound))
        return "values", yaml.safe_dump(value, allow_unicode=True).encode()

    def _columns(self, sound: bytes) -> tuple[str, bytes]:
        table = pq.read_table(pa.BufferReader(sound))
        name = self.chance.choice(table.column_names)
        place = table.schema.get_field_index(name)
        rows = table.num_rows
        what = self.chance.choice(
            ["drop", "numbers", "nulls", "texts", "climb", "repeat", "long", "lists", "huge", "empty"]
        )
        if what == "drop":
            table = table.drop_columns([name])
        elif what in ("repeat", "long"):
            return f"{what} {name}", self._multiplied(tuple(table.column_names), what, name)
        elif what == "empty":
            table = table.slice(0, 0)
        else:
            column = {
                "numbers": pa.array([self.chance.choice([-1, 0, 2**31 - 1, 40_000])] * rows, pa.int32()),
                "nulls": pa.nulls(rows, table.schema.field(name).type),
                "texts": pa.array(["\x1b[2J" * 10] * rows),
                "climb": pa.array(["../../../../etc/passwd"] * rows),
                "lists": pa.array([["a"]] * rows),
                "huge": pa.array([2**62] * rows, pa.int64()),
            }[what]
            table = table.set_column(place, name, column)
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", row_group_size=self.chance.choice([1, 2, None]))
        return f"{what} {name}", sink.getvalue()

    def _multiplied(self, names: tuple[str, ...], what: str, name: str) -> bytes:
        """Few bytes that say millions of rows, or a text of 100 kB in each of twenty thousand; made once."""
        count, text = (5_000_000, "a" * 20) if what == "repeat" else (20_000, "x" * 100_000)
        if what == "repeat" and self.chance.random() < 0.7:
            count = 100
        key = (names, what, name if what == "long" else "", count)
        if key not in self.made:
            column = pa.DictionaryArray.from_arrays(pa.nulls(count, pa.int8()).fill_null(0), [text])
            nothing = pa.nulls(count, pa.int8())
            filled = ("id", "uri", "shard") if what == "repeat" else (name,)
            sink = io.BytesIO()
            pq.write_table(pa.table({n: column if n in filled else nothing for n in names}), sink, compression="zstd")
            self.made[key] = sink.getvalue()
        return self.made[key]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def forge_all(folder: Path, count: int, seed: int = 0) -> Forged:
    """Forge so many files, the same ones for a seed."""
    forge, found = Forge(folder, seed), Forged()
    for _, readers in forge.targets:
        for reader in readers:
            reader()
    start = _peak_mb()
    for number in range(count):
        path, readers = forge.targets[number % len(forge.targets)]
        what, content = forge.forge(path)
        path.write_bytes(content)
        where = f"{path.relative_to(folder)} ({what}, number {number})"
        for reader in readers:
            if reader == forge._verify and len(readers) > 1 and number % 3:
                continue  # the slowest of them reads what the others read, too
            began = time.process_time()
            try:
                reader()
                found.errors["a result"] += 1
            except PagerError as error:
                found.errors[type(error).__name__] += 1
                if len(str(error)) > 5000 or not str(error).isprintable():
                    found.problems.append(f"{where}: message of {len(str(error))} characters: {str(error)[:200]!r}")
            except Exception as error:  # noqa: BLE001 - whatever else is raised is what this looks for
                found.problems.append(f"{where}: {type(error).__name__}: {str(error)[:200]}")
            seconds = time.process_time() - began
            found.slowest = max(found.slowest, (seconds, where))
            if seconds > SECONDS:
                found.problems.append(f"{where}: took {seconds:.1f} s")
        path.write_bytes(forge.sound[path])
        peak = _peak_mb() - start
        if peak > found.peak_mb:
            found.peak_mb = peak
            if peak > MEGABYTES:
                found.problems.append(f"{where}: peak of {peak} MB")
        found.count += 1
    return found


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = forge_all(Path(folder), options.count, options.seed)
    sys.stdout.write("\n".join(found.lines()) + "\n")
    sys.exit(1 if found.problems else 0)


if __name__ == "__main__":
    main()
