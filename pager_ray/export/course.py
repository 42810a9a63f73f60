"""What every export does around its files: its identity, what is left of it, and its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow.compute as pc

from pager_ray.errors import PagerError
from pager_ray.export.formats import ExportSettings
from pager_ray.export.mesh import MAX_TRIANGLES
from pager_ray.export.records import Records

_ADDED: Final[Mapping[str, Any]] = {"axes": "y-up", "max_triangles": MAX_TRIANGLES}
"""Settings that came later, with what files were before."""


@dataclass(frozen=True)
class Ended:
    """Where an export stands at the end of a start.

    Attributes:
        exported: panoramas of the selection that have their files.
        fresh: those of them that this start made.
        bytes: size of all files of the selection.
        rejects_by_class: the others, the commonest first.
    """

    exported: int
    fresh: int
    bytes: int
    rejects_by_class: Mapping[str, int]


def settings_identity(settings: ExportSettings) -> dict[str, Any]:
    """What of the settings decides the files."""
    values = asdict(settings)
    # Where pictures are read from is no part of what they show.
    cleaning = values.pop("cleaning")
    del values["images_from"]
    # Left out where they are those of earlier versions, whose exports go on.
    values["axes"] = settings.frame
    values = {key: value for key, value in values.items() if value != _ADDED.get(key, ...)}
    return values | {f"cleaning.{key}": value for key, value in cleaning.items()}


def done_ids(records: Records) -> list[str]:
    """Ids that are exported."""
    standing = records.standing()
    return standing.filter(pc.is_null(standing.column("error_class"))).column("id").to_pylist()


def left_of(records: Records, selected: Sequence[str]) -> list[str]:
    """What is not exported yet, or whose file is gone."""
    standing = records.standing()
    done = standing.filter(pc.is_null(standing.column("error_class")))
    if not done.num_rows:
        return [*selected]
    there = records.files()
    pairs = zip(done.column("id").to_pylist(), done.column("file").to_pylist(), strict=True)
    finished = {id for id, file in pairs if file in there}
    return [id for id in selected if id not in finished]


def finish(records: Records, identity: Mapping[str, Any], selected: Sequence[str], tried: int) -> Ended:
    """Fold the records, once every id of the selection has an outcome.

    Args:
        records: of the export.
        identity: as it was claimed.
        selected: ids that were asked for.
        tried: how many of them this start tried.

    Raises:
        PagerError: an id has none.
    """
    standing = records.standing()
    wanted = {*selected}
    rows = [row for row in standing.select(["id", "bytes", "error_class"]).to_pylist() if row["id"] in wanted]
    rejects = Counter(row["error_class"] for row in rows if row["error_class"] is not None)
    if len(rows) != len(selected):
        missing = sorted(wanted - {row["id"] for row in rows})
        raise PagerError(
            f"{records.output}: {len(missing)} of {len(selected)} panoramas have no outcome (first: "
            f"{', '.join(missing[:3])}); run the same command again"
        )
    rejected = sum(rejects.values())
    size = sum(row["bytes"] or 0 for row in rows)
    ended = Ended(len(rows) - rejected, tried - rejected, size, dict(rejects.most_common()))
    counts = {"selected": len(selected), "exported": ended.exported, "rejected": rejected}
    done = {"counts": counts, "rejects_by_class": dict(ended.rejects_by_class), "bytes": size}
    records.finish(standing, {"identity": dict(identity), "state": "complete", **done})
    return ended
