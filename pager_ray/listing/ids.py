"""The ids that inputs get: given by a listing, or derived from where a file lies.

A derived id is the path inside the folder (or glob, or listing) without its extension. Where that is ambiguous the
extension stays, and where that is ambiguous too the id is the whole path. A member of a container has a shorter one
first: its sample's key, or the value of a column called ``id``, ``key``, …; its path begins with the container's name.

Ids of millions of inputs are settled as columns; Python sees the rows that are in trouble.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.errors import ConfigError
from pager_ray.listing.listed import LISTED_SCHEMA, MANIFEST_SCHEMA, SIGNED, Listing, Texts
from pager_ray.masking import mask_uri

MAX_TAKEN = 100_000
"""So many rows, or a tenth of all, may repeat an id and be rejects each; more is a mistake as a whole."""

MAY_BE_SECRET = "[@?]"
"""Only URIs with one of these can have anything to mask."""

_SAME = ("origin", "offset", "size", "row_group", "row", "kept", "stamp", "face_places")
"""Columns that come into the manifest as they are."""

# What sources are expanded to, before ids are settled. An input has an id that was given, or a path that one is derived
# from. Names that are no UTF-8 come with their bad bytes written out, and without ``is_utf8``.
FOUND_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("given", pa.string()),
        pa.field("relative", pa.string()),
        pa.field("scene", pa.string()),
        pa.field("is_utf8", pa.bool_(), nullable=False),
        pa.field("origin", pa.string()),
        # The id to take where it is nobody else's.
        pa.field("key", pa.string()),
        pa.field("error_class", pa.string()),
        pa.field("message", pa.string()),
        *(MANIFEST_SCHEMA.field(name) for name in _SAME if name != "origin"),
        SIGNED,
    ]
)


def found_table(rows: int, **columns: Any) -> pa.Table:
    """``FOUND_SCHEMA`` from some of its columns; the others are null."""
    arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in FOUND_SCHEMA]
    return pa.table(arrays, schema=FOUND_SCHEMA)


def settle_ids(found: pa.Table) -> Listing:
    """Give every input a unique id; see the module's text for the rule.

    An input whose id is taken becomes a reject under another (``room~2``); one without ``is_utf8`` is a reject, too.

    Args:
        found: ``FOUND_SCHEMA``.
    """
    uri = found.column("uri")
    chosen = _chosen_ids(found)
    taken, owner = _taken(chosen)
    if len(taken) > max(MAX_TAKEN, len(chosen) // 10):
        raise ConfigError(
            f"input.uris: {len(taken):,} of {len(chosen):,} rows have the id of an earlier row (first: "
            f"{chosen[int(taken[0])].as_py()[:200]!r}); list each panorama once, with an id of its own"
        )
    spare_ids, messages = _spare_ids(chosen, taken, owner, uri)
    is_taken = np.zeros(len(chosen), dtype=bool)
    is_taken[taken] = True
    chosen = _replaced(chosen, is_taken, spare_ids)
    classes = pc.if_else(pa.array(is_taken), "duplicate_id", found.column("error_class"))
    texts = _replaced(found.column("message"), is_taken, messages)
    is_bad = ~found.column("is_utf8").to_numpy()
    if is_bad.any():
        names = Texts(uri.filter(pa.array(is_bad)))
        bad = [f"{mask_uri(name)}: the name is not UTF-8 and cannot be stored; rename the file" for name in names]
        classes = pc.if_else(pa.array(is_bad), "bad_name", classes)
        texts = _replaced(texts, is_bad, bad)
    samples = pa.nulls(len(chosen), pa.string())
    same = (*_SAME, SIGNED.name)
    columns = [chosen, uri, found.column("scene"), classes, texts, samples, *(found.column(name) for name in same)]
    return Listing(pa.table(columns, schema=LISTED_SCHEMA))


def once(found: pa.Table) -> pa.Table:
    """The inputs without those that repeat an earlier one: the same URI under the same id and scene.

    What is signed may be told apart by its signature alone, as where a token names the picture.

    Args:
        found: ``FOUND_SCHEMA``.
    """
    uris = _codes(pc.coalesce(found.column(SIGNED.name), found.column("uri")))
    if len(uris) == 0 or int(uris.max()) + 1 == len(uris):
        return found
    keys = uris.astype(np.int64)
    for name in ("given", "scene", "is_utf8"):
        codes = _codes(pc.fill_null(found.column(name).cast(pa.string()), "\0"))
        # Numbered anew each time: the product of all would be too large for a number.
        _, keys = np.unique(keys * (int(codes.max()) + 1) + codes, return_inverse=True)
    _, first = np.unique(keys, return_index=True)
    return found if len(first) == len(keys) else found.take(pa.array(np.sort(first)))


def _chosen_ids(found: pa.Table) -> pa.ChunkedArray:
    """The given ids, and for other inputs the shortest candidate that is nobody else's."""
    given = found.column("given")
    is_given = pc.is_valid(given)
    if pc.all(is_given).as_py():
        return given
    derived = found.filter(pc.invert(is_given))
    reserved = given.drop_null()
    chosen, waiting = None, np.ones(derived.num_rows, dtype=bool)
    key = derived.column("key")
    for candidates in [*([key] if key.null_count < len(key) else []), *_candidates(derived)]:
        fits = waiting & _is_unique(candidates) & candidates.is_valid().to_numpy()
        if len(reserved):
            fits &= ~pc.is_in(candidates, value_set=reserved).to_numpy()
        chosen = candidates if chosen is None else pc.if_else(pa.array(waiting), candidates, chosen)
        if candidates is key:
            # Paths come after keys: one that is somebody's key stays longer.
            reserved = pa.chunked_array([*reserved.chunks, *candidates.filter(pa.array(fits)).chunks], pa.string())
        waiting &= ~fits
        if not waiting.any():
            break
    assert chosen is not None
    if len(derived) == len(found):
        return chosen
    return _replaced(given, ~is_given.to_numpy(), chosen)


