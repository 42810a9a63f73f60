"""Listings: tables of URIs, with an id and a scene per row where they have them."""

from __future__ import annotations

import codecs
import csv
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pager_ray.bounded import Unreasonable, parquet_parts, size_of
from pager_ray.errors import ConfigError
from pager_ray.listing import parts as by_parts
from pager_ray.listing.csvs import PARSING, header_of, read_texts, texts_of, typed
from pager_ray.listing.cubemaps import in_order
from pager_ray.listing.growth import stamp_of
from pager_ray.listing.ids import FOUND_SCHEMA, found_table
from pager_ray.listing.listed import NETWORK, SIGNED, Texts
from pager_ray.listing.parts import Parts
from pager_ray.masking import MAY_CARRY, carries_secret, is_signed, mask_uri, without_queries
from pager_ray.naming import namer
from pager_ray.plain import get_logger
from pager_ray.read.containers import IndexSettings
from pager_ray.read.containers.columns import kept_values, rows_of
from pager_ray.read.containers.sequences import (
    MAX_SEQUENCE_LENGTH,
    SEQUENCE_NAMES,
    TIME_NAMES,
    times_of,
)
from pager_ray.read.pose import pose_text
from pager_ray.schemes import is_remote
from pager_ray.storage import error_reason

log = get_logger(__name__)

LISTING_SUFFIXES = (".parquet", ".csv", ".txt")
SCENES = ("indoor", "outdoor")
MAX_ID_LENGTH = 1024
MAX_URI_LENGTH = 8192
MAX_LISTING_BYTES = 1 << 31

# Bytes of a text that are read at a time, and of a table; and what no line of a listing has.
_BLOCK = 1 << 20
_CSV_BLOCK = 16 << 20
_LONGEST_LINE = 1 << 20
# What ends a line of a file; other signs that end one for Python may be in a name.
_ENDS = re.compile(r"\r\n|\n|\r")
ETAGS = ("etag", "e_tag")
TIMES = ("last_modified", "last_modified_date", "mtime", "updated")
"""Columns that inventories of stores have, and that tell whether an object is still the one that it was."""
SIZE = "size"
"""Says so with one of these alone: of others' listings it may mean anything."""
_STATES = (*ETAGS, *TIMES, SIZE)

_WEB = ("http", "https")
# A member's URI whose container is neither an address nor an absolute path.
_RELATIVE_MEMBER = r"^(zip|tar|parquet|video)://(?s:.+)::[^/:][^:]*$"


def read_listing(filesystem: Any, path: str, key: str, source: str, settings: IndexSettings) -> Parts:
    """The rows of a listing as inputs, ``FOUND_SCHEMA``; read part by part.

    Args:
        filesystem, path: where it is.
        key: the source's key in the configuration, for messages.
        source: as it was given.
        settings: which columns hold ids, scenes, sequences and times, and which are kept.

    Raises:
        ConfigError: it cannot be understood.
    """
    where = f"{key}: {mask_uri(source)}"
    place = namer(without_queries(source))(without_queries(path))
    parts = Parts(FOUND_SCHEMA)
    for (uri, given, scene, sequence, time), same, stamp in _listing_columns(filesystem, path, where, settings):
        _check_rows(uri, given, scene, where, parts.num_rows)
        others = _in_sequences(sequence, time, settings, where, parts.num_rows) | same | {"stamp": stamp}
        found = _inputs(uri, given, scene, others, place, is_remote(source))
        _check_secrets(found, where, parts.num_rows)
        parts.add(signatures_apart(in_order(found)))
    if not parts.num_rows:
        raise ConfigError(f"{where} lists nothing; give it a row per image")
    return parts


