"""The manifest: what a run was asked to do, as Parquet on the output storage.

The listing is written once. Every start of the run compares it with the ledger and does what is left. Of more than a
million rows there are several files; whatever goes through all rows does so part by part.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import as_texts, parse_json, read_parquet
from pager_ray.errors import StorageError
from pager_ray.listing.listed import (
    LISTED_SCHEMA,
    MANIFEST_SCHEMA,
    Listed,
    Listing,
    Texts,
    completed,
    with_settled_places,
)
from pager_ray.listing.parts import Parts, regrouped
from pager_ray.listing.repeats import hashes_of
from pager_ray.storage import Folder, error_reason

MANIFEST_NAME = "manifest.parquet"

# Rows that are digested together; part of what the digest is of.
_DIGESTED_ROWS = 65_536

FILE_ROWS = 1 << 20
"""Rows of one of the manifest's files."""

_TOLD = ["id", "uri", "scene", "sample"]
# What else a manifest has.
_UNTOLD, _STAMP = ("error_class", "message", "origin", "kept", "sequence"), "stamp"
_TIME = "time"
_TEXTS = [field.name for field in MANIFEST_SCHEMA if pa.types.is_string(field.type)]
_PLACES = ["offset", "size", "row_group", "row"]

# Rows that are sorted at a time, and those that wait in memory for their turn.
_SORTED_ROWS = 1_000_000
_WAITING_ROWS = 16_384

_MORE = b"pager_ray.manifest"
"""Metadata of the first file, as JSON: how many rows there are in all, and the files that the others are in."""

_TOKEN = 12
_PART = re.compile(rf"manifest-[0-9a-f]{{{_TOKEN}}}-[0-9]{{5}}\.parquet")

Rows = TypeVar("Rows")


def listing_digest(listed: Sequence[Listed] | pa.Table) -> str:
    """SHA-256 over every row's id, URI, scene, sample and place in a container, in order.

    Column by column for 65,536 rows at a time: each text's length in bytes as a little-endian int32 (−1 for none), then
    the texts themselves. Whatever characters a text has, it stays in its field. Of members of containers the four
    numbers of their places follow, as little-endian int64 (−1 for none): a container that was packed anew is another.
    Where there are cubemaps in containers the places of their faces are one more column of texts, and so are poses that
    decide how panoramas are levelled, and masks.
    """
    listing = Listing.of(listed)
    if listing.digest is None:
        listing.digest = _digest(listing)
    return listing.digest


def _digest(listing: Listing) -> str:
    has_members = any(listing.has(name) for name in _PLACES)
    digest = hashlib.sha256()
    told = [*_TOLD, *(name for name in ("face_places", "pose", "mask") if listing.has(name))]
    for table in regrouped(listing.parts([*told, *_PLACES]), _DIGESTED_ROWS):
        for column in table.select(_PLACES).columns if has_members else []:
            digest.update(pc.fill_null(column, -1).to_numpy().astype("<i8").tobytes())
        for column in table.select(told).columns:
            _digest_texts(digest, column)
    return digest.hexdigest()


def _digest_texts(digest: hashlib._Hash, column: pa.ChunkedArray) -> None:
    # Copied together: a slice's buffers may begin anywhere.
    texts = pa.concat_arrays(column.chunks).cast(pa.large_binary())
    lengths = pc.fill_null(pc.binary_length(texts), -1)
    digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i4").tobytes())
    _, offsets, content = texts.drop_null().buffers()
    if content is not None:
        ends = np.frombuffer(offsets, np.int64)
        digest.update(memoryview(content)[ends[0] : ends[len(texts) - texts.null_count]])


def stored_digest(listed: Sequence[Listed] | pa.Table) -> str:
    """SHA-256 over all that a manifest has of a listing: of two with the same one, the rows are the same to the last
    column, those included that are no part of what a listing is."""
    listing = Listing.of(listed)
    others = [name for name in (*_UNTOLD, _STAMP, _TIME) if listing.has(name)]
    digest = hashlib.sha256(listing_digest(listing).encode())
    for table in regrouped(listing.parts(others), _DIGESTED_ROWS) if others else ():
        for name in others:
            column = table.column(name)
            digest.update(name.encode())
            if name == _STAMP:
                digest.update(column.is_valid().to_numpy().tobytes())
                digest.update(pc.fill_null(column, 0).to_numpy().astype("<i8").tobytes())
            elif name == _TIME:
                digest.update(pc.fill_null(column, np.nan).to_numpy().astype("<f8").tobytes())
            else:
                _digest_texts(digest, column)
    return digest.hexdigest()


