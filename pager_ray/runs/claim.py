"""A job's claim on an output: taken, left out of it what is done, and closed with how the job ended.

A job is lost nowhere: before its pipeline the listing and the run file stand on the output storage, and whatever ends
the pipeline, the run file says so and the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.config.schema import ErrorsConfig
from pager_ray.errors import (
    ConfigError,
    ErrorBudgetExceeded,
    OutputInUseError,
    PagerError,
    StorageError,
    Terminated,
    exit_code_of,
    own_cause,
)
from pager_ray.listing import ChosenIds, Listed, Listing, stored_listing, with_attempts, write_manifest
from pager_ray.listing.parts import kept_memory, regrouped
from pager_ray.plain import get_logger, plain_text
from pager_ray.runs.folding import Folding
from pager_ray.runs.growing import (
    Growing,
    growth_of,
    inputs_of,
    listing_sha256,
    note_growth,
    settle_manifest,
    told_of,
)
from pager_ray.runs.layout import RUN_FILE, RunLayout
from pager_ray.runs.lease import Lease
from pager_ray.runs.reconcile import Reconciliation, check_ledger_is_whole, drop_superseded, reconcile, standing_rejects
from pager_ray.runs.runfile import (
    COMPLETE,
    DELETING,
    FAILED,
    STOPPED,
    begin_start,
    end_start,
    new_run_file,
    standing_run,
)
from pager_ray.runs.standing import Standing

log = get_logger(__name__)

ALL_REJECTS = "all"

PARTITION_ROWS = 1_000_000
"""Rows that one execution of the pipeline takes; more are done in parts, one after another. Starting the model actors
anew for each part costs a minute in hours."""


@dataclass
class Claim:
    """An output that belongs to one job, new or resumed.

    Attributes:
        manifest: content of ``run.json``; :func:`run_to_end` writes it anew when the job ends.
        inputs: every listed row.
        before: what earlier starts finished.
        pending: ids that this start has to do: those without an outcome, and the rejects that are to be tried again.
        attempts: how often those rejects were tried before.
        generation: of the ledger; records are committed under it. Each part of a very large job begins one.
        errors: the error budget.
        told_to_stop: whether rows were left for the next start because of SIGTERM.
        planned: the section of the run file that sets a plan beside this start, where there is one.
        lease: keeps other jobs out until :func:`run_to_end` gives it back.
        began: when the job did, on the monotonic clock.
    """

    layout: RunLayout
    manifest: dict[str, Any]
    inputs: Listing
    before: Reconciliation
    pending: ChosenIds
    attempts: dict[str, int]
    generation: int
    errors: ErrorsConfig
    lease: Lease
    told_to_stop: bool = False
    planned: dict[str, Any] | None = None
    began: float = field(default_factory=time.monotonic)
    _folded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Have what folds its records ready, for as long as its pipeline runs."""
        self.folding = Folding(self._fold)

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The largest batches that fitted, by kind of device: found out once, kept for later starts."""
        return self.manifest.setdefault("batch_sizes", {})

    def parts(self) -> Iterator[pa.Table]:
        """What this start has to do, a million rows at a time; each part must be done before the next is asked for.

        What Ray Data keeps per block, and the records that a resumed job has to read one by one, are bounded by the
        part. Between two parts the ledger begins a generation: what stands is one file again, and a writer of the part
        before that lives on for a moment counts no more.

        Raises:
            OutputInUseError: another job took the output over meanwhile.
        """
        ways: list[bool | None] = [None]
        counts = [len(self.pending)]
        if self.inputs.has("row_group"):
            # What is read by row groups goes another way than what is read alone.
            ways = [False, True]
            counts = [sum(rows.num_rows for rows in self._to_do(way, ["row_group"])) for way in ways]
        total, number = sum(-(-count // PARTITION_ROWS) for count in counts), 0
        for way in ways:
            for part in regrouped(self._to_do(way), PARTITION_ROWS):
                number += 1
                if number > 1:
                    self.lease.check()
                    self._begin_next_part()
                if total > 1:
                    log.info("part %d of %d", number, total)
                yield with_attempts(part, self.attempts)

    def _begin_next_part(self) -> None:
        with self.folding.paused():
            self.generation = self.layout.ledger.compact(self.generation)
            self._folded.clear()

    def _fold(self) -> int:
        return self.layout.ledger.fold(self.generation, self._folded)

    def _to_do(self, in_groups: bool | None, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The pending rows, or those of them that lie in row groups, or those that do not."""
        first = 0
        for part in self.inputs.parts(columns):
            chosen = self.pending.chosen[first : first + part.num_rows]
            first += part.num_rows
            if in_groups is not None:
                chosen = chosen & (part.column("row_group").is_valid().to_numpy() == in_groups)
            if chosen.any():
                yield part if chosen.all() else part.filter(pa.array(chosen))


