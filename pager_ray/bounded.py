"""Parsers of what comes from outside, with limits on what they may cost before they allocate it.

JSON and YAML have a bounded size and depth, and YAML's aliases a bounded expansion. A Parquet file may say in a few
hundred bytes that it holds five million rows of a megabyte each: its footer is compared with its size first, and texts
that a dictionary would multiply are counted before they are written out. Text files say which encoding they have.

All of them raise :class:`Unreasonable`, which names no file: whoever reads one does.
"""

from __future__ import annotations

import codecs
import json
import re
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

_ENDS: Final = re.compile(r"\r\n|\n|\r")

# Encodings that store once what many rows are, and that store what a value adds to the one before.
_DELTA: Final = "DELTA_BYTE_ARRAY"
_MULTIPLYING: Final = frozenset({"RLE_DICTIONARY", "PLAIN_DICTIONARY", _DELTA})
_TEXT: Final = "BYTE_ARRAY"
_OF_ANY_LENGTH: Final = frozenset({_TEXT, "FIXED_LEN_BYTE_ARRAY"})
# What brings another mapping's keys.
_MERGE: Final = "tag:yaml.org,2002:merge"

# Bytes of a value of which millions are no harm: UUIDs, decimals.
_NARROW: Final = 64


class Unreasonable(ValueError):
    """A file is larger, deeper or holds more than anything of its kind."""


def text_of(data: bytes) -> str:
    """A text file's text: UTF-8, or UTF-16 or -32 where a byte order mark says so, as Windows' shells write it.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    return data.decode(encoding_of(data))


def lines_of(text: str) -> list[str]:
    """A text's lines: they end where files end them, and not at other signs that end one for Python, as names have."""
    return _ENDS.split(text)


def encoding_of(start: bytes) -> str:
    """The encoding of a text file that begins with these bytes, four or more if it has them; none leaves its mark."""
    # UTF-32's begins as UTF-16's does.
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


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
        yaml.YAMLError: not YAML, which has each key of a mapping once.
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
            _check_keys([item[0] for item in inner if isinstance(item, tuple)])
            parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
            known = 1 + sum(size_of(part, depth + 1) for part in parts)
            if known > MAX_YAML_NODES:
                raise Unreasonable(f"holds more than {MAX_YAML_NODES} values, aliases counted as what they stand for")
            sizes[id(node)] = known
        return known

    size_of(root, 0)


def _check_keys(keys: Sequence[Any]) -> None:
    """Refuse a key that is there twice: the loader would drop the first, and all that is below it."""
    import yaml

    seen = set[tuple[str, str]]()
    for key in keys:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        if (key.tag, key.value) in seen:
            line = key.start_mark.line + 1
            raise yaml.YAMLError(f"line {line} has `{key.value}` for the second time in its mapping, which has it once")
        seen.add((key.tag, key.value))


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
    promised = sum(chunk.total_uncompressed_size for chunk in _chunks(metadata, columns))
    if promised < 0 or promised > FREE_BYTES + EXPANSION * size:
        raise Unreasonable(f"says {promised} bytes in a file of {size}")


def _chunks(metadata: pq.FileMetaData, columns: Sequence[str] | None) -> Iterator[pq.ColumnChunkMetaData]:
    """The chunks of the columns that will be read."""
    names = None if columns is None else {*columns}
    inside = tuple(f"{name}." for name in names or ())
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            chunk = row_group.column(number)
            # A name may hold a dot itself.
            if names is None or chunk.path_in_schema in names or chunk.path_in_schema.startswith(inside):
                yield chunk


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

    file, wanted, lacking, at_once = _opened(source, size, columns, may_lack)
    if most_rows is not None and file.metadata.num_rows > most_rows:
        raise Unreasonable(f"says {file.metadata.num_rows} rows, at most {most_rows} are read")
    if at_once is None:
        table = file.read(columns=wanted, use_threads=size > _WORTH_THREADS)
    else:
        batches = counted_batches(file, FREE_BYTES + EXPANSION * size, at_once, columns=wanted)
        table = pa.Table.from_batches(list(batches)).combine_chunks()
    table = _plain(table if wanted is None else table.select(wanted), size)
    for name in lacking:
        table = table.append_column(name, pa.nulls(table.num_rows, (may_lack or {})[name]))
    return table


