"""Isolation: what harms its worker is left out after it was tried alone, and nothing else is."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from pager_ray.errors import CheckpointError, InputError, PagerError, ShapeError
from pager_ray.pipeline.isolate import _task, call_isolated, isolated
from pager_ray.pipeline.progress import MAX_MODEL_DEATHS
from pager_ray.stages.rows import IDENTITY, STATUS, carry, iterate, to_table
from tests.pipeline.boards import LocalBoard, answers_at_once

__all__ = ["answers_at_once"]

SCHEMA = pa.schema([*IDENTITY, *STATUS, pa.field("doubled", pa.string())])


class Died(BaseException):
    """Stands for a worker's death: nothing in the package catches it."""


def table_of(*names: str) -> pa.Table:
    return to_table([{"id": name, "uri": f"/in/{name}.jpg"} for name in names], pa.schema(IDENTITY), len(names), "test")


def doubling(harm: Callable[[str], None]) -> Callable[[pa.Table], pa.Table]:
    def double(table: pa.Table) -> pa.Table:
        rows = []
        for scalars in iterate(table):
            row = carry(scalars, IDENTITY)
            harm(row["id"])
            rows.append(row | {"doubled": 2 * row["id"]})
        return to_table(rows, SCHEMA, table.num_rows, "test")

    return double


def until_done(stage: Callable[[pa.Table], pa.Table], table: pa.Table) -> tuple[pa.Table, int]:
    """Call again after every death, as Ray does; gives the result and the number of deaths."""
    for deaths in range(100):
        try:
            return stage(table), deaths
        except Died:
            continue
    pytest.fail("it never ended")


def outcomes(table: pa.Table) -> dict[str, str | None]:
    return {row["id"]: row["error_class"] for row in table.to_pylist()}


@pytest.mark.parametrize("killers", ["c", "a", "e", "ac", "abcde"])
def test_killers_are_rejected_and_their_neighbours_are_not(killers: str) -> None:
    """Every row that kills its worker becomes a reject of class worker_death, all others get their result."""

    def kill(name: str) -> None:
        if name in killers:
            raise Died

    board = LocalBoard()
    result, deaths = until_done(isolated("read", doubling(kill), SCHEMA, board), table_of(*"abcde"))
    assert outcomes(result) == {name: "worker_death" if name in killers else None for name in "abcde"}
    assert deaths == 1 + 2 * len(killers)
    for row in result.to_pylist():
        assert row["doubled"] == (None if row["id"] in killers else 2 * row["id"])
        if row["id"] in killers:
            assert (row["stage"], row["attempts"]) == ("read", 3)
            assert row["message"].startswith(f"/in/{row['id']}.jpg: killed its worker 3 times in stage read, ")
            assert "--retry-rejects worker_death" in row["message"]
    assert board.board._open == board.board._alone == {}


def test_deaths_that_are_nobodys_fault_reject_nothing() -> None:
    """Workers that die at another row each time cost repetitions and no row."""
    deaths = iter("acbdea")
    next_one = [next(deaths)]

    def kill(name: str) -> None:
        if name == next_one[0]:
            next_one[0] = next(deaths, "")
            raise Died

    result, _ = until_done(isolated("read", doubling(kill), SCHEMA, LocalBoard()), table_of(*"abcde"))
    assert outcomes(result) == dict.fromkeys("abcde")


def test_an_unforeseen_error_rejects_its_row() -> None:
    """A row whose stage raises what nobody foresaw is rejected with type, text and stage; its neighbours are not."""

    def fail(name: str) -> None:
        if name == "b":
            raise KeyError("width\nof the image")

    board = LocalBoard()
    result = isolated("stitch", doubling(fail), SCHEMA, board)(table_of(*"abc"))
    assert outcomes(result) == {"a": None, "b": "internal_error", "c": None}
    message = result.to_pylist()[1]["message"]
    assert message.startswith("/in/b.jpg: stage stitch failed with KeyError")
    assert "please report it" in message
    assert "\n" not in message


