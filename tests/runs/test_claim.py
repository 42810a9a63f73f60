"""How a job ends: one line says what is wrong and what to do, the run file says it too, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pager_ray.config.schema import ErrorsConfig
from pager_ray.errors import (
    CheckpointError,
    ConfigError,
    ErrorBudgetExceeded,
    OutputInUseError,
    PagerError,
    RunMismatchError,
    StorageError,
    Terminated,
    own_cause,
)
from pager_ray.listing import Listed, manifest, parts
from pager_ray.reader import open_run
from pager_ray.runs import Reconciliation, RunLayout, predictions_schema, write_shard
from pager_ray.runs import claim as claim_module
from pager_ray.runs import folding as folding_module
from pager_ray.runs import ledger as ledger_module
from pager_ray.runs.claim import Claim, claim_output, run_to_end
from pager_ray.runs.folding import is_fold
from pager_ray.runs.runfile import read_run_file
from pager_ray.stages.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder

SCHEMA = predictions_schema(ENCODE_SCHEMA, (), codec="default", projection="erp", face_size=8, fov=90.0)


@pytest.fixture(autouse=True)
def _in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings of two rows per part, manifests of three per file: every seam of theirs is met."""
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    monkeypatch.setattr(manifest, "FILE_ROWS", 3)


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "run"))


def claim(
    output: Folder,
    retry_rejects: str | None = None,
    max_rejects: int | str | None = None,
    overwrite: bool = False,
) -> Claim:
    """The output of a job on the inputs a, b, c and d."""
    return claim_output(
        RunLayout(output),
        [Listed(f"/in/{name}.jpg", name) for name in "abcd"],
        config={},
        identity={},
        sections={},
        errors=ErrorsConfig(max_rejects=max_rejects),
        overwrite=overwrite,
        retry_rejects=retry_rejects,
    )


def commit(job: Claim, task: str, good: str = "", **bad: str) -> None:
    """Write and commit one shard: results of the named inputs, and rejects with their classes."""
    rows: list[dict[str, Any]] = [{"id": name, "uri": f"/in/{name}.jpg"} for name in good]
    for name, error_class in bad.items():
        status = {"stage": "read", "error_class": error_class, "message": f"/in/{name}.jpg: why", "attempts": 1}
        rows.append({"id": name, "uri": f"/in/{name}.jpg"} | status)
    shard = f"0123456789ab-{ord(task):08}-abcdef"
    record = write_shard(job.layout, shard, to_table(rows, ENCODE_SCHEMA, len(rows), "test"), SCHEMA)
    assert job.layout.ledger.commit(job.generation, task, record)


def finish(job: Claim, pipeline: Callable[[], None]) -> Reconciliation:
    return run_to_end(job, pipeline)


