"""Row groups are read once, whatever of them is to be done, and every row comes out once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pager_ray.listing import list_inputs, rows_to_do
from pager_ray.listing.containers import SourceOptions
from pager_ray.read import decode_panorama, frames
from pager_ray.read.containers import IndexSettings
from pager_ray.retrying import Retry
from pager_ray.stages import unpack as stage
from pager_ray.stages.read import ReadSettings, make_read_fn
from pager_ray.stages.rows import UNPACK_SCHEMA
from tests.read import movies
from tests.read.containers.test_videos import pictures
from tests.read.packed import write_hub

SETTINGS = ReadSettings(56, 90.0, 2**28, 1000, None, Retry(0))


@pytest.fixture
def rows(tmp_path: Path) -> pa.Table:
    """Two files of three row groups each, of 4, 4 and 2 rows."""
    for name in "ab":
        pictures = {f"{name}{k}": f"{name}{k}".encode() * (600 if k == 5 else 1) for k in range(10)}
        write_hub(tmp_path / f"{name}.parquet", pictures, group=4, id=list(pictures))
    listing = list_inputs([str(tmp_path)], Retry(0), options=SourceOptions(settings=IndexSettings()))
    return rows_to_do(listing.table, listing.table.column("id").to_pylist(), {})


def test_rows_of_a_group_travel_together(rows: pa.Table) -> None:
    """A group is never parted, small ones share a task, and what was packed is what comes out."""
    for most, sizes in ((1, [4, 4, 2, 4, 4, 2]), (6, [4, 6, 4, 6]), (100, [20])):
        packed = stage.pack_groups(rows, most)
        assert [len(one) for one in packed.column(stage.UNITS)] == sizes
        parts = [stage.unpack_groups(packed.slice(k, 1)) for k in range(len(sizes))]
        assert pa.concat_tables(parts).equals(rows)
    assert [part.num_rows for part in stage.split_groups(rows.slice(2, 12))] == [2, 4, 2, 4]


def test_each_group_is_read_once(rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it on resume too; a picture beyond the limit is a reject alone."""
    read = []
    original = stage.fetch_row_group
    monkeypatch.setattr(stage, "fetch_row_group", lambda *a, **k: read.append(a[1]) or original(*a, **k))
    left = rows.filter(pa.array([number % 3 != 0 for number in range(20)]))
    out = stage.make_unpack_fn(SETTINGS)(left)
    assert out.schema == UNPACK_SCHEMA
    assert read == [0, 1, 2, 0, 1, 2]
    for row in out.to_pylist():
        if row["id"].endswith("5"):
            assert (row["stage"], row["error_class"], row["content"]) == ("unpack", "too_large", None)
        else:
            assert (row["content"], row["error_class"]) == (row["id"].encode(), None)
    assert out.column("id").to_pylist() == left.column("id").to_pylist()


def test_frames_leave_it_as_they_leave_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded once, group by group, with the faces that *read* makes of each alone; rejects stay what they are."""
    path = movies.write_video(tmp_path / "walk.mp4", pictures(30), gop=10)
    options = SourceOptions(settings=IndexSettings(every=2))
    listing = list_inputs([str(path)], Retry(0), options=options)
    rows = rows_to_do(listing.table, listing.table.column("id").to_pylist(), {})
    packed = stage.pack_groups(rows, 4)
    assert [len(one) for one in packed.column(stage.UNITS)] == [5, 5, 5]
    alone = make_read_fn(SETTINGS)(rows)
    opened = []
    original = frames.Decoder.__init__
    monkeypatch.setattr(frames.Decoder, "__init__", lambda self, *a: opened.append(a) or original(self, *a))
    parts = [stage.make_unpack_fn(SETTINGS)(stage.unpack_groups(packed.slice(k, 1))) for k in range(3)]
    assert len(opened) == 3
    together = pa.concat_tables(parts)
    assert together.schema == UNPACK_SCHEMA
    assert make_read_fn(SETTINGS)(together).equals(alone)
    assert alone.column("faces").null_count == 0
    path.unlink()
    gone = make_read_fn(SETTINGS)(stage.make_unpack_fn(SETTINGS)(rows)).to_pylist()
    assert {(row["stage"], row["error_class"]) for row in gone} == {("unpack", "missing")}
    assert all(row["message"].startswith(row["uri"]) for row in gone)


def test_frames_become_files_for_others(tmp_path: Path) -> None:
    """Who decodes by themselves get a picture per frame."""
    path = movies.write_video(tmp_path / "walk.mp4", pictures(4))
    listing = list_inputs([str(path)], Retry(0), options=SourceOptions(settings=IndexSettings(every=3)))
    rows = rows_to_do(listing.table, listing.table.column("id").to_pylist(), {})
    out = stage.make_unpack_fn(SETTINGS, frames_as_files=True)(rows)
    greys = [decode_panorama(content).erp.mean() for content in out.column("content").to_pylist()]
    assert greys == pytest.approx([20, 29], abs=2)


def test_a_group_that_is_gone_rejects_its_rows_alone(rows: pa.Table, tmp_path: Path) -> None:
    """A file that is another one by now, and one that is missing: the other file's rows are read."""
    write_hub(tmp_path / "a.parquet", {"x": b"1"})
    out = stage.make_unpack_fn(SETTINGS)(rows)
    assert {row["error_class"] for row in out.to_pylist()[:10]} == {"changed"}
    assert out.column("content").to_pylist()[10] == b"b0"
    (tmp_path / "a.parquet").unlink()
    assert {row["error_class"] for row in stage.make_unpack_fn(SETTINGS)(rows).to_pylist()[:10]} == {"missing"}


def test_groups_that_no_node_can_hold_are_rejects(rows: pa.Table) -> None:
    """They are told before a task waits for memory that is nowhere; the others reserve what they take."""
    small = 10 * stage.MEMORY_FACTOR
    refused = stage.refuse_large(rows, 100 * stage.MEMORY_FACTOR)
    classes = refused.column("error_class").to_pylist()
    assert [number for number, name in enumerate(classes) if name] == [4, 5, 6, 7, 14, 15, 16, 17]
    assert stage.make_unpack_fn(SETTINGS)(refused).column("content").null_count == 8
    assert stage.task_memory(refused, None) < stage.TASK_MEMORY + 100 * small
    assert stage.refuse_large(rows, None) is rows
