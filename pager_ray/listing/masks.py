"""Mask pictures: which of them is whose, by name, and the manifest's word for it.

An input's mask has its name in another folder or container. Names are compared without suffixes, in this order:

1. the path inside the source, with the container's name where it lies in one: ``room/a.jpg`` and ``room/a.png``;
2. the same with the input's suffix kept: ``a.jpg`` and ``a.jpg.png``;
3. a WebDataset sample's key, the value of a column of ids, or the path inside the container, where no two masks share
   it: ``a.jpg`` in ``pictures.zip`` or in a folder, and ``a.png`` in ``masks.zip``;
4. the id that a listing gives: ``id`` and ``id.png``;
5. of a video's frame, the video's name: ``walk.mp4`` and ``walk.png``.

A picture that is given alone is everybody's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.bounded import parse_json
from pager_ray.errors import ConfigError
from pager_ray.listing.ids import FOUND_SCHEMA, stems
from pager_ray.listing.listed import SIGNED, Texts
from pager_ray.listing.parts import Parts
from pager_ray.masking import mask_uri
from pager_ray.plain import get_logger

log = get_logger(__name__)

Missing = Literal["ignore", "reject"]

MISSING: Final = "missing_mask"
"""Class of rejects that have no mask where each has to have one."""

_KEY: Final = "input.mask.uris"
_PLACE: Final = ("offset", "size", "row_group", "row", "face_places", "origin")
_MEMBER: Final = "^(tar|zip)://((?s:.*?))::(?s:.*)$"
_FRAME: Final = "^video://"
_MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class MaskSources:
    """Where masks lie.

    Attributes:
        uris: sources as of inputs.
        column: component of WebDataset samples, or column of Parquet files, that holds the mask.
        missing: what becomes of an input without one.
    """

    uris: Sequence[str]
    column: str | None = None
    missing: Missing = "ignore"


@dataclass(frozen=True)
class MaskPlace:
    """Where an input's mask lies.

    Attributes:
        uri: of the picture; of a cubemap's six the one for all.
        is_shared: whether it is the mask of every input.
        others: columns of the manifest that say where in its container it lies, and who named it.
    """

    uri: str
    is_shared: bool
    others: Mapping[str, Any]


def place_of(text: str) -> MaskPlace:
    """What the manifest's column ``mask`` says.

    Raises:
        ValueError: it cannot be understood.
    """
    told = parse_json(text, _MAX_BYTES)
    if not isinstance(told, dict) or not isinstance(told.get("uri"), str):
        raise ValueError("names no mask")
    return MaskPlace(told["uri"], bool(told.get("shared")), {name: told.get(name) for name in _PLACE})


def with_masks(inputs: Parts, masks: Parts, missing: Missing, *, shared: bool) -> Parts:
    """The inputs with their masks, less those that are masks themselves.

    Args:
        inputs: ``FOUND_SCHEMA``.
        masks: the same, of the masks.
        missing: what becomes of an input without one.
        shared: a single picture was given, which is the mask of all.

    Raises:
        ConfigError: a mask cannot be used, two have one name, or none is anybody's.
    """
    table = masks.table()
    _check(table)
    names = _Names(table, [_text(row, shared=shared) for row in table.to_pylist()])
    done, without = Parts(FOUND_SCHEMA), 0
    for part in inputs.read():
        part = part.filter(pc.invert(pc.is_in(part.column("uri"), value_set=table.column("uri").combine_chunks())))
        found = pa.chunked_array([pa.repeat(names.texts[0], part.num_rows)]) if shared else names.of(part)
        lacks = pc.and_(pc.is_null(found), pc.is_null(part.column("error_class")))
        without += pc.sum(lacks).as_py() or 0
        part = _set(part, "mask", found)
        done.add(_rejected(part, lacks) if missing == "reject" else part)
    if inputs.num_rows and not done.num_rows:
        raise ConfigError(
            f"{_KEY}: names every picture of input.uris (first: {mask_uri(table.column('uri')[0].as_py())}), and masks "
            "are no inputs; put them in another folder"
        )
    if done.num_rows and without == done.num_rows:
        (first,) = next(inputs.read(["uri"])).slice(0, 1).column("uri").to_pylist()
        raise ConfigError(
            f"{_KEY}: none of {table.num_rows:,} masks is called like an input: the first is "
            f"{mask_uri(table.column('uri')[0].as_py())}, the first input {mask_uri(first)}; a mask has its panorama's "
            "name, in another folder or container"
        )
    if without:
        log.info(
            "%s of %s inputs have no mask; %s",
            f"{without:,}",
            f"{done.num_rows:,}",
            "they are rejected" if missing == "reject" else "all of each is valid (input.mask.missing)",
        )
    if not (shared or names.taken.all()):
        left, first = f"{(~names.taken).sum():,}", table.column("uri")[int(names.taken.argmin())].as_py()
        log.info("%s of %s masks are called like no input (first: %s)", left, f"{table.num_rows:,}", mask_uri(first))
    return done


def _check(masks: pa.Table) -> None:
    troubled = masks.filter(pc.is_valid(masks.column("error_class")))
    if troubled.num_rows:
        raise ConfigError(f"{_KEY}: {troubled.column('message')[0].as_py()}")
    if masks.column(SIGNED.name).null_count < masks.num_rows:
        raise ConfigError(f"{_KEY}: signed addresses are not kept, and so are none of masks; give a store's own URLs")


def _text(row: Mapping[str, Any], *, shared: bool) -> str:
    told = {name: row[name] for name in ("uri", *_PLACE) if row[name] is not None}
    return json.dumps(told | ({"shared": True} if shared else {}), separators=(",", ":"))


class _Names:
    """What masks are called, what the manifest says of each, and which of them were taken so far."""

    def __init__(self, masks: pa.Table, texts: list[str]) -> None:
        self.texts = pa.array(texts, pa.string())
        self.taken = np.zeros(len(texts), bool)
        self._uris = masks.column("uri")
        full, short = _called(masks)
        self._full, self._short = full.combine_chunks(), short.combine_chunks()
        # Which of several is meant nobody can tell.
        self._short = pc.if_else(_repeated(self._short), pa.scalar(None, pa.string()), self._short)
        self._twice = pc.unique(self._full.filter(_repeated(self._full)))

    def of(self, inputs: pa.Table) -> pa.ChunkedArray:
        """The texts of some inputs' masks; null where an input has none."""
        place = pa.chunked_array([pa.nulls(inputs.num_rows, pa.int32())])
        for called, masks in self._tries(inputs):
            place = pc.coalesce(place, _index(called, masks))
        self.taken[place.drop_null().to_numpy()] = True
        return pc.take(self.texts, place)

    def _tries(self, inputs: pa.Table) -> Iterator[tuple[pa.ChunkedArray, pa.Array]]:
        full, short = _called(inputs)
        for called in (full, inputs.column("relative")):
            self._refuse_twice(called)
            yield called, self._full
        yield short, self._short
        yield inputs.column("given"), self._full
        yield inputs.column("given"), self._short
        of_video = pc.match_substring_regex(inputs.column("uri"), _FRAME)
        yield pc.if_else(of_video, pc.replace_substring_regex(full, "/[^/]*$", ""), None), self._full

    def _refuse_twice(self, called: pa.ChunkedArray) -> None:
        wanted = called.filter(pc.is_in(called, value_set=self._twice, skip_nulls=True)).slice(0, 1).to_pylist()
        if wanted:
            some = [mask_uri(uri) for uri in Texts(self._uris.filter(pc.equal(self._full, wanted[0])))]
            raise ConfigError(f"{_KEY}: {' and '.join(some[:2])} are both called {wanted[0]}; keep one")


