"""Isolation: what harms its worker is left out after it was tried alone, and nothing else is."""

from __future__ import annotations

import copy
import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pager_ray.errors import CheckpointError, InputError, PagerError, ShapeError
from pager_ray.pipeline import isolate
from pager_ray.pipeline.board import MAX_MODEL_DEATHS, UNSEEN_DEATHS
from pager_ray.pipeline.isolate import Room, _task, call_isolated, isolated
from pager_ray.pipeline.quarantine import KILLS, NotStarted
from pager_ray.stages.rows import IDENTITY, PUT_OFF, STATUS, carry, iterate, to_table
from tests.pipeline.boards import LocalBoard, answers_at_once

__all__ = ["answers_at_once"]

WORKER = "PAGER_RAY_TEST_WORKER"
SCHEMA = pa.schema([*IDENTITY, *STATUS, pa.field("doubled", pa.string())])


@pytest.fixture(autouse=True)
def the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the worker whose deaths are played; its children are real."""
    monkeypatch.setenv(WORKER, str(os.getpid()))


class Died(BaseException):
    """Stands for a worker's death: nothing in the package catches it. In quarantine it ends a real process."""


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


def in_quarantine() -> bool:
    return os.environ[WORKER] != str(os.getpid())


def die_of(cause: signal.Signals) -> None:
    """End this process: the worker in name, a quarantine in fact."""
    if not in_quarantine():
        raise Died
    os.kill(os.getpid(), cause)


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


def test_killers_are_rejected_and_their_neighbours_are_not() -> None:
    """Every row that kills its worker becomes a reject of class worker_death, all others get their result."""
    killers = "ad"

    def kill(name: str) -> None:
        if name in killers:
            die_of(signal.SIGSEGV)

    board = LocalBoard()
    result, deaths = until_done(isolated("read", doubling(kill), SCHEMA, board), table_of(*"abcde"))
    assert outcomes(result) == {name: "worker_death" if name in killers else None for name in "abcde"}
    # Once in company, then each alone; the third death is no worker's.
    assert deaths == 1 + len(killers)
    for row in result.to_pylist():
        assert row["doubled"] == (None if row["id"] in killers else 2 * row["id"])
        if row["id"] in killers:
            assert (row["stage"], row["attempts"]) == ("read", 3)
            assert row["message"].startswith(
                f"/in/{row['id']}.jpg: killed its worker 3 times in stage read, at last by SIGSEGV in a process"
            )
            assert "--retry-rejects worker_death" in row["message"]
    assert board.board._open == board.board._alone == {}


def test_a_row_that_takes_all_memory_is_rejected() -> None:
    """What the system kills each time is no kill from outside: after some processes of its own the row is out."""
    result, deaths = until_done(
        isolated("read", doubling(lambda _: die_of(signal.SIGKILL)), SCHEMA, LocalBoard()), table_of("a")
    )
    (row,) = result.to_pylist()
    assert (row["error_class"], row["attempts"], deaths) == ("worker_death", 2 + KILLS, 2)
    assert "at last by SIGKILL in a process of its own" in row["message"]


def test_deaths_from_outside_reject_nothing(tmp_path: Path) -> None:
    """A kill of its block and as many of a row alone as there may be, all at one row, cost repetitions and no row."""
    for number in range(1 + KILLS):
        (tmp_path / str(number)).touch()

    def kill(name: str) -> None:
        for order in sorted(tmp_path.iterdir()):
            order.unlink()
            die_of(signal.SIGKILL)

    result, deaths = until_done(isolated("read", doubling(kill), SCHEMA, LocalBoard()), table_of("a"))
    assert outcomes(result) == {"a": None}
    assert deaths == 2
    assert list(tmp_path.iterdir()) == []


def test_workers_that_die_at_another_row_each_time_reject_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deaths spread over the rows of a block, any number of them, are nobody's fault."""
    monkeypatch.setattr(isolate, "try_in_quarantine", Tried())
    deaths = iter("acbdea")
    next_one = [next(deaths)]

    def kill(name: str) -> None:
        if name == next_one[0]:
            next_one[0] = next(deaths, "")
            raise Died

    result, _ = until_done(isolated("read", doubling(kill), SCHEMA, LocalBoard()), table_of(*"abcde"))
    assert outcomes(result) == dict.fromkeys("abcde")


def test_where_nobody_sees_a_row_die_it_takes_more_deaths() -> None:
    """The model has no second process: a row is out after so many deaths alone, and not after one less."""
    for fatal in (False, True):
        left = [1 + UNSEEN_DEATHS if fatal else UNSEEN_DEATHS]

        def kill(name: str, left: list[int] = left) -> None:
            if name == "b" and left[0]:
                left[0] -= 1
                raise Died

        stage = functools.partial(
            call_isolated, "infer", doubling(kill), schema=SCHEMA, board=LocalBoard(), room=Room()
        )
        result, deaths = until_done(lambda table, stage=stage: stage(table=table), table_of(*"abc"))
        assert outcomes(result) == {"a": None, "b": "worker_death" if fatal else None, "c": None}
        assert deaths == UNSEEN_DEATHS + fatal
        if fatal:
            assert result.to_pylist()[1]["attempts"] == 1 + UNSEEN_DEATHS


