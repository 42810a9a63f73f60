"""The columnar copy: rows of shards that count, once each, equal to the shards' own; what it lacks they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pager_ray
from pager_ray.errors import StorageError
from pager_ray.runs import columnar
from pager_ray.runs.columnar import SCALARS, Gathering
from pager_ray.runs.ledger import LEDGER_SCHEMA, Ledger, record_of
from pager_ray.runs.shards import LATER_COLUMNS, PREDICTION_COLUMNS
from tests.reader.runs import SmallRun

Count = Callable[[], int]


@pytest.fixture
def small(tmp_path: Path) -> SmallRun:
    """Two shards of two predictions each, one of them with a reject; records in the ledger, no copy yet."""
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("d"), small.prediction("a", depth_p50=7.5))
    small.write("s0", small.prediction("c", scene=None), small.reject("x"), small.prediction("b"))
    return small


@pytest.fixture
def shards_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards of predictions that were opened since."""
    opened: list[str] = []
    original = pager_ray.storage.Folder.open

    def noting(self: Any, name: str) -> Any:
        if self.path.endswith("/predictions"):
            opened.append(name)
        return original(self, name)

    monkeypatch.setattr(pager_ray.storage.Folder, "open", noting)
    return opened


def finish(small: SmallRun, generation: int = 1) -> None:
    """End the run's generation as a job does."""
    gathering = small.layout.ledger.gathering()
    small.layout.ledger.finish(generation, small.layout.ledger.standing(gathering), gathering)


def parts(small: SmallRun) -> list[str]:
    return small.layout.copy.folder.names(".parquet")


def table(small: SmallRun, columns: list[str] | None = None) -> pa.Table:
    return pager_ray.open_run(small.folder).table(columns)


def test_a_finished_run_is_read_from_its_copy(small: SmallRun, shards_read: list[str]) -> None:
    """The table is the one that the shards give, schema and order included, and no shard is opened for it."""
    from_shards = table(small)
    assert sorted(shards_read) == ["s0.parquet", "s1.parquet"]
    finish(small)
    shards_read.clear()
    assert parts(small) == ["00000001-00000.parquet"]
    for columns in (None, ["depth_p50", "id"], ["uri"]):
        expected = from_shards if columns is None else from_shards.select(columns)
        assert table(small, columns).equals(expected)
    assert table(small).schema.equals(from_shards.schema, check_metadata=True)
    assert table(small).column("id").to_pylist() == ["c", "b", "d", "a"]
    assert shards_read == []


