"""The ledger: one outcome per input, whoever dies in between and whoever lives on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pager_ray.errors import StorageError
from pager_ray.storage import Folder
from pager_ray.write.ledger import LEDGER_SCHEMA, Ledger, record_of, shards_of


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder(str(tmp_path / "ledger")))


def record(shard: str, *ids: str, error_class: str | None = None) -> pa.Table:
    return record_of(shard, ids, [error_class] * len(ids), "digest")


def outcomes(ledger: Ledger) -> dict[str, tuple[str, str | None]]:
    return {row["id"]: (row["shard"], row["error_class"]) for row in ledger.read().to_pylist()}


def test_a_shard_counts_from_its_record_on(ledger: Ledger) -> None:
    """Nothing stands in a new ledger; a committed shard stands at once, with its rows in their order."""
    assert ledger.read().schema == LEDGER_SCHEMA
    assert ledger.begin(1) == 1
    assert ledger.read().num_rows == 0
    assert ledger.commit(1, "t0", record("t0-a", "y", "x"))
    assert ledger.read().column("id").to_pylist() == ["y", "x"]
    assert shards_of(ledger.read()) == {"t0-a"}


def test_of_several_attempts_one_counts(ledger: Ledger) -> None:
    """However many attempts at a task commit at once, one is told that it counts, and its shard stands."""
    ledger.begin(1)
    shards = [f"t0-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda shard: ledger.commit(1, "t0", record(shard, "a", "b")), shards))
    assert won.count(True) == 1
    assert shards_of(ledger.read()) == {shards[won.index(True)]}


def test_a_lost_answer_is_no_lost_commit(ledger: Ledger) -> None:
    """The same shard committed again, because nobody heard of the first time, counts once and is told so."""
    ledger.begin(1)
    assert ledger.commit(1, "t0", record("t0-a", "a"))
    assert ledger.commit(1, "t0", record("t0-a", "a"))
    assert not ledger.commit(1, "t0", record("t0-b", "a"))
    assert outcomes(ledger) == {"a": ("t0-a", None)}


def test_a_finished_task_is_known(ledger: Ledger) -> None:
    """A task that is repeated after its commit finds its record, and none before."""
    ledger.begin(1)
    assert ledger.committed(1, "t0") is None
    ledger.commit(1, "t0", record("t0-a", "a"))
    found = ledger.committed(1, "t0")
    assert found is not None
    assert found.column("shard").to_pylist() == ["t0-a"]


def test_a_worker_of_a_dead_start_changes_nothing(ledger: Ledger) -> None:
    """Once the next generation has begun, records of the one before it do not count any more."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a"))
    ledger.begin(2)
    ledger.commit(1, "t1", record("t1-a", "b"))
    ledger.commit(2, "u0", record("u0-a", "b"))
    assert outcomes(ledger) == {"a": ("t0-a", None), "b": ("u0-a", None)}


def test_a_later_outcome_replaces_a_reject_and_nothing_else(ledger: Ledger) -> None:
    """What a reject becomes later counts; two results of one input are both shown, for the reconciliation to see."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a", "b", error_class="transient"))
    ledger.commit(1, "t1", record("t1-a", "c"))
    ledger.begin(2)
    ledger.commit(2, "u0", record("u0-a", "a"))
    ledger.commit(2, "u1", record("u1-a", "b", error_class="missing"))
    assert outcomes(ledger) == {"a": ("u0-a", None), "b": ("u1-a", "missing"), "c": ("t1-a", None)}
    ledger.commit(2, "u2", record("u2-a", "c"))
    assert ledger.read().column("id").to_pylist().count("c") == 2


@pytest.mark.parametrize("step", ["finished", "begun again", "half cleaned"])
def test_what_stands_is_the_same_however_it_is_stored(ledger: Ledger, step: str) -> None:
    """One file after the end, a snapshot after the next beginning, both where a start died between: the same rows."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a"))
    ledger.commit(1, "t1", record("t1-a", "b", error_class="missing"))
    before = ledger.read()
    ledger.finish(1, before)
    assert ledger.folder.names() == ["00000001.final.parquet"]
    if step != "finished":
        old = ledger.folder.read("00000001.final.parquet")
        ledger.begin(2)
        assert ledger.folder.names() == ["00000002.parquet"]
        if step == "half cleaned":
            ledger.folder.write("00000001.final.parquet", old)
    assert ledger.read().equals(before)


def test_a_deleted_lease_does_not_hide_what_stands(ledger: Ledger) -> None:
    """A start with a lower lease than the ledger's last generation gets a higher one than that."""
    ledger.begin(7)
    ledger.commit(7, "t0", record("t0-a", "a"))
    assert ledger.begin(1) == 8
    assert outcomes(ledger) == {"a": ("t0-a", None)}


def test_damage_is_named(ledger: Ledger) -> None:
    """A record that is no Parquet file is an error with its name and a way out, not a run with fewer rows."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a"))
    (ledger.folder / "00000001").write("t0.parquet", b"PAR1 no PAR1")
    with pytest.raises(StorageError, match=r"00000001/t0\.parquet: is no part of a ledger .*--overwrite$") as caught:
        ledger.read()
    assert "\n" not in str(caught.value)