def test_a_verdict_outlives_the_worker() -> None:
    """A convicted row is not tried again when a later row of its block kills the worker."""
    board = LocalBoard()

    def kill(name: str) -> None:
        if name in "ab":
            die_of(signal.SIGSEGV)

    stage = isolated("read", doubling(kill), SCHEMA, board)
    for _ in range(2):
        with pytest.raises(Died):
            stage(table_of(*"ab"))
    with pytest.raises(Died):
        # "a" is convicted on the way to "b".
        stage(table_of(*"ab"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolate, "try_in_quarantine", tried := Tried())
        assert outcomes(stage(table_of(*"ab"))) == {"a": "worker_death", "b": None}
    assert tried.ids == ["b"]


class Tried:
    """Notes who is tried in quarantine, and lets everybody live."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self, function: Any, table: pa.Table) -> pa.Table:
        self.ids += table.column("id").to_pylist()
        return doubling(lambda _: None)(table)


def test_without_a_process_to_try_it_in_a_row_is_tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that starts no more processes convicts nobody by that; deaths are counted unseen."""

    def refuse(*_: Any) -> pa.Table:
        raise NotStarted("too many processes")

    monkeypatch.setattr(isolate, "try_in_quarantine", refuse)

    def kill(name: str) -> None:
        raise Died

    result, deaths = until_done(isolated("read", doubling(kill), SCHEMA, LocalBoard()), table_of("a"))
    assert outcomes(result) == {"a": "worker_death"}
    assert deaths == 1 + UNSEEN_DEATHS


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
    """Where several calls run at once in a process, a row that is tried alone has it to itself, and blocks share it."""
    board, room = LocalBoard(), Room()
    at_work: set[str] = set()
    crowds: dict[str, set[str]] = {}
    inside = threading.Barrier(3)

    def harm(name: str) -> None:
        at_work.add(name)
        if name in "xy":
            inside.wait(600)
            inside.wait(600)
        crowds[name] = set(at_work)
        if name in "xy":
            inside.wait(600)
        at_work.remove(name)

    def call(names: str) -> pa.Table:
        return call_isolated("infer", doubling(harm), table_of(*names), SCHEMA, board, room=room)

    alone = ["abcd", "efgh"]
    for names in alone:
        board.board.begin("infer", _task(table_of(*names)))
    with ThreadPoolExecutor(4) as pool:
        together = [pool.submit(call, names) for names in "xy"]
        inside.wait(600)
        results = [pool.submit(call, names) for names in alone]
        # Time in which they might push in; a machine that needs more of it proves less.
        time.sleep(0.05)
        inside.wait(600)
        inside.wait(600)
        assert [outcomes(result.result()) for result in together] == [{"x": None}, {"y": None}]
        assert [outcomes(result.result()) for result in results] == [dict.fromkeys(names) for names in alone]
    assert crowds == {name: {name} for name in "abcdefgh"} | {name: {"x", "y"} for name in "xy"}


def test_work_is_counted() -> None:
    """A block's rows, time and bytes reach the board; a stage that knows its device's time says that instead."""
    board = LocalBoard()
    isolated("read", doubling(lambda _: time.sleep(0.01)), SCHEMA, board)(table_of(*"abc"))
    result = call_isolated("infer", doubling(lambda _: None), table_of(*"ab"), SCHEMA, board, busy_seconds=lambda: 7.5)
    read, infer = board.board.work["read"], board.board.work["infer"]
    assert (read.rows, infer.rows, infer.seconds, infer.bytes_out) == (3, 2, 7.5, result.nbytes)
    assert read.seconds >= 0.03
    assert read.cpu_seconds < read.seconds


def test_what_is_read_together_is_tried_together() -> None:
    """Of a block of two groups the one that kills its worker is rejected as a whole, each row with the reason.

    No row is tried alone: a group would be read once for each.
    """
    calls: list[str] = []

    def kill(name: str) -> None:
        calls.append(name)
        if name == "c":
            die_of(signal.SIGSEGV)

    def groups(table: pa.Table) -> list[pa.Table]:
        return [table.slice(0, 2), table.slice(2)]

    stage = isolated("unpack", doubling(kill), SCHEMA, LocalBoard(), groups)
    result, deaths = until_done(stage, table_of(*"abcde"))
    assert outcomes(result) == {name: "worker_death" if name in "cde" else None for name in "abcde"}
    assert [row["uri"] in row["message"] for row in result.to_pylist()[2:]] == [True] * 3
    assert deaths == 2
    assert "d" not in calls


def test_rejects_are_told_by_the_stage_that_made_them() -> None:
    """The first stage also tells those of the listing; none tells what came to it as a reject, or was put off."""
    made = [("list", "duplicate_id"), ("read", "missing"), ("read", "missing"), (None, None), ("read", PUT_OFF)]
    rows = [
        {"id": str(number), "uri": f"/in/{number}.jpg", "stage": stage, "error_class": error}
        for number, (stage, error) in enumerate(made)
    ]
    board = LocalBoard()
    table = table_of(*(row["id"] for row in rows))
    result = to_table(rows, SCHEMA, len(rows), "read")
    for stage in ("read", "infer"):
        call_isolated(stage, lambda _: result, table, SCHEMA, board)
        assert board.board.state().rejects == {"duplicate_id": 1, "missing": 2}
