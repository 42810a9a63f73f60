"""A run whose sources grew, wherever it dies: one run, every input once, and what was replaced is done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pager_ray.config.schema import ErrorsConfig
from pager_ray.errors import ConfigError, RunMismatchError
from pager_ray.listing import Listed, listing_digest, manifest, parts, read_manifest, stored_digest
from pager_ray.runs import RunLayout, predictions_schema, write_shard
from pager_ray.runs import growing as growing_module
from pager_ray.runs.claim import Claim, claim_output, run_to_end
from pager_ray.runs.growing import Growing
from pager_ray.runs.ledger import Ledger
from pager_ray.runs.runfile import read_run_file
from pager_ray.stages.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder

SCHEMA = predictions_schema(ENCODE_SCHEMA, (), codec="default", projection="erp", face_size=8, fov=90.0)


class Died(BaseException):
    """What a kill is to the code that it hits."""


@pytest.fixture(autouse=True)
def _in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings of two rows per part, manifests of three per file: every seam of theirs is met."""
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    monkeypatch.setattr(manifest, "FILE_ROWS", 3)


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "run"))


def listed(names: str, **stamps: int) -> list[Listed]:
    return [Listed(f"/in/{name}.jpg", name, stamp=stamps.get(name, 1)) for name in names]


def claim(output: Folder, inputs: Sequence[Listed], growing: Growing | None = None) -> Claim:
    return claim_output(
        RunLayout(output), inputs, config={}, identity={}, sections={}, errors=ErrorsConfig(), overwrite=False,
        growing=growing,
    )  # fmt: skip


def commit(job: Claim, good: str, **bad: str) -> None:
    """Write and commit one shard for these inputs, as one task of the job's generation."""
    status = {"stage": "read", "message": "why", "attempts": 1}
    rows: list[dict[str, Any]] = [{"id": name, "uri": f"/in/{name}.jpg"} for name in good]
    rows += [{"id": name, "uri": "u", "error_class": error} | status for name, error in bad.items()]
    task = "".join([*good, *bad])
    shard = f"0123456789ab-{job.generation:04}{ord(task[0]):04}-abcdef"
    record = write_shard(job.layout, shard, to_table(rows, ENCODE_SCHEMA, len(rows), "test"), SCHEMA)
    assert job.layout.ledger.commit(job.generation, task, record)


def finish(job: Claim) -> Any:
    """The job does what is left, two inputs a shard, and ends."""

    def work() -> None:
        todo = list(job.pending)
        for start in range(0, len(todo), 2):
            commit(job, "".join(todo[start : start + 2]))

    return run_to_end(job, work)


def is_whole(output: Folder, names: str) -> bool:
    """Complete, with a prediction for each of the inputs, and the run file agrees with the manifest."""
    manifest = read_run_file(output)
    assert manifest is not None
    layout = RunLayout(output)
    rows = read_manifest(layout.manifest)
    digests = {"sha256": listing_digest(rows), "stored_sha256": stored_digest(rows)}
    assert manifest["listing"] == {"rows": rows.num_rows} | digests
    assert manifest["identity"]["listing.sha256"] == listing_digest(rows)
    done = layout.ledger.read().column("id").to_pylist()
    assert sorted(rows.column("id").to_pylist()) == sorted(done) == sorted(names)
    assert manifest["counts"]["predictions"] == len(names)
    shards = {name.removesuffix(".parquet") for name in layout.results.names(".parquet")}
    assert shards == set(layout.ledger.read().column("shard").to_pylist())
    return manifest["state"] == "complete"


def test_grown_twice_and_killed_in_between(output: Folder) -> None:
    """Three listings, two of them met by a start that died: one run, every input once."""
    commit(job := claim(output, listed("abc")), "a")
    job.lease.give_back()
    commit(job := claim(output, listed("cbad"), Growing()), "bd")
    assert list(job.pending) == ["b", "c", "d"]
    job.lease.give_back()
    # What went away stays, done or not.
    job = claim(output, listed("fedb"), Growing())
    assert list(job.pending) == ["c", "e", "f"] or list(job.pending) == ["c", "f", "e"]
    assert finish(job).is_whole
    assert is_whole(output, "abcdef")
    starts = read_run_file(output)["starts"]  # type: ignore[index]
    assert [start.get("appended") for start in starts] == [
        None, {"new": 1, "gone": 0, "changed": 0}, {"new": 2, "gone": 2, "changed": 0}
    ]  # fmt: skip