def is_same_listing(one: Sequence[Listed] | pa.Table, other: Sequence[Listed] | pa.Table) -> bool:
    """Whether two listings name the same inputs, in whatever order and however their places are spelled.

    Which of several rows came first decides which one of them has an id that all of them want, and no more.
    """
    listings = [Listing.of(listed) for listed in (one, other)]
    if len({len(listing) for listing in listings}) > 1:
        return False
    groups = len(listings[0]) // _SORTED_ROWS + 1
    pairs = zip(*(_by_uri(listing, groups) for listing in listings), strict=True)
    return all(len({listing_digest(_in_order(table)) for table in pair}) == 1 for pair in pairs)


def _by_uri(listing: Listing, groups: int) -> Iterator[pa.Table]:
    """The rows in groups that are small enough to be sorted; those of a URI are in the same one of every listing."""
    if groups == 1:
        yield with_settled_places(listing.table)
        return
    waiting = [Parts(LISTED_SCHEMA, _WAITING_ROWS) for _ in range(groups)]
    for part in map(with_settled_places, listing.parts()):
        group = hashes_of(part.column("uri")).view(np.uint64) % np.uint64(groups)
        for number, rows in enumerate(waiting):
            rows.add(part.filter(pa.array(group == number)))
    for rows in waiting:
        yield rows.table()


def _in_order(table: pa.Table) -> pa.Table:
    """The rows in an order of their own, under the ids that they wanted."""
    copies = pc.fill_null(pc.equal(table.column("error_class"), "duplicate_id"), False)
    wanted = pc.replace_substring_regex(table.column("id"), r"~\d+$", "")
    ids = pc.if_else(copies, wanted, table.column("id"))
    table = table.set_column(table.schema.get_field_index("id"), MANIFEST_SCHEMA.field("id"), ids)
    return table.sort_by([("uri", "ascending"), ("id", "ascending"), ("scene", "ascending")])


