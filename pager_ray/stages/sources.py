"""The inputs of a job, listed as its configuration says."""

from __future__ import annotations

from collections.abc import Sequence

from pager_ray.config.schema import RunConfig
from pager_ray.errors import ConfigError
from pager_ray.listing import Listing, list_inputs
from pager_ray.listing.containers import Indexer, SourceOptions, index_here
from pager_ray.listing.masks import MaskSources
from pager_ray.read.containers import IndexSettings
from pager_ray.read.pose import COLUMNS as POSE_COLUMNS
from pager_ray.retrying import Retry
from pager_ray.runs.shards import PREDICTION_COLUMNS, REJECT_COLUMNS
from pager_ray.stages.rows import ENCODE_SCHEMA, POSE, READ_SCHEMA

OWN = ("sequence", "time")
_TAKEN = frozenset({*PREDICTION_COLUMNS, *REJECT_COLUMNS, *READ_SCHEMA.names, *ENCODE_SCHEMA.names})


def index_settings(config: RunConfig) -> IndexSettings:
    """How a job's containers are understood."""
    asked = config.input
    return IndexSettings(
        image_column=asked.image_column,
        id_column=asked.id_column,
        scene_column=asked.scene_column,
        sequence_column=asked.sequence_column,
        time_column=asked.time_column,
        keep=without_own(asked.keep_columns),
        pose=POSE_COLUMNS if asked.upright == "columns" else (),
        fps=asked.video.fps,
        every=asked.video.every,
        projection=asked.video.projection,
        stereo=asked.video.stereo,
        max_pixels=asked.max_pixels,
        max_bytes=asked.max_bytes,
        max_row_group_bytes=asked.max_row_group_bytes,
    )


def without_own(keep: Sequence[str]) -> tuple[str, ...]:
    """The columns to keep without those that are kept anyway: ``sequence`` and ``time``, which were none once."""
    return tuple(name for name in keep if name not in OWN)


def list_sources(config: RunConfig, index: Indexer = index_here, results: Sequence[str] | None = None) -> Listing:
    """List every input that ``input.uris`` names; see :func:`pager_ray.listing.list_inputs`.

    Args:
        config: of the job.
        index: who lists containers.
        results: folders that results go to, which hold no inputs; by default ``output.uri``.

    Raises:
        ConfigError: a source does not exist, holds nothing, or cannot be understood; or it says of no panorama how it
            was held, and ``input.upright`` asks for that.
        StorageError: a store cannot be used.
    """
    asked = config.input
    if taken := [name for name in asked.keep_columns if name in _TAKEN - {*OWN}]:
        raise ConfigError(
            f"input.keep_columns: got {', '.join(taken)}, which results have themselves; takes columns of other names"
        )
    options = SourceOptions(
        asked.format,
        index_settings(config),
        index,
        tuple(filter(None, [config.output.uri] if results is None else results)),
    )
    if not asked.mask.uris and (asked.mask.column is not None or asked.mask.missing == "reject"):
        said = "missing: got reject" if asked.mask.column is None else f"column: got {asked.mask.column}"
        raise ConfigError(f"input.mask.{said}, and there are no masks; name where they lie in input.mask.uris")
    masks = MaskSources(asked.mask.uris, asked.mask.column, asked.mask.missing)
    listing = list_inputs(asked.uris, Retry(config.errors.retry_seconds), asked.schemes, options, masks)
    if asked.upright == "columns" and not listing.has(POSE.name):
        raise ConfigError(
            f"input.upright: columns takes sources with columns {' and '.join(POSE_COLUMNS)} (listings, containers, "
            "metadata files), and no row of input.uris has one of them; gpano takes the pictures' own metadata"
        )
    return listing
