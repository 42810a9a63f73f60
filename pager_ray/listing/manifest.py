"""The manifest: what a run was asked to do, as Parquet on the output storage.

The listing is written once. Every start of the run compares it with the ledger and does what is left.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import as_texts, read_parquet
from pager_ray.errors import StorageError
from pager_ray.listing.listed import MANIFEST_SCHEMA, SIGNED, Listed, Listing, Texts, completed
from pager_ray.storage import Folder, error_reason

MANIFEST_NAME = "manifest.parquet"

# Rows that are digested together; part of what the digest is of.
_DIGESTED_ROWS = 65_536

_TEXTS = [field.name for field in MANIFEST_SCHEMA if pa.types.is_string(field.type)]
_PLACES = ["offset", "size", "row_group", "row"]


def listing_digest(listed: Sequence[Listed] | pa.Table) -> str:
    """SHA-256 over every row's id, URI, scene, sample and place in a container, in order.

    Column by column for 65,536 rows at a time: each text's length in bytes as a little-endian int32 (−1 for none), then
    the texts themselves. Whatever characters a text has, it stays in its field. Of members of containers the four
    numbers of their places follow, as little-endian int64 (−1 for none): a container that was packed anew is another.
    Where there are cubemaps in containers the places of their faces are one more column of texts.
    """
    whole = Listing.of(listed).table
    faces = whole.column("face_places")
    table = whole.select(["id", "uri", "scene", "sample", *(["face_places"] if faces.null_count < len(faces) else [])])
    places = whole.select(_PLACES)
    has_members = any(column.null_count < len(column) for column in places.columns)
    digest = hashlib.sha256()
    for start in range(0, table.num_rows, _DIGESTED_ROWS):
        for column in places.slice(start, _DIGESTED_ROWS).columns if has_members else []:
            digest.update(pc.fill_null(column, -1).to_numpy().astype("<i8").tobytes())
        for column in table.slice(start, _DIGESTED_ROWS).columns:
            # Copied together: a slice's buffers may begin anywhere.
            texts = pa.concat_arrays(column.chunks).cast(pa.large_binary())
            lengths = pc.fill_null(pc.binary_length(texts), -1)
            digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i4").tobytes())
            digest.update(b"".join(texts.drop_null().to_pylist()))
    return digest.hexdigest()


def is_same_listing(one: Sequence[Listed] | pa.Table, other: Sequence[Listed] | pa.Table) -> bool:
    """Whether two listings name the same inputs, in whatever order.

    Which of several rows came first decides which one of them has an id that all of them want, and no more.
    """
    tables = [Listing.of(listed).table for listed in (one, other)]
    if len({table.num_rows for table in tables}) > 1:
        return False
    return len({listing_digest(_in_order(table)) for table in tables}) == 1


def _in_order(table: pa.Table) -> pa.Table:
    """The rows in an order of their own, under the ids that they wanted."""
    copies = pc.fill_null(pc.equal(table.column("error_class"), "duplicate_id"), False)
    wanted = pc.replace_substring_regex(table.column("id"), r"~\d+$", "")
    ids = pc.if_else(copies, wanted, table.column("id"))
    table = table.set_column(table.schema.get_field_index("id"), MANIFEST_SCHEMA.field("id"), ids)
    return table.sort_by([("uri", "ascending"), ("id", "ascending"), ("scene", "ascending")])


def write_manifest(folder: Folder, listed: Sequence[Listed]) -> None:
    """Put the listing as one Parquet file, whole or not at all."""
    folder.make()
    _put(folder, MANIFEST_NAME, Listing.of(listed).table)


def rows_to_do(manifest: pa.Table, ids: Texts | Sequence[str], attempts: Mapping[str, int]) -> pa.Table:
    """The manifest's rows that one start of a job has to do, with how often each was tried before.

    Args:
        manifest: all rows.
        ids: of the rows to do.
        attempts: how often some of them were tried before.
    """
    manifest = completed(manifest)
    wanted = ids.column if isinstance(ids, Texts) else pa.array(ids, pa.string())
    rows = manifest.filter(pc.is_in(manifest.column("id"), value_set=wanted))
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


def _put(folder: Folder, name: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    # What is signed is for its bearer, and for an hour.
    pq.write_table(table.drop_columns([SIGNED.name]), sink, compression="zstd")
    folder.write(name, sink.getvalue())


def read_manifest(folder: Folder, columns: Sequence[str] | None = None) -> pa.Table:
    """The manifest's rows.

    Raises:
        StorageError: it is missing or no manifest.
    """
    data = folder.read(MANIFEST_NAME)
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
        raise StorageError(
            f"{folder.uri(MANIFEST_NAME)}: is no Parquet file ({error_reason(error)}); restore it from a copy, or "
            "start anew with --overwrite"
        ) from error
