"""The board: what every stage tells it is counted once, whatever is done twice."""

from __future__ import annotations

import pytest

from pager_ray.pipeline.board import (
    MAX_INTERNAL_ERRORS,
    MAX_MODEL_DEATHS,
    Attempt,
    Board,
    Suspicion,
    Work,
)
from pager_ray.stages.counts import Counts


def test_the_board_adds_up_shards() -> None:
    """Rows of every shard count on top of what earlier starts finished."""
    board = Board(Counts(100, predicted=10, rejected=1), None)
    board.end("write", "t0", None, 4)
    board.end("write", "t1", None, 3, {"not_an_image": 2})
    counts, workers, *_ = board.state()
    assert counts == Counts(100, predicted=17, rejected=3)
    assert counts.done == 20
    assert workers == []


def test_the_board_remembers_workers() -> None:
    """Every model actor that starts is described, in order."""
    board = Board(Counts(1), None)
    board.worker_started("1", {"device": "a"})
    board.worker_started("2", {"device": "b"})
    assert board.state()[1] == [{"device": "a"}, {"device": "b"}]


@pytest.mark.parametrize(
    ("limit", "rejected", "over"), [(None, 10**9, False), (0, 0, False), (0, 1, True), (2, 2, False), (2, 3, True)]
)
def test_the_budget_is_what_may_be_rejected(limit: int | None, rejected: int, over: bool) -> None:
    """A run may have as many rejects as its budget says, and not one more; without one, any number."""
    board = Board(Counts(10, rejected=1 if rejected else 0), limit)
    board.end("write", "t0", None, 5, {"transient": max(rejected - 1, 0)})
    assert board.over_budget() == over


def test_the_board_counts_the_dead() -> None:
    """What was begun and never ended has died; what ended is forgotten, however often it is done again."""
    board = Board(Counts(10), None)
    assert [board.begin("read", "t")[0] for _ in range(3)] == [0, 1, 2]
    assert board.begin("stitch", "t") == Attempt(0)
    board.end("read", "t")
    assert board.begin("read", "t") == Attempt(0)
    assert [board.try_alone("read", "t", "a").deaths for _ in range(2)] == [0, 1]
    board.survived("read", "t", "a")
    assert board.try_alone("read", "t", "a") == Suspicion()
    assert board.try_alone("read", "u", "a") == Suspicion()
    board.convict("read", "t", "a", 2, "SIGSEGV")
    assert [board.try_alone("read", "t", "a") for _ in range(2)] == [Suspicion(2, "SIGSEGV")] * 2
    board.end("read", "t")
    assert board.try_alone("read", "t", "a") == Suspicion()


def test_models_that_only_die_stop_the_job() -> None:
    """So many deaths of model actors without one batch between them are nobody's fault but the cluster's."""
    board = Board(Counts(10), None)
    for _ in range(MAX_MODEL_DEATHS):
        assert board.begin("infer", "t")[1] is None
    board.begin("infer", "other")
    board.end("infer", "other")
    assert board.why_stop() is None
    for _ in range(MAX_MODEL_DEATHS):
        board.begin("infer", "t")
    assert "model actors died 24 times in a row" in str(board.why_stop())
    assert board.begin("read", "u")[1] == board.why_stop()


def test_errors_of_most_rows_stop_the_job() -> None:
    """Unforeseen errors of a few rows among many are theirs; when most rows meet them, the job is broken."""
    board = Board(Counts(10_000, predicted=5_000), None)
    board.end("write", "t", None, 100)
    for _ in range(2 * MAX_INTERNAL_ERRORS - 14):
        board.internal_error("KeyError: 'x' (stage stitch)")
    assert board.why_stop() is None
    board.internal_error("KeyError: 'x' (stage stitch)")
    assert "51 rows met errors that nobody foresaw, the last one KeyError: 'x'" in str(board.why_stop())


def test_the_smallest_batch_that_fits_counts() -> None:
    """Of several workers on one kind of device, the one with the least room decides; it may grow again."""
    board = Board(Counts(1), None)
    board.fits("A", "w1", 2)
    board.fits("A", "w2", 3)
    board.fits("B", "w3", 1)
    assert board.state()[2] == {"A": 2, "B": 1}
    board.fits("A", "w1", 4)
    assert board.state()[2] == {"A": 3, "B": 1}


def test_the_board_adds_up_work() -> None:
    """Every stage's work is summed over its blocks, from when it first had some to when it last finished some."""
    board = Board(Counts(10), None)
    board.begin("read", "t0")
    began = board.state()[3]["read"].began
    board.begin("read", "t1")
    board.end("read", "t0", Work(4, 2.0, 1.0, 100))
    board.end("read", "t1", Work(2, 1.0, 0.5, 50))
    board.begin("infer", "t0")
    work = board.state()[3]
    assert (work["read"].rows, work["read"].seconds, work["read"].cpu_seconds, work["read"].bytes_out) == (
        6,
        3,
        1.5,
        150,
    )
    assert work["read"].began == began
    assert began is not None
    assert work["read"].ended is not None
    assert work["read"].ended >= began
    assert (work["infer"].rows, work["infer"].ended) == (0, None)


