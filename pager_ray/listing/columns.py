"""The columns of a listing's file (Parquet, CSV or lines of text), read part by part."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pager_ray.bounded import Unreasonable, encoding_of, lines_of, parquet_parts, size_of
from pager_ray.errors import ConfigError
from pager_ray.listing import parts as by_parts
from pager_ray.listing.csvs import PARSING, header_of, in_utf8, read_texts, texts_of, typed
from pager_ray.listing.growth import stamp_of
from pager_ray.listing.listed import Texts
from pager_ray.masking import without_queries
from pager_ray.plain import get_logger
from pager_ray.read.containers import IndexSettings
from pager_ray.read.containers.columns import kept_values, rows_of
from pager_ray.read.containers.sequences import SEQUENCE_NAMES, TIME_NAMES
from pager_ray.read.pose import pose_text
from pager_ray.storage import error_reason

log = get_logger(__name__)

MAX_LISTING_BYTES = 1 << 31

# Bytes of a text that are read at a time, and of a table; and what no line of a listing has.
_BLOCK = 1 << 20
_CSV_BLOCK = 16 << 20
_LONGEST_LINE = 1 << 20

# Ticks of a second, by the unit that Arrow counts lengths of time in.
_TICKS = {"s": 1e0, "ms": 1e3, "us": 1e6, "ns": 1e9}

ETAGS = ("etag", "e_tag")
TIMES = ("last_modified", "last_modified_date", "mtime", "updated")
"""Columns that inventories of stores have, and that tell whether an object is still the one that it was."""
SIZE = "size"
"""Says so with one of these alone: of others' listings it may mean anything."""
_STATES = (*ETAGS, *TIMES, SIZE)


def plain_name(header: str) -> str:
    """A column's name as it is compared: spreadsheets leave blanks around names and capitals in them."""
    return header.strip().casefold()


def _names(header: Sequence[str], settings: IndexSettings) -> tuple[str, ...]:
    """What the columns of URIs, ids, scenes, sequences and times are called here."""
    names = [plain_name(name) for name in header]
    chosen = (settings.id_column, settings.scene_column)
    id, scene = (
        plain_name(asked) if asked is not None and plain_name(asked) in names else usual
        for asked, usual in zip(chosen, ("id", "scene"), strict=True)
    )
    sequence, time = (
        plain_name(asked)
        if asked is not None
        else next((plain_name(one) for one in usual if plain_name(one) in names), usual[0])
        for asked, usual in ((settings.sequence_column, SEQUENCE_NAMES), (settings.time_column, TIME_NAMES))
    )
    return "uri", id, scene, sequence, time


