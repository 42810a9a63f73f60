"""The ledger: one outcome per input, whoever dies in between and whoever lives on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import OutputInUseError, StorageError
from pager_ray.runs import standing as standing_module
from pager_ray.runs.ledger import Ledger, record_of, rows_by_shard, shards_of
from pager_ray.runs.standing import LEDGER_SCHEMA, Standing
from pager_ray.storage import Folder


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


def test_records_are_folded_on_the_way(ledger: Ledger) -> None:
    """After a compaction one file says all that the records said, and the next generation's records count with it."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a", error_class="transient"))
    ledger.commit(1, "t1", record("t1-a", "b"))
    before = ledger.read()
    assert ledger.compact(1) == 2
    assert ledger.read().equals(before)
    assert ledger.folder.names() == ["00000002.parquet"]
    assert (ledger.folder / "00000001").names() == []
    ledger.commit(2, "u0", record("u0-a", "a"))
    assert outcomes(ledger) == {"a": ("u0-a", None), "b": ("t1-a", None)}


def test_a_late_writer_does_not_undo_a_compaction(ledger: Ledger) -> None:
    """A task that was given up and commits after the compaction, under its own name or that of the winner, is lost."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a"))
    ledger.compact(1)
    ledger.commit(1, "t0", record("t0-b", "a"))
    ledger.commit(1, "t1", record("t1-b", "b"))
    assert outcomes(ledger) == {"a": ("t0-a", None)}


class Death(Exception):
    """Stands for a process that ends at a request."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, request: str, *, is_made: bool) -> Iterator[None]:
    """The first such request to the store is the process's last, and is made or not."""
    original = getattr(Folder, request)

    def die(folder: Folder, *arguments: Any) -> None:
        if is_made:
            original(folder, *arguments)
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(Folder, request, die)
        yield


@pytest.mark.parametrize("is_made", [False, True])
@pytest.mark.parametrize("request_", ["create", "delete_where", "delete"])
def test_a_death_while_compacting_loses_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, request_: str, is_made: bool
) -> None:
    """Wherever a compaction ends, what stood stands, once, also for the next start, which cleans up."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a"))
    ledger.compact(1)
    ledger.commit(2, "t1", record("t1-a", "b", "c"))
    before = ledger.read()
    with dying(monkeypatch, request_, is_made=is_made), pytest.raises(Death):
        ledger.compact(2)
    assert ledger.read().equals(before)
    generation = ledger.begin(2)
    assert ledger.read().equals(before)
    assert ledger.folder.names() == [f"{generation:08}.parquet"]
    assert [(ledger.folder / f"{old:08}").names() for old in range(generation)] == [[]] * generation


@pytest.mark.parametrize("moment", ["before", "while reading", "at the put"])
def test_a_holder_that_lost_its_lease_compacts_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Whenever another job begins, one that does not know it yet is refused, and the other's records count on."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a"))

    def follow() -> None:
        patch.undo()
        generation = ledger.begin(2)
        assert ledger.commit(generation, "u0", record("u0-a", "b"))

    def follow_before(original: Any) -> Any:
        def call(*arguments: Any) -> Any:
            follow()
            return original(*arguments)

        return call

    with monkeypatch.context() as patch:
        if moment == "before":
            follow()
        else:
            name = "_each_record" if moment == "while reading" else "_put_snapshot"
            patch.setattr(ledger, name, follow_before(getattr(ledger, name)))
        with pytest.raises(OutputInUseError, match=r"another job has taken over .*ledger and goes on there; wait"):
            ledger.compact(1)
    assert outcomes(ledger) == {"a": ("t0-a", None), "b": ("u0-a", None)}


def test_of_two_that_begin_at_once_each_has_a_generation(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that another one was faster to take is not taken twice: the slower one's is higher, and counts."""
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a"))
    original, numbers = ledger._put_snapshot, []

    def slower(generation: int, standing: Standing) -> bool:
        if not numbers:
            numbers.append(generation)
            assert original(generation, standing)
        return original(generation, standing)

    monkeypatch.setattr(ledger, "_put_snapshot", slower)
    assert ledger.begin(2) == 3
    assert numbers == [2]
    assert outcomes(ledger) == {"a": ("t0-a", None)}


