"""Parsers of what comes from outside, with limits on what they may cost before they allocate it.

JSON and YAML have a bounded size and depth, and YAML's aliases a bounded expansion. A Parquet file may say in a few
hundred bytes that it holds five million rows of a megabyte each: its footer is compared with its size first, and texts
that a dictionary would multiply are counted before they are written out.

All of them raise :class:`Unreasonable`, which names no file: whoever reads one does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_JSON_BYTES: Final = 64 << 20
"""A run file of thousands of starts is a few megabytes."""

MAX_YAML_BYTES: Final = 1 << 18
MAX_YAML_NODES: Final = 20_000
MAX_DEPTH: Final = 64

ROWS_PER_BYTE: Final = 16
"""Rows that differ in anything take about a byte each, compressed; ten times as many say nothing."""

FREE_ROWS: Final = 100_000
FREE_BYTES: Final = 64 << 20
EXPANSION: Final = 512
"""How much larger than its file what is read of it may be, beyond what is free."""

# Handing the columns of a smaller file to threads costs more than reading them.
_WORTH_THREADS: Final = 1 << 20

_COUNTED: Final = 256 << 20


class Unreasonable(ValueError):
    """A file is larger, deeper or holds more than anything of its kind."""


def parse_json(data: bytes | str, most: int = MAX_JSON_BYTES, *, nan: bool = False) -> Any:
    """A JSON value; nothing deeper than :data:`MAX_DEPTH`, and no NaN or infinity but where ``nan`` takes them.

    Raises:
        Unreasonable: too large or too deep.
        ValueError: not JSON.
    """
    if len(data) > most:
        raise Unreasonable(f"has {len(data)} bytes, at most {most} are read")
    try:
        value = json.loads(data, parse_constant=None if nan else _no_constant)
    except RecursionError:
        raise Unreasonable(f"is nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise Unreasonable(f"is nested deeper than {MAX_DEPTH} levels")


def parse_yaml(text: str, most: int = MAX_YAML_BYTES) -> Any:
    """A YAML value of plain types; aliases may make it no larger than :data:`MAX_YAML_NODES`.

    Raises:
        Unreasonable: too large, too deep, or it contains itself.
        yaml.YAMLError: not YAML.
    """
    import yaml

    if len(text) > most:
        raise Unreasonable(f"has {len(text)} characters, at most {most} are read")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node)
        return loader.construct_document(node)
    except RecursionError:
        raise Unreasonable(f"is nested deeper than {MAX_DEPTH} levels") from None
    except (ValueError, OverflowError, TypeError) as error:
        if isinstance(error, Unreasonable):
            raise
        # A date or a number that looks like one, and is none.
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def _check_nodes(root: Any) -> None:
    """Count the values that a document's nodes stand for, each alias anew."""
    sizes: dict[int, int] = {}

    def size_of(node: Any, depth: int) -> int:
        if depth > MAX_DEPTH:
            # Also what contains itself.
            raise Unreasonable(f"is nested deeper than {MAX_DEPTH} levels")
        known = sizes.get(id(node))
        if known is None:
            inner = node.value if isinstance(node.value, list) else []
            parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
            known = 1 + sum(size_of(part, depth + 1) for part in parts)
            if known > MAX_YAML_NODES:
                raise Unreasonable(f"holds more than {MAX_YAML_NODES} values, aliases counted as what they stand for")
            sizes[id(node)] = known
        return known

    size_of(root, 0)


def check_footer(metadata: pq.FileMetaData, size: int, columns: Sequence[str] | None = None) -> None:
    """Compare what a Parquet file's footer promises with the file's size.

    Args:
        metadata: the footer.
        size: of the file, in bytes.
        columns: those that will be read; all when None.

    Raises:
        Unreasonable: more rows, or more bytes, than such a file holds.
    """
    if metadata.num_rows > FREE_ROWS + ROWS_PER_BYTE * size:
        raise Unreasonable(f"says {metadata.num_rows} rows in {size} bytes: rows that are all alike")
    promised = sum(_sizes(metadata, columns).values())
    if promised < 0 or promised > FREE_BYTES + EXPANSION * size:
        raise Unreasonable(f"says {promised} bytes in a file of {size}")


