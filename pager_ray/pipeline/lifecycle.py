"""What every job does around its pipeline: claim an output, leave out what is done, say how it ended.

A job is lost nowhere: before the pipeline the listing and the run file stand on the output storage, and whatever ends
the pipeline, the run file says so and the same command goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import DataContext
from ray.data.checkpoint import CheckpointConfig, CheckpointManager

from pager_ray.config.schema import ErrorsConfig
from pager_ray.errors import ErrorBudgetExceeded, OutputInUseError, PagerError, StorageError
from pager_ray.listing import listing_digest, read_manifest, write_manifest, write_pending
from pager_ray.listing.sources import Listed
from pager_ray.pipeline.cluster import Reservation, connected
from pager_ray.pipeline.progress import ProgressBoard
from pager_ray.report.progress import Counts
from pager_ray.write import Reconciliation, RunLayout, reconcile
from pager_ray.write.layout import RUN_FILE
from pager_ray.write.lease import Lease
from pager_ray.write.runfile import (
    COMPLETE,
    FAILED,
    begin_start,
    check_same_job,
    check_same_run,
    end_start,
    new_run_file,
    read_run_file,
)

log = logging.getLogger(__name__)

AUTO_SHARDS = 64
AUTO_ROWS_PER_SHARD = 16

# What Ray Data appends to the message of an error that a stage raised.
_RAY_ADVICE = "\nFailed to apply UDF transform"

# Depth, normals and sky on the faces are at least 18 MB a panorama: at Ray's default of 128 MB blocks of more than
# seven panoramas would be cut up on the way to the writer.
BLOCK_BYTES = 2**30


class CommitsOnly(CheckpointManager):
    """Ray Data's checkpointing for its commit records alone: what is left to do is decided before the pipeline starts.

    Ray's own filter is an actor that reserves a CPU and a gigabyte; with a model actor beside it, a machine of two
    CPUs never starts the next stage.
    """

    def load_checkpoint(self, data_file_dir: str | None = None, data_file_filesystem: Any = None) -> tuple[None, int]:
        """Nothing to filter."""
        return None, 0


@dataclass(frozen=True)
class Claim:
    """An output that belongs to one job, new or resumed.

    Attributes:
        manifest: content of ``run.json``; :func:`run_to_end` writes it anew when the job ends.
        inputs: every listed row, with the columns of ``MANIFEST_SCHEMA``.
        before: what earlier starts finished; ``before.missing`` is what this start has to do.
        errors: the error budget.
        lease: keeps other jobs out until :func:`run_to_end` gives it back.
    """

    layout: RunLayout
    manifest: dict[str, Any]
    inputs: pa.Table
    before: Reconciliation
    errors: ErrorsConfig
    lease: Lease

    def board(self) -> Any:
        """A progress board that starts from what earlier starts finished, and stops writers if the lease is lost."""
        counts = Counts(self.before.inputs, self.before.predictions, self.before.rejects)
        board = ProgressBoard.remote(counts, self.errors.budget_rows(self.before.inputs))
        self.lease.when_lost(lambda: board.lose_output.remote())
        return board

    @property
    def workers(self) -> list[dict[str, Any]]:
        """Where this start notes the model actors that it had."""
        return self.manifest["starts"][-1]["workers"]

    def read_pending(self, reservation: Reservation) -> ray.data.Dataset:
        """The rows that are left, from a file: Ray Data records the commits of what it reads from files only."""
        pending = write_pending(self.layout.manifest, self.inputs, self.before.missing)
        filesystem, path = self.layout.manifest.arrow()
        return ray.data.read_parquet(
            f"{path}/{pending}",
            filesystem=filesystem,
            # A folder of the output's path called "id=7" is no column.
            partitioning=None,
            num_cpus=reservation.task_cpus,
        )

    def context(self) -> DataContext:
        """Ray Data's settings for a job that commits its shards to this output."""
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK_BYTES
        # Our own errors reach the driver as they are, not as text in Ray Data's wrapper.
        context.raise_original_map_exception = True
        filesystem, path = self.layout.committed.arrow()
        context.checkpoint_config = CheckpointConfig(
            id_column="id",
            checkpoint_path=path,
            override_filesystem=filesystem,
            delete_checkpoint_on_success=False,
            checkpoint_manager_cls=CommitsOnly,
        )
        return context


def claim_output(
    layout: RunLayout,
    listed: Sequence[Listed],
    *,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    sections: Mapping[str, Any],
    errors: ErrorsConfig,
    overwrite: bool,
) -> Claim:
    """Make an output this job's own, or find the same job's again, and clean up after starts that died.

    Args:
        listed: the job's inputs.
        config: the configuration as shown in the run file, without secrets.
        identity: what decides the results beside the listing; a resumed job must agree on all of it.
        sections: further sections of the run file, such as ``checkpoint``.
        overwrite: delete a job that stands there.

    Raises:
        RunMismatchError: another job stands there, or files that belong to none.
        OutputInUseError: another job is writing there.
        StorageError: the output cannot be read or written.
    """
    identity = dict(identity) | {"listing.sha256": listing_digest(listed)}
    # Looked at before anything is written, the lease included: what is refused stays as it was.
    _check_is_ours(layout, read_run_file(layout.root), identity, overwrite)
    lease = Lease(layout.lease).take()
    try:
        return _claim(layout, listed, lease, config, identity, sections, errors, overwrite)
    except BaseException:
        lease.give_back()
        raise


def _check_is_ours(
    layout: RunLayout, manifest: dict[str, Any] | None, identity: Mapping[str, Any], overwrite: bool
) -> None:
    if manifest is None:
        layout.check_is_free()
        return
    check_same_job(manifest, identity, layout.root)
    if not overwrite:
        check_same_run(manifest, identity, layout.root)