def test_rows_are_told_apart_by_shard(ledger: Ledger) -> None:
    """Every shard's rows in their order, shards in order of their names, however they lie in the ledger."""
    table = pa.concat_tables([record("s1", "d", "a"), record("s0", "c"), record("s1", "b")])
    found = {shard: rows.column("id").to_pylist() for shard, rows in rows_by_shard(table).items()}
    assert list(found.items()) == [("s0", ["c"]), ("s1", ["d", "a", "b"])]
    assert rows_by_shard(LEDGER_SCHEMA.empty_table()) == {}


def test_records_are_read_once_while_it_remembers(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a start asks what stands; what is committed meanwhile is seen all the same."""
    ledger.begin(1)
    for task in ("t0", "t1"):
        ledger.commit(1, task, record(f"{task}-a", task))
    read, names = Folder.read, []

    def noting(self: Folder, name: str) -> bytes:
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(Folder, "read", noting)
    with ledger.remembering():
        assert ledger.read().column("id").to_pylist() == ["t0", "t1"]
        ledger.commit(1, "t2", record("t2-a", "t2"))
        assert ledger.read().column("id").to_pylist() == ["t0", "t1", "t2"]
        assert ledger.begin(2) == 2
        assert ledger.read().column("id").to_pylist() == ["t0", "t1", "t2"]
        ledger.commit(2, "t3", record("t3-a", "t3"))
        assert ledger.read().column("id").to_pylist() == ["t0", "t1", "t2", "t3"]
        assert names == ["00000001.parquet", "t0.parquet", "t1.parquet", "t2.parquet", "t3.parquet"]
    names.clear()
    assert ledger.read().num_rows == 4
    assert names == ["00000002.parquet", "t3.parquet"]


def test_shards_and_digests_may_stay_dictionaries(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands is the same for who asks for it compactly, and is written as texts; in one part or several."""
    monkeypatch.setattr(standing_module, "ROWS_AT_ONCE", 2)
    ledger.begin(1)
    for task in ("t0", "t1", "t2"):
        ledger.commit(1, task, record(f"{task}-a", f"{task}1", f"{task}2", f"{task}3"))
    ledger.commit(1, "t3", record("t3-a", "b", error_class="missing"))
    ledger.begin(2)
    ledger.commit(2, "t4", record("t4-a", "b", "c"))
    compact, plain = ledger.read(compact=True), ledger.read()
    assert compact.to_pylist() == plain.to_pylist()
    assert compact.cast(LEDGER_SCHEMA).equals(plain)
    assert shards_of(compact) == shards_of(plain) == {"t0-a", "t1-a", "t2-a", "t4-a"}
    assert {shard: rows.column("id").to_pylist() for shard, rows in rows_by_shard(compact).items()} == {
        shard: rows.column("id").to_pylist() for shard, rows in rows_by_shard(plain).items()
    }
    ledger.finish(2, compact)
    assert ledger.read().equals(plain)
    stored = pq.read_schema(ledger.folder.join("00000002.final.parquet"))
    assert stored.field("shard").type == stored.field("sha256").type == pa.string()


def rows_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots of two rows a file."""
    monkeypatch.setattr(standing_module, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(standing_module, "FILE_ROWS", 2)


def pieces_of(ledger: Ledger) -> list[str]:
    return [name for name in ledger.folder.names() if "-" in name]


def test_a_large_snapshot_is_several_files(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands is the same in one file or in many, folded, begun or finished; nothing of those before is left."""
    rows_in_pieces(monkeypatch)
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a", "b", "c"))
    ledger.commit(1, "t1", record("t1-a", "d", "e", error_class="transient"))
    assert ledger.compact(1) == 2
    assert len(pieces_of(ledger)) == 2
    ledger.commit(2, "u0", record("u0-a", "d"))
    expected = {"a": "t0-a", "b": "t0-a", "c": "t0-a", "d": "u0-a", "e": "t1-a"}

    def check(head: str) -> None:
        assert {id: shard for id, (shard, _) in outcomes(ledger).items()} == expected
        assert ledger.standing().count() == ledger.read().num_rows == 5
        pieces = pieces_of(ledger)
        assert {*ledger.folder.names()} == {head, *pieces}
        assert {name[:8] for name in pieces} == {head[:8]}
        assert len(pieces) == 2

    assert {id: shard for id, (shard, _) in outcomes(ledger).items()} == expected
    ledger.begin(5)
    check("00000005.parquet")
    ledger.finish(5, ledger.standing())
    check("00000005.final.parquet")
    assert ledger.begin(6) == 6
    check("00000006.parquet")
    ledger.clear()
    assert ledger.folder.names() == []


@pytest.mark.parametrize("is_made", [False, True])
@pytest.mark.parametrize(("request_", "number"), [("write", 0), ("write", 1), ("create", 0), ("delete", 0)])
@pytest.mark.parametrize("way", ["begin", "compact", "finish"])
def test_a_death_between_two_files_of_a_snapshot_loses_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, way: str, request_: str, number: int, is_made: bool
) -> None:
    """Whichever file was put or deleted last, what stood stands, and the next start leaves no other file."""
    rows_in_pieces(monkeypatch)
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a", "b", "c", "d"))
    ledger.compact(1)
    ledger.commit(2, "t1", record("t1-a", "e", "f"))
    before, original, seen = ledger.read(), getattr(Folder, request_), []
    ways = {
        "begin": lambda: ledger.begin(3),
        "compact": lambda: ledger.compact(2),
        "finish": lambda: ledger.finish(2, ledger.standing()),
    }

    def die(folder: Folder, *arguments: Any) -> Any:
        seen.append(arguments)
        if len(seen) <= number or is_made:
            answer = original(folder, *arguments)
        if len(seen) > number:
            raise Death
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Folder, request_, die)
        if (way, request_) == ("finish", "create"):
            # It puts nothing exclusively.
            ways[way]()
        else:
            with pytest.raises(Death):
                ways[way]()
    assert ledger.read().equals(before)
    generation = ledger.begin(3)
    assert ledger.read().equals(before)
    head, *pieces = sorted(ledger.folder.names(), key=len)
    assert head == f"{generation:08}.parquet"
    assert len(pieces) == 2


