"""A listing that grew since a run began: what is new in it, what is gone from it, and what was replaced in its place.

An input is its URI, and its id too where one URI is that of several. It keeps the id that it has, whatever others there
are by now; what is gone stays an input, as it was predicted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.listing.listed import (
    LISTED_SCHEMA,
    MANIFEST_SCHEMA,
    SIGNED,
    Listed,
    Listing,
    Texts,
    completed,
    with_settled_places,
)
from pager_ray.masking import mask_uri
from pager_ray.read.ranges import STATE_KEYS

_PLACES: Final = ("offset", "size", "row_group", "row")
"""Where a member of a container lies: other bytes lie elsewhere, all but always."""

_DECIDED: Final = ("pose", "mask")
"""What a listing decides of an input beside its bytes."""


@dataclass(frozen=True)
class Growth:
    """A manifest and what it grew by.

    Attributes:
        table: ``MANIFEST_SCHEMA``: the inputs that were there, as they are now, and the new ones behind them.
        new: how many those are.
        gone: inputs that the sources no longer name.
        changed: ids of inputs that were replaced since they were listed.
    """

    table: pa.Table
    new: int
    gone: int
    changed: Texts


def stamp_of(facts: Mapping[str, Any]) -> int:
    """A number that tells whether a file is still the one that it was, from its size and etag, or time.

    Args:
        facts: what fsspec's ``find`` or ``info`` says of it.
    """
    state = next((str(facts[name]) for name in STATE_KEYS if facts.get(name)), "")
    text = f"{facts.get('size')} {state}".encode("utf-8", "replace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def joined_stamps(stamps: Sequence[Any]) -> int:
    """One number for the stamps, and what else there is to tell, of several files."""
    digest = blake2b(json.dumps([*stamps]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def grown(standing: pa.Table, listed: Sequence[Listed] | pa.Table) -> Growth:
    """Compare a run's manifest with what its sources name now."""
    before, now = completed(standing), Listing.of(listed).table
    placed, placed_now = with_settled_places(before), with_settled_places(now)
    keys_before, keys_now = _keys(placed, placed_now)
    places = pc.index_in(keys_now, value_set=keys_before).combine_chunks()
    is_new = places.is_null()
    gone = pc.sum(pc.invert(pc.is_in(keys_before, value_set=keys_now))).as_py() or 0
    known = placed_now.filter(pc.invert(is_new))
    at = places.drop_null().to_numpy()
    stood = placed.take(pa.array(at))
    changed = np.zeros(len(at), dtype=bool)
    # Where either side has no stamp nobody can tell.
    stamps = [table.column("stamp") for table in (stood, known)]
    changed |= pc.fill_null(pc.not_equal(*stamps), False).to_numpy()
    for name in _PLACES:
        mine, theirs = (pc.fill_null(table.column(name), -1).to_numpy() for table in (stood, known))
        changed |= mine != theirs
    # A panorama that is levelled otherwise, or has another mask, is another one.
    for name in _DECIDED:
        texts = [pc.fill_null(table.column(name), "") for table in (stood, known)]
        changed |= pc.not_equal(*texts).to_numpy()
    ids = Texts(stood.column("id").filter(pa.array(changed)))
    table = _as_now(before, now.filter(pc.invert(is_new)), at)
    new = _with_free_ids(now.filter(is_new), before.column("id"))
    return Growth(pa.concat_tables([table, new]), new.num_rows, gone, ids)


def _keys(*tables: pa.Table) -> list[pa.ChunkedArray]:
    """What inputs are known by: their URIs, and their ids too where several have one URI, as where each is levelled
    otherwise, or where signatures are all that told URIs apart."""
    uris = [table.column("uri") for table in tables]
    shared = []
    for uri in uris:
        counted = pc.value_counts(uri)
        shared.append(counted.field("values").filter(pc.greater(counted.field("counts"), 1)))
    several = pa.concat_arrays(shared)
    if not len(several):
        return uris
    return [
        pc.if_else(pc.is_in(uri, value_set=several), pc.binary_join_element_wise(uri, table.column("id"), "\0"), uri)
        for uri, table in zip(uris, tables, strict=True)
    ]


def _as_now(before: pa.Table, known: pa.Table, at: np.ndarray) -> pa.Table:
    """The manifest with stamps, places and poses as they are now."""
    order = np.full(before.num_rows, -1, dtype=np.int64)
    order[at] = np.arange(len(at))
    take = pa.array(order, mask=order < 0)
    for name in ("stamp", "face_places", *_DECIDED, *_PLACES, SIGNED.name):
        field = LISTED_SCHEMA.field(name)
        new = known.column(name).take(take)
        # What is decided anew may be gone; the others are only not known.
        new = new if name in _DECIDED else pc.coalesce(new, before.column(name))
        kept = pc.if_else(pa.array(order >= 0), new, before.column(name))
        before = before.set_column(before.schema.get_field_index(name), field, kept)
    return before


def _with_free_ids(new: pa.Table, taken: pa.ChunkedArray) -> pa.Table:
    """New inputs under ids that nobody has: their whole path where another has the one they would have."""
    clash = pc.is_in(new.column("id"), value_set=taken).to_numpy()
    if not clash.any():
        return new
    used = {*Texts(taken), *Texts(new.column("id"))}
    ids, classes, messages = (new.column(name).to_pylist() for name in ("id", "error_class", "message"))
    uris = new.column("uri")
    for place in np.flatnonzero(clash).tolist():
        name, path = ids[place], mask_uri(uris[place].as_py()).rpartition("://")[2].lstrip("/")
        if path not in used:
            ids[place] = path
        else:
            copy = 2
            while f"{name}~{copy}" in used:
                copy += 1
            ids[place] = f"{name}~{copy}"
            classes[place] = "duplicate_id"
            messages[place] = f"id {name!r} is already taken; give every row an id of its own"
        used.add(ids[place])
    for name, values in (("id", ids), ("error_class", classes), ("message", messages)):
        field = MANIFEST_SCHEMA.field(name)
        new = new.set_column(new.schema.get_field_index(name), field, pa.array(values, field.type))
    return new
