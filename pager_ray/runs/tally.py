"""What is kept of every outcome that stands: eight bytes, and how that tells which listed inputs have one.

Ids are compared by two hashes that nobody outside this process knows. The first finds a listed id among the written
ones. The second is kept as one sum per bucket: where the sums of both sides agree, so do the ids, as surely as hashes
of 128 bits tell them apart. Buckets whose sums differ hold ids that were written twice, were never listed, or share a
first hash by chance; they alone are gone through again, and compared as texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.listing import Listing
from pager_ray.listing.repeats import hashes_of, is_among, other_hashes_of

_BUCKETS: Final = 1 << 16
_BUCKET: Final = _BUCKETS - 1
# Ids that are compared as texts at a time.
_TOGETHER: Final = 1_000_000


class Tally:
    """What is kept of all outcomes.

    Args:
        most: outcomes that there can be.

    Attributes:
        rows: how many there are.
        classes: rejects by their class.
        hashes: of the ids; in order once all were added.
        shards: hashes of the shards' names, in order once all were added.
        counts, sums: ids per bucket, and the sum of their second hashes.
    """

    def __init__(self, most: int) -> None:
        self.rows = 0
        self.classes: Counter[str] = Counter()
        self.hashes = np.empty(most, np.int64)
        self.shards = np.empty(0, np.int64)
        self.counts = np.zeros(_BUCKETS, np.int64)
        self.sums = np.zeros(_BUCKETS, np.int64)
        self._shards: list[np.ndarray] = []

    @classmethod
    def of(cls, parts: Iterable[pa.Table], most: int) -> Tally:
        """That of the ledger's rows."""
        tally = cls(most)
        for part in parts:
            tally.add(part)
        return tally.done()

    def add(self, part: pa.Table) -> None:
        """Take some of the ledger's rows."""
        ids = part.column("id")
        hashes = hashes_of(ids)
        self.hashes[self.rows : self.rows + len(hashes)] = hashes
        self.rows += len(hashes)
        _count(hashes, ids, self.counts, self.sums)
        self._shards.append(hashes_of(pa.chunked_array([pc.unique(part.column("shard"))])))
        for counted in pc.value_counts(part.column("error_class").drop_null()).to_pylist():
            self.classes[counted["values"]] += counted["counts"]

    def done(self) -> Tally:
        """Itself, once all rows were added."""
        self.hashes = self.hashes[: self.rows]
        self.hashes.sort()
        self.shards = np.unique(np.concatenate([self.shards, *self._shards]))
        self._shards = []
        return self


class KnownShards:
    """The shards in which something that stands is found, by their hashes.

    One that is known is always found; one that is not is taken for known once in 10¹² runs of a hundred million rows.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        self._hashes = hashes

    def __len__(self) -> int:
        """How many they are."""
        return len(self._hashes)

    def others(self, names: list[str]) -> list[str]:
        """Those of the names that are no such shard's."""
        hashes = hashes_of(pa.chunked_array([pa.array(names, pa.string())]))
        return [names[place] for place in np.flatnonzero(~is_among(hashes, self._hashes)).tolist()]


class Matched(NamedTuple):
    """Which listed rows were not written, (rows,) bool, and the ids that were written several times or never listed."""

    missing: np.ndarray
    duplicated: list[str]
    unknown: list[str]


class Written(NamedTuple):
    """Ids that were written: their tally, and what goes through them again, part by part."""

    tally: Tally
    ids: Callable[[], Iterable[pa.ChunkedArray]]


def match(listed: Listing, written: Written) -> Matched:
    """Compare listed ids with written ones; see the module's text."""
    missing = np.ones(len(listed), dtype=bool)
    tally = written.tally
    if not tally.rows:
        return Matched(missing, [], [])
    counts, sums = np.zeros(_BUCKETS, np.int64), np.zeros(_BUCKETS, np.int64)
    rows = tally.counts.copy()
    for first, ids in _numbered(listed):
        hashes = hashes_of(ids)
        found = is_among(hashes, tally.hashes)
        missing[first : first + len(ids)] = ~found
        rows += np.bincount(hashes & _BUCKET, minlength=_BUCKETS)
        _count(hashes[found], ids if found.all() else ids.filter(pa.array(found)), counts, sums)
    doubtful = (counts != tally.counts) | (sums != tally.sums)
    doubtful[tally.hashes[1:][tally.hashes[1:] == tally.hashes[:-1]] & _BUCKET] = True
    duplicated: list[str] = []
    unknown: set[str] = set()
    for chosen in _groups(doubtful, rows):
        _compare(listed, written.ids, chosen, missing, duplicated, unknown)
    return Matched(missing, sorted(duplicated), sorted(unknown))


def _compare(
    listed: Listing,
    written: Callable[[], Iterable[pa.ChunkedArray]],
    chosen: np.ndarray,
    missing: np.ndarray,
    duplicated: list[str],
    unknown: set[str],
) -> None:
    """Compare the texts of the ids in some buckets."""
    there = pa.chunked_array(
        [chunk for ids in written() for chunk in ids.filter(pa.array(chosen[hashes_of(ids) & _BUCKET])).chunks],
        pa.string(),
    )
    asked = []
    for first, ids in _numbered(listed):
        places = np.flatnonzero(chosen[hashes_of(ids) & _BUCKET])
        texts = ids.take(pa.array(places))
        missing[first + places] = ~pc.is_in(texts, value_set=there).to_numpy()
        asked += texts.chunks
    known = pc.is_in(there, value_set=pa.chunked_array(asked, pa.string()))
    unknown.update(there.filter(pc.invert(known)).to_pylist())
    counted = pc.value_counts(there)
    duplicated += counted.field("values").filter(pc.greater(counted.field("counts"), 1)).to_pylist()


def _groups(doubtful: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The doubtful buckets, as many at a time as may be compared together."""
    places = np.flatnonzero(doubtful)
    groups = np.cumsum(rows[places]) // _TOGETHER
    for group in np.unique(groups):
        chosen = np.zeros(_BUCKETS, dtype=bool)
        chosen[places[groups == group]] = True
        yield chosen


def _count(hashes: np.ndarray, ids: pa.ChunkedArray, counts: np.ndarray, sums: np.ndarray) -> None:
    buckets = hashes & _BUCKET
    counts += np.bincount(buckets, minlength=_BUCKETS)
    np.add.at(sums, buckets, other_hashes_of(ids))


def _numbered(listed: Listing) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """The ids part by part, each with the place of its first row."""
    first = 0
    for part in listed.parts(["id"]):
        yield first, part.column("id")
        first += part.num_rows