@pytest.mark.parametrize("change", ["missing", "short", "foreign", "no number", "too many"])
def test_a_snapshot_that_is_not_whole_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A file that is gone, or has other rows than the head says, or a head that names others' files, is an error."""
    rows_in_pieces(monkeypatch)
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a", "b", "c", "d"))
    ledger.begin(2)
    (piece,) = pieces_of(ledger)
    if change == "missing":
        ledger.folder.delete([piece])
    elif change == "short":
        table = pq.read_table(ledger.folder.join(piece)).slice(1)
        pq.write_table(table, ledger.folder.join(piece))
    else:
        head = ledger.folder.join("00000002.parquet")
        told = b'{"rows": 4, "rejects": 0, "files": ["../../run.json"]}'
        if change != "foreign":
            told = b'{"rows": %s, "rejects": 0, "files": []}' % (b"null" if change == "no number" else b"1000000000000")
        table = pq.read_table(head)
        pq.write_table(table.replace_schema_metadata({b"pager_ray.snapshot": told}), head)
    with pytest.raises(StorageError, match=r"is no part of a ledger|ledger/.* cannot be read") as caught:
        ledger.read()
    assert "\n" not in str(caught.value)


def test_a_reader_follows_a_snapshot_that_is_folded_away(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a compaction takes away while they are read cost another look, which finds the next generation."""
    rows_in_pieces(monkeypatch)
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a", "b", "c", "d"))
    ledger.begin(2)
    before, original = ledger.read(), standing_module.Snapshot.parts

    def fold(snapshot: Any) -> Any:
        patch.undo()
        Ledger(ledger.folder).compact(2)
        return original(snapshot)

    with monkeypatch.context() as patch:
        patch.setattr(standing_module.Snapshot, "parts", fold)
        assert ledger.read().equals(before)


@pytest.mark.parametrize("moment", ["before reading", "while putting"])
def test_two_jobs_and_large_snapshots_share_no_file(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A holder that lost its lease takes nothing that the job which followed has put, nor what it is about to put."""
    rows_in_pieces(monkeypatch)
    ledger.begin(1)
    ledger.commit(1, "t0", record("t0-a", "a", "b", "c", "d"))
    ledger.compact(1)
    other = Ledger(ledger.folder)
    name = "_look" if moment == "before reading" else "_put_snapshot"
    original = getattr(ledger, name)

    def follow(*arguments: Any) -> Any:
        patch.undo()
        assert other.begin(3) == 3
        other.commit(3, "u0", record("u0-a", "e"))
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, name, follow)
        with pytest.raises(OutputInUseError):
            ledger.compact(2)
    assert [*outcomes(ledger)] == ["a", "b", "c", "d", "e"]
    assert len(pieces_of(ledger)) == 1
