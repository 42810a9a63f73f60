"""The ids that inputs get: given by a listing, or derived from where a file lies.

A derived id is the path inside the folder (or glob, or listing) without its extension. Where that is ambiguous the
extension stays, and where that is ambiguous too the id is the whole path. A member of a container has a shorter one
first: its sample's key, or the value of a column called ``id``, ``key``, …; its path begins with the container's name.

Ids of millions of inputs are settled as columns, part by part; Python sees the rows that are in trouble.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.errors import ConfigError
from pager_ray.listing.listed import LISTED_SCHEMA, MANIFEST_SCHEMA, SIGNED, Listing, Texts
from pager_ray.listing.parts import Parts
from pager_ray.listing.repeats import Numbered, codes_of, repeats
from pager_ray.masking import MAY_CARRY, mask_uri

MAX_TAKEN = 100_000
"""So many rows, or a tenth of all, may repeat an id and be rejects each; more is a mistake as a whole."""

_SAME = (
    *("origin", "offset", "size", "row_group", "row", "kept", "stamp", "sequence", "time", "face_places"),
    *("pose", "mask"),
)
"""Columns that come into the manifest as they are."""

# Possible ids of an input, shortest first.
_GIVEN, _KEY, _STEM, _RELATIVE, _PATH = range(5)
_READ = {
    _KEY: ["given", "key"],
    _STEM: ["given", "key", "relative"],
    _RELATIVE: ["given", "key", "relative"],
}
_NONE = np.zeros(0, dtype=np.int64)

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


def settle_ids(found: Parts) -> Listing:
    """Give every input a unique id; see the module's text for the rule.

    An input whose id is taken becomes a reject under another (``room~2``); one without ``is_utf8`` is a reject, too.

    Args:
        found: ``FOUND_SCHEMA``.
    """
    choice, are_unique = _choices(found)
    taken, owner = (_NONE, _NONE) if are_unique else _taken(found, choice)
    spare_ids, messages = _spare_ids(found, choice, taken, owner)
    settled, first = Parts(LISTED_SCHEMA), 0
    for part in found.read():
        rows = part.num_rows
        begin, end = np.searchsorted(taken, [first, first + rows])
        is_taken = np.zeros(rows, dtype=bool)
        is_taken[taken[begin:end] - first] = True
        chosen = _replaced(_ids(part, choice[first : first + rows]), is_taken, spare_ids[begin:end])
        classes = pc.if_else(pa.array(is_taken), "duplicate_id", part.column("error_class"))
        texts = _replaced(part.column("message"), is_taken, messages[begin:end])
        is_bad = ~part.column("is_utf8").to_numpy()
        uri = part.column("uri")
        if is_bad.any():
            names = Texts(uri.filter(pa.array(is_bad)))
            bad = [f"{mask_uri(name)}: the name is not UTF-8 and cannot be stored; rename the file" for name in names]
            classes = pc.if_else(pa.array(is_bad), "bad_name", classes)
            texts = _replaced(texts, is_bad, bad)
        samples = pa.nulls(rows, pa.string())
        part = _videos_as_sequences(part, chosen)
        same = (*_SAME, SIGNED.name)
        columns = [chosen, uri, part.column("scene"), classes, texts, samples, *(part.column(name) for name in same)]
        settled.add(pa.table(columns, schema=LISTED_SCHEMA))
        first += rows
    return Listing(settled)


def _videos_as_sequences(part: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """The inputs with the frames of a video as a sequence: what their ids share, or the video's URI in them."""
    # Rows of somebody's listing say themselves what they are of.
    if part.column("row_group").null_count == part.num_rows:
        return part
    is_listed = pc.is_valid(part.column("row_group"))
    is_frame = pc.and_(pc.starts_with(part.column("uri"), "video://"), is_listed)
    if not pc.any(is_frame).as_py():
        return part
    videos = pc.replace_substring_regex(ids, r"(^\d+::)|(/\d+$)", "")
    sequence = pc.if_else(is_frame, videos, part.column("sequence"))
    return part.set_column(part.schema.get_field_index("sequence"), FOUND_SCHEMA.field("sequence"), sequence)


