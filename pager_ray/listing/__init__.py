"""From ``input.uris`` to the manifest: one row per input, with a unique id."""

from pager_ray.listing.growth import Growth, grown
from pager_ray.listing.listed import MANIFEST_SCHEMA, Listed, Listing, Texts, with_signatures
from pager_ray.listing.manifest import is_same_listing, listing_digest, read_manifest, rows_to_do, write_manifest
from pager_ray.listing.sources import list_inputs

__all__ = [
    "MANIFEST_SCHEMA",
    "Growth",
    "Listed",
    "Listing",
    "Texts",
    "grown",
    "is_same_listing",
    "list_inputs",
    "listing_digest",
    "read_manifest",
    "rows_to_do",
    "with_signatures",
    "write_manifest",
]
