"""Rows of Parquet files, one at a time, in little memory.

A row of a dataset may take ten megabytes and a row group hold a hundred of them, so a column of a row group is never
read as a whole. Pages cannot be skipped: reaching row k of a row group reads the k rows before it. Cursors therefore
stay where they were, and rows that are read in order cost each page once.

What a cursor holds is a page, as large as the file's writer made it: about a megabyte or a row, whichever is more, with
content-defined chunking, which is how the Hub's own tools write; the whole column chunk, twice, where a writer left
everything to its dictionary. The cursors of a process are closed, oldest first, before they hold much together.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pager_ray.datasets.root import store_errors
from pager_ray.errors import ConfigError, InputError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.schemes import open_place
from pager_ray.storage import error_reason

_AGAIN: Final = "fetch the dataset's file again"
_BUFFER_BYTES: Final = 2**20
_BLOCK_BYTES: Final = 2**22  # clients of object stores read ahead by up to 50 MB otherwise, for each cursor
_MOST_CURSORS: Final = 8
_MOST_BYTES: Final = 2**30


def list_rows(uri: str, columns: tuple[str, ...], id_column: str | None = None) -> list[tuple[int, int, str | None]]:
    """List a file's rows: row group, row in it, and the row's id where a column holds one.

    Args:
        uri: path or fsspec URL.
        columns: those that must be there.
        id_column: a column of short strings; nothing else than the file's footer is read without one.

    Raises:
        ConfigError: no Parquet file, or a column is missing.
        StorageError: it cannot be read.
    """
    shown = mask_uri(uri)
    try:
        filesystem, path = open_place(uri, "dataset")
        with filesystem.open(path, "rb", block_size=_BLOCK_BYTES) as file, pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            if missing := [name for name in columns if name not in names]:
                raise ConfigError(f"{shown}: has no column {', '.join(missing)}; it has {', '.join(names)}; {_AGAIN}")
            counts = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
            ids: list[str | None] = [None] * sum(counts)
            if id_column is not None:
                ids = parquet.read(columns=[id_column]).column(id_column).cast(pa.string()).to_pylist()
    except (pa.ArrowException, *store_errors()) as error:
        if _is_damage(error):
            raise ConfigError(f"{shown}: cannot be read as a Parquet file ({_one_line(error)}); {_AGAIN}") from error
        raise StorageError(
            f"{shown}: cannot be read ({error_reason(error)}); check its store, then run the same command again"
        ) from error
    places = ((group, row) for group, count in enumerate(counts) for row in range(count))
    return [(group, row, id) for (group, row), id in zip(places, ids, strict=True)]


def read_cell(uri: str, group: int, row: int, column: str, error_class: str) -> bytes:
    """The bytes of one cell, which is binary or a Hugging Face image (a struct with ``bytes``).

    Args:
        uri: path or fsspec URL of the file.
        group: row group.
        row: row in the group, from 0.
        column: its name.
        error_class: what a damaged file, a missing row or an empty cell is called.

    Raises:
        InputError: ``error_class``, or ``missing``, ``permission_denied`` or ``read_failed`` as of
            :func:`pager_ray.read.fetch.fetch`.
    """
    shown = mask_uri(uri)
    try:
        value = _CURSORS.read(uri, column, group, row)
    except FileNotFoundError as error:
        raise InputError("missing", f"{shown}: does not exist; {_AGAIN}") from error
    except PermissionError as error:
        raise InputError(
            "permission_denied", f"{shown}: may not be read ({error_reason(error)}); ask for the right to"
        ) from error
    except (pa.ArrowException, LookupError, *store_errors()) as error:
        if _is_damage(error):
            raise InputError(
                error_class, f"{shown}: row {row} of row group {group} cannot be read ({_one_line(error)}); {_AGAIN}"
            ) from error
        raise InputError("read_failed", f"{shown}: cannot be read ({type(error).__name__}); check its store") from error
    cell = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(cell, bytes):
        raise InputError(
            error_class, f"{shown}: row {row} of row group {group} has no bytes in column {column}; {_AGAIN}"
        )
    return cell


class _Cursor:
    """An iterator over one column of one row group, and where it is."""

    def __init__(self, uri: str, column: str, group: int, footer: pq.FileMetaData | None) -> None:
        self.place = (uri, column, group)
        self.next_row = 0
        self.held_bytes = 0
        with ExitStack() as opened:
            # An archive's file system closes its files when nobody holds it any more.
            self._filesystem, path = open_place(uri, "dataset")
            self._file = opened.enter_context(self._filesystem.open(path, "rb", block_size=_BLOCK_BYTES))
            parquet = pq.ParquetFile(
                self._file,
                metadata=footer,
                buffer_size=_BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            self.footer = parquet.metadata
            if group >= parquet.num_row_groups:
                raise IndexError(f"the file has {parquet.num_row_groups} row groups")
            if column not in parquet.schema_arrow.names:
                raise KeyError(f"the file has no column {column}")
            self._batches = parquet.iter_batches(batch_size=1, row_groups=[group], columns=[column], use_threads=False)
            opened.pop_all()

    def read(self, row: int) -> Any:
        """The value at ``row``, which is at or after ``next_row``."""
        before = pa.total_allocated_bytes()
        batch: Any = None
        while self.next_row <= row:
            batch = next(self._batches, None)
            if batch is None:
                raise IndexError(f"the row group has {self.next_row} rows")
            self.next_row += batch.num_rows
        value = batch.column(0)[0].as_py()
        del batch
        self.held_bytes += pa.total_allocated_bytes() - before
        return value

    def close(self) -> None:
        self._file.close()


class _Cursors:
    """The cursors of this process, least recently used first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[_Cursor] = []

    def read(self, uri: str, column: str, group: int, row: int) -> Any:
        with self._lock:
            # Of several readers at other rows of the same column, each keeps a cursor of its own.
            usable = [item for item in self._open if item.place == (uri, column, group) and item.next_row <= row]
            cursor = max(usable, key=lambda item: item.next_row, default=None)
            if cursor is None:
                # Footers of files with many row groups are large, and a file's other cursors have read it.
                footer = next((item.footer for item in self._open if item.place[0] == uri), None)
                cursor = _Cursor(uri, column, group, footer)
            else:
                self._open.remove(cursor)
            with ExitStack() as failed:
                failed.callback(cursor.close)
                value = cursor.read(row)
                failed.pop_all()
            self._open.append(cursor)
            while len(self._open) > 1 and not self._are_few():
                self._open.pop(0).close()
            return value

    def _are_few(self) -> bool:
        return len(self._open) <= _MOST_CURSORS and sum(cursor.held_bytes for cursor in self._open) <= _MOST_BYTES

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._open.pop().close()


_CURSORS = _Cursors()


def close_cursors() -> None:
    """Close every file that this process keeps open between rows."""
    _CURSORS.close()


def _is_damage(error: Exception) -> bool:
    """Whether the file's content is at fault: Arrow tells of some damage with an OSError that has no number."""
    if isinstance(error, (pa.ArrowException, LookupError)):
        return True
    return type(error) is OSError and error.errno is None


def _one_line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())
