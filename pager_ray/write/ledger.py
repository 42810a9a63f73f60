"""The ledger: which shards count, and what became of every input. The only proof that something is done.

A *record* says that one shard stands: the ids of its rows in their order, and for rejects why. It is put once its
shard is whole, with an exclusive put under the name of the task that wrote it, so of several attempts at one task a
single one counts, whatever the others still do. Every attempt writes its shard under a name of its own.

A *generation* is one start of a job, numbered by its lease. It begins with a *snapshot* of all that stood before: from
then on only that snapshot and the generation's own records count. A worker of a dead start that lives on for a moment
writes into a generation that nobody reads any more. A job that ends puts a final snapshot with its records in it, so
that readers of a finished run need one file.

An input that was rejected may be done again by a later generation: the later outcome counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.errors import StorageError
from pager_ray.storage import Folder, error_reason, mask_uri

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

_SUFFIX = ".parquet"
_FINAL = ".final.parquet"
_DIGITS = 8
# Records are small objects: reading them is waiting for the store.
_READERS = 16


class Ledger:
    """The ledger of one output.

    Args:
        folder: ``state/ledger`` of the output.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def begin(self, generation: int) -> int:
        """Let a generation begin: what stands now is fixed, and records of earlier ones no longer count.

        For the holder of the lease.

        Args:
            generation: the lease's.

        Returns:
            The generation that began: a later one, where the ledger is ahead of a lease that somebody deleted.
        """
        standing = self.read()
        before, _ = self._newest()
        generation = max(generation, before + 1)
        self.folder.write(_snapshot(generation), _to_bytes(standing))
        old = [name for name in self.folder.names(_SUFFIX) if _generation_of(name) < generation]
        for number in {_generation_of(name) for name in old}:
            self._records(number).remove()
        self.folder.delete(old)
        return generation

    def commit(self, generation: int, task: str, record: pa.Table) -> bool:
        """Make a shard count, unless another attempt at the same task was faster.

        Args:
            generation: of the start that wrote it.
            task: the writing task's name, the same in every attempt.
            record: ``LEDGER_SCHEMA``, all rows of the shard in their order.

        Returns:
            Whether this shard counts.
        """
        records, name = self._records(generation), f"{task}{_SUFFIX}"
        if records.create(name, _to_bytes(record)):
            return True
        # An answer that was lost on the way back leaves a record that is ours after all.
        return _parse(records, name).column("shard")[0] == record.column("shard")[0]

    def committed(self, generation: int, task: str) -> pa.Table | None:
        """The record of a task that an earlier attempt finished, or None."""
        records, name = self._records(generation), f"{task}{_SUFFIX}"
        return _parse(records, name) if records.exists(name) else None

    def read(self) -> pa.Table:
        """What stands: one row per input with an outcome, ``LEDGER_SCHEMA``; rows of a shard in their order.

        Raises:
            StorageError: a part of the ledger cannot be read.
        """
        seen = self._newest()
        while True:
            try:
                standing = self._read(*seen)
            except StorageError:
                now = self._newest()
                if now == seen:
                    raise
            else:
                now = self._newest()
                if now == seen:
                    return standing
            # A start or an end went by while we read, and took away what the snapshot has now.
            seen = now

    def finish(self, generation: int, standing: pa.Table) -> None:
        """Put all that stands, as it was read after the generation's last record, into one file."""
        self.folder.write(_snapshot(generation, final=True), _to_bytes(standing))
        self._records(generation).remove()
        self.folder.delete([_snapshot(generation)])

    def _read(self, generation: int, final: bool) -> pa.Table:
        if not generation:
            return LEDGER_SCHEMA.empty_table()
        snapshot = _parse(self.folder, _snapshot(generation, final))
        if final:
            return snapshot
        records = self._records(generation)
        with ThreadPoolExecutor(_READERS) as pool:
            return _merge(snapshot, list(pool.map(lambda name: _parse(records, name), records.names(_SUFFIX))))

    def _newest(self) -> tuple[int, bool]:
        """The generation that counts, and whether it is finished; 0 where there is none."""
        return max(((_generation_of(n), n.endswith(_FINAL)) for n in self.folder.names(_SUFFIX)), default=(0, False))

    def _records(self, generation: int) -> Folder:
        return self.folder / f"{generation:0{_DIGITS}}"


def record_of(shard: str, ids: Iterable[str], error_classes: Iterable[str | None], sha256: str | None) -> pa.Table:
    """The ledger's rows for one shard; ``sha256`` is that of its results, None where it has none."""
    names, classes = list(ids), list(error_classes)
    digests = [sha256 if error_class is None else None for error_class in classes]
    return pa.table([names, [shard] * len(names), classes, digests], schema=LEDGER_SCHEMA)


def shards_of(standing: pa.Table) -> set[str]:
    """The shards in which something that stands is found."""
    return set(pc.unique(standing.column("shard")).to_pylist())


def rows_by_shard(rows: pa.Table) -> dict[str, pa.Table]:
    """The ledger's rows, shard by shard in order of their names."""
    places: dict[str, list[int]] = {}
    for number, shard in enumerate(rows.column("shard").to_pylist()):
        places.setdefault(shard, []).append(number)
    return {shard: rows.take(numbers) for shard, numbers in sorted(places.items())}


def _merge(snapshot: pa.Table, records: list[pa.Table]) -> pa.Table:
    """All rows, without rejects that a later generation did again."""
    if not records:
        return snapshot
    fresh = pa.concat_tables(records)
    again = pc.is_in(snapshot.column("id"), value_set=fresh.column("id").combine_chunks())
    superseded = pc.and_(again, pc.is_valid(snapshot.column("error_class")))
    return pa.concat_tables([snapshot.filter(pc.invert(superseded)), fresh])


def _snapshot(generation: int, final: bool = False) -> str:
    return f"{generation:0{_DIGITS}}{_FINAL if final else _SUFFIX}"


def _generation_of(name: str) -> int:
    """The generation of a snapshot; 0 for files of others."""
    number = name.removesuffix(_FINAL).removesuffix(_SUFFIX)
    return int(number) if len(number) == _DIGITS and number.isdigit() else 0


def _to_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _parse(folder: Folder, name: str) -> pa.Table:
    data = folder.read(name)
    try:
        return pq.ParquetFile(io.BytesIO(data)).read().select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA)
    except (pa.ArrowException, OSError, KeyError) as error:
        # Arrow tells of some damage with an OSError; the bytes themselves are here already.
        raise StorageError(
            f"{mask_uri(folder.uri(name))}: is no part of a ledger ({error_reason(error)}); without it nobody knows "
            "what stands: restore it from a copy, or start anew with --overwrite"
        ) from error