def _sizes(metadata: pq.FileMetaData, columns: Sequence[str] | None) -> dict[str, int]:
    """Uncompressed bytes of each column that will be read."""
    sizes: dict[str, int] = {}
    wanted = None if columns is None else {*columns}
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            column = row_group.column(number)
            name = column.path_in_schema.partition(".")[0]
            if wanted is None or name in wanted:
                sizes[name] = sizes.get(name, 0) + column.total_uncompressed_size
    return sizes


def size_of(file: Any) -> int:
    """Bytes of an open file; its place stays."""
    here = file.tell()
    size = int(file.seek(0, 2))
    file.seek(here)
    return size


def read_parquet(
    source: Any,
    size: int,
    columns: Sequence[str] | None = None,
    may_lack: Mapping[str, pa.DataType] | None = None,
    *,
    most_rows: int | None = None,
) -> pa.Table:
    """The rows of a Parquet file of small columns, such as a listing or a ledger.

    Args:
        source: what pyarrow reads: a buffer, a file, a path.
        size: of the file, in bytes.
        columns: those to read, in this order, all of which must be there; None for all.
        may_lack: those that may be absent, as in files of earlier versions; they come last, as nulls of these types.
        most_rows: that such a file has, where that is known.

    Raises:
        Unreasonable: it promises or holds more than such a file does.
        KeyError: a column is not there.
        pyarrow.ArrowException, OSError: no Parquet file, damaged, or unreadable.
    """
    import pyarrow as pa

    file, wanted, lacking = _opened(source, size, columns, may_lack)
    if most_rows is not None and file.metadata.num_rows > most_rows:
        raise Unreasonable(f"says {file.metadata.num_rows} rows, at most {most_rows} are read")
    table = _plain(file.read(columns=wanted, use_threads=size > _WORTH_THREADS), size)
    for name in lacking:
        table = table.append_column(name, pa.nulls(table.num_rows, (may_lack or {})[name]))
    return table


def parquet_parts(source: Any, size: int, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """As :func:`read_parquet`, up to so many rows at a time; none where there are no rows."""
    import pyarrow as pa

    file, wanted, _ = _opened(source, size, columns, None)
    for batch in file.iter_batches(batch_size=rows, columns=wanted):
        yield _plain(pa.Table.from_batches([batch]), size)


def _opened(
    source: Any, size: int, columns: Sequence[str] | None, may_lack: Mapping[str, pa.DataType] | None
) -> tuple[pq.ParquetFile, list[str] | None, list[str]]:
    """The file, the columns to read of it, and those that it may lack and does."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(source)
    schema = file.schema_arrow
    check_footer(file.metadata, size, columns)
    wanted = list(columns) if columns is not None else None
    lacking = [name for name in wanted or () if name in (may_lack or {}) and name not in schema.names]
    wanted = [name for name in wanted if name not in lacking] if wanted is not None else None
    if wanted is not None and (absent := [name for name in wanted if name not in schema.names]):
        raise KeyError(", ".join(absent))
    # Each row may be the longest value of a dictionary.
    multiplied = [
        name
        for name, stored in _sizes(file.metadata, columns).items()
        if file.metadata.num_rows * stored > _COUNTED and _is_text(schema.field(name).type)
    ]
    if multiplied:
        file = pq.ParquetFile(source, read_dictionary=multiplied, metadata=file.metadata)
    return file, wanted, lacking


def _plain(table: pa.Table, size: int) -> pa.Table:
    """The table with texts written out that come as dictionaries, also where the file itself asks for that.

    Raises:
        Unreasonable: it would hold more than such a file does.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        column = table.column(place)
        if _is_text(field.type.value_type):
            written = sum(
                pc.sum(pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices)).as_py() or 0
                for chunk in column.chunks
            )
            if written > FREE_BYTES + EXPANSION * size:
                raise Unreasonable(f"holds {written} bytes of {field.name} in a file of {size}")
        plain = pa.field(field.name, field.type.value_type, field.nullable, field.metadata)
        table = table.set_column(place, plain, column.cast(field.type.value_type))
    return table


def as_texts(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table with some of its columns, where they are there, as texts.

    Raises:
        pyarrow.ArrowException: they are none.
    """
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if field.name in names and not pa.types.is_string(field.type):
            column = table.column(place).cast(pa.string())
            table = table.set_column(place, pa.field(field.name, pa.string(), field.nullable), column)
    return table


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
