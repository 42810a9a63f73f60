"""Stage *unpack*: what cannot be fetched alone, rows of Parquet files and frames of videos, to rows like any other.

The column chunk of a row group is the unit of reading, and so are the frames between two key frames of a video. Those
of one group travel as one row of lists to a task that reads it once. Rows of Parquet files leave it with their files'
bytes, for *read* to decode. A decoded frame is ten times its faces, and is not sent: frames leave it as they leave
*read*.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.errors import InputError
from pager_ray.listing.listed import SIGNED
from pager_ray.masking import mask_uri
from pager_ray.read import decode_content
from pager_ray.read.containers.places import CHANGED, GROUP_TOO_LARGE, NO_BYTES
from pager_ray.read.fetch import fetch_row_group
from pager_ray.stages.names import StageName
from pager_ray.stages.read import ReadSettings, fetch_row, is_strangers, project_row
from pager_ray.stages.rows import (
    CONTENT,
    IDENTITY,
    PLACE,
    POSE,
    STATUS,
    UNPACK_SCHEMA,
    carry,
    iterate,
    naming_row,
    to_table,
)

if TYPE_CHECKING:
    from pager_ray.read import Content

UNITS = "rows"
"""The one column of packed row groups."""

MEMORY_FACTOR = 3
"""A task holds a row group's chunk as it was read, its decoded pages and the rows that it hands on."""

TASK_MEMORY = 256 << 20

_VIDEO: Final = "video://"
_FRAMES: Final = "pager_ray.read.frames"


def in_row_groups(rows: pa.Table) -> pa.ChunkedArray:
    """Which of a manifest's rows are read with others."""
    return pc.and_(pc.is_valid(rows.column("row_group")), pc.is_null(rows.column("error_class")))


def split_groups(rows: pa.Table) -> list[pa.Table]:
    """Runs of rows that lie in the same row group."""
    edges = [*np.flatnonzero(_starts(rows)).tolist(), rows.num_rows]
    return [rows.slice(first, last - first) for first, last in itertools.pairwise(edges)]


def _starts(rows: pa.Table) -> np.ndarray:
    """Whether a row lies in another row group than the one before it."""
    containers = pc.replace_substring_regex(rows.column("uri"), "^(?s:.*?)::", "")
    codes = pc.dictionary_encode(containers).combine_chunks().indices.to_numpy()
    groups = pc.fill_null(rows.column("row_group"), -1).to_numpy()
    starts = np.ones(rows.num_rows, dtype=bool)
    starts[1:] = (codes[1:] != codes[:-1]) | (groups[1:] != groups[:-1])
    return starts


def pack_groups(rows: pa.Table, shard_rows: int) -> pa.Table:
    """One row per task of the stage: a group's rows, or those of small ones together, up to ``shard_rows``."""
    starts = np.flatnonzero(_starts(rows)).tolist()
    edges = [0]
    for first, last in zip(starts, [*starts[1:], rows.num_rows], strict=True):
        if first > edges[-1] and last - edges[-1] > shard_rows:
            edges.append(first)
    edges.append(rows.num_rows)
    structs = pa.concat_arrays(rows.to_struct_array().chunks)
    return pa.table({UNITS: pa.LargeListArray.from_arrays(pa.array(edges, pa.int64()), structs)})


def unpack_groups(packed: pa.Table) -> pa.Table:
    """The rows that were packed."""
    structs = packed.column(UNITS).combine_chunks().flatten()
    return pa.Table.from_struct_array(structs)


def refuse_large(rows: pa.Table, most: int | None) -> pa.Table:
    """The rows with those rejected whose row group takes more memory than any worker has.

    Args:
        rows: of the manifest.
        most: bytes that a worker may have; None where nobody knows.
    """
    if most is None:
        return rows
    too_large = pc.fill_null(pc.greater(pc.multiply(rows.column("size"), MEMORY_FACTOR), most), False)
    is_frame = pc.starts_with(rows.column("uri"), _VIDEO)
    too_large = pc.and_(pc.and_(too_large, in_row_groups(rows)), pc.invert(is_frame))
    if not pc.any(too_large).as_py():
        return rows
    message = (
        f"its row group takes {MEMORY_FACTOR} times its size in memory, and no node has more than {most >> 20} MiB for "
        "it; write the file with fewer rows per group, or take larger nodes"
    )
    texts = pa.array([mask_uri(uri) for uri in rows.column("uri").to_pylist()])
    for name, value in (
        ("error_class", GROUP_TOO_LARGE),
        ("message", pc.binary_join_element_wise(texts, message, ": ")),
    ):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, pc.if_else(too_large, value, rows.column(name)))
    return rows