@kept_memory()
def claim_output(
    layout: RunLayout,
    listed: Sequence[Listed],
    *,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    sections: Mapping[str, Any],
    errors: ErrorsConfig,
    overwrite: bool,
    retry_rejects: str | None = None,
    growing: Growing | None = None,
) -> Claim:
    """Make an output this job's own, or find the same job's again, and clean up after starts that died.

    Args:
        listed: the job's inputs.
        config: the configuration as shown in the run file, without secrets.
        identity: what decides the results beside the listing; a resumed job must agree on all of it.
        sections: further sections of the run file, such as ``checkpoint``.
        overwrite: delete a job that stands there.
        retry_rejects: do the rejects of this class again, or those of all classes where it is ``all``.
        growing: the listing may be another one than that of the run that stands; see :class:`Growing`.

    Raises:
        ConfigError: there is no reject of the class that is to be done again; or inputs were replaced since they were
            listed, and are not to be done again.
        RunMismatchError: another job stands there, or files that belong to none.
        OutputInUseError: another job is writing there.
        StorageError: the output cannot be read or written.
    """
    listed = Listing.of(listed)
    sha256 = listing_sha256(layout, listed, overwrite=overwrite, any_other=growing is not None)
    identity = dict(identity) | {"listing.sha256": sha256}
    # Looked at before anything is written, the lease included: what is refused stays as it was.
    standing_run(layout, identity, overwrite=overwrite)
    lease = Lease(layout.lease).take(wait=True)
    try:
        with layout.ledger.remembering():
            return _claim(layout, listed, lease, config, identity, sections, errors, overwrite, retry_rejects, growing)
    except BaseException:
        # Whatever it is, it goes on to the caller; the output is free again at once.
        lease.give_back()
        raise


def _claim(
    layout: RunLayout,
    listed: Sequence[Listed],
    lease: Lease,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    sections: Mapping[str, Any],
    errors: ErrorsConfig,
    overwrite: bool,
    retry_rejects: str | None,
    growing: Growing | None,
) -> Claim:
    # Read again: another job may have come and gone before the lease was ours.
    manifest = standing_run(layout, identity, overwrite=overwrite)
    if manifest is not None and overwrite:
        log.warning("--overwrite: deleting the run at %s", layout.root)
        # Whoever finds what a death leaves of it takes nothing for done.
        layout.root.write_json(RUN_FILE, manifest | {"state": DELETING})
        layout.clear()
        manifest = None
    is_new = manifest is None
    if manifest is not None:
        # Before anything is written: without its ledger all that is there would be done again, and deleted.
        check_ledger_is_whole(layout, manifest)
    if manifest is None:
        layout.make()
        write_manifest(layout.manifest, listed)
        manifest = new_run_file(config, identity, **sections, listing=told_of(listed))
    if retry_rejects is not None:
        # Before anything is written: what is refused stays as it was.
        _check_has_rejects(layout, stored_listing(layout.manifest), retry_rejects)
    growth = None
    if not is_new:
        growth = growth_of(layout, listed, growing)
    begin_start(manifest, announced=lease.announced)
    replaced = note_growth(manifest, growth)
    layout.root.write_json(RUN_FILE, manifest)
    # From here on nothing counts that a worker of an earlier start may still be writing.
    generation = layout.ledger.begin(lease.generation, replaced)
    if not is_new:
        settle_manifest(layout, manifest, growth)
    standing = layout.ledger.standing()
    # To list the shards of many parts takes a store a request for each thousand: their time is when the job ends.
    if layout.root.is_local or standing.tally().rows <= PARTITION_ROWS:
        dropped = layout.drop_uncommitted(standing.shards())
        if dropped:
            log.info("%d shards that earlier starts had not committed are deleted, their rows done again", dropped)
    inputs = Listing.of(listed) if is_new else inputs_of(layout, manifest, listed)
    before = reconcile(layout, inputs, standing)
    again: dict[str, int] = {}
    if retry_rejects is not None:
        again = _rejects_to_retry(layout, standing, inputs, retry_rejects)
        manifest["starts"][-1]["retried"] = {"class": retry_rejects, "rows": len(again)}
        log.info("%d rejects are tried again", len(again))
    pending = before.missing
    if again:
        tried = pa.array([*again], pa.string())
        masks = [pc.is_in(part.column("id"), value_set=tried).to_numpy() for part in inputs.parts(["id"])]
        pending = ChosenIds(inputs, before.missing.chosen | np.concatenate(masks))
    return Claim(layout, manifest, inputs, before, pending, again, generation, errors, lease)


def _check_has_rejects(layout: RunLayout, inputs: Listing, wanted: str) -> None:
    """Refuse a class that has no reject to do again, most likely a misspelt one."""
    standing = layout.ledger.standing()
    if wanted == ALL_REJECTS or _rejects_to_retry(layout, standing, inputs, wanted):
        return
    classes = reconcile(layout, inputs, standing).rejects_by_class
    there = ", ".join(f"{name} ({count})" for name, count in classes.items()) or "no rejects"
    raise ConfigError(
        f"--retry-rejects: {layout.root} has no reject of class {wanted!r} to try again; it has {there}: name "
        "another class, or leave the option out"
    )


