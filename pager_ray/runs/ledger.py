"""The ledger: which shards count, and what became of every input. The only proof that something is done.

A *record* says that one shard stands: the ids of its rows in their order, and for rejects why. It is put once its
shard is whole, with an exclusive put under the name of the task that wrote it, so of several attempts at one task a
single one counts, whatever the others still do. Every attempt writes its shard under a name of its own.

A *generation* is one start of a job, numbered by its lease. It begins with a *snapshot* of all that stood before: from
then on only that snapshot and the generation's own records count. A worker of a dead start that lives on for a moment
writes into a generation that nobody reads any more. A very large job begins further ones on its way
(:meth:`Ledger.compact`), so that nobody ever has to read millions of records. A job that ends puts a final snapshot
with its records in it, so that readers of a finished run need one file.

Snapshots of generations are put exclusively, too: of two jobs that want the same number, one has it. A holder that lost
its lease without knowing therefore never begins a generation behind that of the job that followed.

An input that was rejected may be done again by a later generation: the later outcome counts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import read_parquet
from pager_ray.errors import OutputInUseError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.plain import get_logger
from pager_ray.runs.columnar import SCALARS, ColumnarCopy, Gathering
from pager_ray.runs.folding import RECORDS, TASK, by_record, encoded, is_fold, new_fold
from pager_ray.runs.standing import LEDGER_SCHEMA, Snapshot, Standing, as_damage, check_names, compacted, piece_of
from pager_ray.storage import Folder, is_temporary

log = get_logger(__name__)

_RECORD_SCHEMA = LEDGER_SCHEMA.append(pa.field(SCALARS, pa.binary()))
_FOLD_SCHEMA = pa.schema([pa.field(TASK, pa.string()), *_RECORD_SCHEMA])
# Records of earlier versions, and of rejects alone, have none.
_MAY_LACK = {SCALARS: pa.binary()}

_SUFFIX = ".parquet"
_FINAL = ".final.parquet"
_DIGITS = 8
# Records are small objects: reading them is waiting for the store.
_READERS = 32
# Small tables that are copied into one before more are read: each costs kilobytes beside its rows.
_GATHERED = 1024


class Ledger:
    """The ledger of one output.

    Args:
        folder: ``state/ledger`` of the output.
        copy: where the columns that records carry go when records are folded; None drops them.
    """

    def __init__(self, folder: Folder, copy: ColumnarCopy | None = None) -> None:
        self.folder = folder
        self.copy = copy
        self._memory: _Memory | None = None
        # In the names of the last snapshot that was put here.
        self._token = ""

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Read a record once, however often what stands is asked for meanwhile: records and snapshots never change."""
        self._memory = _Memory()
        try:
            yield
        finally:
            self._memory = None

    def begin(self, generation: int, redo: pa.ChunkedArray | None = None) -> int:
        """Let a generation begin: what stands now is fixed, and records of earlier ones no longer count.

        For the holder of the lease.

        Args:
            generation: the lease's.
            redo: ids of inputs whose outcomes stand no longer, nor do those of the shards that they are in: a shard's
                rows are known by their order.

        Returns:
            The generation that began: a later one, where the ledger is ahead of a lease that somebody deleted.
        """
        while True:
            gathering = self.gathering()
            seen, standing = self._look(gathering)
            self._put_copy(seen[0], gathering)
            number = max(generation, seen[0] + 1)
            try:
                if redo is not None and len(redo):
                    standing = standing.without(redo)
                # Where somebody else had the number first, what stands is looked at again.
                if self._put_snapshot(number, standing):
                    break
            except StorageError:
                if self._newest() == seen:
                    raise
        self._tidy(number)
        return number

    def compact(self, generation: int) -> int:
        """Fold a generation's records into the snapshot of the next one, which begins with it.

        For the holder of the lease, while none of its writers is at work: what one that was given up still commits
        goes to a generation that is over.

        Args:
            generation: the one that the holder began.

        Returns:
            The next one.

        Raises:
            OutputInUseError: another job has begun a generation since.
            StorageError: the ledger cannot be read or written.
        """
        gathering = self.gathering()
        seen, standing = self._look(gathering)
        is_ours = seen == (generation, False)
        if is_ours:
            self._put_copy(generation, gathering)
            try:
                is_ours = self._put_snapshot(generation + 1, standing)
            except StorageError:
                if self._newest() == seen:
                    raise
                is_ours = False
        if not is_ours:
            raise OutputInUseError(
                f"output.uri: another job has taken over {mask_uri(self.folder.uri())} and goes on there; wait for it, "
                "or choose another output"
            )
        self._tidy(generation + 1)
        return generation + 1

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
        if records.create(name, _record_to_bytes(record)):
            return True
        # An answer that was lost on the way back leaves a record that is ours after all.
        return _parse(records, name).column("shard")[0] == record.column("shard")[0]

    def committed(self, generation: int, task: str) -> pa.Table | None:
        """The record of a task that an earlier attempt finished, or None."""
        records, name = self._records(generation), f"{task}{_SUFFIX}"
        return _parse(records, name) if records.exists(name) else None

    def standing(self, gathering: Gathering | None = None) -> Standing:
        """What stands, to be gone through part by part; for the holder of the lease.

        Args:
            gathering: takes what the generation's records have for the columnar copy.

        Raises:
            StorageError: a part of the ledger cannot be read.
        """
        return self._look(gathering)[1]

    def read(self, *, compact: bool = False) -> pa.Table:
        """What stands in memory: one row per input with an outcome, ``LEDGER_SCHEMA``; rows of a shard in their order.

        Args:
            compact: give shards and digests as dictionaries, a third of the memory; each chunk has its own.

        Raises:
            StorageError: a part of the ledger cannot be read.
        """
        while True:
            seen, standing = self._look()
            try:
                table = standing.table()
            except StorageError:
                # As in looking: what went by since has taken files away.
                if self._newest() == seen:
                    raise
            else:
                return table if compact else table.cast(LEDGER_SCHEMA)

    def gathering(self) -> Gathering | None:
        """What takes the records' part of the columnar copy; None where there is no copy."""
        if self.copy is None:
            return None
        return Gathering() if self._memory is None else self._memory.gathering

    def _put_copy(self, generation: int, gathering: Gathering | None) -> None:
        if self.copy is not None and gathering is not None:
            self.copy.put(generation, gathering)

    def is_there(self) -> bool:
        """Whether any generation ever began here."""
        return self._newest()[0] > 0

    def finish(self, generation: int, standing: Standing | pa.Table, gathering: Gathering | None = None) -> None:
        """Put all that stands, as it was read after the generation's last record, into one snapshot.

        Args:
            gathering: what was gathered when it was read.
        """
        self._put_copy(generation, gathering)
        self._token = _new_token()
        head, _, _ = Standing.of(standing).put(self.folder, _digits(generation), self._token, tally=False)
        self.folder.write(_snapshot(generation, final=True), head)
        self._drop_records(generation)
        self._tidy(generation)
        self.folder.delete([_snapshot(generation)])

    def _look(self, gathering: Gathering | None = None) -> tuple[tuple[int, bool], Standing]:
        """What stands, with the generation that says so and whether it is finished."""
        seen = self._newest()
        while True:
            try:
                standing = self._read(*seen, gathering)
            except StorageError:
                now = self._newest()
                if now == seen:
                    raise
            else:
                now = self._newest()
                if now == seen:
                    return seen, standing
            # A start or an end went by while we read, and took away what the snapshot has now.
            seen = now
            if gathering is not None:
                gathering.forget()

    def _read(self, generation: int, final: bool, gathering: Gathering | None = None) -> Standing:
        if not generation:
            return Standing(None)
        memory = self._memory or _Memory()
        if memory.seen != (generation, final):
            name = _snapshot(generation, final)
            memory.begin((generation, final), Snapshot(self.folder, name, self.folder.read(name)))
        if not final:
            wanted = gathering if self._memory is None or self.copy is None else memory.gathering
            fresh = gather(self._each_record(generation, memory.records, wanted))
            if fresh is not None:
                memory.fresh.append(compacted(fresh))
        return Standing(memory.snapshot, memory.fresh)

    def _each_record(self, generation: int, seen: set[str], gathering: Gathering | None) -> Iterator[pa.Table]:
        """The rows of the records that were not seen yet: from folds, as far as those go."""
        records = self._records(generation)
        names = [name for name in records.names(_SUFFIX) if name not in seen]
        seen.update(names)
        left = {name: None for name in names if not is_fold(name)}
        for fold in filter(is_fold, names):
            yield from _folded(records, fold, left, gathering)
        for _, record in _read_each(records, [*left], gathering is not None):
            if gathering is not None:
                gathering.add(record)
            yield record.select(LEDGER_SCHEMA.names)

    def fold(self, generation: int, folded: set[str]) -> int:
        """Put copies of a generation's records into few files, of which a start needs fewer requests.

        For the holder of the lease, while its writers are at work.

        Args:
            folded: names of the records that are in folds already; those that come into one are added.

        Returns:
            How many those are.
        """
        # Whoever waits for it should not wait for a store that is away, too.
        records = self._records(generation).once()
        names = [name for name in records.names(_SUFFIX) if not is_fold(name) and name not in folded]
        whole = len(names) // RECORDS * RECORDS
        for start in range(0, whole, RECORDS):
            some = names[start : start + RECORDS]
            records.write(new_fold(), encoded(dict(_read_each(records, some, with_scalars=True))))
            folded.update(some)
        return whole

    def _put_snapshot(self, generation: int, standing: Standing) -> bool:
        """Begin a generation unless it exists; returns whether it is ours."""
        # Two jobs may see the same rows stand; what tells their snapshots apart is a name of its own in each.
        token, name = _new_token(), _snapshot(generation)
        is_remembered = self._memory is not None
        head, files, tally = standing.put(self.folder, _digits(generation), token, tally=is_remembered)
        # An answer that was lost on the way back leaves a snapshot that is ours after all.
        if not self.folder.create(name, head) and self.folder.read(name) != head:
            self.folder.delete(files)
            return False
        self._token = token
        if self._memory is not None:
            self._memory.begin((generation, False), Snapshot(self.folder, name, head, tally))
        return True

    def _tidy(self, number: int) -> None:
        """Delete what is of earlier generations than the one that is ours, and of others that wanted its number.

        Nothing of later generations: they are another job's.
        """
        names = self.folder.names(_SUFFIX)
        old = [name for name in names if 0 < _generation_of(name) < number]
        pieces = [name for name in names if 0 < piece_of(name)[0] <= number and piece_of(name) != (number, self._token)]
        for earlier in {_generation_of(name) for name in old}:
            self._drop_records(earlier)
        self.folder.delete([*old, *pieces])

    def _newest(self) -> tuple[int, bool]:
        """The generation that counts, and whether it is finished; 0 where there is none."""
        return max(((_generation_of(n), n.endswith(_FINAL)) for n in self.folder.names(_SUFFIX)), default=(0, False))

    def clear(self) -> None:
        """Delete the ledger; what lies beside it stays."""
        snapshots = [name for name in self.folder.names(_SUFFIX) if _generation_of(name)]
        for generation in {_generation_of(name) for name in snapshots}:
            self._drop_records(generation)
        self.folder.delete_where(lambda name: bool(_generation_of(name) or piece_of(name)[0]))

    def _drop_records(self, generation: int) -> None:
        self._records(generation).delete_where(lambda name: name.endswith(_SUFFIX) or is_temporary(name))

    def _records(self, generation: int) -> Folder:
        return self.folder / _digits(generation)