def task_memory(rows: pa.Table, most: int | None) -> int:
    """What a task of the stage reserves: enough for the largest row group of these rows."""
    largest = pc.max(rows.filter(in_row_groups(rows)).column("size")).as_py() or 0
    wanted = TASK_MEMORY + MEMORY_FACTOR * largest
    # Of a whole node a task would wait until nothing else runs there.
    return wanted if most is None else min(wanted, most // 2)


def make_unpack_fn(settings: ReadSettings, *, frames_as_files: bool = False) -> Callable[[pa.Table], pa.Table]:
    """Make the block function: rows of the manifest → ``UNPACK_SCHEMA``, one row each, rejects included.

    Args:
        settings: as of *read*.
        frames_as_files: frames of videos become PNG files, for those who decode by themselves.
    """

    def unpack(table: pa.Table) -> pa.Table:
        try:
            # One group after the other: nothing of the last is held while the next is read.
            return pa.concat_tables([_unpacked(rows, settings, frames_as_files) for rows in split_groups(table)])
        finally:
            # A decoder holds a gigabyte, and whoever is next here may want another video.
            if frames := sys.modules.get(_FRAMES):
                frames.HELD_VIDEO.release()

    return unpack


def _unpacked(rows: pa.Table, settings: ReadSettings, frames_as_files: bool) -> pa.Table:
    """The rows of one group with their bytes, or their faces."""
    if rows.column("uri")[0].as_py().startswith(_VIDEO):
        return _decoded(rows, settings, frames_as_files)
    before = rows.column("error_class")
    if before.null_count == 0:
        return _as_unpacked(rows, pa.nulls(rows.num_rows, CONTENT.type), [None] * rows.num_rows)
    first = rows.slice(0, 1).to_pylist()[0]
    try:
        cells = fetch_row_group(
            first["uri"],
            first["row_group"],
            settings.retry,
            max_row_group_bytes=settings.max_row_group_bytes,
            schemes=settings.schemes,
            strangers=is_strangers(first, settings),
        )
        places = rows.column("row").to_numpy()
        if places.max() >= len(cells):
            raise InputError(CHANGED, "its row group has fewer rows than when it was listed")
    except InputError as error:
        return _as_unpacked(rows, pa.nulls(rows.num_rows, CONTENT.type), [error] * rows.num_rows)
    first_row, last_row = int(places[0]), int(places[-1])
    # A whole group, or what is left of one, is not copied.
    is_run = last_row - first_row == len(places) - 1 and bool(np.all(np.diff(places) == 1))
    content = cells.slice(first_row, len(places)) if is_run else cells.take(pa.array(places))
    sizes = pc.fill_null(pc.binary_length(content), -1).to_pylist()
    return _as_unpacked(rows, content, [_trouble(size, settings.max_bytes) for size in sizes])


def _decoded(rows: pa.Table, settings: ReadSettings, as_files: bool) -> pa.Table:
    """Frames of a video as they leave *read*, in order: each is gone before the next is decoded."""
    cv2.setNumThreads(1)
    done = []
    for scalars in iterate(rows):
        row = carry(scalars, [*IDENTITY, *STATUS, *PLACE, POSE, SIGNED])
        place = carry(scalars, PLACE)
        content: Content | InputError | None = None
        if not row["error_class"]:
            try:
                content = fetch_row(row, settings)
                if as_files:
                    done.append(row | place | {CONTENT.name: as_png(content)})
                    continue
            except InputError as error:
                content = naming_row(row, error) if mask_uri(row["uri"]) not in str(error) else error
        result = project_row(row, content, settings)
        named = StageName.UNPACK if result.get("stage") == StageName.READ else result.get("stage")
        done.append(result | place | {"stage": named})
    return to_table(done, UNPACK_SCHEMA, rows.num_rows, StageName.UNPACK)


def as_png(content: Content) -> bytes:
    """A decoded frame's panorama as a file."""
    erp = decode_content(content).erp
    return cv2.imencode(".png", np.ascontiguousarray(erp[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _trouble(size: int, max_bytes: int) -> InputError | None:
    if size < 0:
        return InputError("no_bytes", NO_BYTES)
    if size > max_bytes:
        return InputError("too_large", f"has {size} bytes, input.max_bytes takes {max_bytes}")
    return None


def _as_unpacked(rows: pa.Table, content: pa.Array | pa.ChunkedArray, errors: list[InputError | None]) -> pa.Table:
    """``UNPACK_SCHEMA``: the rows with their bytes, and with what is wrong with some; the listing's word stays."""
    listed = rows.select(["uri", "error_class", "message", "attempts"]).to_pylist()
    found = [
        _status(row, error) if row["error_class"] is None else (StageName.LIST, row["error_class"], row["message"], 1)
        for row, error in zip(listed, errors, strict=True)
    ]
    status = {field.name: pa.array([one[at] for one in found], field.type) for at, field in enumerate(STATUS)}
    content = pc.if_else(pc.is_null(status["error_class"]), content, pa.scalar(None, CONTENT.type))
    columns = {name: rows.column(name) for name in rows.column_names} | status | {CONTENT.name: content}
    arrays = [columns.get(field.name, pa.nulls(rows.num_rows, field.type)) for field in UNPACK_SCHEMA]
    return pa.table(arrays, schema=UNPACK_SCHEMA)


def _status(row: dict[str, Any], error: InputError | None) -> tuple[str | None, str | None, str | None, int | None]:
    """What the columns of ``STATUS`` hold."""
    if error is None:
        return None, None, None, row["attempts"]
    shown, text = mask_uri(row["uri"]), str(error)
    text = text if text.startswith(shown) else f"{shown}: {text}"
    return StageName.UNPACK, error.error_class, text, (row["attempts"] or 0) + error.attempts
