"""Listed inputs, millions of them: columns that look like sequences of rows and of texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.bounded import parse_json
from pager_ray.listing.parts import Parts
from pager_ray.schemes import settled

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("scene", pa.string()),
        pa.field("error_class", pa.string()),
        pa.field("message", pa.string()),
        pa.field("sample", pa.string()),
        # Who wrote the URI; see NETWORK.
        pa.field("origin", pa.string()),
        # Of what lies in a tar or a zip: where its bytes (or its header in the zip) begin, and how many there are.
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        # Of a row of a Parquet file, whose size is that of its row group's pictures.
        pa.field("row_group", pa.int32()),
        pa.field("row", pa.int32()),
        # Columns of its listing or container that come out again, as a JSON object.
        pa.field("kept", pa.string()),
        # A file's size and etag (or time) as one number; see growth.stamp_of. No part of what a listing is.
        pa.field("stamp", pa.int64()),
        # Which sequence it is of, and when it was taken, in seconds. No part of what a listing is.
        pa.field("sequence", pa.string()),
        pa.field("time", pa.float64()),
        # Of a cubemap in a container: offset and size of each of its six members, as a JSON list.
        pa.field("face_places", pa.string()),
        # How its camera was held, where panoramas are levelled by that; see pager_ray.read.pose.pose_text.
        pa.field("pose", pa.string()),
        # Where its mask lies, as a JSON object; see pager_ray.listing.masks.
        pa.field("mask", pa.string()),
    ]
)

SIGNED = pa.field("signed", pa.string())
"""A row's URI as it was given, with its signature, where it has one: used, and never stored. ``uri`` is without it."""

LISTED_SCHEMA = pa.schema([*MANIFEST_SCHEMA, SIGNED])
"""A listing in memory."""

LATER_COLUMNS = (
    *("origin", "offset", "size", "row_group", "row", "kept", "stamp", "sequence", "time", "face_places"),
    *("pose", "mask"),
)
"""Those that manifests of earlier versions lack."""

NETWORK = "network"
"""Origin of rows of a listing that came over a network: whoever wrote it may know nothing of our own files and hosts.
"""

# What a local place in a URI, or in a mask's JSON, may have that it would not have now.
_ODD_PLACE: Final = r'(^|/)\.{1,2}(["/]|$)|[^:/]//|^//|::[^/:]+(["/]|$)'

# Rows that are Python objects at a time while all are gone through.
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Listed:
    """One input as listed: where it is, what to call it and what is known of it.

    ``error_class`` and ``message`` are set on rows that are rejected before anything is read. ``sample`` says, as JSON,
    what a dataset needs to find the ground truth; None for inputs without one. ``origin`` is :data:`NETWORK` or None.
    ``offset``, ``size``, ``row_group`` and ``row`` say where a member of a container lies; ``kept`` holds, as JSON, the
    columns that come out again; ``sequence`` and ``time`` (seconds) say where in a sequence it stands; ``stamp`` tells
    whether the file is still the one that was listed; ``face_places`` holds, as JSON, where the six members of a
    cubemap in a container lie; ``pose`` how its camera was held, ``mask``, as JSON, where its mask lies; ``signed`` is
    the URI to ask for, where it is signed.
    """

    uri: str
    id: str
    scene: str | None = None
    error_class: str | None = None
    message: str | None = None
    sample: str | None = None
    origin: str | None = None
    offset: int | None = None
    size: int | None = None
    row_group: int | None = None
    row: int | None = None
    kept: str | None = None
    stamp: int | None = None
    sequence: str | None = None
    time: float | None = None
    face_places: str | None = None
    pose: str | None = None
    mask: str | None = None
    signed: str | None = field(default=None, repr=False)


