"""What a listing grew by: new inputs under ids that nobody has, what is gone, and what was replaced in its place."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pager_ray.listing import Growth, Listed, Listing, grown, is_same_listing, list_inputs
from pager_ray.listing.containers import SourceOptions
from pager_ray.listing.growth import stamp_of
from pager_ray.read.containers import IndexSettings

STANDING = [
    Listed("/in/a.jpg", "a", "indoor", stamp=1),
    Listed("/in/b.jpg", "b", None, "missing", "why"),
    Listed("zip://c.jpg::/in/x.zip", "c", offset=10, size=20),
]


def rows(growth: Growth) -> list[Listed]:
    return list(Listing(growth.table))


def test_new_inputs_come_behind_those_that_were_there() -> None:
    """What was there keeps its row, id and reject; what is gone stays; the order of the listing says nothing."""
    new = [Listed("/in/e.jpg", "e", stamp=5), Listed("/in/d.jpg", "d")]
    growth = grown(Listing.of(STANDING).table, [new[0], STANDING[2], new[1], STANDING[0]])
    assert rows(growth) == [*STANDING, *new]
    assert (growth.new, growth.gone, list(growth.changed)) == (2, 1, [])
    again = grown(growth.table, [*new, *STANDING])
    assert rows(again) == rows(growth)
    assert (again.new, again.gone, list(again.changed)) == (0, 0, [])


def test_an_input_is_its_uri() -> None:
    """Another file beside it may make its derived id another one: it keeps the one that it has."""
    growth = grown(Listing.of(STANDING).table, [replace(STANDING[0], id="a.jpg"), Listed("/in/a.png", "a.png")])
    assert [row.id for row in rows(growth)] == ["a", "b", "c", "a.png"]


def test_one_uri_may_be_that_of_several_inputs(tmp_path: Path) -> None:
    """Each is known by its id: one that is added is new, one that is gone is gone, and those that stay are the same."""
    path = tmp_path / "list.csv"

    def listed(*rows: str) -> Listing:
        path.write_text("\n".join(("uri,id,pitch_degrees,roll_degrees", *rows)) + "\n")
        settings = IndexSettings(pose=("pitch_degrees", "roll_degrees"))
        return list_inputs([str(path)], options=SourceOptions(settings=settings))

    two = listed("a.jpg,one,1,0", "a.jpg,two,2,0")
    assert len(two) == 2
    again = grown(two.table, two)
    assert (again.new, again.gone, list(again.changed)) == (0, 0, [])
    three = grown(two.table, listed("a.jpg,two,2,0", "a.jpg,three,3,0", "a.jpg,one,1,0"))
    assert (three.new, three.gone, list(three.changed)) == (1, 0, [])
    assert [row.id for row in rows(three)] == ["one", "two", "three"]
    fewer = grown(two.table, listed("a.jpg,two,9,0"))
    assert (fewer.new, fewer.gone, list(fewer.changed)) == (0, 1, ["two"])
    more = grown(listed("a.jpg,one,1,0").table, two)
    assert (more.new, more.gone, list(more.changed)) == (1, 0, [])


def test_ids_that_somebody_has_are_made_longer() -> None:
    """A new input whose id is taken has its path as one, and is a reject where that is taken, too."""
    new = [Listed("s3://bucket/deep/a.png", "a"), Listed("s3://bucket/b.png", "b"), Listed("/x", "bucket/b.png")]
    growth = grown(Listing.of(STANDING).table, [*STANDING, *new])
    added = rows(growth)[3:]
    assert [(row.id, row.error_class) for row in added] == [
        ("bucket/deep/a.png", None), ("b~2", "duplicate_id"), ("bucket/b.png", None)
    ]  # fmt: skip
    assert len({row.id for row in rows(growth)}) == 6


def test_what_was_replaced_is_named() -> None:
    """By its stamp, or its place in a container; the manifest has what is there by now."""
    now = [replace(STANDING[0], stamp=2), replace(STANDING[1], stamp=7), replace(STANDING[2], offset=11)]
    growth = grown(Listing.of(STANDING).table, now)
    # Of what had no stamp nobody can tell.
    assert list(growth.changed) == ["a", "c"]
    assert rows(growth) == now
    assert list(grown(growth.table, now).changed) == []


def test_files_have_stamps_wherever_they_lie(tmp_path: Path) -> None:
    """A file written anew has another stamp, and so has an object; one that was not touched has the same."""
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "b.jpg").write_bytes(b"2")
    before = {source: list_inputs([source]) for source in (str(tmp_path), f"{tmp_path}/*.jpg")}
    (tmp_path / "a.jpg").write_bytes(b"12")
    os.utime(tmp_path / "b.jpg", ns=(1, 1))
    for source, listing in before.items():
        assert list(grown(listing.table, listing).changed) == []
        assert list(grown(listing.table, list_inputs([source])).changed) == ["a", "b"]
    assert [row.stamp for row in before[str(tmp_path)]] != [None, None]


def test_objects_have_stamps_by_what_their_store_says() -> None:
    """An etag counts before a time, and a size always."""
    assert stamp_of({"size": 1, "ETag": "x", "LastModified": 1}) == stamp_of(
        {"size": 1, "ETag": "x", "LastModified": 2}
    )
    different = [{"size": 1}, {"size": 2}, {"size": 1, "ETag": "x"}, {"size": 1, "ETag": "y"}, {"size": 1, "mtime": 3}]
    assert len({stamp_of(facts) for facts in different}) == len(different)
    memory = fsspec.filesystem("memory")
    try:
        memory.pipe({"/in/a.jpg": b"1", "/in/b.jpg": b"2"})
        before = list_inputs(["memory://in/"])
        memory.pipe_file("/in/a.jpg", b"123")
        assert list(grown(before.table, list_inputs(["memory://in/"])).changed) == ["a"]
    finally:
        memory.store.clear()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nothing_may_have_grown(count: int) -> None:
    """Empty manifests and listings are listings."""
    growth = grown(Listing.of(STANDING[:count]).table, STANDING[:count])
    assert (rows(growth), growth.new, growth.gone) == (STANDING[:count], 0, 0)
    assert grown(Listing.of([]).table, STANDING).new == 3
    assert grown(Listing.of(STANDING).table, []).gone == 3


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_listings_tell_what_was_replaced(form: str, tmp_path: Path) -> None:
    """By an etag, or a time where there is none; what says neither is not known to have changed."""

    def listing(**changed: object) -> Listing:
        columns: dict[str, list[object]] = {
            "uri": ["s3://b/a.jpg", "s3://b/b.jpg", "s3://b/c.jpg"],
            "E_Tag": ["1111", "22", None],
            "size": [10, 20, 30],
            "last_modified": [datetime(2026, 1, 1), datetime(2026, 1, 2), datetime(2026, 1, 3)],
        }
        table = pa.table({name: changed.get(name, values) for name, values in columns.items()})
        path = tmp_path / f"list.{form}"
        if form == "csv":
            pyarrow.csv.write_csv(table, path)
        else:
            pq.write_table(table, path)
        return list_inputs([str(path)])

    before = listing()
    assert None not in [row.stamp for row in before]
    # As the folder that they lie in has it.
    assert before[0].stamp == stamp_of({"size": 10, "ETag": '"1111"', "LastModified": 7})
    assert list(grown(before.table, listing()).changed) == []
    assert list(grown(before.table, listing(E_Tag=["1112", "22", None])).changed) == ["a"]
    assert list(grown(before.table, listing(size=[10, 21, 30])).changed) == ["b"]
    later = [datetime(2027, 1, 1)] * 3
    # Written anew as the same bytes where an etag tells.
    assert list(grown(before.table, listing(last_modified=later)).changed) == ["c"]


def test_a_size_alone_tells_nothing(tmp_path: Path) -> None:
    """It may be anything's in a listing."""
    (tmp_path / "list.csv").write_text("uri,size,etag\na.jpg,10,\n")
    (tmp_path / "other.csv").write_text("uri,size\na.jpg,10\n")
    assert [list_inputs([str(tmp_path / name)])[0].stamp for name in ("list.csv", "other.csv")] == [None, None]


