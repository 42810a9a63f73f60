"""The columnar copy: what predictions have beside their maps, in few files, for readers of many rows.

In shards these columns lie between megabytes of maps, and cost a reader a request per row. So a writer adds them to its
record in the ledger, and whoever folds records into a snapshot has them at hand and puts them here, as one Parquet file
per 262,144 rows. The copy proves nothing. A row of it is taken where the ledger says that its shard counts and has the
digest that the copy was made from; shards never change, so such a row is right whatever was resumed, appended or done
again since. What the copy lacks is read from the shards.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import read_parquet, size_of
from pager_ray.errors import StorageError
from pager_ray.masking import mask_uri
from pager_ray.plain import get_logger
from pager_ray.storage import Folder, client_errors, error_reason, is_temporary

log = get_logger(__name__)

SCALARS: Final = "scalars"
"""Column of a record: in its first row the shard's results without their maps, as an Arrow IPC stream; else null."""

SHARD, SHA256 = "_shard", "_sha256"
"""Columns of the copy: which shard a row was copied from, and that shard's digest."""

_SUFFIX: Final = ".parquet"
_ROWS: Final = 262_144
# Records are copied into one table before there are more: each costs kilobytes beside its rows.
_RECORDS: Final = 1024
_READERS: Final = 4
# A message of an IPC stream begins so, and with its size; the stream ends so.
_CONTINUES: Final = b"\xff\xff\xff\xff"
_MESSAGE: Final = 8
_ENDS: Final = _CONTINUES + bytes(4)
# So many columns are read by ranges, a request each; of more the whole file is fetched in one.
_FEW: Final = 6


def with_scalars(record: pa.Table, scalars: pa.Table) -> pa.Table:
    """A shard's record with what the copy is made of.

    Args:
        record: ``LEDGER_SCHEMA``, results first.
        scalars: the shard's results without their maps, in the same order.
    """
    if not scalars.num_rows or {SHARD, SHA256} & {*scalars.column_names}:
        return record
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, scalars.schema) as writer:
        writer.write_table(scalars.combine_chunks())
    content = [sink.getvalue().to_pybytes(), *[None] * (record.num_rows - 1)]
    return record.append_column(SCALARS, pa.array(content, pa.binary()))


class Gathering:
    """The rows of many records on their way to the copy; holds the rows of one file, and the files encoded."""

    def __init__(self) -> None:
        self._records: list[_Record] = []
        self._rows: list[pa.Table] = []
        self.files: list[bytes] = []

    def add(self, record: pa.Table) -> None:
        """Take what a record has for the copy; nothing where its writer left none."""
        if SCALARS not in record.column_names or not record.num_rows:
            return
        content = record.column(SCALARS)[0]
        if not content.is_valid:
            return
        shard, digest = record.column("shard")[0].as_py(), record.column("sha256")[0].as_py()
        self._records.append(_Record(shard, digest, content.as_buffer(), record.column("error_class").null_count))
        if len(self._records) == _RECORDS:
            self._gather()

    def forget(self) -> None:
        """Begin anew: what was added was read of a generation that is over."""
        self.__init__()  # type: ignore[misc]

    def done(self) -> list[bytes]:
        """All that was added, as the content of files."""
        self._gather()
        self._encode()
        return self.files

    def _gather(self) -> None:
        records, self._records = self._records, []
        for _, some in groupby(records, key=lambda record: record.schema_bytes):
            for rows in _rows_of(list(some)):
                if self._rows and rows.schema != self._rows[0].schema:
                    self._encode()
                self._rows.append(rows)
        if sum(table.num_rows for table in self._rows) >= _ROWS:
            self._encode()

    def _encode(self) -> None:
        if self._rows:
            sink = io.BytesIO()
            # Maps are elsewhere: what is here compresses well, and is read column by column.
            pq.write_table(pa.concat_tables(self._rows), sink, compression="zstd", row_group_size=_ROWS)
            self.files.append(sink.getvalue())
            self._rows = []


class _Record(NamedTuple):
    """What one record has for the copy: its shard's results as an Arrow IPC stream, and how many there are."""

    shard: str
    digest: str | None
    stream: pa.Buffer
    rows: int

    @property
    def schema_bytes(self) -> bytes:
        """The message that the stream begins with: equal ones are the same schema."""
        begin = self.stream[:_MESSAGE].to_pybytes()
        size = int.from_bytes(begin[4:], "little") if begin[:4] == _CONTINUES else 0
        content: bytes = self.stream[: _MESSAGE + size].to_pybytes()
        return content


def _rows_of(records: list[_Record]) -> list[pa.Table]:
    """The rows of records of one schema, behind shard and digest, as a table; as several where one is damaged."""
    # Behind one schema message all batches are one stream: to parse the schema costs more than to read the rows.
    schema = records[0].schema_bytes
    bodies = (record.stream.to_pybytes()[len(schema) :].removesuffix(_ENDS) for record in records)
    joined = b"".join([schema, *bodies])
    try:
        with pa.ipc.open_stream(joined) as stream:
            batches = list(stream)
        rows = pa.Table.from_batches(batches)
        rows.validate(full=True)
        sizes = [batch.num_rows for batch in batches]
        if sizes != [record.rows for record in records]:
            raise ValueError(f"it has other rows than the {len(records)} shards")
        if {SHARD, SHA256} & {*rows.column_names}:
            raise ValueError(f"it has columns called {SHARD} or {SHA256}")
    except (pa.ArrowException, OSError, ValueError) as error:
        if len(records) > 1:
            return [rows for record in records for rows in _rows_of([record])]
        shard = records[0].shard
        log.warning("shard %s is left out of the columnar copy and read itself: %s", shard, error)
        return []
    rows = rows.combine_chunks()
    places = pa.array(np.repeat(np.arange(len(records)), sizes))
    for place, (name, values) in enumerate(
        [(SHARD, [record.shard for record in records]), (SHA256, [record.digest for record in records])]
    ):
        rows = rows.add_column(place, name, pa.array(values, pa.string()).take(places))
    return [rows]


