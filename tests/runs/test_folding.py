"""Folds: a start reads few files for many records, and the same rows, whatever became of the folds."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pager_ray
from pager_ray.errors import StorageError
from pager_ray.runs import folding as folding_module
from pager_ray.runs import ledger as ledger_module
from pager_ray.runs.folding import Folding, is_fold, next_look
from pager_ray.runs.ledger import Ledger, record_of
from pager_ray.storage import Folder
from tests.reader.runs import SmallRun


@pytest.fixture(autouse=True)
def _of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds of two records."""
    monkeypatch.setattr(ledger_module, "RECORDS", 2)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A generation with five records, three rows each."""
    ledger = Ledger(Folder(str(tmp_path / "ledger")))
    ledger.begin(1)
    for number in range(5):
        commit(ledger, number)
    return ledger


def commit(ledger: Ledger, number: int) -> None:
    ids = [f"{number}-{row}" for row in range(3)]
    assert ledger.commit(1, f"t{number}", record_of(f"t{number}-a", ids, [None, None, "missing"], "digest"))


def rows_of(ledger: Ledger) -> list[dict[str, Any]]:
    return sorted(ledger.read().to_pylist(), key=lambda row: row["id"])


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that were read since."""
    read, names = Folder.read, []

    def noting(self: Folder, name: str) -> bytes:
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(Folder, "read", noting)
    return names


def folds_of(ledger: Ledger) -> list[str]:
    return [name for name in (ledger.folder / "00000001").names() if is_fold(name)]


def test_folded_records_are_not_read(ledger: Ledger, reads: list[str]) -> None:
    """All that stands is read from the folds, and from the records that came after them; none is folded twice."""
    before, folded = rows_of(ledger), set[str]()
    assert (ledger.fold(1, folded), ledger.fold(1, folded)) == (4, 0)
    commit(ledger, 5)
    commit(ledger, 6)
    assert ledger.fold(1, folded) == 2
    reads.clear()
    rows = rows_of(ledger)
    assert [row for row in rows if row["id"] < "5"] == before
    assert len(rows) == 21
    assert sorted(reads) == sorted(["00000001.parquet", *folds_of(ledger), "t6.parquet"])
    assert len(folds_of(ledger)) == 3


def test_folds_go_with_their_records(ledger: Ledger) -> None:
    """What a compaction folds into the snapshot leaves neither, and the snapshot has what both had."""
    before = rows_of(ledger)
    ledger.fold(1, set())
    ledger.compact(1)
    assert rows_of(ledger) == before
    assert (ledger.folder / "00000001").names() == []


@pytest.mark.parametrize("fold", ["damaged", "of other columns", "gone", "twice", "of a record that is not there"])
def test_a_fold_proves_nothing(ledger: Ledger, fold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a fold says or became, what stands is what the records say."""
    before, records = rows_of(ledger), ledger.folder / "00000001"
    ledger.fold(1, set())
    first, second = folds_of(ledger)
    if fold == "damaged":
        records.write(first, records.read(first)[:-20])
    elif fold == "of other columns":
        pq.write_table(pq.read_table(records.join(first)).drop_columns(["task"]), records.join(first))
    elif fold == "gone":
        read = Folder.read

        def lose(self: Folder, name: str) -> bytes:
            if is_fold(name):
                raise StorageError(f"{name}: cannot be read")
            return read(self, name)

        monkeypatch.setattr(Folder, "read", lose)
    elif fold == "twice":
        records.write(folding_module.new_fold(), records.read(second))
    else:
        record = record_of("t9-a", ["z"], [None], "digest").append_column("scalars", pa.nulls(1, pa.binary()))
        records.write(folding_module.new_fold(), folding_module.encoded({"t9.parquet": record}))
    assert rows_of(ledger) == before


@pytest.mark.parametrize("is_made", [False, True])
def test_a_death_while_folding_loses_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, is_made: bool) -> None:
    """A driver that dies before or after it put a fold leaves what stood, and the next start nothing else."""
    before, write = rows_of(ledger), Folder.write

    class Death(BaseException):
        pass

    def die(self: Folder, name: str, data: bytes) -> None:
        if is_made:
            write(self, name, data)
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", die)
        with pytest.raises(Death):
            ledger.fold(1, set())
    assert rows_of(ledger) == before
    assert ledger.begin(2) == 2
    assert rows_of(ledger) == before
    assert (ledger.folder / "00000001").names() == []


def test_the_columnar_copy_is_that_of_the_records(tmp_path: Path) -> None:
    """What records have for the copy comes through folds."""
    small = SmallRun(tmp_path / "run")
    for number in range(5):
        small.write(f"s{number}", small.prediction(f"{number}a"), small.prediction(f"{number}b"))
    expected = pager_ray.open_run(small.folder).table()
    small.layout.ledger.fold(1, set())
    gathering = small.layout.ledger.gathering()
    small.layout.ledger.finish(1, small.layout.ledger.standing(gathering), gathering)
    (part,) = small.layout.copy.folder.names(".parquet")
    assert pq.read_metadata(small.layout.copy.folder.join(part)).num_rows == 10
    assert pager_ray.open_run(small.folder).table().equals(expected)


def test_folds_are_made_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is entered, again and again, whatever one try ends with; not while it is paused, nor afterwards."""
    monkeypatch.setattr(folding_module, "_SOONEST", 0.0)
    monkeypatch.setattr(folding_module, "_LATEST", 0.001)
    calls, third = [], threading.Event()

    def fold() -> int:
        calls.append(len(calls))
        if len(calls) == 3:
            third.set()
        if len(calls) == 1:
            raise StorageError("the store is away")
        return 0

    with Folding(fold) as folding:
        assert third.wait(60)
        with folding.paused():
            seen = len(calls)
            time.sleep(0.05)
            assert len(calls) == seen
    seen = len(calls)
    assert not folding._thread.is_alive()
    assert len(calls) == seen


@pytest.mark.parametrize(
    ("folded", "seconds", "waited", "expected"),
    [(2048, 100, 100, 100), (4096, 100, 100, 50), (100_000, 10, 15, 15), (0, 60, 60, 120), (0, 500, 500, 600),
     (1024, 600, 600, 600)],
)  # fmt: skip
def test_looks_come_as_often_as_records_do(folded: int, seconds: float, waited: float, expected: float) -> None:
    """The next look is due when two folds' records have come, within bounds; after a look for nothing twice as late."""
    assert next_look(folded, seconds, waited) == expected
