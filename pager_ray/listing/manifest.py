"""The manifest: what a run was asked to do, as Parquet on the output storage.

The listing is written once. Every start of the run compares it with the ledger and does what is left.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.errors import StorageError
from pager_ray.listing.sources import Listed
from pager_ray.storage import Folder, error_reason

MANIFEST_NAME = "manifest.parquet"

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("scene", pa.string()),
        pa.field("error_class", pa.string()),
        pa.field("message", pa.string()),
        pa.field("sample", pa.string()),
    ]
)


def listing_digest(listed: Sequence[Listed]) -> str:
    """SHA-256 over every row's id, URI, scene and sample, in order."""
    digest = hashlib.sha256()
    for row in listed:
        # As JSON: whatever characters a name has, they stay in their field.
        digest.update(json.dumps([row.id, row.uri, row.scene, row.sample]).encode() + b"\n")
    return digest.hexdigest()


def write_manifest(folder: Folder, listed: Sequence[Listed]) -> None:
    """Put the listing as one Parquet file, whole or not at all."""
    columns = {name: [getattr(row, name) for row in listed] for name in MANIFEST_SCHEMA.names}
    folder.make()
    _put(folder, MANIFEST_NAME, pa.table(columns, schema=MANIFEST_SCHEMA))


def rows_to_do(manifest: pa.Table, ids: Sequence[str], attempts: Mapping[str, int]) -> pa.Table:
    """The manifest's rows that one start of a job has to do, with how often each was tried before.

    Args:
        manifest: all rows.
        ids: of the rows to do.
        attempts: how often some of them were tried before.
    """
    rows = manifest.filter(pc.is_in(manifest.column("id"), value_set=pa.array(ids, pa.string())))
    tried = pa.array([attempts.get(id) for id in rows.column("id").to_pylist()], pa.int32())
    return rows.append_column("attempts", tried)


def _put(folder: Folder, name: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    folder.write(name, sink.getvalue())


def read_manifest(folder: Folder, columns: Sequence[str] | None = None) -> pa.Table:
    """The manifest's rows.

    Raises:
        StorageError: it is missing or no manifest.
    """
    data = folder.read(MANIFEST_NAME)
    try:
        return pq.read_table(io.BytesIO(data), columns=columns)
    except (pa.ArrowException, OSError) as error:
        # Arrow tells of some damage with an OSError; the bytes themselves are here already.
        raise StorageError(
            f"{folder.uri(MANIFEST_NAME)}: is no Parquet file ({error_reason(error)}); restore it from a copy, or "
            "start anew with --overwrite"
        ) from error