def _rejects_to_retry(layout: RunLayout, standing: Standing, inputs: Listing, wanted: str) -> dict[str, int]:
    """Ids of the rejects that may turn out otherwise, with the attempts they have had.

    Those of the listing are left out: what it says of a row has not changed.
    """
    rejects = standing_rejects(layout, standing.rejects(), ["id", "error_class", "attempts"])
    listed: set[str] = set()
    for part in inputs.parts(["id", "error_class"]) if inputs.has("error_class") else ():
        listed |= {*part.filter(pc.is_valid(part.column("error_class"))).column("id").to_pylist()}
    rows = rejects.to_pylist() if rejects is not None else []
    return {
        row["id"]: row["attempts"] or 1
        for row in rows
        if row["id"] not in listed and wanted in (ALL_REJECTS, row["error_class"])
    }


def run_to_end(
    claim: Claim, pipeline: Callable[[], None], known: Callable[[BaseException], PagerError | None] = own_cause
) -> Reconciliation:
    """Run the pipeline unless nothing is left to do; the run file says how it ended, whatever ends it.

    Args:
        pipeline: writes a shard for every pending row; called at most once.
        known: finds the error of ours inside what the pipeline's executor wrapped around it.

    Raises:
        ErrorBudgetExceeded: too many rejects; the job can be resumed with a larger budget.
        OutputInUseError: another job took the output over, because this one was not heard of for too long.
        PagerError: the job failed; it can be resumed.
    """
    with claim.lease:
        return _run_to_end(claim, pipeline, known)


def _run_to_end(
    claim: Claim, pipeline: Callable[[], None], find_cause: Callable[[BaseException], PagerError | None]
) -> Reconciliation:
    layout = claim.layout
    try:
        if claim.pending:
            with claim.folding:
                pipeline()
            if claim.planned is not None and not claim.told_to_stop:
                claim.planned["actual_seconds"] = round(time.monotonic() - claim.began, 1)
            claim.lease.check()
        else:
            log.info("nothing left to do: %s", layout.root)
        return _finish(claim)
    except BaseException as error:
        # Whatever it is, an interrupt included, is raised again below.
        known = find_cause(error)
        if isinstance(known, OutputInUseError):
            # What is written there is the other job's business.
            raise known from error
        told = _record_failure(claim, known or error)
        if told is error:
            raise
        raise told from (None if isinstance(told, ErrorBudgetExceeded) else error)


def _record_failure(claim: Claim, error: BaseException) -> BaseException:
    """Note in the run file how this start ended, with what is done so far.

    Returns:
        What the caller is to raise: the same error, or where too much was rejected one that says how much.
    """
    try:
        # Shards are left as they are: writers of ours may still be at work.
        done = reconcile(claim.layout, claim.inputs)
        if isinstance(error, ErrorBudgetExceeded):
            error = _over_budget(claim, done)
        state, outcome = FAILED, f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            state, outcome = STOPPED, "terminated" if isinstance(error, Terminated) else "interrupted"
        end_start(claim.manifest, state, plain_text(outcome, 2000), done.counts(), exit_code_of(error))
        claim.layout.root.write_json(RUN_FILE, claim.manifest)
    except (StorageError, OSError) as second:
        log.error("the run file could not be updated: %s", second)
    return error


def _finish(claim: Claim) -> Reconciliation:
    layout = claim.layout
    gathering = layout.ledger.gathering()
    standing = layout.ledger.standing(gathering)
    result = reconcile(layout, claim.inputs, standing)
    if result.duplicated or result.unknown:
        # A start adds outcomes and takes none away: the same command would end here again.
        wrong = [*result.duplicated, *result.unknown]
        raise PagerError(
            f"{layout.root}: {len(result.duplicated)} of {result.inputs} inputs have several outcomes, "
            f"{len(result.unknown)} with an outcome were never listed (first: {', '.join(wrong[:3])}); restore "
            "state/ledger from a copy, or start anew with --overwrite"
        )
    if result.missing and claim.told_to_stop:
        raise Terminated
    if result.missing:
        raise PagerError(
            f"{layout.root}: {len(result.missing)} of {result.inputs} inputs have no outcome (first: "
            f"{', '.join(result.missing[:3])}); run the same command again"
        )
    budget = claim.errors.budget_rows(result.inputs)
    if budget is not None and result.rejects > budget:
        raise _over_budget(claim, result)
    # For readers that look at folders and know no ledger: what does not count goes away.
    layout.drop_uncommitted(standing.shards())
    if any("retried" in start for start in claim.manifest["starts"]):
        drop_superseded(layout, standing.rejects())
    layout.ledger.finish(claim.generation, standing, gathering)
    claim.manifest["rejects_by_class"] = result.rejects_by_class
    end_start(claim.manifest, COMPLETE, "complete", result.counts())
    layout.root.write_json(RUN_FILE, claim.manifest)
    return result


def _over_budget(claim: Claim, result: Reconciliation) -> ErrorBudgetExceeded:
    worst = ", ".join(f"{name} {count}" for name, count in list(result.rejects_by_class.items())[:3])
    return ErrorBudgetExceeded(
        f"{result.rejects} inputs were rejected ({worst}), errors.max_rejects allows {claim.errors.max_rejects}; "
        f"see {claim.layout.rejects}, then run the same command with a larger budget to go on"
    )