def test_a_complete_run_grows(output: Folder) -> None:
    """What is done stays done, the same command does nothing, and a run without the option is refused with its name."""
    finish(claim(output, listed("ab")))
    with pytest.raises(RunMismatchError, match=r"listing\.sha256.*; the inputs are others, or their masks, .*--append"):
        claim(output, listed("abc"))
    job = claim(output, listed("abc"), Growing())
    assert list(job.pending) == ["c"]
    finish(job)
    assert is_whole(output, "abc")
    again = claim(output, listed("cab"))
    assert not again.pending
    again.lease.give_back()
    job = claim(output, listed("abc"), Growing())
    assert not job.pending
    finish(job)
    assert is_whole(output, "abc")


def test_without_a_run_it_begins_one(output: Folder) -> None:
    """The same command serves for the first time and all that follow."""
    finish(claim(output, listed("ab"), Growing()))
    assert is_whole(output, "ab")


def test_what_was_replaced_is_refused_by_name(output: Folder) -> None:
    """Nothing is written, and the output is free again."""
    finish(claim(output, listed("abc")))
    told = read_run_file(output)
    with pytest.raises(
        ConfigError, match=r"1 inputs were replaced since they were listed \(first: b\).*--redo-changed"
    ):
        claim(output, listed("abcd", b=2), Growing())
    assert read_run_file(output) == told
    assert is_whole(output, "abc")


def test_what_was_replaced_is_done_again(output: Folder) -> None:
    """With those of its shard, once, and is the input that it is by now; rejects too."""
    commit(job := claim(output, listed("abcdef")), "ab")
    commit(job, "c", d="corrupt_image")
    finish(job)
    job = claim(output, listed("abcdef", a=2), Growing(redo_changed=True))
    assert list(job.pending) == ["a", "b"]
    finish(job)
    job = claim(output, listed("abcdefg", a=2, d=2), Growing(redo_changed=True))
    assert list(job.pending) == ["c", "d", "g"]
    finish(job)
    assert is_whole(output, "abcdefg")
    job = claim(output, listed("abcdefg", a=2, d=2), Growing())
    assert not job.pending
    job.lease.give_back()


STEPS: dict[str, tuple[object, str]] = {
    "noting": (growing_module, "note_growth"),
    "the ledger": (Ledger, "begin"),
    "the manifest": (growing_module, "write_manifest"),
    "the run file": (growing_module, "listing_digest"),
}


# What the next start asks does not depend on where the last one died: each with every step, and before and after.
@pytest.mark.parametrize(
    ("step", "after", "option"),
    [
        (step, after, "plain" if (number + after) % 2 else "append")
        for number, step in enumerate(STEPS)
        for after in (False, True)
    ],
)
def test_a_start_that_dies_while_it_grows(
    output: Folder, step: str, after: bool, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before or after each of its steps: the next start finds one run, and what was replaced is not taken for done."""
    finish(claim(output, listed("abcd")))
    now = listed("abcdef", a=2)
    owner, name = STEPS[step]
    if step == "noting":
        owner = __import__("pager_ray.runs.claim", fromlist=["claim"])
    works: Callable[..., Any] = getattr(owner, name)

    def die(*args: Any, **options: Any) -> Any:
        if after:
            works(*args, **options)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Died):
            claim(output, now, Growing(redo_changed=True))
    if option == "plain":
        # The command without the option goes on with the run as it stands, or says what differs.
        try:
            finish(claim(output, now))
        except RunMismatchError:
            pass
        else:
            assert is_whole(output, "abcdef")
    job = claim(output, now, Growing(redo_changed=True))
    finish(job)
    assert is_whole(output, "abcdef")
    shard_of = dict(
        zip(*(RunLayout(output).ledger.read().column(name).to_pylist() for name in ("id", "shard")), strict=True)
    )
    # Done again: its shard is none of the first generation.
    assert not shard_of["a"].startswith("0123456789ab-0001")
    assert {row["id"]: row["stamp"] for row in read_manifest(RunLayout(output).manifest).to_pylist()}["a"] == 2