def parquet_parts(source: Any, size: int, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """As :func:`read_parquet`, up to so many rows at a time; none where there are no rows."""
    import pyarrow as pa

    file, wanted, _, at_once = _opened(source, size, columns, None)
    if at_once is None or at_once >= rows:
        for batch in file.iter_batches(batch_size=rows, columns=wanted):
            yield _plain(pa.Table.from_batches([batch]), size)
        return
    held: list[pa.RecordBatch] = []
    for batch in counted_batches(file, FREE_BYTES + EXPANSION * size, at_once, columns=wanted):
        held.append(batch)
        if sum(one.num_rows for one in held) >= rows:
            yield _plain(pa.Table.from_batches(held).combine_chunks(), size)
            held = []
    if held:
        yield _plain(pa.Table.from_batches(held).combine_chunks(), size)


def counted_batches(file: pq.ParquetFile, most: int, at_once: int, **options: Any) -> Iterator[pa.RecordBatch]:
    """So many rows at a time, while all of them together take no more bytes than that.

    Args:
        options: of ``ParquetFile.iter_batches``.

    Raises:
        Unreasonable: they take more.
    """
    written = 0
    for batch in file.iter_batches(batch_size=at_once, **options):
        written += sum(_held(column) for column in batch.columns)
        if written > most:
            raise Unreasonable(f"holds more than {most} bytes in {', '.join(batch.schema.names)}")
        yield batch


def multiplies(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether a column chunk may hold values that it stores once for many rows, or in parts of each other."""
    return chunk.physical_type in _OF_ANY_LENGTH and not _MULTIPLYING.isdisjoint(chunk.encodings)


def rows_at_once(stored: int) -> int:
    """How many rows of a column chunk of so many bytes, each of which may be as long as all that it stores, are read
    before they are counted."""
    return max(1, _COUNTED // max(stored, 1))


def _opened(
    source: Any, size: int, columns: Sequence[str] | None, may_lack: Mapping[str, pa.DataType] | None
) -> tuple[pq.ParquetFile, list[str] | None, list[str], int | None]:
    """The file, the columns to read of it, those that it may lack and does, and how many rows may be read unseen."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(source)
    schema = file.schema_arrow
    check_footer(file.metadata, size, columns)
    wanted = list(columns) if columns is not None else None
    lacking = [name for name in wanted or () if name in (may_lack or {}) and name not in schema.names]
    wanted = [name for name in wanted if name not in lacking] if wanted is not None else None
    if wanted is not None and (absent := [name for name in wanted if name not in schema.names]):
        raise KeyError(", ".join(absent))
    dictionaries, at_once = _ways(file.metadata, schema.names if wanted is None else wanted)
    if dictionaries:
        file = pq.ParquetFile(source, read_dictionary=dictionaries, metadata=file.metadata)
    return file, wanted, lacking, at_once


def _ways(metadata: pq.FileMetaData, columns: Sequence[str]) -> tuple[list[str], int | None]:
    """Leaves that are read as the dictionaries that they are, and how many rows at a time the others may be.

    Each row may be the longest value of a dictionary, or as long as all that its column stores.
    """
    chunks: dict[str, list[pq.ColumnChunkMetaData]] = {}
    for chunk in _chunks(metadata, columns):
        if multiplies(chunk):
            chunks.setdefault(chunk.path_in_schema, []).append(chunk)
    described = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    narrow = {one.path for one in described if one.physical_type != _TEXT and one.length <= _NARROW}
    dictionaries, at_once = [], None
    for leaf, some in chunks.items():
        values, stored = sum(chunk.num_values for chunk in some), sum(chunk.total_uncompressed_size for chunk in some)
        if values * stored <= _COUNTED or leaf in narrow:
            continue
        is_whole = any(chunk.physical_type != _TEXT or _DELTA in chunk.encodings for chunk in some)
        if not is_whole:
            dictionaries.append(leaf)
            continue
        if leaf not in columns:
            # One row may hold any number of them.
            raise Unreasonable(f"has lists or structs in {leaf} that are encoded as {', '.join(some[0].encodings)}")
        of_this = rows_at_once(max(chunk.total_uncompressed_size for chunk in some))
        at_once = of_this if at_once is None else min(at_once, of_this)
    return dictionaries, at_once


def _plain(table: pa.Table, size: int) -> pa.Table:
    """The table with texts written out that come as dictionaries, also where the file itself asks for that.

    Raises:
        Unreasonable: it would hold more than such a file does.
    """
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        column = table.column(place)
        written = sum(_written(chunk) for chunk in column.chunks)
        if written > FREE_BYTES + EXPANSION * size:
            raise Unreasonable(f"holds {written} bytes of {field.name} in a file of {size}")
        if pa.types.is_dictionary(field.type):
            plain = pa.field(field.name, field.type.value_type, field.nullable, field.metadata)
            table = table.set_column(place, plain, column.cast(field.type.value_type))
    return table


def _written(array: pa.Array) -> int:
    """Bytes of what dictionaries in a column, at any depth, stand for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        if not _is_text(kind.value_type):
            return 0
        return pc.sum(pc.binary_length(array.dictionary).cast(pa.int64()).take(array.indices)).as_py() or 0
    if pa.types.is_struct(kind):
        return sum(_written(array.field(number)) for number in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _written(array.flatten())
    if pa.types.is_map(kind):
        return _written(array.keys) + _written(array.items)
    return 0


def _held(array: pa.Array) -> int:
    """Bytes of an array once dictionaries in it are written out; they alone come as a whole with each batch."""
    return _written(array) if _has_dictionary(array.type) else array.nbytes


def _has_dictionary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return True
    return any(_has_dictionary(kind.field(number).type) for number in range(kind.num_fields))


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

    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