def test_places_that_earlier_versions_kept_as_they_were_typed_are_the_same() -> None:
    """``..``, doubled slashes and relative archives in a manifest: nothing is new, gone or changed."""
    kept = [
        ("/in/sub/../a.jpg", "/in/a.jpg"),
        ("/in//sub/../../in/b.jpg", "/in/b.jpg"),
        ("zip://x/../c.jpg::/in/../in/x.zip", "zip://x/../c.jpg::/in/x.zip"),
        ("zip://d.jpg::x.zip", f"zip://d.jpg::{os.getcwd()}/x.zip"),
        ("s3://bucket/a/../b//e.jpg", "s3://bucket/a/../b//e.jpg"),
    ]
    masks = ['{"uri":"/masks/../masks/a.png"}', None, None, None, None]
    before = [Listed(uri, f"{n}", mask=mask) for n, ((uri, _), mask) in enumerate(zip(kept, masks, strict=True))]
    now = [Listed(uri, f"{n}", stamp=n) for n, (_, uri) in enumerate(kept)]
    now[0] = replace(now[0], mask='{"uri":"/masks/a.png"}')
    growth = grown(Listing.of(before).table, now)
    assert (growth.new, growth.gone, list(growth.changed)) == (0, 0, [])
    assert [row.uri for row in rows(growth)] == [uri for uri, _ in kept]
    assert is_same_listing(before, now[::-1])
    assert not is_same_listing(before, [*now[:-1], replace(now[-1], uri="s3://bucket/b/e.jpg")])