def _claim(
    layout: RunLayout,
    listed: Sequence[Listed],
    lease: Lease,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    sections: Mapping[str, Any],
    errors: ErrorsConfig,
    overwrite: bool,
) -> Claim:
    # Read again: another job may have come and gone before the lease was ours.
    manifest = read_run_file(layout.root)
    _check_is_ours(layout, manifest, identity, overwrite)
    if manifest is not None and overwrite:
        log.warning("--overwrite: deleting the run at %s", layout.root)
        layout.clear()
        manifest = None
    if manifest is None:
        layout.make()
        write_manifest(layout.manifest, listed)
        listing = {"rows": len(listed), "sha256": identity["listing.sha256"]}
        manifest = new_run_file(config, identity, **sections, listing=listing)
    begin_start(manifest)
    layout.root.write_json(RUN_FILE, manifest)
    if dropped := layout.drop_uncommitted():
        log.info("%d shards that an earlier start had not committed are done again", dropped)
    inputs = read_manifest(layout.manifest)
    return Claim(layout, manifest, inputs, reconcile(layout, inputs), errors, lease)


def run_to_end(claim: Claim, address: str | None, pipeline: Callable[[], None]) -> Reconciliation:
    """Run the pipeline on a cluster unless nothing is left to do; the run file says how it ended, whatever ends it.

    Args:
        address: the Ray cluster's; see ``compute.address``.
        pipeline: writes a shard for every pending row; called at most once.

    Raises:
        ErrorBudgetExceeded: too many rejects; the job can be resumed with a larger budget.
        OutputInUseError: another job took the output over, because this one was not heard of for too long.
        PagerError: the job failed; it can be resumed.
    """
    with claim.lease:
        return _run_to_end(claim, address, pipeline)


def _run_to_end(claim: Claim, address: str | None, pipeline: Callable[[], None]) -> Reconciliation:
    layout = claim.layout
    if not claim.before.missing:
        log.info("nothing left to do: %s", layout.root)
        return _finish(claim, claim.before)
    try:
        with connected(address):
            pipeline()
        claim.lease.check()
        after = reconcile(layout, claim.inputs)
        if not after.is_whole:
            raise PagerError(
                f"{layout.root}: {len(after.missing)} of {after.inputs} inputs have no outcome (first: "
                f"{', '.join(after.missing[:3])}), {len(after.duplicated)} have several; run the same command again"
            )
    except BaseException as error:
        # Whatever it is, an interrupt included, is raised again below.
        known = _known_cause(error)
        if isinstance(known, OutputInUseError):
            # What is written there is the other job's business.
            raise known from error
        _record_failure(claim, known or error)
        if isinstance(known, ErrorBudgetExceeded):
            raise ErrorBudgetExceeded(_budget_message(claim, reconcile(layout, claim.inputs))) from None
        if known is not None and known is not error:
            raise known from error
        raise
    return _finish(claim, after)


def rows_per_shard(wanted: int | str, rows: int) -> int:
    """Rows per block and shard: as asked, or (``auto``) a 64th of the rows between 1 and 16."""
    if isinstance(wanted, int):
        return wanted
    return min(max(rows // AUTO_SHARDS, 1), AUTO_ROWS_PER_SHARD)


def _known_cause(error: BaseException) -> PagerError | None:
    """Our own error inside what Ray wrapped around it; one line about Ray's otherwise; None for what is neither."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        # Ray's task errors also pass for the class of their cause: take the cause itself, it is the shorter message.
        inner = getattr(current, "cause", None)
        if isinstance(current, PagerError) and not isinstance(inner, BaseException):
            current.args = (str(current).split(_RAY_ADVICE)[0], *current.args[1:])
            return current
        current = inner if isinstance(inner, BaseException) else current.__cause__ or current.__context__
    if isinstance(error, ray.exceptions.RayError):
        reason = str(error).split(_RAY_ADVICE)[0].strip().splitlines()[-1]
        log.debug("the job failed", exc_info=error)
        return PagerError(f"the job failed on the cluster: {reason} (pager-ray --verbose shows the traceback)")
    return None


def _record_failure(claim: Claim, error: BaseException) -> None:
    """Note in the run file how this start ended, with what is done so far; the error itself goes on to the caller."""
    outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
    try:
        claim.layout.drop_uncommitted()
        end_start(claim.manifest, FAILED, outcome[:2000], reconcile(claim.layout, claim.inputs).counts())
        claim.layout.root.write_json(RUN_FILE, claim.manifest)
    except (StorageError, OSError) as second:
        log.error("the run file could not be updated: %s", second)


def _finish(claim: Claim, result: Reconciliation) -> Reconciliation:
    budget = claim.errors.budget_rows(result.inputs)
    if budget is not None and result.rejects > budget:
        end_start(claim.manifest, FAILED, "error budget exceeded", result.counts())
        claim.layout.root.write_json(RUN_FILE, claim.manifest)
        raise ErrorBudgetExceeded(_budget_message(claim, result))
    claim.manifest["rejects_by_class"] = result.rejects_by_class
    end_start(claim.manifest, COMPLETE, "complete", result.counts())
    claim.layout.root.write_json(RUN_FILE, claim.manifest)
    return result


def _budget_message(claim: Claim, result: Reconciliation) -> str:
    worst = ", ".join(f"{name} {count}" for name, count in list(result.rejects_by_class.items())[:3])
    return (
        f"{result.rejects} inputs were rejected ({worst}), errors.max_rejects allows {claim.errors.max_rejects}; "
        f"see {claim.layout.rejects}, then run the same command with a larger budget to go on"
    )