def test_a_row_of_the_wrong_shape_is_its_own_fault() -> None:
    """An array that does not fit is a row's trouble, though its error is one of the family: the job goes on."""

    def fail(name: str) -> None:
        if name == "b":
            raise ShapeError("faces: got float32 (6, 3), takes uint8 (6, S, S, 3)")

    result = isolated("infer", doubling(fail), SCHEMA, LocalBoard())(table_of(*"abc"))
    assert outcomes(result) == {"a": None, "b": "internal_error", "c": None}
    assert "ShapeError: faces: got float32 (6, 3)" in result.to_pylist()[1]["message"]


@pytest.mark.parametrize("error", [CheckpointError("weights.pth: damaged"), PagerError("no space")])
def test_foreseen_errors_end_the_job(error: PagerError) -> None:
    """What this package raises on purpose is no fault of a row and passes through."""

    def fail(name: str) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        isolated("infer", doubling(fail), SCHEMA, LocalBoard())(table_of("a"))


def test_a_job_that_must_stop_begins_nothing() -> None:
    """Once the board knows why the job is broken, stages fail with its reason instead of working."""
    board = LocalBoard()
    for _ in range(MAX_MODEL_DEATHS + 1):
        board.board.begin("infer", "t")
    with pytest.raises(
        PagerError, match=r"^model actors died 24 times in a row .*; look at the logs .* run the same command again$"
    ):
        isolated("read", doubling(lambda _: pytest.fail("it worked")), SCHEMA, board)(table_of("a"))


def test_empty_blocks_pass() -> None:
    """A block without rows is nobody's attempt."""
    board = LocalBoard()
    assert isolated("read", doubling(lambda _: None), SCHEMA, board)(table_of()).num_rows == 0
    assert board.board._open == {}


def test_earlier_attempts_are_added_up() -> None:
    """A row that earlier starts tried keeps their number: attempts are counted over all of them."""
    rows = [{"id": "a", "uri": "/in/a.jpg", "attempts": 5}]
    table = to_table(rows, pa.schema([*IDENTITY, *STATUS]), 1, "test")

    def fail(name: str) -> None:
        raise ZeroDivisionError

    (row,) = isolated("read", doubling(fail), SCHEMA, LocalBoard())(table).to_pylist()
    assert row["attempts"] == 6


def test_errors_of_rows_keep_their_attempts() -> None:
    """An input error carries the number of attempts when it is rebuilt, as between workers."""
    error: Any = copy.copy(InputError("transient", "s3://b/a.jpg: timed out", 7))
    assert (error.error_class, str(error), error.attempts) == ("transient", "s3://b/a.jpg: timed out", 7)


def test_rows_are_tried_alone_though_calls_share_a_process() -> None:
    """Where several calls run at once in a process, only one of them tries a row alone: a death is nobody else's."""
    board, turn = LocalBoard(), threading.RLock()
    at_work: list[str] = []
    crowds: list[list[str]] = []

    def harm(name: str) -> None:
        at_work.append(name)
        time.sleep(0.005)
        crowds.append(list(at_work))
        at_work.remove(name)

    def call(names: str) -> pa.Table:
        return call_isolated("infer", doubling(harm), table_of(*names), SCHEMA, board, turn=turn)

    blocks = ["abcd", "efgh"]
    for names in blocks:
        board.board.begin("infer", _task(table_of(*names)))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(call, blocks))
    assert [outcomes(result) for result in results] == [dict.fromkeys(names) for names in blocks]
    assert sorted(map(tuple, crowds)) == [(name,) for name in "abcdefgh"]


def test_work_is_counted() -> None:
    """A block's rows, time and bytes reach the board; a stage that knows its device's time says that instead."""
    board = LocalBoard()
    isolated("read", doubling(lambda _: time.sleep(0.01)), SCHEMA, board)(table_of(*"abc"))
    result = call_isolated("infer", doubling(lambda _: None), table_of(*"ab"), SCHEMA, board, busy_seconds=lambda: 7.5)
    read, infer = board.board.work["read"], board.board.work["infer"]
    assert (read.rows, infer.rows, infer.seconds, infer.bytes_out) == (3, 2, 7.5, result.nbytes)
    assert read.seconds >= 0.03
    assert read.cpu_seconds < read.seconds
