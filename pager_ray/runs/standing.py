"""What stands, gone through part by part: the files of a snapshot on the storage, and records in memory beside them.

A snapshot of up to :data:`FILE_ROWS` rows is one file. A larger one has further files, under names that no other
snapshot's have, and its head, which is put last, names them: without it they are nothing.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import check_footer, parquet_parts, parse_json
from pager_ray.errors import StorageError
from pager_ray.masking import mask_uri
from pager_ray.plain import plain_text
from pager_ray.runs.tally import KnownShards, Tally
from pager_ray.storage import Folder, error_reason

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        # Null for a result.
        pa.field("error_class", pa.string()),
        # Of the shard's results, to find damage years later; null for rejects.
        pa.field("sha256", pa.string()),
    ]
)

FILE_ROWS: Final = 1 << 20
"""Rows of one of a snapshot's files."""

ROWS_AT_ONCE: Final = 262_144
"""Rows that are there as texts at a time."""

# No separators and no leading dot: a shard lies where the run's shards lie.
_SHARD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_TOKEN: Final = 12
_PIECE: Final = re.compile(rf"([0-9]{{8}})-([0-9a-f]{{{_TOKEN}}})-[0-9]{{5}}\.parquet")

_MORE: Final = b"pager_ray.snapshot"
"""Metadata of the head, as JSON: rows in all, how many of them are rejects, and the files that the others are in."""


class Snapshot:
    """A snapshot whose head was read.

    Attributes:
        rows: in all files.
        rejects: how many of them; None where an earlier version did not say.
        files: names of the others.
        tally: of all rows, where whoever wrote them made one.
    """

    def __init__(self, folder: Folder, name: str, head: bytes, tally: Tally | None = None) -> None:
        self._folder, self._name, self._head = folder, name, head
        self.tally = tally
        with as_damage(folder, name):
            footer = pq.read_metadata(pa.BufferReader(head))
            check_footer(footer, len(head), LEDGER_SCHEMA.names)
            told = (footer.metadata or {}).get(_MORE)
            facts = {"rows": footer.num_rows, "rejects": None, "files": []} if told is None else parse_json(told)
            self.rows, self.files = int(facts["rows"]), [str(file) for file in facts["files"]]
            self.rejects = None if facts["rejects"] is None else int(facts["rejects"])
            if not all(_PIECE.fullmatch(file) for file in self.files):
                raise ValueError("it names files that are none of a snapshot")
            # Memory is set aside for so many.
            if told is not None and not 0 <= self.rows <= FILE_ROWS * (len(self.files) + 1):
                raise ValueError(f"it tells of {self.rows} rows in {len(self.files) + 1} files")

    def parts(self) -> Iterator[pa.Table]:
        """The rows, ``LEDGER_SCHEMA``.

        Raises:
            StorageError: a file is missing or damaged.
        """
        count = 0
        for name in [*self.files, self._name]:
            data = self._head if name == self._name else self._folder.read(name)
            with as_damage(self._folder, name):
                for part in parquet_parts(pa.BufferReader(data), len(data), LEDGER_SCHEMA.names, ROWS_AT_ONCE):
                    table = part.select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA)
                    check_names(table)
                    count += table.num_rows
                    yield table
        with as_damage(self._folder, self._name):
            if count != self.rows:
                raise ValueError(f"it tells of {self.rows} rows, of which its files have {count}")