def _inputs(
    uri: pa.ChunkedArray,
    given: pa.ChunkedArray,
    scene: pa.ChunkedArray,
    others: Mapping[str, Any],
    listing: str,
    is_remote: bool,
) -> pa.Table:
    """Rows of a listing that lies at a URI, as inputs, with other columns as they are."""
    scheme, separator, place = listing.rpartition("://")
    given, scene = (pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column) for column in (given, scene))
    is_absolute = pc.or_(pc.match_substring(uri, "://"), pc.starts_with(uri, "/"))
    inside = _normal_paths(uri, is_absolute)
    folder = posixpath.normpath(posixpath.dirname(place)) if posixpath.dirname(place) else ""
    prefix = scheme + separator + (folder if not folder or folder.endswith("/") else f"{folder}/")
    full = pc.if_else(is_absolute, uri, pc.binary_join_element_wise(prefix, inside, ""))
    is_inside = pc.match_substring_regex(uri, _RELATIVE_MEMBER)
    if pc.any(is_inside).as_py():
        # A member of a container that lies where the listing does.
        joined = [_in_folder(text, scheme + separator, folder) for text in Texts(uri.filter(is_inside))]
        full = pc.replace_with_mask(full.combine_chunks(), is_inside.combine_chunks(), pa.array(joined, pa.string()))
        full = pa.chunked_array([full])
    # Only these still have to be joined with the folder's own name: ".", ".." and what begins with it.
    climbs = pc.and_(pc.invert(is_absolute), pc.match_substring_regex(inside, r"^\.(\.(/|$)|$)"))
    if pc.any(climbs).as_py():
        joined = [
            scheme + separator + posixpath.normpath(posixpath.join(folder, inner)) if climbs_out else whole
            for inner, climbs_out, whole in zip(Texts(inside), climbs.to_pylist(), Texts(full), strict=True)
        ]
        full = pa.chunked_array([pa.array(joined, pa.string())])
    # A web address's name is what comes before its query, wherever its host is written.
    inside = pc.replace_substring_regex(inside, r"\?(?s:.*)$", "") if scheme.lower().endswith(_WEB) else inside
    relative = pc.if_else(is_absolute, pc.replace_substring_regex(_addresses(uri), "^(?s:.*)/", ""), inside)
    relative = pc.if_else(pc.is_valid(given), pa.scalar(None, pa.string()), relative)
    return found_table(
        len(uri),
        uri=full,
        given=given,
        relative=relative,
        scene=scene,
        is_utf8=pa.array(np.ones(len(uri), dtype=bool)),
        origin=pa.repeat(pa.scalar(NETWORK if is_remote else None, pa.string()), len(uri)),
        **others,
    )


def _in_folder(uri: str, scheme: str, folder: str) -> str:
    """The URI of a member whose container is named relative to a folder."""
    member, _, container = uri.rpartition("::")
    path = posixpath.normpath(posixpath.join(folder, container))
    return f"{member}::{scheme or 'file://'}{path if scheme else posixpath.abspath(path)}"


def _in_sequences(
    sequence: pa.ChunkedArray, time: pa.ChunkedArray, settings: IndexSettings, where: str, before: int
) -> dict[str, pa.ChunkedArray]:
    """The columns ``sequence`` and ``time``; what is neither is nothing, or a mistake where its column was asked for.

    Raises:
        ConfigError: names the first such row, behind so many others.
    """
    if sequence.null_count == len(sequence) and time.null_count == len(time):
        return {"sequence": sequence, "time": pa.nulls(len(time), pa.float64())}
    trimmed = pc.utf8_trim_whitespace(sequence)
    is_name = pc.and_(pc.utf8_is_printable(trimmed), pc.less_equal(pc.utf8_length(trimmed), MAX_SEQUENCE_LENGTH))
    is_name = pc.and_(is_name, pc.greater(pc.binary_length(trimmed), 0))
    names = pc.if_else(pc.fill_null(is_name, False), trimmed, pa.scalar(None, pa.string()))
    seconds = times_of(time)
    for asked, given, taken, what in (
        (settings.sequence_column, sequence, names, f"up to {MAX_SEQUENCE_LENGTH} printable characters"),
        (settings.time_column, time, seconds, "seconds or ISO 8601"),
    ):
        there = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(given), ""), False)
        wrong = _first(pc.and_(there, pc.is_null(taken)), lambda _: True, given) if asked is not None else None
        if wrong is not None:
            text = str(wrong[1])[:40]
            raise ConfigError(f"{where} row {before + wrong[0] + 1}: {asked} is {text!r}; takes {what}, or nothing")
    return {"sequence": names, "time": seconds}


def signatures_apart(table: pa.Table) -> pa.Table:
    """The inputs with their URIs as they may be stored, beside those that are signed as they were given."""
    uri = table.column("uri")
    may_be = pc.match_substring(uri, "?").to_numpy()
    if not may_be.any():
        return table
    texts = uri.to_pylist()
    signed = [text if it_may and is_signed(text) else None for text, it_may in zip(texts, may_be, strict=True)]
    shown = [mask_uri(text) if is_one else text for text, is_one in zip(texts, signed, strict=True)]
    for field, column in ((table.schema.field("uri"), shown), (SIGNED, signed)):
        place = table.schema.get_field_index(field.name)
        table = table.set_column(place, field, pa.array(column, field.type))
    return table