class _Memory:
    """What was read of a generation."""

    def __init__(self) -> None:
        self.gathering = Gathering()
        self.begin((0, False), None)

    def begin(self, seen: tuple[int, bool], snapshot: Snapshot | None) -> None:
        """Forget what was read, for another generation."""
        self.seen, self.snapshot = seen, snapshot
        self.records: set[str] = set()
        self.fresh: list[pa.Table] = []
        self.gathering.forget()


def record_of(shard: str, ids: Iterable[str], error_classes: Iterable[str | None], sha256: str | None) -> pa.Table:
    """The ledger's rows for one shard; ``sha256`` is that of its results, None where it has none."""
    names, classes = list(ids), list(error_classes)
    digests = [sha256 if error_class is None else None for error_class in classes]
    return pa.table([names, [shard] * len(names), classes, digests], schema=LEDGER_SCHEMA)


def shards_of(standing: pa.Table) -> set[str]:
    """The shards in which something that stands is found."""
    # Chunk by chunk: dictionaries of different chunks are different ones.
    return {shard for chunk in standing.column("shard").chunks for shard in pc.unique(chunk).to_pylist()}


def rows_by_shard(rows: pa.Table) -> dict[str, pa.Table]:
    """The ledger's rows, shard by shard in order of their names; they share their memory."""
    # A stable sort: a shard's rows stay in their order. It knows no dictionaries.
    rows = rows.cast(pa.schema([rows.schema.field(name).with_type(pa.string()) for name in rows.column_names]))
    rows = rows.take(pc.sort_indices(rows, [("shard", "ascending")])).combine_chunks()
    if not rows.num_rows:
        return {}
    runs = pc.run_end_encode(rows.column("shard").combine_chunks())
    starts = [0, *runs.run_ends.to_pylist()]
    return {
        shard: rows.slice(start, end - start)
        for shard, start, end in zip(runs.values.to_pylist(), starts, starts[1:], strict=False)
    }


