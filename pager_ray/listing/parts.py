"""Tables of many millions of rows, gone through part by part.

What is larger than a part lies in a temporary file of this machine, without a name, so that nothing is left of it
however the process ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from pager_ray.errors import StorageError
from pager_ray.storage import error_reason

PART_ROWS = 262_144
"""Rows that are in memory at a time: some 50 MB of a listing, and some hundred of what is worked out from them."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Have Arrow allocate through the C library meanwhile, which keeps what is freed for the next part.

    Arrow's own allocator gives buffers of megabytes back and has them cleared anew: a third of a driver's time.
    """
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


class Parts:
    """A table that is written once, and then read part by part, as often as it takes.

    Args:
        schema: of the rows.
        rows: in a part; those of the last one stay in memory.

    Attributes:
        num_rows: how many there are.
    """

    def __init__(self, schema: pa.Schema, rows: int | None = None) -> None:
        self.schema = schema
        self.num_rows = 0
        self._rows = PART_ROWS if rows is None else rows
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchWriter | None = None
        self._filled: set[str] = set()

    @classmethod
    def of(cls, tables: Iterable[pa.Table], schema: pa.Schema) -> Parts:
        """Tables one behind the other."""
        parts = cls(schema)
        for table in tables:
            parts.add(table)
        return parts

    def add(self, table: pa.Table) -> None:
        """Add rows behind the others; not while they are read.

        Raises:
            StorageError: there is no room for them.
        """
        if not table.num_rows:
            return
        table = table.cast(self.schema)
        self.num_rows += table.num_rows
        self._filled.update(name for name in table.column_names if table.column(name).null_count < table.num_rows)
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        if self._waiting_rows > self._rows:
            whole = pa.concat_tables(self._waiting)
            last = (self._waiting_rows - 1) // self._rows * self._rows
            for start in range(0, last, self._rows):
                self._spill(whole.slice(start, self._rows))
            # Copied: a slice keeps all that it was cut from.
            self._waiting = [pa.concat_tables([whole.slice(last)]).combine_chunks()]
            self._waiting_rows -= last

    def has(self, name: str) -> bool:
        """Whether any row has a value in a column."""
        return name in self._filled

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The parts, with some of their columns; none where there are no rows.

        Raises:
            StorageError: they cannot be read back.
        """
        names = list(columns) if columns is not None else self.schema.names
        if self._file is not None:
            try:
                if self._writer is not None:
                    self._writer.close()
                    self._writer = None
                included = [self.schema.get_field_index(name) for name in names]
                options = pa.ipc.IpcReadOptions(included_fields=included)
                reader = pa.ipc.open_file(pa.PythonFile(self._file, "r"), options=options)
                for number in range(reader.num_record_batches):
                    yield pa.Table.from_batches([reader.get_batch(number)]).select(names)
            except OSError as error:
                raise _no_room(error) from error
        if self._waiting:
            yield pa.concat_tables(self._waiting).select(names)

    def table(self) -> pa.Table:
        """All rows in memory."""
        return pa.concat_tables([self.schema.empty_table(), *self.read()])

    def _spill(self, table: pa.Table) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="pager-ray-")  # noqa: SIM115 - it lives as long as we do
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writer = pa.ipc.new_file(pa.PythonFile(self._file, "w"), self.schema, options=options)
            assert self._writer is not None
            # One batch, but where texts are too long for one.
            for batch in table.combine_chunks().to_batches():
                self._writer.write_batch(batch)
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> StorageError:
    return StorageError(
        f"{tempfile.gettempdir()}: cannot hold the listing meanwhile ({error_reason(error)}); make room there, or name "
        "another folder with TMPDIR"
    )


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The rows of tables, so many at a time; the last table has what is left."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        start = 0
        while count + table.num_rows - start >= rows:
            taken = rows - count
            yield pa.concat_tables([*waiting, table.slice(start, taken)])
            waiting, count, start = [], 0, start + taken
        if start < table.num_rows:
            waiting.append(table.slice(start))
            count += table.num_rows - start
    if waiting:
        yield pa.concat_tables(waiting)