def _called(found: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The path inside the source and the shortest name of each, without suffixes; ids where those are given."""
    full = pc.coalesce(stems(found.column("relative")), found.column("given"))
    uri = found.column("uri")
    is_member = pc.match_substring_regex(uri, _MEMBER)
    inner = pc.if_else(is_member, pc.replace_substring_regex(uri, _MEMBER, r"\2"), pa.scalar(None, pa.string()))
    return full, pc.coalesce(found.column("key"), stems(inner), full)


def _repeated(names: pa.Array) -> pa.Array:
    """Whether a name is somebody else's, too."""
    counted = pc.value_counts(names.drop_null())
    many = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    return pc.is_in(names, value_set=many, skip_nulls=True)


def _index(called: pa.ChunkedArray, masks: pa.Array) -> pa.ChunkedArray:
    """The place of the mask of each name; null for none."""
    return pc.if_else(pc.is_valid(called), pc.index_in(called, value_set=masks), pa.scalar(None, pa.int32()))


def _rejected(part: pa.Table, lacks: pa.ChunkedArray) -> pa.Table:
    if not pc.any(lacks).as_py():
        return part
    messages = [
        f"{mask_uri(uri)}: has no mask of its name in {_KEY}; bring it there, or take input.mask.missing=ignore"
        if lacking
        else None
        for uri, lacking in zip(Texts(part.column("uri")), lacks.to_pylist(), strict=True)
    ]
    part = _set(part, "error_class", pc.if_else(lacks, MISSING, part.column("error_class")))
    return _set(part, "message", pc.coalesce(pa.array(messages, pa.string()), part.column("message")))


def _set(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), values)