def _addresses(uri: pa.ChunkedArray) -> pa.ChunkedArray:
    """URIs of which web addresses end where their queries begin, for names that are made of them."""
    may_have = pc.match_substring_regex(uri, r"(?i)https?://.*\?").to_numpy()
    if not may_have.any():
        return uri
    texts = [without_queries(text) if it_may else text for text, it_may in zip(Texts(uri), may_have, strict=True)]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _normal_paths(uri: pa.ChunkedArray, is_absolute: pa.ChunkedArray) -> pa.ChunkedArray:
    """The relative paths of a listing without ``.``, ``..`` and doubled slashes."""
    odd = pc.and_(pc.invert(is_absolute), pc.match_substring_regex(uri, r"(^|/)\.{1,2}(/|$)|//|/$"))
    if not pc.any(odd).as_py():
        return uri
    paths = [
        posixpath.normpath(path) if is_odd else path for path, is_odd in zip(Texts(uri), odd.to_pylist(), strict=True)
    ]
    return pa.chunked_array([pa.array(paths, pa.string())])


def _check_rows(uri: pa.ChunkedArray, given: pa.ChunkedArray, scene: pa.ChunkedArray, where: str, before: int) -> None:
    """Refuse a listing for its first row that cannot be understood, behind so many others.

    Columns are looked at as a whole; what Python alone can judge is asked of the few rows that may be odd.
    """
    has_no_uri = pc.fill_null(pc.equal(uri, ""), True)
    has_no_scene = pc.invert(pc.is_in(scene, value_set=pa.array([None, "", *SCENES])))
    may_be_odd = pc.or_(pc.invert(pc.string_is_ascii(given)), pc.invert(pc.utf8_is_printable(given)))
    is_odd = pc.fill_null(pc.or_(may_be_odd, pc.greater(pc.utf8_length(given), MAX_ID_LENGTH)), False)
    wrong = [
        _first(has_no_uri, lambda _: True, uri),
        _first(has_no_scene, lambda _: True, scene),
        _first(is_odd, lambda id: len(id) > MAX_ID_LENGTH or not id.isprintable(), given),
        _first(pc.greater(pc.binary_length(uri), MAX_URI_LENGTH), lambda _: True, uri),
    ]
    places = [(found[0], check) for check, found in enumerate(wrong) if found is not None]
    if not places:
        return
    row, check = min(places)
    _, value = wrong[check]  # type: ignore[misc]
    row_name = f"{where} row {before + row + 1}"
    raise ConfigError(
        (
            f"{row_name} has no uri; give every row one",
            f"{row_name}: scene is {value!r}; takes indoor, outdoor or nothing",
            f"{row_name}: id takes up to {MAX_ID_LENGTH} printable characters, got {str(value)[:40]!r}",
            f"{row_name}: the URI has more than {MAX_URI_LENGTH} bytes: {str(value)[:40]!r}…; no store has such names",
        )[check]
    )


def _check_secrets(found: pa.Table, where: str, before: int) -> None:
    """Refuse a listing for its first row, behind so many others, of which a manifest would store what is secret.

    Looked at is what is stored: the row's URI joined with the listing's place, and the id that it gives.
    """
    for name, is_wrong, what in (
        ("uri", lambda text: carries_secret(text) and not is_signed(text), "URI"),
        ("given", carries_secret, "id"),
    ):
        column = found.column(name)
        wrong = _first(pc.fill_null(pc.match_substring_regex(column, MAY_CARRY), False), is_wrong, column)
        if wrong is not None:
            raise ConfigError(
                f"{where} row {before + wrong[0] + 1}: the {what} carries credentials; give them through the "
                "environment or a profile, where no manifest can store them"
            )


def _first(
    may_be: pa.ChunkedArray, is_wrong: Callable[[str], bool], column: pa.ChunkedArray
) -> tuple[int, str | None] | None:
    """Place and value of the first row that is wrong among those that may be; None where none is."""
    for place in np.flatnonzero(may_be.to_numpy()).tolist():
        value = column[place].as_py()
        if is_wrong(value):
            return place, value
    return None


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
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    begun, size, comments, waiting = "", 0, 0, list[str]()
    while True:
        block = file.read(_BLOCK)
        size += len(block)
        if size > MAX_LISTING_BYTES:
            raise Unreasonable(f"has more than {MAX_LISTING_BYTES} bytes")
        lines = _ENDS.split(begun + decoder.decode(block, final=not block))
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


def _listing_columns(
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
            for table in tables:
                columns = [
                    table.column(name).cast(pa.string())
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
                same = {"kept": _kept(others, settings.keep, where), "pose": _poses(held)}
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


def _kept(table: pa.Table, keep: tuple[str, ...], where: str) -> pa.Array:
    if not keep:
        return pa.nulls(table.num_rows, pa.string())
    try:
        return pa.array([kept_values(row, keep) for row in rows_of(table)], pa.string())
    except ValueError as error:
        raise ConfigError(f"{where}: {error}; choose others with input.keep_columns") from error
