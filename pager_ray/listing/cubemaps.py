"""Six files that are one panorama: among what a source names, the faces of a cubemap become one input.

By names alone, and only where all six are there: a name is no proof, but six that fit are. Of names by a letter no
seventh may be there (``x_a.jpg`` beside ``x_b.jpg``, ``x_d.jpg``, …): those count something else.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.cubemaps import (
    CANDIDATES,
    FACES,
    WITHOUT_WORDS,
    FaceName,
    canonical_uri,
    common_part,
    cubemap_uri,
    face_name,
    plain_name,
    split_container,
    usual_words,
)
from pager_ray.listing.growth import joined_stamps
from pager_ray.listing.ids import FOUND_SCHEMA
from pager_ray.masking import mask_uri

INCOMPLETE: Final = "incomplete_cubemap"
"""Class of rejects that are some faces of a cubemap and not all."""

_FIRST_OF: Final = ("given", "scene", "sequence", "time", "kept", "pose", "origin", "error_class", "message")
"""Columns whose value is that of the first face that has one."""

Key = tuple[str, str, str, str]


@dataclass
class _Group:
    """Files whose names differ in the word for a face alone: by face, their places among what was found."""

    places: dict[int, int] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)
    has_others: bool = False

    @property
    def is_whole(self) -> bool:
        return len(self.places) == len(FACES) and not self.has_others


def gather(found: pa.Table, *, alone: bool = False) -> tuple[pa.Table, int]:
    """The inputs of one source with the six faces of each cubemap as one.

    Args:
        found: ``FOUND_SCHEMA``: files, or members of one container.
        alone: nothing but cubemaps is wanted: some faces without the others are a reject that says which are missing,
            and what is no face is left out.

    Returns:
        ``FOUND_SCHEMA``, in the order of the first face of each, and how many inputs were left out.
    """
    groups = _groups(found, least=1 if alone else len(FACES))
    whole = {key: group for key, group in groups.items() if group.is_whole or (alone and group.places)}
    taken = np.zeros(found.num_rows, dtype=bool)
    for group in whole.values():
        taken[[*group.places.values()]] = True
    # Containers that cannot be read are told, whatever is wanted.
    kept = pc.is_valid(found.column("error_class")).to_numpy() & ~taken if alone else ~taken
    if not whole:
        return (found.filter(pa.array(kept)), int((~kept).sum())) if alone else (found, 0)
    rows = [_row(found, key, group) for key, group in whole.items()]
    made = pa.Table.from_pylist(rows, schema=FOUND_SCHEMA)
    order = np.concatenate([np.flatnonzero(kept), [min(group.places.values()) for group in whole.values()]])
    both = pa.concat_tables([found.filter(pa.array(kept)), made])
    return both.take(pa.array(np.argsort(order, kind="stable"))), int((~kept & ~taken).sum())


def in_order(found: pa.Table) -> pa.Table:
    """A listing's rows with the URIs of cubemaps as this package writes them, and their ids to be."""
    uris = found.column("uri")
    may_be = np.flatnonzero(pc.match_substring(uris, "{").to_numpy())
    named = {place: canonical_uri(uris[place].as_py()) for place in may_be.tolist()}
    cubemaps = {place: uri for place, uri in named.items() if uri is not None}
    if not cubemaps:
        return found
    texts = {name: found.column(name).to_pylist() for name in ("uri", "relative")}
    for place, uri in cubemaps.items():
        texts["uri"][place] = uri
        relative = texts["relative"][place]
        if relative is not None:
            before, _, rest = relative.rpartition("{")
            texts["relative"][place] = _relative(before, rest.partition("}")[2], uri)
    for name, values in texts.items():
        at = found.schema.get_field_index(name)
        found = found.set_column(at, FOUND_SCHEMA.field(name), pa.array(values, pa.string()))
    return found


def _groups(found: pa.Table, least: int) -> dict[Key, _Group]:
    """The faces of cubemaps that have so many files or more."""
    groups: dict[Key, _Group] = defaultdict(_Group)
    uris = found.column("uri")
    may_be = pc.and_(pc.match_substring_regex(uris, CANDIDATES), found.column("is_utf8"))
    places = np.flatnonzero(may_be.to_numpy())
    if least > 1 and len(places):
        # Of millions of pictures that end in a letter none becomes an object here.
        common = pc.replace_substring_regex(uris.take(pa.array(places)), CANDIDATES, WITHOUT_WORDS, max_replacements=1)
        codes = pc.dictionary_encode(common).combine_chunks().indices.to_numpy()
        places = places[np.bincount(codes)[codes] >= least]
    for place, uri in zip(places.tolist(), uris.take(pa.array(places)).to_pylist(), strict=True):
        name, container = split_container(uri)
        one = face_name(name)
        if one is None:
            continue
        group = groups[one.before, one.kind, one.after, container]
        if one.face is None:
            group.has_others = True
        elif one.face not in group.places:
            group.places[one.face], group.words[one.face] = place, one.word
    return groups


def _row(found: pa.Table, key: Key, group: _Group) -> dict[str, Any]:
    """One input of the faces that there are, in their order."""
    before, kind, after, container = key
    faces = sorted(group.places)
    rows = found.take(pa.array([group.places[face] for face in faces])).to_pylist()
    words = [group.words.get(face, word) for face, word in enumerate(usual_words(kind))]
    uri = cubemap_uri(before, words, after, container)
    row: dict[str, Any] = {name: next((one[name] for one in rows if one[name] is not None), None) for name in _FIRST_OF}
    row |= {"uri": uri, "is_utf8": True, "relative": _common(rows[0]["relative"], uri), "key": _key(rows[0]["key"])}
    if all(one["offset"] is not None and one["size"] is not None for one in rows):
        row["face_places"] = json.dumps([[one["offset"], one["size"]] for one in rows], separators=(",", ":"))
        row |= {"offset": rows[0]["offset"], "size": sum(one["size"] for one in rows)}
    stamps = [one["stamp"] for one in rows]
    if None not in stamps:
        row["stamp"] = joined_stamps(stamps)
    if len(faces) < len(FACES):
        common = before.rpartition("/")[2]
        missing = [
            f"{name} ({common}{words[face]}{after})" for face, name in enumerate(FACES) if face not in group.places
        ]
        row["error_class"] = INCOMPLETE
        row["message"] = (
            f"{mask_uri(uri)}: has no {', '.join(missing)}; bring all six faces there, or take the files one by one "
            "with input.format=files"
        )
    return row


def _common(relative: str, uri: str) -> str:
    one = face_name(relative)
    return relative if one is None else _relative(one.before, one.after, uri)


def _relative(before: str, after: str, uri: str) -> str:
    """The path that an id is derived from: ``a/x.jpg`` for ``a/x_{…}.jpg``, and ``a.jpg`` for ``a/{…}.jpg``."""
    common = common_part(before)
    return f"{common}.{after.rpartition('.')[2]}" if common else (plain_name(uri) or "cubemap")


def _key(key: str | None) -> str | None:
    """The key of a sample that the faces share, of the key of one: a key has no suffix."""
    one: FaceName | None = None if key is None else face_name(f"{key}.x")
    return None if one is None else common_part(one.before) or None