def gather(tables: Iterable[pa.Table]) -> pa.Table | None:
    """Many small tables of one schema as one of few chunks; None where there are none."""
    whole: list[pa.Table] = []
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if len(waiting) == _GATHERED:
            whole.append(pa.concat_tables(waiting).combine_chunks())
            waiting = []
    return pa.concat_tables([*whole, *waiting]) if whole or waiting else None


def _digits(generation: int) -> str:
    return f"{generation:0{_DIGITS}}"


def _new_token() -> str:
    return uuid.uuid4().hex[:12]


def _snapshot(generation: int, final: bool = False) -> str:
    return f"{_digits(generation)}{_FINAL if final else _SUFFIX}"


def _generation_of(name: str) -> int:
    """The generation of a snapshot; 0 for files of others."""
    number = name.removesuffix(_FINAL).removesuffix(_SUFFIX)
    return int(number) if len(number) == _DIGITS and number.isdigit() else 0


def _record_to_bytes(record: pa.Table) -> bytes:
    """A record as a file that is quick to read, of which there are tens of thousands: without dictionaries."""
    sink = pa.BufferOutputStream()
    pq.write_table(record, sink, compression="lz4", use_dictionary=False, write_statistics=False)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _read_each(records: Folder, names: list[str], with_scalars: bool) -> Iterator[tuple[str, pa.Table]]:
    """Records by their names, each as it is read."""
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(names), _GATHERED):
            some = names[start : start + _GATHERED]
            # Threads wait for the store; to parse in them, too, would cost twice as much: they wait for each other.
            for name, data in zip(some, pool.map(records.read, some), strict=True):
                yield name, _parsed(records, name, data, with_scalars)