class Listing(Sequence[Listed]):
    """All inputs of a job: columns, a tenth of the memory that as many objects take, and large ones on the disk.

    Args:
        rows: ``LISTED_SCHEMA``; of a table without columns that nothing is in.

    Attributes:
        digest: what :func:`pager_ray.listing.listing_digest` made of it, once it was asked.
    """

    def __init__(self, rows: pa.Table | Parts) -> None:
        if isinstance(rows, pa.Table):
            rows = Parts.of([completed(rows).cast(LISTED_SCHEMA)], LISTED_SCHEMA)
        self._parts = rows
        self.digest: str | None = None

    @classmethod
    def of(cls, rows: Sequence[Listed] | pa.Table) -> Listing:
        """Rows in any of the forms that they come in."""
        if isinstance(rows, Listing):
            return rows
        if isinstance(rows, pa.Table):
            return cls(rows)
        columns = {one.name: [getattr(row, one.name) for row in rows] for one in fields(Listed)}
        return cls(pa.table({name: columns[name] for name in LISTED_SCHEMA.names}, schema=LISTED_SCHEMA))

    @property
    def table(self) -> pa.Table:
        """All rows in memory; see :meth:`parts` for many."""
        return self._parts.table()

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows part by part, with some of their columns; none where there are no rows."""
        return self._parts.read(columns)

    def has(self, name: str) -> bool:
        """Whether any row has a value in a column."""
        return self._parts.has(name)

    def __len__(self) -> int:
        """Number of inputs."""
        return self._parts.num_rows

    @overload
    def __getitem__(self, index: int) -> Listed: ...

    @overload
    def __getitem__(self, index: slice) -> Listing: ...

    def __getitem__(self, index: int | slice) -> Listed | Listing:
        """One input, or a run of them."""
        if isinstance(index, slice):
            return Listing(self.table[index])
        place = range(len(self))[index]
        for part in self.parts():
            if place < part.num_rows:
                return Listed(**part.slice(place, 1).to_pylist()[0])
            place -= part.num_rows
        raise IndexError(index)

    def __iter__(self) -> Iterator[Listed]:
        """Go through the inputs."""
        for part in self.parts():
            for batch in part.to_batches(max_chunksize=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    yield Listed(**row)


def completed(table: pa.Table) -> pa.Table:
    """A manifest with the columns that earlier versions did not write, and those that none does."""
    for name in (*LATER_COLUMNS, SIGNED.name):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, LISTED_SCHEMA.field(name).type))
    return table.select(LISTED_SCHEMA.names)


def with_settled_places(table: pa.Table) -> pa.Table:
    """Rows of a manifest whose URIs, and those of masks, are spelled as they are listed now.

    Earlier versions kept ``..`` and doubled slashes of local paths as they were typed, and paths of archives that were
    relative.
    """
    for name, settle in (("uri", settled), ("mask", _settled_mask)):
        column = table.column(name)
        odd = pc.fill_null(pc.match_substring_regex(column, _ODD_PLACE), False).to_numpy()
        if odd.any():
            texts = [settle(text) if is_odd else text for text, is_odd in zip(Texts(column), odd, strict=True)]
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), pa.array(texts, pa.string()))
    return table


def _settled_mask(text: str) -> str:
    try:
        told = parse_json(text)
        return json.dumps(told | {"uri": settled(told["uri"])}, separators=(",", ":"))
    except (KeyError, TypeError, ValueError):
        return text


def with_signatures(stored: Listing, listed: Sequence[Listed] | pa.Table) -> Listing:
    """A manifest's rows with the signatures that a listing gives them now; those of its other rows are unknown."""
    signing = Listing.of(listed)
    if not signing.has(SIGNED.name):
        return stored
    manifest, now = stored.table, signing.table
    now = now.filter(pc.is_valid(now.column(SIGNED.name)))
    both = (pc.binary_join_element_wise(table.column("uri"), table.column("id"), "\0") for table in (manifest, now))
    places = pc.index_in(next(both), value_set=next(both).combine_chunks())
    # What a run has grown by has ids of the run's own.
    alone = pc.value_counts(now.column("uri"))
    alone = alone.field("values").filter(pc.equal(alone.field("counts"), 1))
    by_place = pc.index_in(manifest.column("uri"), value_set=now.column("uri").combine_chunks())
    by_place = pc.if_else(pc.is_in(manifest.column("uri"), value_set=alone), by_place, None)
    signed = now.column(SIGNED.name).take(pc.coalesce(places, by_place))
    return Listing(manifest.set_column(manifest.schema.get_field_index(SIGNED.name), SIGNED, signed))


class Texts(Sequence[str]):
    """A column of texts, such as ids; equal to any sequence of the same ones."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.column)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One text, or a list of them."""
        if isinstance(index, slice):
            texts: list[str] = self.column[index].to_pylist()
            return texts
        text: str = self.column[range(len(self))[index]].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        """Go through the texts."""
        for chunk in self.column.chunks:
            for start in range(0, len(chunk), _ROWS_AT_ONCE):
                yield from chunk.slice(start, _ROWS_AT_ONCE).to_pylist()

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence holds the same texts in the same order."""
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """The first few, and how many there are."""
        return f"Texts({self[:3]!r}, {len(self)} in all)"


class ChosenIds(Sequence[str]):
    """Ids of some rows of a listing, in its order, which are read as they are asked for.

    Args:
        rows: the listing.
        chosen: which of its rows, (rows,) bool.
    """

    def __init__(self, rows: Listing, chosen: np.ndarray) -> None:
        self.rows = rows
        self.chosen = chosen
        self._count = int(np.count_nonzero(chosen))

    def __len__(self) -> int:
        """Number of ids."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One id, or a list of them."""
        places = range(len(self))[index]
        if isinstance(places, range):
            wanted = {*places}
            found = dict(zip(sorted(wanted), self._first(max(wanted, default=-1) + 1, wanted), strict=True))
            return [found[place] for place in places]
        return next(iter(self._first(places + 1, {places})))

    def _first(self, number: int, wanted: set[int]) -> Iterator[str]:
        """The wanted ones among the first so many."""
        if number:
            yield from (id for place, id in zip(range(number), self, strict=False) if place in wanted)

    def __iter__(self) -> Iterator[str]:
        """Go through the ids."""
        first = 0
        for part in self.rows.parts(["id"]) if self._count else ():
            chosen = self.chosen[first : first + part.num_rows]
            first += part.num_rows
            yield from Texts(part.column("id").filter(pa.array(chosen)))

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence holds the same ids in the same order."""
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """The first few, and how many there are."""
        return f"ChosenIds({self[:3]!r}, {len(self)} in all)"