class ColumnarCopy:
    """The copy of one run.

    Args:
        folder: ``state/table`` of the output.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def put(self, generation: int, gathering: Gathering) -> None:
        """Put what a generation's records had, before they go; repeated, it is written over.

        For the holder of the lease.
        """
        for number, content in enumerate(gathering.done()):
            self.folder.write(f"{generation:08}-{number:05}{_SUFFIX}", content)

    def clear(self) -> None:
        """Delete the copy."""
        self.folder.delete_where(lambda name: _is_part(name) or is_temporary(name))

    def parts(
        self, columns: list[str] | None, may_lack: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        """Each file's name, and its rows with some of the scalar columns (None: all) behind shard and digest.

        Columns that may be lacking come as nulls where they are. Files that cannot be read are told of and left out.
        """
        names = [name for name in self.folder.names(_SUFFIX) if _is_part(name)]
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(names), _READERS):
                some = names[start : start + _READERS]
                for name, table in zip(
                    some, pool.map(lambda name: self._read(name, columns, may_lack), some), strict=True
                ):
                    if table is not None:
                        yield name, table

    def _read(
        self, name: str, columns: list[str] | None, may_lack: Mapping[str, pa.DataType] | None
    ) -> pa.Table | None:
        wanted = None if columns is None else [SHARD, SHA256, *columns]
        try:
            if wanted is not None and len(wanted) <= _FEW:
                with self.folder.open(name) as file:
                    table = read_parquet(file, size_of(file), wanted, may_lack)
            else:
                content = self.folder.read(name)
                table = read_parquet(pa.BufferReader(content), len(content), wanted, may_lack)
            table.validate(full=True)
            if table.column_names[:2] != [SHARD, SHA256]:
                raise ValueError(f"its first columns are not {SHARD} and {SHA256}")
            return table
        except (*client_errors(), StorageError, pa.ArrowException, KeyError, ValueError) as error:
            # It spares requests, no more.
            where = mask_uri(self.folder.uri(name))
            log.warning("%s: is no part of a columnar copy (%s); shards are read instead", where, error_reason(error))
            return None

    def read(
        self, results: pa.Table, columns: list[str], may_lack: Mapping[str, pa.DataType] | None = None
    ) -> tuple[pa.Table | None, set[str]]:
        """What the copy has of the results that stand.

        Args:
            results: the ledger's rows of results, their texts as they are or as dictionaries.
            columns: scalar columns.
            may_lack: those of them that earlier versions did not write, which come as nulls of these types.

        Returns:
            The rows, shard by shard in order of their names, behind the columns of shard and digest; None for none. And
            the shards that the copy lacks.
        """
        told = _rows_by_shard(results)
        keys, sizes = _keys(told.column("shard"), told.column("sha256")), told.column("rows").to_numpy()
        seen = np.zeros(len(keys), dtype=bool)
        taken: list[pa.Table] = []
        for _, table in self.parts(columns, may_lack) if len(keys) else ():
            places = pc.index_in(_keys(table.column(SHARD), table.column(SHA256)), value_set=keys)
            at = pc.fill_null(places, -1).to_numpy().astype(np.int64)
            counts = np.bincount(at[at >= 0], minlength=len(keys))
            # All of a shard or nothing, and once: two files may have the same, where a start died between them.
            fits = (counts == sizes) & ~seen
            seen |= fits
            taken.append(table.filter(pa.array(np.append(fits, False)[at])))
        lacking = set(told.column("shard").filter(pa.array(~seen)).to_pylist())
        if not taken:
            return None, lacking
        return in_order_of_shards(pa.concat_tables(taken, promote_options="default")), lacking


def _rows_by_shard(results: pa.Table) -> pa.Table:
    """How many rows each shard has by each of its digests, in order of shards."""
    keys = pa.schema([("shard", pa.string()), ("sha256", pa.string())])
    # Batch by batch: dictionaries of different ones are different, and as texts all rows are three times as large.
    counted = [
        pa.table(batch.select(keys.names)).cast(keys).group_by(keys.names).aggregate([([], "count_all")])
        for batch in results.to_batches()
    ]
    whole = pa.concat_tables([keys.append(pa.field("count_all", pa.int64())).empty_table(), *counted])
    summed = whole.group_by(keys.names).aggregate([("count_all", "sum")]).sort_by("shard")
    return summed.rename_columns([*keys.names, "rows"])


def in_order_of_shards(rows: pa.Table) -> pa.Table:
    """The rows by the names of their shards; those of a shard stay in their order."""
    if not rows.num_rows:
        return rows
    encoded = rows.column(SHARD).combine_chunks().dictionary_encode()
    ranks = np.argsort(np.argsort(encoded.dictionary.to_numpy(zero_copy_only=False).astype(str)))
    order = np.argsort(ranks[encoded.indices.to_numpy()], kind="stable")
    if (order[1:] > order[:-1]).all():
        return rows
    return rows.take(pa.array(order))


def _keys(shards: pa.ChunkedArray, digests: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(shards, pc.fill_null(digests, ""), " ")


def _is_part(name: str) -> bool:
    generation, _, number = name.removesuffix(_SUFFIX).partition("-")
    return (len(generation), len(number)) == (8, 5) and generation.isdigit() and number.isdigit()
