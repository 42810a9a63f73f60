"""What a run's containers held when they were first listed: kept beside its manifest, so that they are listed once.

A later start asks each container for its size and etag alone, and lists those that changed.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pager_ray.bounded import Unreasonable, check_footer
from pager_ray.errors import StorageError
from pager_ray.listing.containers import FEW, Indexer
from pager_ray.plain import get_logger
from pager_ray.read.containers import MEMBER_SCHEMA, Container, IndexSettings, Members
from pager_ray.storage import Folder

log = get_logger(__name__)

INDEX_NAME: Final = "containers.parquet"

_FACTS: Final = b"pager_ray.containers"
_FIELDS: Final = ("problem", "problem_class", "form", "stamp")


class Remembering:
    """An indexer that lists what it does not know, and knows afterwards.

    Args:
        index: who lists containers.
        known: members by container's URI, from an earlier start.

    Attributes:
        found: members by container's URI, where there are many containers.
    """

    def __init__(self, index: Indexer, known: Mapping[str, Members]) -> None:
        self._index = index
        self._known = known
        self.found: dict[str, Members] = {}

    def __call__(self, containers: Sequence[Container], settings: IndexSettings) -> Iterator[Members]:
        """As of an :data:`~pager_ray.listing.containers.Indexer`."""
        asked = [
            replace(one, stamp=self._known[one.uri].stamp) if one.uri in self._known else one for one in containers
        ]
        for container, members in zip(containers, self._index(asked, settings), strict=True):
            if members.is_same:
                members = self._known[container.uri]
            if len(containers) > FEW:
                self.found[container.uri] = members
            yield members


def settings_digest(settings: IndexSettings) -> str:
    """What members depend on beside their container."""
    facts = (settings.image_column, settings.id_column, settings.scene_column, settings.keep, settings.max_bytes)
    of_videos = (settings.fps, settings.every, settings.projection, settings.stereo, settings.max_pixels)
    told = (settings.sequence_column, settings.time_column, settings.pose, *of_videos)
    return json.dumps([*facts, settings.max_row_group_bytes, *told])


def write_index(folder: Folder, found: Mapping[str, Members], settings: IndexSettings) -> None:
    """Put what was found as one Parquet file; nothing where there were few containers.

    Raises:
        StorageError: it cannot be written.
    """
    if not found:
        return
    facts = [
        {"uri": uri, "rows": one.table.num_rows, "left_out": one.left_out}
        | {name: getattr(one, name) for name in _FIELDS}
        for uri, one in found.items()
    ]
    text = json.dumps({"settings": settings_digest(settings), "containers": facts})
    table = pa.concat_tables([one.table for one in found.values()]).replace_schema_metadata({_FACTS: text})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    folder.write(INDEX_NAME, sink.getvalue())


def read_index(folder: Folder, settings: IndexSettings) -> dict[str, Members]:
    """What an earlier start found; nothing where there was none, or where it is for other settings or damaged."""
    try:
        if not folder.exists(INDEX_NAME):
            return {}
        content = folder.read(INDEX_NAME)
        parquet = pq.ParquetFile(pa.BufferReader(content))
        check_footer(parquet.metadata, len(content))
        table = parquet.read().cast(MEMBER_SCHEMA)
        facts: dict[str, Any] = json.loads((parquet.schema_arrow.metadata or {})[_FACTS])
        if facts["settings"] != settings_digest(settings):
            return {}
        known, at = {}, 0
        for one in facts["containers"]:
            known[str(one["uri"])] = Members(
                table.slice(at, one["rows"]), Counter(one["left_out"]), **{name: one[name] for name in _FIELDS}
            )
            at += one["rows"]
        return known
    except (StorageError, pa.ArrowException, Unreasonable, KeyError, TypeError, ValueError) as error:
        # It spares work, no more.
        log.warning("%s: is no index of containers, they are listed again: %s", folder.uri(INDEX_NAME), error)
        return {}
