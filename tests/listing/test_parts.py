"""Tables by parts: what was added is read, in order and as often as it takes, wherever it lies meanwhile."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from pager_ray.errors import StorageError
from pager_ray.listing.parts import Parts, regrouped

SCHEMA = pa.schema([pa.field("n", pa.int64(), nullable=False), pa.field("text", pa.string())])


def rows(start: int, end: int) -> pa.Table:
    return pa.table([range(start, end), [f"{n}" if n % 2 else None for n in range(start, end)]], schema=SCHEMA)


@pytest.mark.parametrize("added", [[0], [3], [4], [5], [1] * 9, [17], [3, 0, 9, 2], [8, 8]])
def test_what_was_added_is_read(added: list[int]) -> None:
    """In order, twice, with all columns or some, in parts of the size that was asked for."""
    parts, count = Parts(SCHEMA, 4), 0
    for number in added:
        parts.add(rows(count, count + number))
        count += number
    assert parts.num_rows == count
    for _ in range(2):
        read = list(parts.read())
        assert [part.num_rows for part in read] == [min(4, count - start) for start in range(0, count, 4)]
        assert pa.concat_tables([SCHEMA.empty_table(), *read]).equals(rows(0, count))
    assert [part.column_names for part in parts.read(["text"])] == [["text"]] * len(read)
    assert parts.table().equals(rows(0, count))


def test_it_knows_which_columns_have_values() -> None:
    """A column of nulls alone has none, whichever part they are in."""
    parts = Parts.of([rows(0, 1), rows(2, 3)], SCHEMA)
    assert parts.has("n")
    assert not parts.has("text")
    parts.add(rows(3, 4))
    assert parts.has("text")


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies on the disk has no name: nobody has to delete it, however the process ends."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts = Parts(SCHEMA, 4)
    parts.add(rows(0, 9))
    assert os.listdir(tmp_path) == []
    assert parts.table().equals(rows(0, 9))


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files that cannot be written is one line that says what to do."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(StorageError, match=r"absent: cannot hold the listing meanwhile \(No such .*TMPDIR"):
        Parts(SCHEMA, 4).add(rows(0, 9))


@pytest.mark.parametrize("sizes", [[], [0], [2], [3], [7], [1, 1, 1, 1], [2, 5, 1]])
def test_rows_are_regrouped(sizes: list[int]) -> None:
    """Three at a time, the last ones what is left, whatever they came in."""
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    tables = [rows(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    found = list(regrouped(tables, 3))
    assert [table.num_rows for table in found] == [min(3, sum(sizes) - start) for start in range(0, sum(sizes), 3)]
    assert pa.concat_tables([SCHEMA.empty_table(), *found]).equals(rows(0, sum(sizes)))