def test_a_copy_of_an_earlier_version_is_still_one(
    small: SmallRun, shards_read: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Columns that it did not write yet are nulls, as in its shards: they are no reason to open a million of these."""
    finish(small)
    folder = small.layout.copy.folder
    copied = pq.read_table(folder.join(parts(small)[0]))
    pq.write_table(copied.drop_columns(list(LATER_COLUMNS)), folder.join(parts(small)[0]))
    for columns in (["id", *LATER_COLUMNS], None):
        read = table(small, columns)
        assert read.column("id").to_pylist() == ["c", "b", "d", "a"]
        assert all(read.column(name).null_count == 4 for name in LATER_COLUMNS)
    assert shards_read == []
    assert not caplog.records


def test_a_grown_run_reads_what_is_new_from_its_shards(small: SmallRun, shards_read: list[str]) -> None:
    """Shards that were committed after the copy was written are read themselves, in their place among the others."""
    finish(small)
    small.layout.ledger.begin(2)
    small.write("s0a", small.prediction("e"), committed=False)
    assert small.layout.ledger.commit(2, "s0a", record_of("s0a", ["e"], [None], "digest"))
    assert table(small).column("id").to_pylist() == ["c", "b", "e", "d", "a"]
    assert shards_read == ["s0a.parquet"]


def test_what_does_not_count_any_more_is_not_shown(small: SmallRun) -> None:
    """Rows of shards that are done again are left out, whatever the copy has of them."""
    finish(small)
    small.layout.ledger.begin(2, pa.chunked_array([["a"]]))
    assert table(small).column("id").to_pylist() == ["c", "b"]


def test_a_copy_of_other_shards_is_not_trusted(small: SmallRun, shards_read: list[str]) -> None:
    """Where the ledger has another digest for a shard, or other rows, the shard itself is read."""
    finish(small)
    folder = small.layout.copy.folder
    copied = pq.read_table(folder.join(parts(small)[0]))
    wrong = pa.array(["?"] * copied.num_rows)
    for changed in (
        copied.set_column(copied.schema.get_field_index("_sha256"), "_sha256", wrong),
        copied.slice(1).filter(pa.array([True, False, True])),
        pa.concat_tables([copied, copied]),
    ):
        shards_read.clear()
        pq.write_table(changed.set_column(changed.schema.get_field_index("uri"), "uri", [["?"] * len(changed)]),
                       folder.join(parts(small)[0]))  # fmt: skip
        assert table(small).column("uri").to_pylist() == [f"/in/{name}.jpg" for name in "cbda"]
        assert sorted(shards_read) == ["s0.parquet", "s1.parquet"]


@pytest.mark.parametrize("content", [b"", b"PAR1 no PAR1", b"half"])
def test_a_damaged_copy_is_told_of_and_left_out(
    small: SmallRun, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is no part of a copy costs its requests and a warning; the rows are those of the shards."""
    finish(small)
    small.layout.copy.folder.write(parts(small)[0], content)
    with caplog.at_level("WARNING", "pager_ray"):
        assert table(small, ["id"]).column("id").to_pylist() == ["c", "b", "d", "a"]
    assert "is no part of a columnar copy" in caplog.text


def test_a_damaged_record_loses_its_place_in_the_copy_alone(small: SmallRun, shards_read: list[str]) -> None:
    """What a record has for the copy may be anything: it is left out, and its shard is read itself."""
    records = small.layout.ledger.folder / "00000001"
    record = pq.read_table(records.join("s1.parquet"))
    bad = pa.array([b"no stream", None], pa.binary())
    pq.write_table(record.set_column(record.schema.get_field_index(SCALARS), SCALARS, bad), records.join("s1.parquet"))
    finish(small)
    assert table(small, ["id"]).column("id").to_pylist() == ["c", "b", "d", "a"]
    assert shards_read == ["s1.parquet"]


def test_runs_of_earlier_versions_are_read_as_ever(small: SmallRun, shards_read: list[str]) -> None:
    """Records without anything for a copy leave none; the table comes from the shards."""
    records = small.layout.ledger.folder / "00000001"
    for name in records.names():
        pq.write_table(pq.read_table(records.join(name), columns=LEDGER_SCHEMA.names), records.join(name))
    finish(small)
    assert parts(small) == []
    assert table(small, ["id"]).num_rows == 4
    assert len(shards_read) == 2


@pytest.mark.parametrize(
    ("way", "point"),
    [("begin", "_put_snapshot"), ("begin", "_drop_records"), ("compact", "_put_snapshot"),
     ("compact", "_drop_records"), ("finish", "_drop_records")],
)  # fmt: skip
def test_a_death_after_the_copy_shows_nothing_twice(
    small: SmallRun, way: str, point: str, monkeypatch: pytest.MonkeyPatch, shards_read: list[str]
) -> None:
    """Who folds records puts the copy first: a death behind it leaves both, the next start ends with each row once."""
    ledger, gathering = small.layout.ledger, small.layout.ledger.gathering()
    standing = ledger.standing(gathering)
    calls = {
        "begin": lambda: ledger.begin(2),
        "compact": lambda: ledger.compact(1),
        "finish": lambda: ledger.finish(1, standing, gathering),
    }
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, point, _killed)
        with pytest.raises(StorageError, match="killed"):
            calls[way]()
    assert parts(small) == ["00000001-00000.parquet"]
    assert table(small, ["id"]).column("id").to_pylist() == ["c", "b", "d", "a"]
    finish(small, ledger.begin(5))
    assert parts(small) == ["00000001-00000.parquet"]
    assert table(small, ["id"]).column("id").to_pylist() == ["c", "b", "d", "a"]
    assert shards_read == []