def once(found: Parts) -> Parts:
    """The inputs without those that repeat an earlier one: the same URI under the same id, scene and pose.

    What is signed may be told apart by its signature alone, as where a token names the picture.

    Args:
        found: ``FOUND_SCHEMA``.
    """
    pairs = list(repeats(lambda: _addresses(found)))
    if not pairs:
        return found
    rows, firsts = (np.concatenate(some) for some in zip(*pairs, strict=True))
    order = np.argsort(rows)
    rows, keys = rows[order], firsts[order]
    names = ("given", "scene", "is_utf8", "pose")
    told = _at(found, rows, names)
    for name in names:
        codes = codes_of(pc.fill_null(told.column(name).cast(pa.string()), "\0"))
        # Numbered anew each time: the product of all would be too large for a number.
        _, keys = np.unique(keys * (int(codes.max()) + 1) + codes, return_inverse=True)
    _, first = np.unique(keys, return_index=True)
    if len(first) == len(rows):
        return found
    stays = np.ones(found.num_rows, dtype=bool)
    stays[np.delete(rows, first)] = False
    kept, at = Parts(FOUND_SCHEMA), 0
    for part in found.read():
        kept.add(part.filter(pa.array(stays[at : at + part.num_rows])))
        at += part.num_rows
    return kept


def _choices(found: Parts) -> tuple[np.ndarray, bool]:
    """Which of its possible ids each input takes, and whether they are known to be nobody else's.

    That is the given id, and for other inputs the shortest candidate that is unique.
    """
    choice = np.full(found.num_rows, _GIVEN, dtype=np.uint8)
    if found.has("given"):
        first = 0
        for part in found.read(["given"]):
            missing = part.column("given").is_null().to_numpy()
            choice[first : first + part.num_rows][missing] = _PATH
            first += part.num_rows
    else:
        choice[:] = _PATH
    waiting = choice == _PATH
    is_derived_alone = bool(waiting.all())
    for candidate in (*([_KEY] if found.has("key") else []), _STEM, _RELATIVE):
        if not waiting.any():
            break
        fits = waiting.copy()
        for rows, _ in repeats(partial(_rivals, found, choice, candidate, fits)):
            fits[rows[rows >= 0]] = False
        choice[fits] = candidate
        waiting &= ~fits
    return choice, is_derived_alone and not waiting.any()


def _rivals(found: Parts, choice: np.ndarray, candidate: int, fits: np.ndarray) -> Iterator[Numbered]:
    """Texts of which one must be unique to be an id: candidates, given ids and keys that are taken, without a row."""
    first = 0
    for part in found.read(_READ[candidate]):
        rows = part.num_rows
        chosen = choice[first : first + rows]
        texts = _candidate(part, candidate)
        if (chosen == _GIVEN).any():
            texts = pc.if_else(pa.array(chosen == _GIVEN), part.column("given"), texts)
        numbers = np.arange(first, first + rows)
        there = texts.is_valid().to_numpy()
        if not there.all():
            # Nobody is called nothing.
            fits[first : first + rows] &= there
            texts, numbers = texts.filter(pa.array(there)), numbers[there]
        yield texts, numbers
        if candidate != _KEY and (chosen == _KEY).any():
            # Paths come after keys: one that is somebody's key stays longer.
            keys = part.column("key").filter(pa.array(chosen == _KEY))
            yield keys, np.full(len(keys), -1)
        first += rows


def _candidate(part: pa.Table, number: int) -> pa.ChunkedArray:
    """A possible id of each input: its key; its path without extension, with it; the whole path, from its URI."""
    if number == _KEY:
        return part.column("key")
    relative = part.column("relative")
    if number == _STEM:
        return stems(relative)
    if number == _RELATIVE:
        return relative
    uri = part.column("uri")
    may_be_secret = pc.match_substring_regex(uri, MAY_CARRY)
    masked = [mask_uri(text) for text in Texts(uri.filter(may_be_secret))]
    uri = _replaced(uri, may_be_secret.to_numpy(), masked)
    path = pc.utf8_ltrim(pc.replace_substring_regex(uri, "^(?s:.*?)://", ""), characters="/")
    return pc.if_else(pc.equal(path, ""), uri, path)


