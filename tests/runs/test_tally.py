"""What is kept of outcomes tells the same of ids as the ids themselves, whatever their hashes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from pager_ray.listing import Listed, Listing, parts
from pager_ray.runs import tally as tally_module
from pager_ray.runs.ledger import record_of
from pager_ray.runs.tally import KnownShards, Tally, Written, match

Hash = Callable[[pa.ChunkedArray], np.ndarray]


def constant(texts: pa.ChunkedArray) -> np.ndarray:
    return np.zeros(len(texts), np.int64)


def by_length(texts: pa.ChunkedArray) -> np.ndarray:
    return np.array([len(text) for text in texts.to_pylist()], np.int64)


def written_of(ids: list[str], at_once: int) -> Written:
    table = record_of("s", ids, [None] * len(ids), "0")
    tables = [table.slice(start, at_once) for start in range(0, len(ids), at_once)]
    return Written(Tally.of(tables, len(ids)), lambda: (one.column("id") for one in tables))


# Every pair of what ids are compared by, how many are written at once, and how many are looked at together.
@pytest.mark.parametrize(
    ("hashes", "at_once", "together"),
    [
        (None, 1, 1_000_000),
        (None, 3, 1),
        (None, 1000, 1_000_000),
        (constant, 1, 1),
        (constant, 3, 1_000_000),
        (constant, 1000, 1),
        (by_length, 1, 1_000_000),
        (by_length, 3, 1),
        (by_length, 1000, 1),
    ],
)
def test_ids_are_matched_as_texts_would_be(
    hashes: Hash | None, at_once: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, duplicated and unknown ids are those of comparing texts, for hashes and parts of any kind."""
    monkeypatch.setattr(parts, "PART_ROWS", at_once)
    monkeypatch.setattr(tally_module, "_TOGETHER", together)
    if hashes is not None:
        monkeypatch.setattr(tally_module, "hashes_of", hashes)
    random = np.random.default_rng(0)
    for _ in range(8):
        listed = [f"pano-{number}" for number in random.permutation(130)[:60]]
        written = [f"pano-{number}" for number in random.integers(0, 130, random.integers(0, 80))]
        listing = Listing.of([Listed(uri=id, id=id) for id in listed])
        found = match(listing, written_of(written, at_once))
        assert found.missing.tolist() == [id not in written for id in listed]
        assert found.duplicated == sorted(id for id, times in Counter(written).items() if times > 1)
        assert found.unknown == sorted({*written} - {*listed})


@pytest.mark.parametrize("missing", [0, 7])
def test_texts_are_compared_where_hashes_leave_a_doubt_alone(missing: int) -> None:
    """Of a run that is whole, or lacks some ids, what was written is gone through once."""
    ids = [f"pano-{number}" for number in range(1000)]
    listing = Listing.of([Listed(uri=id, id=id) for id in ids])
    tally = written_of(ids[missing:], 100).tally

    def again() -> list[pa.ChunkedArray]:
        raise AssertionError

    found = match(listing, Written(tally, again))
    assert (int(found.missing.sum()), found.duplicated, found.unknown) == (missing, [], [])


def test_no_shard_that_counts_is_taken_for_another() -> None:
    """Of names in any number those that are no shards of the ledger are told apart, whatever order they come in."""
    tables = [record_of(f"s{number:03}", ["a", "b"], [None, None], "0") for number in range(0, 100, 2)]
    tally = Tally.of([pa.concat_tables(tables[25:]), pa.concat_tables(tables[:25])], 100)
    names = [f"s{number:03}" for number in reversed(range(100))]
    assert KnownShards(tally.shards).others(names) == names[::2]
    assert KnownShards(Tally(0).done().shards).others(names) == names
    assert KnownShards(tally.shards).others([]) == []
