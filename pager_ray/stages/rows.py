"""The columns that rows carry between stages, and how arrays travel in them.

Arrays are plain binary columns: they are nullable (a rejected row has none), pass between processes without a copy and
have one Parquet type everywhere. Every stage keeps a row's identity and its ``status`` columns and returns as many rows
as it got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa

from pager_ray.errors import InputError, PagerError
from pager_ray.masking import mask_uri
from pager_ray.modalities import MAPS
from pager_ray.plain import plain_text
from pager_ray.prediction import QUALITY_COLUMNS
from pager_ray.preview import panel_size
from pager_ray.runs.valid_column import VALID

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Row = dict[str, Any]

IDENTITY = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("scene", pa.string()),
    # Where in a sequence it stands: its name, and seconds.
    pa.field("sequence", pa.string()),
    pa.field("time", pa.float64()),
    # Where a dataset's ground truth lies, as JSON: the arrays themselves are read where they are scored.
    pa.field("sample", pa.string()),
    # Columns of its listing that come out again, as a JSON object.
    pa.field("kept", pa.string()),
]

PLACE = [
    pa.field("origin", pa.string()),
    pa.field("offset", pa.int64()),
    pa.field("size", pa.int64()),
    pa.field("row_group", pa.int32()),
    pa.field("row", pa.int32()),
    pa.field("face_places", pa.string()),
    pa.field("mask", pa.string()),
]
"""Where a row's bytes are, as the manifest has it; :data:`pager_ray.listing.MANIFEST_SCHEMA` says what each means."""

POSE = pa.field("pose", pa.string())
"""How a row's camera was held, as its listing says: :func:`pager_ray.read.pose.pose_text`."""

CONTENT = pa.field("content", pa.large_binary())
"""A picture's file, where it was read with others."""

STATUS = [
    pa.field("stage", pa.string()),
    pa.field("error_class", pa.string()),
    pa.field("message", pa.string()),
    pa.field("attempts", pa.int32()),
]

SOURCE = [
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("coverage", pa.float32()),
    pa.field("stretch", pa.float32()),
    pa.field("blank_fraction", pa.float32()),
    pa.field("suspect", pa.string()),
    pa.field("remarks", pa.string()),
    pa.field("digest", pa.string()),
    pa.field("valid_fraction", pa.float32()),
    VALID,
    # How the camera was held, as the file says; and what was applied: see pager_ray.geometry.level_rotation.
    pa.field("pose_heading", pa.float32()),
    pa.field("pose_pitch", pa.float32()),
    pa.field("pose_roll", pa.float32()),
    pa.field("level_pitch", pa.float32()),
    pa.field("level_roll", pa.float32()),
]

THUMBNAIL = [pa.field("thumbnail", pa.large_binary())]

QUALITY = [pa.field(name, pa.float32()) for name in QUALITY_COLUMNS]

INFERRED = [pa.field("p_outdoor", pa.float32()), pa.field("log_scale", pa.float32()), *QUALITY]

ARRAYS = [pa.field(name, pa.large_binary()) for name in MAPS]

PIXELS = [
    pa.field("faces", pa.large_binary()),
    pa.field("panorama", pa.large_binary()),
    pa.field("panorama_height", pa.int32()),
    # Which pixels of the faces are valid, a bit each; null where all are.
    pa.field("valid_faces", pa.large_binary()),
]

UNPACK_SCHEMA = pa.schema([*IDENTITY, *STATUS, *PLACE, POSE, CONTENT, *SOURCE, *THUMBNAIL, *PIXELS])
"""After *unpack*, which reads what lies together: rows of the manifest with their files' bytes, or, of frames of
videos, as they are after *read*."""

READ_SCHEMA = pa.schema([*IDENTITY, *STATUS, *SOURCE, *THUMBNAIL, *PIXELS])
"""After *read* and *project*: faces are uint8 (6, S, S, 3); or, where *infer* samples them, panorama is uint8
(H, W, 3), reduced to what the faces need."""

INFER_SCHEMA = pa.schema([*IDENTITY, *STATUS, *SOURCE, *THUMBNAIL, *INFERRED, *ARRAYS])
"""After *infer*: depth float32 (6, S, S), normals float16 or float32 (6, S, S, 3), sky float32 (6, S, S)."""

ENCODE_SCHEMA = pa.schema(
    [
        *IDENTITY,
        *STATUS,
        *SOURCE,
        *INFERRED,
        pa.field("map_height", pa.int32()),
        pa.field("map_width", pa.int32()),
        *ARRAYS,
        pa.field("preview", pa.large_binary()),
    ]
)
"""After *stitch* and *encode*: arrays are a codec's bytes, or npz files; preview is a JPEG."""

PUT_OFF = "put_off"
"""In place of an error class: the job was told to stop before the row was begun. Never written, done by the next start.
"""

TableFunction = Callable[[pa.Table], pa.Table]
"""A stage: blocks in, blocks out, one row each."""


def blob(array: np.ndarray) -> memoryview:
    """An array's bytes for a binary column, without a copy when it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def view(value: pa.Scalar, dtype: DTypeLike, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in a binary cell, read-only and without a copy; None in a null cell."""
    if not value.is_valid:
        return None
    array = np.frombuffer(value.as_buffer(), dtype=dtype).reshape(shape)
    array.flags.writeable = False
    return array


def iterate(table: pa.Table) -> Iterator[dict[str, pa.Scalar]]:
    """A table's rows as mappings of column names to Arrow scalars, which share the table's memory."""
    columns = [(name, table.column(name)) for name in table.column_names]
    for number in range(table.num_rows):
        yield {name: column[number] for name, column in columns}


def to_table(rows: list[Row], schema: pa.Schema, received: int, stage: str) -> pa.Table:
    """Rows as a table of the stage's schema; columns that a row lacks are null.

    Raises:
        PagerError: the stage returned another number of rows than it got.
    """
    if len(rows) != received:
        raise PagerError(
            f"stage {stage} got {received} rows and returned {len(rows)}, where each comes out once; please report it"
        )
    arrays = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def carry(scalars: Mapping[str, pa.Scalar], fields: list[pa.Field]) -> Row:
    """The row's values in the given columns, as Python objects."""
    return {field.name: scalars[field.name].as_py() for field in fields if field.name in scalars}


def naming_row(row: Row, error: InputError) -> InputError:
    """The error with the row's URI before its message, for errors of functions that know no files."""
    return InputError(error.error_class, f"{mask_uri(row['uri'])}: {error}", error.attempts)


def reject(row: Row, stage: str, error: InputError) -> Row:
    """The row as a reject: identity kept, status set."""
    kept = {field.name: row.get(field.name) for field in IDENTITY}
    # What earlier starts tried counts too: rejects that are done again carry it along.
    attempts = (row.get("attempts") or 0) + error.attempts
    message = plain_text(str(error))
    return kept | {"stage": stage, "error_class": error.error_class, "message": message, "attempts": attempts}


def thumbnail(erp: np.ndarray, width: int | None) -> memoryview | None:
    """A panorama (H, W, 3) at the panel size of a picture ``width`` pixels wide, raw RGB; None where none is wanted."""
    if width is None:
        return None
    height, panel = panel_size(width)
    return blob(cv2.resize(erp, (panel, height), interpolation=cv2.INTER_AREA))
