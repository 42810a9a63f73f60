"""A run whose sources grew: what is new is added to its manifest, and what was replaced is done again.

The manifest is replaced as a whole, between two writes of the run file that say so: whatever dies in between, the next
start makes the two agree. Outcomes of what was replaced are given up before the manifest says what it is by now, so
that a start that dies there does them again, and never takes the old for the new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pager_ray.errors import ConfigError
from pager_ray.listing import (
    Growth,
    Listed,
    Listing,
    check_manifest,
    grown,
    is_same_listing,
    listing_digest,
    read_manifest,
    stored_digest,
    stored_listing,
    with_signatures,
    write_manifest,
)
from pager_ray.plain import get_logger
from pager_ray.runs.layout import RUN_FILE, RunLayout
from pager_ray.runs.runfile import read_run_file

log = get_logger(__name__)

_NAMED = 5
"""Inputs that a message names of many."""


@dataclass(frozen=True)
class Growing:
    """That a run takes what its sources have by now, and whether it does again what was replaced since it was listed.

    Inputs that are gone stay as they were predicted. An input that was replaced takes along those of its shards.
    """

    redo_changed: bool = False


def listing_sha256(layout: RunLayout, listed: Sequence[Listed], *, overwrite: bool, any_other: bool) -> str:
    """The digest of a listing: that of the run that stands, where it is the same one with its rows in another order.

    Args:
        any_other: that of the run that stands, whatever its listing is.
    """
    digest = listing_digest(listed)
    manifest = None if overwrite else read_run_file(layout.root)
    stands = (manifest or {}).get("identity", {}).get("listing.sha256")
    # Rows are compared where digests differ alone: millions of them are sorted for it.
    if not isinstance(stands, str) or stands == digest:
        return digest
    if any_other or is_same_listing(stored_listing(layout.manifest), listed):
        return stands
    return digest


def told_of(listed: Sequence[Listed]) -> dict[str, Any]:
    """What a run file tells of its manifest."""
    return {"rows": len(listed), "sha256": listing_digest(listed), "stored_sha256": stored_digest(listed)}


def inputs_of(layout: RunLayout, manifest: dict[str, Any], listed: Sequence[Listed]) -> Listing:
    """The manifest's rows, with the signatures that a listing gives them now.

    Raises:
        StorageError: the manifest is missing or damaged.
    """
    listing = Listing.of(listed)
    if manifest["listing"].get("stored_sha256") == stored_digest(listing):
        # To the last column what was listed just now: it need not be read back.
        check_manifest(layout.manifest, len(listing))
        return listing
    return with_signatures(stored_listing(layout.manifest), listing)


def growth_of(layout: RunLayout, listed: Sequence[Listed], growing: Growing | None) -> Growth | None:
    """What a run's manifest grows by; None for nothing.

    Raises:
        ConfigError: inputs were replaced, and are not to be done again.
    """
    if growing is None:
        return None
    growth = grown(read_manifest(layout.manifest), listed)
    log.info(
        "%s new inputs; %s of the %s before are no longer there and stay as they are",
        f"{growth.new:,}",
        f"{growth.gone:,}",
        f"{growth.table.num_rows - growth.new:,}",
    )
    if growth.changed and not growing.redo_changed:
        named = ", ".join(growth.changed[:_NAMED])
        raise ConfigError(
            f"--append: {len(growth.changed):,} inputs were replaced since they were listed (first: {named}); give "
            "--redo-changed to do them again, or another output"
        )
    return growth if growth.new or growth.changed else None


def note_growth(manifest: dict[str, Any], growth: Growth | None) -> pa.ChunkedArray | None:
    """Note what is about to change, before anything does; gives the ids whose outcomes no longer stand.

    Whatever dies after this, the next start makes the run file agree with the manifest: see :func:`settle_manifest`.
    """
    if growth is None:
        return None
    manifest["listing"]["is_changing"] = True
    manifest["starts"][-1]["appended"] = {"new": growth.new, "gone": growth.gone, "changed": len(growth.changed)}
    if not growth.changed:
        return None
    # Fewer outcomes will stand than were counted.
    manifest["counts"] = None
    log.info("%s inputs were replaced; they, and what shares their shards, are done again", f"{len(growth.changed):,}")
    return growth.changed.column


def settle_manifest(layout: RunLayout, manifest: dict[str, Any], growth: Growth | None) -> None:
    """Put the manifest that grew, and have the run file agree with it, now or after a start that died in between."""
    if growth is not None:
        write_manifest(layout.manifest, Listing.of(growth.table))
    elif not manifest["listing"].get("is_changing"):
        return
    listing = Listing.of(growth.table) if growth is not None else stored_listing(layout.manifest)
    manifest["listing"] = told_of(listing)
    manifest["identity"]["listing.sha256"] = manifest["listing"]["sha256"]
    layout.root.write_json(RUN_FILE, manifest)