def _candidates(derived: pa.Table) -> Iterator[pa.ChunkedArray]:
    """Possible ids of inputs without one, shortest first: without extension, with it, the whole path."""
    relative = derived.column("relative")
    # As posixpath.splitext: dots that a name begins with are no extension's.
    yield pc.replace_substring_regex(relative, r"([^/.][^/]*)\.[^/.]*$", r"\1")
    yield relative
    uri = derived.column("uri")
    may_be_secret = pc.match_substring_regex(uri, MAY_BE_SECRET)
    masked = [mask_uri(text) for text in Texts(uri.filter(may_be_secret))]
    uri = _replaced(uri, may_be_secret.to_numpy(), masked)
    yield pc.utf8_ltrim(pc.replace_substring_regex(uri, "^(?s:.*?)://", ""), characters="/")


def _codes(texts: pa.ChunkedArray) -> np.ndarray:
    """A number per text, equal for equal ones, from 0 on."""
    return pc.dictionary_encode(texts).combine_chunks().indices.to_numpy() if len(texts) else np.zeros(0, dtype=int)


def _is_unique(texts: pa.ChunkedArray) -> np.ndarray:
    codes = _codes(pc.fill_null(texts, "") if texts.null_count else texts)
    return np.asarray(np.bincount(codes)[codes] == 1) if len(codes) else np.zeros(0, dtype=bool)


def _taken(ids: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the ids that an earlier input has, and those inputs' places."""
    codes = _codes(ids)
    first = np.empty(codes.max() + 1 if len(codes) else 0, dtype=np.int64)
    # Backwards: the earliest place is the one that stays.
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    taken = np.flatnonzero(first[codes] != np.arange(len(codes)))
    return taken, first[codes[taken]]


def _spare_ids(
    ids: pa.ChunkedArray, taken: np.ndarray, owner: np.ndarray, uri: pa.ChunkedArray
) -> tuple[list[str], list[str]]:
    """Ids of their own for inputs whose id is taken, and why they are rejects."""
    if not len(taken):
        return [], []
    # Only these can be in a spare id's way.
    reserved = set(ids.filter(pc.match_substring(ids, "~")).to_pylist())
    next_copy: dict[str, int] = {}
    spares, messages = [], []
    for place, first in zip(taken.tolist(), owner.tolist(), strict=True):
        name = ids[place].as_py()
        copy = next_copy.get(name, 2)
        while (spare := f"{name}~{copy}") in reserved:
            copy += 1
        next_copy[name] = copy + 1
        reserved.add(spare)
        spares.append(spare)
        owner_uri = mask_uri(uri[first].as_py())
        messages.append(f"id {name!r} is already taken by {owner_uri}; give every row an id of its own")
    return spares, messages


def _replaced(texts: pa.ChunkedArray, mask: np.ndarray, by: Sequence[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts with those under the mask replaced by others, in order."""
    if not mask.any():
        return texts
    others = by if isinstance(by, pa.ChunkedArray) else pa.chunked_array([pa.array(by, pa.string())])
    # In one gather from both, one behind the other.
    places = np.arange(len(texts))
    places[mask] = len(texts) + np.arange(len(others))
    both = pa.chunked_array([*texts.chunks, *others.chunks], pa.string())
    return both.take(pa.array(places))