class Standing:
    """What stands: one row per input with an outcome.

    Args:
        snapshot: what stood when the generation began; None for nothing.
        fresh: rows of the records since, ``LEDGER_SCHEMA`` or with texts as dictionaries. What it has of the snapshot's
            rejects is what became of them.
        gone: shards whose rows do not stand any more.
    """

    def __init__(self, snapshot: Snapshot | None, fresh: Sequence[pa.Table] = (), gone: pa.Array | None = None) -> None:
        self._snapshot, self._gone = snapshot, gone
        self._fresh = pa.concat_tables(fresh) if fresh else None
        self._tally: Tally | None = None

    @classmethod
    def of(cls, standing: Standing | pa.Table) -> Standing:
        """What stands, where it may be a table."""
        return standing if isinstance(standing, Standing) else cls(None, [standing])

    @property
    def _most(self) -> int:
        """Rows that there can be."""
        rows = self._snapshot.rows if self._snapshot is not None else 0
        return rows + (self._fresh.num_rows if self._fresh is not None else 0)

    def count(self) -> int:
        """How many rows there are."""
        if self._tally is not None:
            return self._tally.rows
        is_told = self._snapshot is None or self._fresh is None or self._snapshot.rejects == 0
        return self._most if is_told and self._gone is None else sum(part.num_rows for part in self.parts())

    def parts(self) -> Iterator[pa.Table]:
        """The rows part by part, ``LEDGER_SCHEMA``; those of a shard in their order, most often in one part.

        Raises:
            StorageError: a file of the snapshot is missing or damaged.
        """
        for part in self._with_repeats():
            kept = part
            if self._gone is not None:
                kept = kept.filter(pc.invert(pc.is_in(kept.column("shard"), value_set=self._gone)))
            if kept.num_rows:
                yield kept

    def _with_repeats(self) -> Iterator[pa.Table]:
        for part in self._snapshot.parts() if self._snapshot is not None else ():
            rejected = pc.is_valid(part.column("error_class"))
            if self._fresh is not None and pc.any(rejected).as_py():
                again = pc.is_in(part.column("id"), value_set=self._fresh.column("id"))
                yield part.filter(pc.invert(pc.and_(again, rejected)))
            else:
                yield part
        if self._fresh is not None:
            for start in range(0, self._fresh.num_rows, ROWS_AT_ONCE):
                yield self._fresh.slice(start, ROWS_AT_ONCE).cast(LEDGER_SCHEMA)

    def ids(self) -> Iterator[pa.ChunkedArray]:
        """The ids part by part."""
        return (part.column("id") for part in self.parts())

    def without(self, ids: pa.ChunkedArray) -> Standing:
        """What stands without the shards in which these ids are found."""
        shards = [pc.unique(part.column("shard").filter(pc.is_in(part.column("id"), value_set=ids)))
                  for part in self.parts()]  # fmt: skip
        fresh = [self._fresh] if self._fresh is not None else []
        return Standing(self._snapshot, fresh, pa.concat_arrays(shards) if shards else pa.array([], pa.string()))

    def rejects(self) -> pa.Table:
        """The rows of rejects, in memory."""
        parts = (part.filter(pc.is_valid(part.column("error_class"))) for part in self.parts())
        return pa.concat_tables([LEDGER_SCHEMA.empty_table(), *parts])

    def table(self) -> pa.Table:
        """All rows in memory, with shards and digests as dictionaries."""
        return pa.concat_tables([compacted(LEDGER_SCHEMA.empty_table()), *map(compacted, self.parts())])

    def tally(self) -> Tally:
        """What is kept of every row."""
        if self._tally is None:
            is_told = self._snapshot is not None and self._fresh is None and self._gone is None
            told = self._snapshot.tally if is_told and self._snapshot is not None else None
            self._tally = Tally.of(self.parts(), self._most) if told is None else told
        return self._tally

    def shards(self) -> KnownShards:
        """The shards in which something that stands is found."""
        return KnownShards(self.tally().shards)

    def put(self, folder: Folder, generation: str, token: str, tally: bool) -> tuple[bytes, list[str], Tally | None]:
        """Put the files of a snapshot but its head.

        Args:
            generation: that the snapshot is of, as eight digits.
            token: twelve hexadecimal digits that nobody else has.
            tally: whether to make one on the way.

        Returns:
            The head's content, the names of the files, and the tally.
        """
        made = Tally(self._most) if tally else None
        files: list[str] = []
        rows = rejects = 0
        encoded = _Encoded()
        for part in self.parts():
            if encoded.rows + part.num_rows > FILE_ROWS:
                files.append(f"{generation}-{token}-{len(files):05}.parquet")
                folder.write(files[-1], encoded.content())
                encoded = _Encoded()
            encoded.add(part)
            rows += part.num_rows
            rejects += part.num_rows - part.column("error_class").null_count
            if made is not None:
                made.add(part)
        facts = json.dumps({"rows": rows, "rejects": rejects, "files": files, "token": token})
        return encoded.content(facts), files, made.done() if made is not None else None


class _Encoded:
    """Rows of the ledger on their way into a file."""

    def __init__(self) -> None:
        self.rows = 0
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(self._sink, LEDGER_SCHEMA, compression="zstd")

    def add(self, part: pa.Table) -> None:
        self._writer.write_table(part)
        self.rows += part.num_rows

    def content(self, facts: str | None = None) -> bytes:
        if not self.rows:
            self._writer.write_table(LEDGER_SCHEMA.empty_table())
        if facts is not None:
            self._writer.add_key_value_metadata({_MORE: facts})
        self._writer.close()
        return self._sink.getvalue()


def piece_of(name: str) -> tuple[int, str]:
    """Generation and token of a snapshot's further file; 0 for other files."""
    found = _PIECE.fullmatch(name)
    return (int(found[1]), found[2]) if found else (0, "")


def compacted(table: pa.Table) -> pa.Table:
    """Rows of the ledger with shards and digests, each of which many rows share, as dictionaries."""
    for name in ("shard", "sha256"):
        place = table.schema.get_field_index(name)
        field = table.schema.field(name).with_type(pa.dictionary(pa.int32(), pa.string()))
        table = table.set_column(place, field, table.column(name).dictionary_encode())
    return table


def check_names(table: pa.Table) -> None:
    """Refuse texts that are none, and shards that do not lie in the run's own folders.

    Raises:
        ValueError: what a shard is called.
    """
    table.validate(full=True)
    for shard in pc.unique(table.column("shard")).to_pylist():
        if not _SHARD.fullmatch(shard):
            raise ValueError(f"names {plain_text(shard, 100)!r} as a shard")


@contextmanager
def as_damage(folder: Folder, name: str) -> Iterator[None]:
    """Errors of reading a part of the ledger, as one that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        # Arrow tells of some damage with an OSError; the bytes themselves are here already.
        raise StorageError(
            f"{mask_uri(folder.uri(name))}: is no part of a ledger ({error_reason(error)}); without it nobody knows "
            "what stands: restore it from a copy, or start anew with --overwrite"
        ) from error