def failing(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def outcome(output: Folder) -> tuple[str, str | None]:
    """State and last outcome of the run file."""
    start, state = last_start(output)
    return state, start["outcome"]


def last_start(output: Folder) -> tuple[dict[str, Any], str]:
    """The run file's last start, and its state."""
    manifest = read_run_file(output)
    assert manifest is not None
    return manifest["starts"][-1], manifest["state"]


def test_a_whole_job_is_complete(output: Folder) -> None:
    """Every input with one outcome, rejects within the budget: complete, and counted in the run file."""
    job = claim(output, max_rejects=1)
    result = finish(job, lambda: commit(job, "t", "abc", d="missing"))
    assert (result.predictions, result.rejects, result.rejects_by_class) == (3, 1, {"missing": 1})
    assert outcome(output) == ("complete", "complete")


def test_our_own_errors_arrive_as_they_are(output: Folder) -> None:
    """What a stage raised on purpose reaches the user and the run file as it was, whatever was wrapped around it."""
    raised = CheckpointError("/w/model.pth: is damaged; fetch it again")

    def fail() -> None:
        raise RuntimeError("a stage failed") from raised

    with pytest.raises(CheckpointError) as caught:
        finish(claim(output), fail)
    assert str(caught.value) == "/w/model.pth: is damaged; fetch it again"
    assert outcome(output) == ("failed", "CheckpointError: /w/model.pth: is damaged; fetch it again")


def test_inputs_without_an_outcome_are_named(output: Folder) -> None:
    """A pipeline that left inputs out is no complete run: the first of them are named, the same command does them."""
    job = claim(output)
    with pytest.raises(PagerError) as caught:
        finish(job, lambda: commit(job, "t", "b"))
    assert str(caught.value) == f"{output}: 3 of 4 inputs have no outcome (first: a, c, d); run the same command again"
    assert outcome(output)[0] == "failed"
    again = claim(output)
    assert again.pending == ["a", "c", "d"]
    assert finish(again, lambda: commit(again, "t", "acd")).is_whole


def test_inputs_with_several_outcomes_are_named(output: Folder) -> None:
    """Two results of one input, and one of an input that nobody listed, do not go away by running again."""
    job = claim(output)

    def pipeline() -> None:
        commit(job, "t", "abcd")
        commit(job, "u", "bx")

    with pytest.raises(PagerError) as caught:
        finish(job, pipeline)
    assert str(caught.value) == (
        f"{output}: 1 of 4 inputs have several outcomes, 1 with an outcome were never listed (first: b, x); restore "
        "state/ledger from a copy, or start anew with --overwrite"
    )
    with pytest.raises(PagerError, match="start anew with --overwrite"):
        finish(claim(output), lambda: None)


@pytest.mark.parametrize("noticed", ["while writing", "at the end"])
def test_a_budget_that_is_used_up_is_told(output: Folder, noticed: str) -> None:
    """More rejects than allowed stop the job with their classes, their folder and the key; a larger budget goes on."""
    job = claim(output, max_rejects="25%")

    def pipeline() -> None:
        commit(job, "t", "a", b="missing", c="missing", d="too_small")
        if noticed == "while writing":
            raise ErrorBudgetExceeded("more inputs were rejected")

    with pytest.raises(ErrorBudgetExceeded) as caught:
        finish(job, pipeline)
    assert str(caught.value) == (
        f"3 inputs were rejected (missing 2, too_small 1), errors.max_rejects allows 25%; see {output}/rejects, then "
        "run the same command with a larger budget to go on"
    )
    assert outcome(output) == ("failed", f"ErrorBudgetExceeded: {caught.value}")
    assert finish(claim(output, max_rejects="75%"), lambda: None).rejects == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ErrorBudgetExceeded("too many rejects"), 4),
        (ConfigError("compute.gpus_per_worker: got 1, but this machine has no GPU"), 2),
        (PagerError("the job failed on the cluster"), 1),
        (ZeroDivisionError(), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_a_start_that_failed_says_what_its_command_exits_with(output: Folder, error: BaseException, code: int) -> None:
    """The run file has the exit code of a start that ended before all was done, and the next start has none of it."""
    with pytest.raises(type(error)):
        finish(claim(output), failing(error))
    assert last_start(output)[0]["exit_code"] == code
    again = claim(output)
    assert "exit_code" not in last_start(output)[0]
    finish(again, lambda: commit(again, "t", "abc", d="missing"))
    assert "exit_code" not in last_start(output)[0]


def test_a_job_that_lost_its_output_leaves_the_run_file_alone(output: Folder) -> None:
    """Once another job has the output, this one says so and writes nothing more there."""
    before = claim(output)
    with pytest.raises(OutputInUseError, match="wait for it"):
        finish(before, failing(OutputInUseError("output.uri: another job has taken over; wait for it")))
    assert outcome(output) == ("running", None)


def test_a_class_without_rejects_is_told(output: Folder) -> None:
    """--retry-rejects of a class that is not there names the option, the output and the classes that are."""
    job = claim(output)
    finish(job, lambda: commit(job, "t", "a", b="missing", c="missing", d="too_small"))
    with pytest.raises(ConfigError) as caught:
        claim(output, retry_rejects="transient")
    assert str(caught.value) == (
        f"--retry-rejects: {output} has no reject of class 'transient' to try again; it has missing (2), "
        "too_small (1): name another class, or leave the option out"
    )
    # What was refused does not hold the output, and left it as it was.
    manifest = read_run_file(Folder(str(output)))
    assert manifest is not None
    assert (manifest["state"], len(manifest["starts"])) == ("complete", 1)
    again = claim(output, retry_rejects="missing")
    assert again.pending == ["b", "c"]
    finish(again, lambda: commit(again, "t", "b", c="missing"))


def test_rows_in_another_order_are_resumed(output: Folder) -> None:
    """The same inputs, listed in another order, are the same run; other inputs are refused and change nothing."""

    def again(*names: str) -> Claim:
        listed = [Listed(f"/in/{name}.jpg", name) for name in names]
        return claim_output(
            RunLayout(output), listed, config={}, identity={}, sections={}, errors=ErrorsConfig(), overwrite=False
        )

    job = claim(output)
    commit(job, "1", good="ac")
    job.lease.give_back()
    told = read_run_file(output)
    for others in ("abc", "abcde", "abce"):
        with pytest.raises(RunMismatchError, match=r"listing\.sha256"):
            again(*others)
    assert read_run_file(output) == told
    job = again(*"dcba")
    assert list(job.pending) == ["b", "d"]
    commit(job, "2", good="db")
    assert finish(job, lambda: None).is_whole
    assert outcome(output) == ("complete", "complete")


def test_a_listing_that_says_more_by_now_is_done_as_it_was(output: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a listing says beside its inputs is what it said when the run began; where it says the same, the manifest is
    not read back, and yet missed where it is gone."""
    reads: list[str] = []
    read = Folder.read

    def noting(folder: Folder, name: str) -> bytes:
        reads.append(name)
        return read(folder, name)

    def again(**told: str) -> Claim:
        listed = [Listed(f"/in/{name}.jpg", name, **{"kept": '{"time": 1}'} | told) for name in "abcd"]
        job = claim_output(
            RunLayout(output), listed, config={}, identity={}, sections={}, errors=ErrorsConfig(), overwrite=False
        )
        job.lease.give_back()
        return job

    monkeypatch.setattr(Folder, "read", noting)
    again()
    files = RunLayout(output).manifest.names()
    for told, are_read in (({}, False), ({"kept": '{"time": 2}'}, True)):
        reads.clear()
        assert {row.kept for row in again(**told).inputs} == {'{"time": 1}'}
        assert ({*reads} >= {*files}) == are_read
    RunLayout(output).manifest.delete([name for name in files if "-" in name])
    with pytest.raises(StorageError, match="which is not there"):
        again()


def test_an_interrupt_is_no_other_error() -> None:
    """Ctrl-C that comes while an error is handled is an interrupt, and not that error."""
    interrupt = KeyboardInterrupt()
    interrupt.__context__ = PagerError("the disk is full")
    assert own_cause(interrupt) is None


def test_large_jobs_are_done_in_parts(output: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part has its rows once and in order; before the next one all that stands is in one file."""
    monkeypatch.setattr(claim_module, "PARTITION_ROWS", 3)
    job, seen, records = claim(output), [], []

    def pipeline() -> None:
        for part in job.parts():
            records.append(len(list(Path(str(output.join("state/ledger"))).glob("*/*.parquet"))))
            names = "".join(part.column("id").to_pylist())
            seen.append(names)
            for name in names:
                commit(job, name, name)

    assert finish(job, pipeline).is_whole
    assert seen == ["abc", "d"]
    assert records == [0, 0]


def test_a_late_writer_of_an_earlier_part_does_not_count(output: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What commits to a part that is over is nobody's: neither a second outcome nor a first."""
    monkeypatch.setattr(claim_module, "PARTITION_ROWS", 2)
    job = claim(output)
    parts = job.parts()
    next(parts)
    commit(job, "a", "ab")
    late = replace(job)
    next(parts)
    commit(late, "b", "ab")
    commit(job, "c", "cd")
    assert finish(job, lambda: None).is_whole


def test_a_job_that_dies_between_parts_goes_on(output: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start does what no part has done, in parts of its own."""
    monkeypatch.setattr(claim_module, "PARTITION_ROWS", 2)
    job = claim(output)

    def dying() -> None:
        parts = job.parts()
        next(parts)
        commit(job, "a", "ab")
        next(parts)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finish(job, dying)
    again = claim(output)
    assert [part.column("id").to_pylist() for part in again.parts()] == [["c", "d"]]
    assert finish(again, lambda: commit(again, "c", "cd")).is_whole


def test_a_lost_output_ends_the_job_before_its_next_part(output: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that another one has pushed aside begins no generation there."""
    monkeypatch.setattr(claim_module, "PARTITION_ROWS", 2)
    job = claim(output)
    parts = job.parts()
    next(parts)
    generation = job.generation
    monkeypatch.setattr(job.lease, "check", lambda: (_ for _ in ()).throw(OutputInUseError("taken")))
    with pytest.raises(OutputInUseError):
        next(parts)
    assert job.generation == generation


def test_records_are_folded_while_the_pipeline_runs(output: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job leaves its records in folds, part by part; the next start and the end see every row once."""
    monkeypatch.setattr(claim_module, "PARTITION_ROWS", 2)
    monkeypatch.setattr(ledger_module, "RECORDS", 1)
    monkeypatch.setattr(folding_module, "_SOONEST", 0.0)
    monkeypatch.setattr(folding_module, "_LATEST", 0.001)
    job = claim(output)
    folded = []

    def work() -> None:
        for part in job.parts():
            for name in part.column("id").to_pylist():
                commit(job, name, name)
            records = job.layout.ledger.folder / f"{job.generation:08}"
            while len([name for name in records.names() if is_fold(name)]) < part.num_rows:
                time.sleep(0.001)
            folded.append(len(records.names()))
        raise PagerError("it is over")

    with pytest.raises(PagerError, match="it is over"):
        finish(job, work)
    assert folded == [4, 4]
    again = claim(output)
    assert not again.pending
    result = finish(again, lambda: None)
    assert (result.predictions, result.is_whole) == (4, True)
    assert [name for name in again.layout.ledger.folder.entries() if not name.endswith(".parquet")] == []


@pytest.mark.parametrize("deleted", range(9))
def test_a_run_that_was_half_deleted_is_none(output: Folder, deleted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that dies while ``--overwrite`` deletes leaves nothing that counts as done: only deleting goes on."""

    class Died(BaseException):
        pass

    def dying(method: Any) -> Any:
        def call(self: Folder, *args: Any) -> Any:
            if not left:
                raise Died
            left.pop()
            return method(self, *args)

        return call

    def clear(self: RunLayout, whole: Any = RunLayout.clear) -> None:
        with monkeypatch.context() as patched:
            for name in ("delete", "delete_where"):
                patched.setattr(Folder, name, dying(getattr(Folder, name)))
            whole(self)

    left = [None] * deleted
    job = claim(output)
    finish(job, lambda: commit(job, "t", "abc", d="missing"))
    with monkeypatch.context() as patched:
        patched.setattr(RunLayout, "clear", clear)
        with pytest.raises(Died):
            claim(output, overwrite=True)
    with pytest.raises(StorageError, match=r"began to delete; start anew with --overwrite$"):
        claim(output)
    with pytest.raises(StorageError, match="began to delete"):
        open_run(str(output))
    again = claim(output, overwrite=True)
    assert again.pending == ["a", "b", "c", "d"]
    assert finish(again, lambda: commit(again, "t", "abc", d="missing")).is_whole
