"""The manifest: what a run was asked to do, as Parquet on the output storage.

Ray Data resumes only what it reads from files, so the listing is written once and every start of the run reads it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pager_ray.errors import StorageError
from pager_ray.listing.sources import Listed
from pager_ray.storage import Folder

MANIFEST_NAME = "manifest.parquet"

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("scene", pa.string()),
        pa.field("error_class", pa.string()),
        pa.field("message", pa.string()),
    ]
)


@dataclass(frozen=True)
class Manifest:
    """A written manifest: its folder, how many rows it has and a digest of them."""

    folder: Folder
    rows: int
    digest: str


def listing_digest(listed: Sequence[Listed]) -> str:
    """SHA-256 over every row's id, URI and scene, in order."""
    digest = hashlib.sha256()
    for row in listed:
        digest.update(f"{row.id}\0{row.uri}\0{row.scene or ''}\n".encode())
    return digest.hexdigest()


def write_manifest(folder: Folder, listed: Sequence[Listed]) -> Manifest:
    """Put the listing as one Parquet file, whole or not at all."""
    columns = {name: [getattr(row, name) for row in listed] for name in MANIFEST_SCHEMA.names}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=MANIFEST_SCHEMA), sink, compression="zstd")
    folder.make()
    folder.write(MANIFEST_NAME, sink.getvalue())
    return Manifest(folder, len(listed), listing_digest(listed))


def read_manifest(folder: Folder, columns: Sequence[str] | None = None) -> pa.Table:
    """The manifest's rows.

    Raises:
        StorageError: it is missing or no manifest.
    """
    data = folder.read(MANIFEST_NAME)
    try:
        return pq.read_table(io.BytesIO(data), columns=columns)
    except pa.ArrowInvalid as error:
        raise StorageError(f"{folder.uri(MANIFEST_NAME)}: is no Parquet file ({error})") from error
