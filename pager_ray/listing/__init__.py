"""From ``input.uris`` to the manifest: one row per input, with a unique id."""

from pager_ray.listing.manifest import MANIFEST_SCHEMA, Manifest, read_manifest, write_manifest
from pager_ray.listing.sources import Listed, list_inputs

__all__ = ["MANIFEST_SCHEMA", "Listed", "Manifest", "list_inputs", "read_manifest", "write_manifest"]
