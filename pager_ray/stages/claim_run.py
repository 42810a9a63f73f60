"""The output of an inference job, claimed for what its configuration and checkpoint say."""

from __future__ import annotations

from pager_ray.config import RunConfig
from pager_ray.config.shown import shown_config
from pager_ray.listing import Listing
from pager_ray.listing.remembered import read_index
from pager_ray.model import ResolvedCheckpoint
from pager_ray.read.containers import Members
from pager_ray.retrying import Retry
from pager_ray.runs import RunLayout
from pager_ray.runs.claim import Claim, claim_output
from pager_ray.runs.growing import Growing
from pager_ray.runs.runfile import standing_run
from pager_ray.stages.settings import checkpoint_identity, describe_checkpoint
from pager_ray.stages.sources import index_settings
from pager_ray.storage import Folder


def claim_run(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    listed: Listing,
    *,
    overwrite: bool = False,
    retry_rejects: str | None = None,
    growing: Growing | None = None,
) -> Claim:
    """Make the output that a configuration names its own; see :func:`~pager_ray.runs.claim.claim_output`."""
    return claim_output(
        _layout(config),
        listed,
        config=shown_config(config),
        identity=config.result_keys() | checkpoint_identity(checkpoint),
        sections={"checkpoint": describe_checkpoint(checkpoint)},
        errors=config.errors,
        overwrite=overwrite,
        retry_rejects=retry_rejects,
        growing=growing,
    )


def look_at_output(config: RunConfig) -> None:
    """Refuse, without writing anything, an output that no inference job may have, whatever its checkpoint.

    Raises:
        RunMismatchError: another kind of job stands there, or files that belong to none.
        StorageError: it cannot be read.
    """
    # Settings are compared when the checkpoint, which is one of them, is known.
    standing_run(_layout(config), {}, overwrite=True)


def known_containers(config: RunConfig) -> dict[str, Members]:
    """What an earlier start of the same run found in its containers, by URI; nothing where there was none."""
    return read_index(_layout(config).manifest, index_settings(config))


def _layout(config: RunConfig) -> RunLayout:
    return RunLayout(Folder(config.output.uri, Retry(config.errors.retry_seconds)))