def test_rejects_are_known_by_class() -> None:
    """The board adds up rejects by their class and keeps the last one's message."""
    board = Board(Counts(10), None)
    board.end("write", "t0", None, 1, {"not_2_to_1": 2, "transient": 1}, "a.jpg: is no panorama")
    board.end("write", "t1", None, 1, {"transient": 1}, "b.jpg: timed out")
    board.end("write", "t2", None, 1, {})
    state = board.state()
    assert state.rejects == {"not_2_to_1": 2, "transient": 2}
    assert (state.counts.rejected, state.last_error) == (4, "b.jpg: timed out")


def test_a_board_that_stops_lets_nothing_through_its_gates() -> None:
    """Once told to stop, no row is begun before the last gate's end; what is past it is counted until written."""
    board = Board(Counts(100), None)
    board.begin("read", "r0", 8)
    board.begin("infer", "i0", 8)
    board.begin("infer", "i1", 4)
    board.end("infer", "i0", Work(8, 1, 1, 1))
    assert board.stop_taking() == 12
    assert board.begin("read", "r1", 8).put_off
    assert board.begin("infer", "i2", 8).put_off
    assert not board.begin("stitch", "s0", 8).put_off
    board.end("write", "w0", Work(8, 1, 1, 1), 8)
    assert board.in_flight() == 4
    board.end("infer", "i1", Work(4, 1, 1, 1))
    board.end("write", "w1", Work(4, 1, 1, 1), 3, {"transient": 1})
    assert board.in_flight() == 0


def test_rows_that_are_repeated_count_once_past_the_gate() -> None:
    """A batch whose worker died and that is begun again is in flight once."""
    board = Board(Counts(100), None)
    board.begin("infer", "i0", 8)
    board.begin("infer", "i0", 8)
    assert board.in_flight() == 8


def test_the_queue_is_what_the_stage_before_has_finished() -> None:
    """Between two stages wait the rows that one has finished and the next has not, in order of the pipeline."""
    board = Board(Counts(100), None)
    board.end("read", "t0", Work(12, 1, 1, 1))
    board.end("infer", "t0", Work(8, 1, 1, 1))
    board.end("stitch", "t0", Work(8, 1, 1, 1))
    board.end("write", "t0", Work(4, 1, 1, 1), 4)
    assert board.queues() == {"infer": 4, "stitch": 0, "write": 4}


def ended(board: Board, *outcomes: tuple[int, dict[str, int]]) -> str | None:
    """Why writers stop after shards of so many predictions and such rejects."""
    for number, (predicted, rejects) in enumerate(outcomes):
        board.begin("write", f"t{number}")
        board.end("write", f"t{number}", None, predicted, rejects, "s3://b/x.jpg: may not be read")
    return board.why_stop()


def test_first_inputs_that_all_fail_alike_stop_the_job() -> None:
    """46 of 50 of one class are no fault of theirs: the line names class, cause and how to go on."""
    denied = [(0, {"permission_denied": 16})] * 3
    assert ended(Board(Counts(10_000), None), *denied) is None
    told = ended(Board(Counts(10_000), None), *denied, (2, {}))
    assert told is not None
    assert told.startswith("48 of the first 50 inputs were rejected as permission_denied (s3://b/x.jpg: may not be")
    assert told.endswith("--retry-rejects permission_denied, or go on as it is with errors.stop_when_all_fail=false")


@pytest.mark.parametrize(
    "outcomes",
    [
        [(5, {"missing": 45})],
        [(0, {"missing": 30, "too_small": 30})],
        [(10, {"missing": 40}), (0, {"missing": 900})],
        [(0, {"missing": 49})],
    ],
)
def test_inputs_that_fail_for_reasons_of_their_own_stop_nothing(outcomes: list[tuple[int, dict[str, int]]]) -> None:
    """Nine in ten, several classes, later trouble, or few inputs: all may be as it is."""
    assert ended(Board(Counts(10_000), None), *outcomes) is None


def test_whoever_wants_all_rejects_has_them() -> None:
    """The rule can be switched off, and looks at this start alone."""
    assert ended(Board(Counts(10_000), None, stop_when_all_fail=False), (0, {"missing": 60})) is None
    assert ended(Board(Counts(10_000, predicted=9_000), None), (0, {"missing": 60})) is not None


def test_rejects_are_known_before_they_are_written() -> None:
    """As soon as a stage has made them, and once: not again where its task is repeated, nor when they are written."""
    board = Board(Counts(100, predicted=10, rejected=1), None)
    for _ in range(2):
        board.end("read", "t0", None, known={"missing": 2})
    board.end("infer", "t0", None, known={"non_finite_prediction": 1})
    assert board.state().rejects == {"missing": 2, "non_finite_prediction": 1}
    assert board.state().counts == Counts(100, predicted=10, rejected=4)
    board.end("write", "w0", None, 1, {"missing": 2, "non_finite_prediction": 1})
    assert board.state().counts == Counts(100, predicted=11, rejected=4)
    board.end("write", "w1", None, 0, {"duplicate_id": 1})
    assert board.state().counts.rejected == 5