def _ours(header: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Those of a listing's columns that are read, named as they are there."""
    return [name for name in header if plain_name(name) in columns]


def _lines_of(file: Any, where: str) -> Iterator[pa.Table]:
    """The lines of a text as URIs, part by part, but for empty ones and comments.

    Raises:
        Unreasonable: it is larger, or has a longer line, than any listing.
    """
    decoder, begun, size, comments, waiting = None, "", 0, 0, list[str]()
    while True:
        block = file.read(_BLOCK)
        decoder = decoder or codecs.getincrementaldecoder(encoding_of(block))()
        size += len(block)
        if size > MAX_LISTING_BYTES:
            raise Unreasonable(f"has more than {MAX_LISTING_BYTES} bytes")
        lines = lines_of(begun + decoder.decode(block, final=not block))
        # The last one may go on.
        begun = lines.pop() if block else ""
        if len(begun) > _LONGEST_LINE:
            raise Unreasonable(f"has a line of more than {_LONGEST_LINE} characters")
        texts = [text for line in lines if (text := line.strip(" \t"))]
        there = [text for text in texts if not text.startswith("#")]
        waiting, comments = waiting + there, comments + len(texts) - len(there)
        if len(waiting) >= by_parts.PART_ROWS or not block:
            yield pa.table({"uri": pa.array(waiting, pa.string())})
            waiting = []
        if not block:
            if comments:
                log.info("%s: left out: %s that begin with #, comments", where, f"{comments:,} lines")
            return


def listing_columns(
    filesystem: Any, path: str, where: str, settings: IndexSettings
) -> Iterator[tuple[list[pa.ChunkedArray], dict[str, pa.Array], pa.Array]]:
    """The uri, id, scene, sequence and time columns of a listing, as text; what is kept of the others, and poses; and
    stamps; part by part."""
    keep = {plain_name(name): name for name in settings.keep}

    def unreadable(error: Exception) -> ConfigError:
        return ConfigError(
            f"{where} cannot be read as a listing ({error_reason(error)}); takes .parquet or .csv "
            "with a `uri` column of texts, or .txt with a URI per line"
        )

    is_csv = without_queries(path).lower().endswith(".csv")
    try:
        with filesystem.open(path, "rb") as file:
            names, tables = _opened(file, path, where, settings, keep)
            if "uri" not in names:
                raise ConfigError(
                    f"{where} has no `uri` column; it has {', '.join(names)}; name the one of paths `uri`"
                )
            asked = (settings.id_column, settings.scene_column, settings.sequence_column, settings.time_column)
            absent = [name for name in asked if name is not None and plain_name(name) not in names]
            if absent and not without_queries(path).lower().endswith(".txt"):
                raise ConfigError(f"{where} has no column {absent[0]}; it has {', '.join(names)}")
            columns_of = _names(names, settings)
            if doubled := [name for name in (*columns_of, *keep, *settings.pose) if names.count(name) > 1]:
                raise ConfigError(f"{where} has more than one `{doubled[0]}` column; keep one")
            before = 0
            for table in tables:
                columns = [
                    _as_text(table.column(name))
                    if name in names
                    else pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
                    for name in columns_of
                ]
                others = table.select([name for name in keep if name in names]).rename_columns(
                    [keep[name] for name in keep if name in names]
                )
                for column in columns:
                    # Parquet files may hold bytes that are no UTF-8 in columns of text.
                    column.validate(full=True)
                if is_csv:
                    # Types of columns that are kept are those that all rows agree on.
                    others = typed(others)
                told = table.select([name for name in _STATES if names.count(name) == 1])
                held = table.select([name for name in settings.pose if name in names])
                same = {"kept": _kept(others, settings.keep, where, before), "pose": _poses(held)}
                before += table.num_rows
                yield columns, same, _stamps(told)
    except (pa.ArrowException, UnicodeDecodeError, Unreasonable, csv.Error) as error:
        raise unreadable(error) from error
    except OSError as error:
        # Arrow tells of a damaged file with a bare OSError; a file system's own has a number or a class.
        if type(error) is OSError and error.errno is None:
            raise unreadable(error) from error
        raise


def _opened(
    file: Any, path: str, where: str, settings: IndexSettings, keep: Mapping[str, str]
) -> tuple[list[str], Iterable[pa.Table]]:
    """The names of a listing's columns, as they are compared, and its rows under these names."""
    name = without_queries(path).lower()
    if name.endswith(".txt"):
        return ["uri"], _lines_of(file, where)
    if name.endswith(".csv"):
        file = in_utf8(file, MAX_LISTING_BYTES)
        header = header_of(file)
        names = [plain_name(name) for name in header]
        if "uri" not in names:
            # A damaged table may have no such column, and is told for what it is.
            pyarrow.csv.read_csv(file, parse_options=PARSING)
        wanted = _ours(header, (*_names(header, settings), *settings.pose, *_STATES, *keep))
        texts = [name for name in wanted if names.count(plain_name(name)) == 1]
        return names, _blocks_of(file, texts, whole=not keep.keys().isdisjoint(names))
    header = pq.ParquetFile(file).schema_arrow.names
    wanted = _ours(header, (*_names(header, settings), *keep, *settings.pose, *_STATES))
    tables = parquet_parts(file, size_of(file), wanted, by_parts.PART_ROWS)
    return [plain_name(name) for name in header], (
        table.rename_columns([plain_name(name) for name in table.column_names]) for table in tables
    )


def _blocks_of(file: Any, texts: list[str], *, whole: bool) -> Iterator[pa.Table]:
    """Some columns of a table of comma-separated values, part by part, or as a whole, where all rows must agree."""
    names = [plain_name(name) for name in texts]
    if whole:
        yield read_texts(file, texts).rename_columns(names)
        return
    blocks = pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK)
    with pyarrow.csv.open_csv(file, blocks, PARSING, texts_of(texts)) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch]).rename_columns(names)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as texts; numbers that are none say nothing, and lengths of time are seconds, as all times are."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column.cast(pa.float64())), pa.scalar(None, column.type), column)
    elif pa.types.is_duration(column.type):
        column = pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), _TICKS[column.type.unit])
    return column.cast(pa.string())


def _stamps(table: pa.Table) -> pa.Array:
    """Stamps as a folder's files have them, from a listing's etags or times; null where it says neither."""
    told = {
        name: Texts(table.column(name).cast(pa.string()))
        for name in table.column_names
        if (kind := table.schema.field(name).type) in (pa.string(), pa.large_string())
        or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
    }  # fmt: skip
    if not {*told} - {SIZE}:
        return pa.nulls(table.num_rows, pa.int64())
    stamps = []
    for values in zip(*told.values(), strict=True):
        row = {name: value for name, value in zip(told, values, strict=True) if value}
        etag = next((row[name] for name in ETAGS if name in row), None)
        # Stores have etags in quotes, their inventories have not.
        facts = {
            "size": row.get(SIZE),
            "etag": None if etag is None else f'"{etag.strip(chr(34))}"',
            "mtime": next((row[name] for name in TIMES if name in row), None),
        }
        stamps.append(stamp_of(facts) if facts["etag"] or facts["mtime"] else None)
    return pa.array(stamps, pa.int64())


def _poses(table: pa.Table) -> pa.Array:
    """How cameras were held, from the columns that say so; null where none does."""
    if not table.num_columns:
        return pa.nulls(table.num_rows, pa.string())
    return pa.array([pose_text(row) for row in table.to_pylist()], pa.string())


def _kept(table: pa.Table, keep: tuple[str, ...], where: str, before: int) -> pa.Array:
    """The columns to keep of rows behind so many others, each row's as JSON."""
    if not keep:
        return pa.nulls(table.num_rows, pa.string())
    kept: list[str | None] = []
    for number, row in enumerate(rows_of(table), before + 1):
        try:
            kept.append(kept_values(row, keep))
        except ValueError as error:
            raise ConfigError(f"{where} row {number}: {error}; choose others with input.keep_columns") from error
    return pa.array(kept, pa.string())
