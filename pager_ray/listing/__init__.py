"""From ``input.uris`` to the manifest: one row per input, with a unique id."""

from pager_ray.listing.growth import Growth, grown
from pager_ray.listing.listed import MANIFEST_SCHEMA, ChosenIds, Listed, Listing, Texts, with_signatures
from pager_ray.listing.manifest import (
    check_manifest,
    is_same_listing,
    listing_digest,
    read_manifest,
    rows_to_do,
    stored_digest,
    stored_listing,
    with_attempts,
    write_manifest,
)
from pager_ray.listing.sources import list_inputs

__all__ = [
    "MANIFEST_SCHEMA",
    "ChosenIds",
    "Growth",
    "Listed",
    "Listing",
    "Texts",
    "check_manifest",
    "grown",
    "is_same_listing",
    "list_inputs",
    "listing_digest",
    "read_manifest",
    "rows_to_do",
    "stored_digest",
    "stored_listing",
    "with_attempts",
    "with_signatures",
    "write_manifest",
]
