"""From ``input.uris`` to the manifest: one row per input, with a unique id."""

from pager_ray.listing.manifest import MANIFEST_SCHEMA, listing_digest, read_manifest, rows_to_do, write_manifest
from pager_ray.listing.sources import Listed, list_inputs

__all__ = [
    "MANIFEST_SCHEMA",
    "Listed",
    "list_inputs",
    "listing_digest",
    "read_manifest",
    "rows_to_do",
    "write_manifest",
]
