"""The writer's part in the commit: one shard counts per task, whoever dies, and nothing past budget or lease."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import ErrorBudgetExceeded, OutputInUseError, PagerError, StorageError
from pager_ray.pipeline import sink as sink_module
from pager_ray.pipeline.board import MAX_INTERNAL_ERRORS
from pager_ray.pipeline.sink import MAX_DEATHS, ShardSink
from pager_ray.runs import RunLayout, predictions_schema
from pager_ray.runs.layout import SHARD_NAME
from pager_ray.stages.counts import Counts
from pager_ray.stages.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder
from tests.pipeline.boards import LocalBoard, answers_at_once

__all__ = ["answers_at_once"]

WRITE = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(Folder(str(tmp_path / "run")))
    layout.make()
    layout.ledger.begin(1)
    return layout


def sink_of(layout: RunLayout, board: LocalBoard) -> ShardSink:
    schema = predictions_schema(ENCODE_SCHEMA, (), codec="default", projection="erp", face_size=8, fov=90.0)
    return ShardSink(layout, 1, schema, 4, board)


def block(*names: str) -> pa.Table:
    good = [{"id": name, "uri": f"/in/{name}.jpg", "map_height": 8, "map_width": 16} for name in names]
    bad = {"id": "c", "uri": "/in/c.jpg", "stage": "read", "error_class": "missing", "message": "gone", "attempts": 1}
    return to_table([*good, bad], ENCODE_SCHEMA, len(good) + 1, "test")


def write(sink: ShardSink, task: int = 3) -> None:
    context: Any = SimpleNamespace(kwargs={"write_uuid": WRITE}, task_idx=task)
    sink.write([block("a"), ENCODE_SCHEMA.empty_table(), block("b").slice(0, 1)], context)


def test_blocks_become_one_shard_that_counts(layout: RunLayout) -> None:
    """A task's blocks land in one shard, results and rejects; the ledger names its rows, the board counts them."""
    board = LocalBoard()
    write(sink_of(layout, board))
    standing = layout.ledger.read()
    assert standing.column("id").to_pylist() == ["a", "b", "c"]
    (shard,) = set(standing.column("shard").to_pylist())
    assert SHARD_NAME.fullmatch(shard)
    assert pq.read_table(layout.results.join(f"{shard}.parquet")).column("id").to_pylist() == ["a", "b"]
    assert pq.read_table(layout.rejects.join(f"{shard}.parquet")).column("id").to_pylist() == ["c"]
    assert board.board.counts == Counts(100, predicted=2, rejected=1)


def test_a_repeated_task_changes_nothing(layout: RunLayout) -> None:
    """A task that Ray does again after its end leaves shard, ledger and counts as they are."""
    board = LocalBoard()
    write(sink_of(layout, board))
    before = layout.ledger.read()
    write(sink_of(layout, board))
    assert layout.ledger.read().equals(before)
    assert len(layout.results.names()) == len(layout.rejects.names()) == 1
    assert board.board.counts == Counts(100, predicted=2, rejected=1)


@pytest.mark.parametrize("step", ["before the record", "after the record"])
def test_a_writer_that_dies_is_followed(layout: RunLayout, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Dead before its record, the rows are written again; dead after it, they are only counted."""

    class Died(BaseException):
        pass

    def die(*arguments: Any) -> bool:
        if step == "after the record":
            commit(*arguments)
        raise Died

    board = LocalBoard()
    commit = layout.ledger.commit
    with monkeypatch.context() as patch:
        patch.setattr(layout.ledger, "commit", die)
        with pytest.raises(Died):
            write(sink_of(layout, board))
    assert board.board.counts.done == 0
    write(sink_of(layout, board))
    assert layout.ledger.read().column("id").to_pylist() == ["a", "b", "c"]
    assert board.board.counts == Counts(100, predicted=2, rejected=1)
    assert layout.drop_uncommitted(layout.ledger.standing().shards()) == (step == "before the record")


def test_a_shard_that_only_kills_stops_the_job(layout: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose workers die each time ends the job with its first row and a way out, not in an endless loop."""

    class Died(BaseException):
        pass

    def die(*_: Any) -> pa.Table:
        raise Died

    sink = sink_of(layout, LocalBoard())
    monkeypatch.setattr(sink_module, "write_shard", die)
    for _ in range(MAX_DEATHS):
        with pytest.raises(Died):
            write(sink)
    with pytest.raises(PagerError, match=r"starts with 'a' killed its worker 8 times.*output\.rows_per_shard"):
        write(sink)


def test_beyond_the_budget_nothing_is_written(layout: RunLayout) -> None:
    """Once a run has more rejects than it may, the next task fails before it is written or counted."""
    board = LocalBoard(Counts(100, rejected=3), max_rejects=2)
    with pytest.raises(ErrorBudgetExceeded) as caught:
        write(sink_of(layout, board))
    assert str(caught.value) == (
        f"more inputs were rejected than errors.max_rejects allows; look at {layout.rejects}, then run again with a "
        "larger errors.max_rejects"
    )
    assert layout.results.names() == layout.rejects.names() == []
    assert board.board.counts.done == 3


def test_a_lost_output_is_not_written_to(layout: RunLayout) -> None:
    """Once another job has the output, a writer of this one fails before it writes or counts anything."""
    board = LocalBoard()
    board.board.lose_output()
    with pytest.raises(OutputInUseError) as caught:
        write(sink_of(layout, board))
    assert str(caught.value) == (
        f"output.uri: another job has taken over {layout.root} and goes on there; wait for it, or choose another output"
    )
    assert layout.results.names() == layout.rejects.names() == []


def test_what_the_board_found_out_stops_writers(layout: RunLayout) -> None:
    """A reason to stop that the board has reaches the user as it is."""
    board = LocalBoard()
    for _ in range(MAX_INTERNAL_ERRORS):
        board.board.internal_error("KeyError: 'x' (stage stitch)")
    with pytest.raises(PagerError) as caught:
        write(sink_of(layout, board))
    assert str(caught.value) == (
        "32 rows met errors that nobody foresaw, the last one KeyError: 'x' (stage stitch): a fault of the program or "
        "of its installation, not of the inputs; check the installation, or report it, then run the same command again"
    )
    assert layout.results.names() == layout.rejects.names() == []


def test_a_full_disk_stops_the_writer(layout: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a shard the job stops with one line that says so; nothing is committed or counted."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    board = LocalBoard()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        write(sink_of(layout, board))
    message = str(caught.value)
    assert message.startswith(f"{layout.results}/")
    assert message.endswith(
        ": cannot be written (No space left on device); make room there, then run the same command again"
    )
    assert "\n" not in message
    monkeypatch.undo()
    assert layout.ledger.read().num_rows == 0
    assert layout.results.names() == layout.rejects.names() == []
    assert board.board.counts.done == 0


def test_the_writer_asks_for_whole_shards(layout: RunLayout) -> None:
    """Blocks reach the writer with as many rows as a shard is to have."""
    assert sink_of(layout, LocalBoard()).min_rows_per_write == 4