def stems(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths without their extensions, as posixpath.splitext: dots that a name begins with are no extension's."""
    extension = posixpath.splitext(paths[0].as_py() or "")[1] if len(paths) else ""
    if extension.isascii() and extension:
        # Most inputs have the same one: to cut it off is a fortieth of a regular expression's work.
        is_name = pc.greater(pc.binary_length(paths), len(extension))
        for other in (f"/{extension}", f".{extension}"):
            is_name = pc.and_(is_name, pc.invert(pc.ends_with(paths, other)))
        has_it = pc.fill_null(pc.and_(is_name, pc.ends_with(paths, extension)), False).to_numpy()
        cut = pc.utf8_slice_codeunits(paths, 0, -len(extension))
        if has_it.all():
            return cut
        return _replaced(cut, ~has_it, _cut_by_pattern(paths.filter(pa.array(~has_it))))
    return _cut_by_pattern(paths)


def _cut_by_pattern(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(paths, r"([^/.][^/]*)\.[^/.]*$", r"\1")


def _ids(part: pa.Table, choice: np.ndarray) -> pa.ChunkedArray:
    """The ids that a part's inputs have chosen."""
    ids = part.column("given")
    for number in np.unique(choice):
        if number != _GIVEN:
            mask = choice == number
            some = part if mask.all() else part.filter(pa.array(mask))
            ids = _replaced(ids, mask, _candidate(some, int(number)))
    return ids


def _chosen(found: Parts, choice: np.ndarray) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """The place of each part's first row, and the part's ids."""
    first = 0
    for part in found.read(["given", "key", "relative", "uri"]):
        yield first, _ids(part, choice[first : first + part.num_rows])
        first += part.num_rows


def _taken(found: Parts, choice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the ids that an earlier input has, in order, and those inputs' places."""

    def numbered() -> Iterator[Numbered]:
        return ((ids, np.arange(first, first + len(ids))) for first, ids in _chosen(found, choice))

    pairs = [(rows[rows != owner], owner[rows != owner]) for rows, owner in repeats(numbered)]
    if not pairs:
        return _NONE, _NONE
    taken, owner = (np.concatenate(some) for some in zip(*pairs, strict=True))
    order = np.argsort(taken)
    taken, owner = taken[order], owner[order]
    if len(taken) > max(MAX_TAKEN, found.num_rows // 10):
        (name,) = _ids_at(found, choice, taken[:1])
        raise ConfigError(
            f"input.uris: {len(taken):,} of {found.num_rows:,} rows have the id of an earlier row (first: "
            f"{name[:200]!r}); list each panorama once, with an id of its own"
        )
    return taken, owner


def _ids_at(found: Parts, choice: np.ndarray, rows: np.ndarray) -> list[str]:
    names: list[str] = []
    for first, ids in _chosen(found, choice):
        begin, end = np.searchsorted(rows, [first, first + len(ids)])
        names += ids.take(pa.array(rows[begin:end] - first)).to_pylist()
    return names


def _at(found: Parts, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
    """Some columns of some rows, by their places, which ascend."""
    tables, first = [], 0
    for part in found.read(columns):
        begin, end = np.searchsorted(rows, [first, first + part.num_rows])
        tables.append(part.take(pa.array(rows[begin:end] - first)))
        first += part.num_rows
    return pa.concat_tables(tables)


def _addresses(found: Parts) -> Iterator[Numbered]:
    """What each input is known by, with its place."""
    first = 0
    for part in found.read(["uri", SIGNED.name]):
        yield pc.coalesce(part.column(SIGNED.name), part.column("uri")), np.arange(first, first + part.num_rows)
        first += part.num_rows


def _spare_ids(found: Parts, choice: np.ndarray, taken: np.ndarray, owner: np.ndarray) -> tuple[list[str], list[str]]:
    """Ids of their own for inputs whose id is taken, and why they are rejects."""
    if not len(taken):
        return [], []
    # Only these can be in a spare id's way.
    reserved = {name for _, ids in _chosen(found, choice) for name in Texts(ids.filter(pc.match_substring(ids, "~")))}
    owners = np.unique(owner)
    uris = _at(found, owners, ["uri"]).column("uri")
    next_copy: dict[str, int] = {}
    spares, messages = [], []
    for name, place in zip(_ids_at(found, choice, taken), np.searchsorted(owners, owner).tolist(), strict=True):
        copy = next_copy.get(name, 2)
        while (spare := f"{name}~{copy}") in reserved:
            copy += 1
        next_copy[name] = copy + 1
        reserved.add(spare)
        spares.append(spare)
        owner_uri = mask_uri(uris[place].as_py())
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