def test_a_death_before_the_copy_loses_nothing_of_it(small: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records go after the copy has what they had: a start that dies before it leaves them for the next."""
    with monkeypatch.context() as patched:
        patched.setattr(columnar.ColumnarCopy, "put", _killed)
        with pytest.raises(StorageError, match="killed"):
            small.layout.ledger.begin(2)
    small.layout.ledger.begin(3)
    assert parts(small) == ["00000001-00000.parquet"]


def test_a_start_that_looks_twice_copies_once(small: SmallRun) -> None:
    """What a start has read before its generation begins goes to the copy, and what is committed meanwhile, too."""
    with small.layout.ledger.remembering():
        assert small.layout.ledger.read().num_rows == 5
        small.write("s2", small.prediction("e"))
        assert small.layout.ledger.read().num_rows == 6
        small.layout.ledger.begin(2)
    assert parts(small) == ["00000001-00000.parquet"]
    copied = pq.read_table(small.layout.copy.folder.join(parts(small)[0]))
    assert sorted(copied.column("id").to_pylist()) == ["a", "b", "c", "d", "e"]
    finish(small, 2)
    assert parts(small) == ["00000001-00000.parquet"]


def _killed(*arguments: Any) -> None:
    raise StorageError("killed")


def test_many_records_become_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards_read: list[str]) -> None:
    """Files have as many rows as they may, parts of a job one behind the other, and a table reads each of them once."""
    monkeypatch.setattr(columnar, "_ROWS", 8)
    monkeypatch.setattr(columnar, "_RECORDS", 2)
    small = SmallRun(tmp_path / "run")
    for number in range(10):
        small.write(f"s{number}", *(small.prediction(f"{number}-{place}") for place in range(2)))
    assert small.layout.ledger.compact(1) == 2
    assert parts(small) == [f"00000001-0000{number}.parquet" for number in range(3)]
    ids = [f"{number}-{place}" for number in range(10) for place in range(2)]
    assert table(small, ["id"]).column("id").to_pylist() == ids
    assert shards_read == []


def test_records_of_two_versions_become_two_files(small: SmallRun) -> None:
    """Files have one schema; what a later version writes beside is in a file of its own."""
    gathering = Gathering()
    names = small.layout.ledger.folder / "00000001"
    record = pq.read_table(names.join("s0.parquet"))
    gathering.add(record)
    more = pa.table({"id": ["z"], "more": [1]})
    gathering.add(columnar.with_scalars(record_of("s9", ["z"], [None], "0"), more))
    first, second = (pq.read_table(pa.BufferReader(content)).column_names for content in gathering.done())
    assert first == ["_shard", "_sha256", *PREDICTION_COLUMNS]
    assert second == ["_shard", "_sha256", "id", "more"]


def test_a_run_that_is_deleted_takes_its_copy_along(small: SmallRun) -> None:
    """The copy goes with the run, and what others put beside it stays."""
    finish(small)
    small.layout.copy.folder.write("mine.parquet", b"")
    small.layout.clear()
    assert small.layout.copy.folder.names() == ["mine.parquet"]


def test_records_of_one_schema_are_read_together(small: SmallRun, shards_read: list[str]) -> None:
    """Whatever some records have, whole, damaged or of other rows than their shard, the others are in the copy."""
    small.write("s2", small.prediction("e"), small.prediction("f"))
    small.write("s3", small.prediction("g"))
    records = small.layout.ledger.folder / "00000001"
    record, other = (pq.read_table(records.join(name)) for name in ("s1.parquet", "s3.parquet"))
    # A record that says of two rows what another shard has in one.
    stream = pa.array([other.column(SCALARS)[0].as_py(), None], pa.binary())
    place = record.schema.get_field_index(SCALARS)
    pq.write_table(record.set_column(place, SCALARS, stream), records.join("s1.parquet"))
    finish(small)
    assert table(small, ["id"]).column("id").to_pylist() == ["c", "b", "d", "a", "e", "f", "g"]
    assert shards_read == ["s1.parquet"]
