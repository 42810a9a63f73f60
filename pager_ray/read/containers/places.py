"""What is known of a picture in a container, and what a reader of containers is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pyarrow as pa

from pager_ray.errors import InputError
from pager_ray.read.containers.sequences import names_wanted
from pager_ray.retrying import Retry

Form = Literal["tar", "zip", "parquet", "video"]

SCENES: Final = ("indoor", "outdoor")

CORRUPT: Final = "corrupt_container"
"""Class of rejects whose container is damaged at their place."""

CHANGED: Final = "changed"
"""Class of rejects whose container is another one than when it was listed."""

REPLACED: Final = "that later ones of their names replace"
BEHIND_TOOLS: Final = "that tools leave behind"
"""What is told of members that are no inputs."""

GROUP_TOO_LARGE: Final = "row_group_too_large"

NO_BYTES: Final = "the row holds no bytes, only a name at most; store the pictures themselves"


class EmptyCell(InputError):
    """A row of a Parquet file that holds no picture, nor the name of one, as others without bytes do."""


MEMBER_SCHEMA: Final = pa.schema(
    [
        # The member's name; of a Parquet file ``column/row``.
        pa.field("name", pa.string(), nullable=False),
        # The shortest id that it may get, and the one that its container gives it.
        pa.field("key", pa.string()),
        pa.field("given", pa.string()),
        pa.field("scene", pa.string()),
        # Which sequence it is of, and when it was taken, in seconds.
        pa.field("sequence", pa.string()),
        pa.field("time", pa.float64()),
        pa.field("is_utf8", pa.bool_(), nullable=False),
        # Where its bytes are, or its row is.
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("row_group", pa.int32()),
        pa.field("row", pa.int32()),
        # Why it gives no prediction, where that is known already.
        pa.field("error_class", pa.string()),
        pa.field("message", pa.string()),
        # The columns to keep, as a JSON object.
        pa.field("kept", pa.string()),
        # How its camera was held: see pager_ray.read.pose.pose_text.
        pa.field("pose", pa.string()),
        # Whether it is still the one that was listed, as a number: of its checksum, its header, or its whole file.
        pa.field("stamp", pa.int64()),
    ]
)
"""One row per picture in a container."""


@dataclass(frozen=True)
class IndexSettings:
    """How containers are understood, and how far they are trusted.

    Attributes:
        image_column: of Parquet files; the component of a WebDataset sample. None finds it.
        id_column, scene_column, sequence_column, time_column: columns (or keys of a sample's JSON) with the id, the
            scene, the sequence and the time; None finds them.
        keep: columns that come out again beside the results.
        fps, every: which frames of a video are taken; see :func:`pager_ray.read.containers.videos.choose`.
        projection, stereo: what the user says of videos; ``auto`` leaves it to them.
        max_pixels: videos with larger frames are refused.
        max_bytes: members that are larger are rejects.
        max_row_group_bytes: row groups whose pictures take more, decompressed, are rejects.
        pose: columns that say how cameras were held, where panoramas are levelled by them.
        retry: for how long a troubled store is asked.
        schemes: further ones that inputs may have.
    """

    image_column: str | None = None
    id_column: str | None = None
    scene_column: str | None = None
    sequence_column: str | None = None
    time_column: str | None = None
    keep: tuple[str, ...] = ()
    fps: float | None = None
    every: int | None = None
    projection: str = "auto"
    stereo: str = "auto"
    max_pixels: int = 2**28
    max_bytes: int = 2**30
    max_row_group_bytes: int = 2**31
    retry: Retry = field(default_factory=Retry)
    schemes: tuple[str, ...] = ()
    pose: tuple[str, ...] = ()

    @property
    def wants_columns(self) -> bool:
        """Whether something beside pictures and keys has to be read."""
        named = (self.id_column, self.scene_column, self.sequence_column, self.time_column)
        return any(named) or bool(self.keep or self.pose)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read beside pictures: columns of ids, scenes, sequences, times and poses, and those that are kept."""
        told = (self.id_column, self.scene_column or "scene", *names_wanted(self.sequence_column, self.time_column))
        return tuple(dict.fromkeys(name for name in (*told, *self.keep, *self.pose) if name))


@dataclass
class Members:
    """What lies in one container.

    Attributes:
        table: ``MEMBER_SCHEMA``.
        left_out: what of it is no input, counted by what it is.
        problem: why nothing, or nothing more, could be read of it; None where all was.
        form: what the container is.
        stamp: size and etag of it, to know it again.
        is_same: it was not read, as its stamp is the one that it is known by.
    """

    table: pa.Table
    left_out: Counter[str] = field(default_factory=Counter)
    problem: str | None = None
    problem_class: str = CORRUPT
    form: Form | None = None
    stamp: str = ""
    is_same: bool = False


def members_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with some of the columns as ``MEMBER_SCHEMA``."""
    columns = {name: [row.get(name) for row in rows] for name in MEMBER_SCHEMA.names}
    columns["is_utf8"] = [row.get("is_utf8", True) for row in rows]
    return pa.table(columns, schema=MEMBER_SCHEMA)


def plain(name: str) -> tuple[str, bool]:
    """A name with bytes that are no UTF-8 written out, and whether there were none."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return text, text == name


def last_of_each(names: Sequence[str]) -> list[bool]:
    """Which members are the last ones of their names: what is added to an archive replaces what was there."""
    if len({*names}) == len(names):
        return [True] * len(names)
    last = {name: place for place, name in enumerate(names)}
    return [last[name] == place for place, name in enumerate(names)]


def bad_name(name: str) -> str | None:
    """Why a member's name is not taken; None for one that is."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or (len(parts[0]) == 2 and parts[0][1] == ":"):
        return "is an absolute path"
    if ".." in parts:
        return "climbs out of its container"
    if "::" in name or "\0" in name:
        return "cannot be written in a URI"
    return None