def write_manifest(folder: Folder, listed: Sequence[Listed]) -> None:
    """Put the listing as Parquet files of up to 1,048,576 rows, whole or not at all.

    The first is called ``manifest.parquet`` and is put last: it names the others, which no other manifest has.
    """
    folder.make()
    listing = Listing.of(listed)
    count = max(1, -(-len(listing) // FILE_ROWS))
    # Without what is signed: it is for its bearer, and for an hour.
    token = uuid.uuid4().hex[:_TOKEN]
    names = [f"manifest-{token}-{number:05}.parquet" for number in range(1, count)]
    first = MANIFEST_SCHEMA.empty_table()
    for number, table in enumerate(regrouped(listing.parts(MANIFEST_SCHEMA.names), FILE_ROWS)):
        if number:
            folder.write(names[number - 1], _encoded(table))
        else:
            first = table
    told = json.dumps({"rows": len(listing), "files": names})
    folder.write(MANIFEST_NAME, _encoded(first.replace_schema_metadata({_MORE: told} if names else None)))
    # Those of the manifest before, and of writers that died.
    folder.delete_where(lambda name: _PART.fullmatch(name) is not None and name not in names, keep_folder=True)


def is_manifest(name: str) -> bool:
    """Whether a file of the manifest's folder is a part of one."""
    return name == MANIFEST_NAME or _PART.fullmatch(name) is not None


def rows_to_do(manifest: pa.Table, ids: Texts | Sequence[str], attempts: Mapping[str, int]) -> pa.Table:
    """The manifest's rows that one start of a job has to do, with how often each was tried before.

    Args:
        manifest: all rows.
        ids: of the rows to do.
        attempts: how often some of them were tried before.
    """
    manifest = completed(manifest)
    wanted = ids.column if isinstance(ids, Texts) else pa.array(ids, pa.string())
    return with_attempts(manifest.filter(pc.is_in(manifest.column("id"), value_set=wanted)), attempts)


def with_attempts(rows: pa.Table, attempts: Mapping[str, int]) -> pa.Table:
    """Rows of the manifest with how often each was tried before; null for those that were not."""
    if not attempts:
        return rows.append_column("attempts", pa.nulls(rows.num_rows, pa.int32()))
    tried = pa.array([attempts.get(id) for id in Texts(rows.column("id"))], pa.int32())
    return rows.append_column("attempts", tried)


def _typed(table: pa.Table) -> pa.Table:
    for field in MANIFEST_SCHEMA:
        if field.name in table.column_names and field.name not in _TEXTS:
            place = table.schema.get_field_index(field.name)
            table = table.set_column(place, field, table.column(place).cast(field.type))
    return table


def _encoded(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def stored_listing(folder: Folder) -> Listing:
    """The manifest's rows, on this machine's disk where they are many.

    Raises:
        StorageError: it is missing or no manifest.
    """
    rows = _all_files(folder, None, lambda: Parts(LISTED_SCHEMA), lambda rows, table: rows.add(completed(table)))
    return Listing(rows)


def check_manifest(folder: Folder, rows: int) -> None:
    """Look whether the manifest is there with all its files, without parsing their rows.

    Raises:
        StorageError: it is missing, no manifest, or one of another number of rows.
    """
    data = folder.read(MANIFEST_NAME)
    try:
        metadata = pq.read_metadata(pa.BufferReader(data))
        told = parse_json((metadata.metadata or {}).get(_MORE, b'{"files": []}'))
        if told.get("rows", metadata.num_rows) != rows:
            raise ValueError(f"it has {told.get('rows', metadata.num_rows)} rows, where {rows} were listed")
        if lacking := {*told["files"]} - {*folder.names()} if told["files"] else ():
            raise ValueError(f"it names {min(lacking)}, which is not there")
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, MANIFEST_NAME, error) from error


def read_manifest(folder: Folder, columns: Sequence[str] | None = None) -> pa.Table:
    """The manifest's rows, in memory.

    Raises:
        StorageError: it is missing or no manifest.
    """
    tables: list[pa.Table] = _all_files(folder, columns, list, lambda found, table: found.append(table))
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables)


def _all_files(
    folder: Folder, columns: Sequence[str] | None, begin: Callable[[], Rows], add: Callable[[Rows, pa.Table], None]
) -> Rows:
    """All files of one manifest, gathered; from the beginning where another one took its place meanwhile."""
    data = folder.read(MANIFEST_NAME)
    while True:
        rows = begin()
        try:
            first, names, told = _first_file(folder, data, columns)
            count = first.num_rows
            add(rows, first)
            for name in names:
                table = _parse(folder, name, folder.read(name), columns)
                count += table.num_rows
                add(rows, table)
            if names and count != told:
                raise StorageError(f"{folder.uri(MANIFEST_NAME)}: names files of {told} rows, which have {count}")
            return rows
        except StorageError:
            now = folder.read(MANIFEST_NAME)
            if now == data:
                raise
            data = now


def _first_file(folder: Folder, data: bytes, columns: Sequence[str] | None) -> tuple[pa.Table, list[str], int]:
    """The rows of ``manifest.parquet``, the names of the files behind it, and how many rows all have."""
    table = _parse(folder, MANIFEST_NAME, data, columns)
    told = (table.schema.metadata or {}).get(_MORE)
    table = table.replace_schema_metadata(None)
    if told is None:
        return table, [], table.num_rows
    try:
        facts = parse_json(told)
        names, rows = [str(name) for name in facts["files"]], int(facts["rows"])
        if not all(_PART.fullmatch(name) for name in names):
            raise ValueError("it names files that are none of a manifest")
        return table, names, rows
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, MANIFEST_NAME, error) from error


def _parse(folder: Folder, name: str, data: bytes, columns: Sequence[str] | None) -> pa.Table:
    try:
        table = read_parquet(pa.BufferReader(data), len(data), columns)
        table = _typed(as_texts(table, _TEXTS))
        table.validate(full=True)
        if columns is None and "id" not in table.column_names:
            raise ValueError("it has no column id")
        if any(table.column(name).null_count for name in ("id", "uri") if name in table.column_names):
            raise ValueError("it has rows without id or uri")
        return table
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        # Arrow tells of some damage with an OSError; the bytes themselves are here already.
        raise _damaged(folder, name, error) from error


def _damaged(folder: Folder, name: str, error: Exception) -> StorageError:
    return StorageError(
        f"{folder.uri(name)}: is no Parquet file ({error_reason(error)}); restore it from a copy, or start anew with "
        "--overwrite"
    )
