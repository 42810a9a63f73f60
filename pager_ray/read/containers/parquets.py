"""Parquet files with pictures in them: footers list them, and a row group's column chunk is the unit of reading."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import (
    Unreasonable,
    check_footer,
    counted_batches,
    multiplies,
    read_parquet,
    rows_at_once,
    size_of,
)
from pager_ray.errors import InputError
from pager_ray.read.containers.columns import Unreadable, described, is_id, rows_of
from pager_ray.read.containers.places import (
    CHANGED,
    CORRUPT,
    GROUP_TOO_LARGE,
    NO_BYTES,
    EmptyCell,
    IndexSettings,
    Members,
    members_of,
)
from pager_ray.read.ranges import WINDOW, Ranged

COMMON_NAMES: Final = ("image", "jpg", "jpeg", "png", "webp", "panorama", "picture", "img", "rgb", "bytes", "content")
"""What a column of pictures is called, the first that is there, where several could be it."""

ID_NAMES: Final = ("__key__", "key", "id", "image_id")
"""Columns whose values become ids where each is nobody else's."""


def choose_column(schema: pa.Schema, wanted: str | None = None) -> str:
    """The column of pictures: Hugging Face's images, structs with ``bytes``, binary columns.

    Raises:
        ValueError: there is none, or it is not clear which; says what there is.
    """
    names = [field.name for field in schema if leaf_of(field) is not None]
    there = ", ".join(schema.names) or "none"
    if wanted is not None:
        if wanted not in names:
            what = "holds no bytes" if wanted in schema.names else "is not there"
            raise ValueError(f"its column {wanted} (input.image_column) {what}; it has {there}")
        return wanted
    for some in ([name for name in _image_features(schema) if name in names], names):
        if len(some) == 1:
            return some[0]
        if named := [name for name in COMMON_NAMES if name in some]:
            return named[0]
    if not names:
        raise ValueError(f"has no column of pictures; it has {there}")
    raise ValueError(f"has several columns that may be pictures: {', '.join(names)}; name one with input.image_column")


def _image_features(schema: pa.Schema) -> list[str]:
    """Columns that Hugging Face's metadata call images."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [name for name, feature in features.items() if isinstance(feature, dict) and feature["_type"] == "Image"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return []


def leaf_of(field: pa.Field) -> str | None:
    """The path of a column's bytes, as Parquet names it; None for one that holds none."""
    if _is_bytes(field.type):
        return field.name
    if pa.types.is_struct(field.type):
        inner = field.type.get_field_index("bytes")
        if inner >= 0 and _is_bytes(field.type.field(inner).type):
            return f"{field.name}.bytes"
    return None


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes, however Arrow is to hold them: each for itself, as views, or once for many rows."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def has_pictures(schema: pa.Schema) -> bool:
    """Whether some column may hold pictures."""
    return any(leaf_of(field) is not None for field in schema)


def _holds_bytes(schema: pa.Schema, name: str) -> bool:
    """Whether a column may be one of pictures, which nobody reads to list them."""
    return name in schema.names and leaf_of(schema.field(name)) is not None


def index_parquet(file: Ranged, settings: IndexSettings) -> Members:
    """List the rows of a Parquet file, from its footer and the columns of ids, scenes and what is kept."""
    found = Members(members_of([]))
    try:
        file.hold(max(0, file.size - WINDOW))
        parquet = pq.ParquetFile(file, pre_buffer=False)
        # From here on whole column chunks are read, each for itself.
        file.window = 0
        check_footer(parquet.metadata, file.size)
        schema = parquet.schema_arrow
        column = choose_column(schema, settings.image_column)
        ids = settings.id_column or next((name for name in ID_NAMES if name in schema.names and name != column), None)
        wanted = [name for name in (ids, *settings.columns) if name]
        asked = (settings.id_column, settings.scene_column, settings.sequence_column, settings.time_column)
        absent = [name for name in asked if name and name not in schema.names]
        if absent:
            raise ValueError(f"has no column {absent[0]}; it has {', '.join(schema.names)}")
        if doubled := [name for name in (column, *asked, *settings.keep) if name and schema.names.count(name) > 1]:
            raise ValueError(f"has more than one column {doubled[0]}; keep one")
        if held := [name for name in (*asked, *settings.keep) if name and _holds_bytes(schema, name)]:
            raise ValueError(f"its column {held[0]} holds bytes; ids, scenes and what is kept are numbers and texts")
        if "::" in column:
            raise ValueError(f"its column {column} has '::' in its name, which parts a URI; rename it")
        wanted = [name for name in dict.fromkeys(wanted) if schema.names.count(name) == 1 and name != column]
        read = [name for name in wanted if not _holds_bytes(schema, name)]
        table = read_parquet(file, file.size, read) if read else None
        sizes = _group_sizes(parquet.metadata, leaf_of(schema.field(column)) or column)
    except (pa.ArrowException, ValueError, Unreasonable, OSError) as error:
        if _is_the_stores(error):
            raise
        text = " ".join(str(error).split())
        is_clear = isinstance(error, ValueError) and text.startswith(("has ", "its ", "says ", "holds "))
        found.problem = text if is_clear else f"cannot be read as a Parquet file ({text}); fetch it again"
        found.problem_class = "no_image_column" if is_clear and not isinstance(error, Unreasonable) else CORRUPT
        return found
    found.table = members_of(list(_rows(table, column, ids, sizes, settings)))
    return found