def _folded(records: Folder, fold: str, left: dict[str, None], gathering: Gathering | None) -> Iterator[pa.Table]:
    """The rows that a fold has of records that are left, which are taken out of those."""
    try:
        data = records.read(fold)
        with as_damage(records, fold):
            table = read_parquet(pa.BufferReader(data), len(data), _FOLD_SCHEMA.names).cast(_FOLD_SCHEMA)
            check_names(table)
    except StorageError as error:
        log.debug("its records are read themselves: %s", error)
        return
    for name, record in by_record(table):
        if name in left:
            del left[name]
            if gathering is not None:
                gathering.add(record)
            yield record.select(LEDGER_SCHEMA.names)


def _parse(folder: Folder, name: str) -> pa.Table:
    """A record that is read for itself."""
    return _parsed(folder, name, folder.read(name), with_scalars=False)


def _parsed(folder: Folder, name: str, data: bytes, with_scalars: bool) -> pa.Table:
    """A record, with what it has for the columnar copy, where that is asked for."""
    schema = _RECORD_SCHEMA if with_scalars else LEDGER_SCHEMA
    with as_damage(folder, name):
        # Not from BytesIO: Arrow would come back to Python for each of its small reads.
        table = read_parquet(pa.BufferReader(data), len(data), schema.names, _MAY_LACK).select(schema.names)
        if not table.schema.equals(schema, check_metadata=True):
            table = table.cast(schema)
        check_names(table)
        return table