def read_rows(file: Ranged, settings: IndexSettings, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a table beside pictures: the columns that it must have, and those of ids, scenes and what is kept.

    Returns:
        Nothing where it is no such table.
    """
    try:
        file.hold(max(0, file.size - WINDOW))
        parquet = pq.ParquetFile(file, pre_buffer=False)
        check_footer(parquet.metadata, file.size)
        there = [name for name, count in Counter(parquet.schema_arrow.names).items() if count == 1]
        if not {*there}.issuperset(needed):
            return []
        asked = [name for name in dict.fromkeys((*needed, *settings.columns)) if name in there]
        rows = rows_of(read_parquet(file, file.size, asked))
        rows = [row for row in rows if not any(isinstance(row[name], Unreadable) for name in needed)]
    except (pa.ArrowException, Unreasonable, OSError) as error:
        if _is_the_stores(error):
            raise
        return []
    return rows


def _is_the_stores(error: Exception) -> bool:
    """Whether a file could not be read; Arrow tells of some damage with an OSError that has no number."""
    return isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None)


def _group_sizes(metadata: pq.FileMetaData, leaf: str) -> list[tuple[int, int]]:
    """Rows of each row group, and bytes of its pictures, decompressed."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [(group.num_rows, _chunk_of(group, leaf).total_uncompressed_size) for group in groups]


def _chunk_of(group: pq.RowGroupMetaData, leaf: str) -> pq.ColumnChunkMetaData:
    return next(chunk for chunk in map(group.column, range(group.num_columns)) if chunk.path_in_schema == leaf)


def _rows(
    table: pa.Table | None, column: str, ids: str | None, sizes: list[tuple[int, int]], settings: IndexSettings
) -> Iterator[dict[str, Any]]:
    at = 0
    for group, (rows, size) in enumerate(sizes):
        values = rows_of(table.slice(at, rows)) if table is not None else [{}] * rows
        for row in range(rows):
            found: dict[str, Any] = {"name": f"{column}/{at + row}", "row_group": group, "row": row, "size": size}
            key = values[row].get(ids) if ids is not None else None
            # A number that is none is nobody's name.
            if key is not None and key == key and not isinstance(key, Unreadable) and is_id(str(key)):
                found["key"] = str(key)
            try:
                found |= described(values[row], settings)
            except ValueError as error:
                found |= {"error_class": "bad_columns", "message": str(error)}
            if size > settings.max_row_group_bytes:
                found |= {
                    "error_class": GROUP_TOO_LARGE,
                    "message": f"its row group holds {size} bytes of pictures, input.max_row_group_bytes takes "
                    f"{settings.max_row_group_bytes}; write the file with fewer rows per group, or give workers more "
                    "memory and raise it",
                }
            yield found
        at += rows


@contextmanager
def _opened(filesystem: Any, path: str) -> Iterator[pq.ParquetFile]:
    with filesystem.open(path, "rb", cache_type="none") as file:
        try:
            # One request for the column chunk, however large.
            parquet = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
            check_footer(parquet.metadata, size_of(file))
        except Unreasonable as error:
            raise InputError(CORRUPT, f"its Parquet file {error}; fetch the file again") from error
        except (pa.ArrowException, OSError) as error:
            if _is_the_stores(error):
                raise
            text = " ".join(str(error).split())
            raise InputError(CORRUPT, f"its Parquet file cannot be read ({text}); fetch the file again") from error
        yield parquet


class Cells(NamedTuple):
    """A column of pictures.

    Attributes:
        content: their bytes, which may be null.
        named: which rows are of a picture that lies elsewhere; None where the column has no names.
    """

    content: pa.ChunkedArray
    named: pa.ChunkedArray | None


def read_row_group(filesystem: Any, path: str, column: str, group: int, most: int) -> Cells:
    """The pictures of one row group.

    Raises:
        InputError: ``changed``, ``corrupt_container`` or ``row_group_too_large``.
        OSError and what the file system's client raises.
    """
    try:
        with _opened(filesystem, path) as parquet:
            schema = parquet.schema_arrow
            leaf = leaf_of(schema.field(column)) if column in schema.names else None
            if leaf is None or group >= parquet.num_row_groups:
                raise InputError(CHANGED, "its Parquet file is another one than when it was listed")
            return _cells(parquet, group, column, leaf, most)
    except (pa.ArrowException, Unreasonable, OSError) as error:
        if _is_the_stores(error):
            raise
        text = " ".join(str(error).split())
        raise InputError(CORRUPT, f"row group {group} cannot be read ({text}); fetch the file again") from error


def _cells(parquet: pq.ParquetFile, group: int, column: str, leaf: str, most: int) -> Cells:
    """The pictures of a row group, also where one that is stored once is that of many rows.

    Raises:
        InputError: ``row_group_too_large``.
        Unreasonable, pyarrow.ArrowException, OSError: it cannot be read.
    """
    chunk = _chunk_of(parquet.metadata.row_group(group), leaf)
    too_large = InputError(GROUP_TOO_LARGE, f"its row group holds more than {most} bytes of pictures")
    if chunk.total_uncompressed_size > most:
        raise too_large
    if not multiplies(chunk) or not chunk.num_values:
        table = parquet.read_row_group(group, columns=[leaf], use_threads=False)
        return _together([_as_bytes(chunk) for chunk in table.column(column).chunks])
    at_once = rows_at_once(chunk.total_uncompressed_size)
    options = {"row_groups": [group], "columns": [leaf], "use_threads": False}
    try:
        # One by one: each batch of a column of dictionaries has all of its dictionary.
        cells = [_as_bytes(batch.column(column)) for batch in counted_batches(parquet, most, at_once, **options)]
    except Unreasonable:
        raise too_large from None
    return _together(cells)


def _as_bytes(cells: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Pictures as plain bytes, however the writer of their file had them in memory, and which lie elsewhere."""
    if not pa.types.is_struct(cells.type):
        return cells.cast(pa.large_binary()), None
    content = cells.flatten()[cells.type.get_field_index("bytes")].cast(pa.large_binary())
    return content, pc.and_(pc.is_valid(cells), pc.is_null(content))


def _together(parts: Sequence[tuple[pa.Array, pa.Array | None]]) -> Cells:
    named = [part for _, part in parts if part is not None]
    content = pa.chunked_array([part for part, _ in parts], pa.large_binary())
    return Cells(content, pa.chunked_array(named, pa.bool_()) if named else None)


def cell(cells: Cells, row: int, max_bytes: int) -> bytes:
    """The bytes of one row.

    Raises:
        EmptyCell: ``no_bytes``: there is nothing.
        InputError: ``changed``, ``no_bytes`` or ``too_large``.
    """
    if row >= len(cells.content):
        raise InputError(CHANGED, "its row group has fewer rows than when it was listed")
    value = cells.content[row]
    if not value.is_valid:
        is_named = cells.named is not None and cells.named[row].as_py()
        raise (InputError if is_named else EmptyCell)("no_bytes", NO_BYTES)
    content = value.as_buffer()
    if content.size > max_bytes:
        raise InputError("too_large", f"has {content.size} bytes; takes at most {max_bytes}")
    return content.to_pybytes()


class HeldGroup:
    """The row group that this process read last: rows that are asked for one after the other share its read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._place: tuple[str, str, int] | None = None
        self._cells: Cells | None = None

    def cell(self, filesystem: Any, path: str, column: str, group: int, row: int, most: int, max_bytes: int) -> bytes:
        """As :func:`cell` of :func:`read_row_group`."""
        place = (path, column, group)
        with self._lock:
            if self._place != place:
                # Before the next one comes.
                self._place = self._cells = None
                self._cells = read_row_group(filesystem, path, column, group, most)
                self._place = place
            assert self._cells is not None
            content = cell(self._cells, row, max_bytes)
            if row == len(self._cells.content) - 1:
                # Whoever reads in order is done with it.
                self._place = self._cells = None
            return content

    def find_row(self, filesystem: Any, path: str, row: int) -> tuple[int, int]:
        """Row group, and row in it, of a row of the file.

        Raises:
            InputError: ``changed`` or ``corrupt_container``.
            OSError and what the file system's client raises.
        """
        with _opened(filesystem, path) as parquet:
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if row < rows:
                    return group, row
                row -= rows
        raise InputError(CHANGED, "its Parquet file has fewer rows than when it was listed")


HELD: Final = HeldGroup()
