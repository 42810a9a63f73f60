"""Panoramas as a dataset of Ray's, for pipelines of one's own: wherever and however they lie, one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import ray

from pager_ray.errors import InputError
from pager_ray.listing import list_inputs, rows_to_do
from pager_ray.listing.containers import FEW, Format, SourceOptions, index_here
from pager_ray.listing.kept import kept_fields, with_kept
from pager_ray.pipeline.indexing import index_by_tasks
from pager_ray.pipeline.supervision import dataset_of
from pager_ray.read.containers import Container, IndexSettings, Members
from pager_ray.read.cubemap import pack_faces
from pager_ray.retrying import Retry
from pager_ray.stages.read import FETCH_THREADS, ReadSettings, fetch_row
from pager_ray.stages.rows import CONTENT, iterate
from pager_ray.stages.sources import without_own
from pager_ray.stages.unpack import (
    as_png,
    in_row_groups,
    make_unpack_fn,
    pack_groups,
    task_memory,
    unpack_groups,
)

ROWS_PER_BLOCK = 16


def read_panoramas(
    uris: str | Sequence[str],
    *,
    format: Format = "auto",
    image_column: str | None = None,
    id_column: str | None = None,
    scene_column: str | None = None,
    sequence_column: str | None = None,
    time_column: str | None = None,
    keep_columns: Sequence[str] = (),
    schemes: Sequence[str] = (),
    private: Literal["auto", "allow", "refuse"] = "auto",
    retry_seconds: float = 120.0,
    max_bytes: int = 2**30,
    max_row_group_bytes: int = 2**31,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> ray.data.Dataset:
    """Panoramas as a dataset: folders, globs, listings, tars, zips, Parquet files, datasets of the Hub.

    Nothing is decoded. Columns: ``id`` and ``uri``, as a run has them; ``scene`` (``indoor``, ``outdoor`` or null);
    ``sequence`` and ``time`` (seconds), null where nothing tells them; ``bytes`` of the image file, or of a zip with a
    cubemap's six; ``error_class`` and ``message``, null but for rows that cannot be read, which stay; and those that
    are kept. :class:`pager_ray.PanoramaPredictor` takes such rows.

    Args:
        uris: as ``input.uris``.
        format, image_column, id_column, scene_column, sequence_column, time_column, keep_columns, schemes, private,
            max_bytes, max_row_group_bytes: as the keys of ``input`` are.
        retry_seconds: how long requests that fail in passing are repeated.
        rows_per_block: of the dataset's blocks.

    Raises:
        ConfigError: a source does not exist or cannot be understood.
        StorageError: a store cannot be used.
    """
    retry = Retry(retry_seconds)
    keep = without_own(keep_columns)
    index = IndexSettings(
        image_column=image_column,
        id_column=id_column,
        scene_column=scene_column,
        sequence_column=sequence_column,
        time_column=time_column,
        keep=keep,
        max_bytes=max_bytes,
        max_row_group_bytes=max_row_group_bytes,
        retry=retry,
    )
    sources = [uris] if isinstance(uris, str) else list(uris)
    listing = list_inputs(sources, retry, schemes, SourceOptions(format, index, _index))
    settings = ReadSettings(
        face_size=0,
        fov=0.0,
        max_pixels=0,
        max_bytes=max_bytes,
        thumbnail_width=None,
        retry=retry,
        schemes=tuple(schemes),
        private=private,
        max_row_group_bytes=max_row_group_bytes,
    )
    rows = rows_to_do(listing.table, listing.table.column("id").to_pylist(), {})
    schema = pa.schema([*_COLUMNS, *kept_fields([rows.column("kept")], keep)])
    finish = _make_finish_fn(settings, schema)
    grouped = in_row_groups(rows)
    parts = []
    if (single := rows.filter(pc.invert(grouped))).num_rows:
        parts.append(_in_blocks(dataset_of(single).repartition(target_num_rows_per_block=rows_per_block), finish))
    if (together := rows.filter(grouped)).num_rows:
        unpack = make_unpack_fn(settings, frames_as_files=True)
        units = dataset_of(pack_groups(together, rows_per_block)).repartition(target_num_rows_per_block=1)
        memory = task_memory(together, None)
        unpacked = _in_blocks(units, lambda table: finish(unpack(unpack_groups(table))), memory=memory)
        parts.append(unpacked.repartition(target_num_rows_per_block=rows_per_block))
    first, *others = parts
    return first.union(*others) if others else first


_COLUMNS = (
    *(pa.field(name, pa.string()) for name in ("id", "uri", "scene", "sequence")),
    pa.field("time", pa.float64()),
    pa.field("bytes", CONTENT.type),
    *(pa.field(name, pa.string()) for name in ("error_class", "message")),
)


def _index(containers: Sequence[Container], settings: IndexSettings) -> Iterator[Members]:
    if len(containers) <= FEW:
        return index_here(containers, settings)
    if not ray.is_initialized():
        ray.init()
    return index_by_tasks(containers, settings)


def _in_blocks(
    rows: ray.data.Dataset, function: Callable[[pa.Table], pa.Table], memory: int | None = None
) -> ray.data.Dataset:
    reserved = {} if memory is None else {"memory": memory}
    return rows.map_batches(function, batch_format="pyarrow", batch_size=None, zero_copy_batch=True, **reserved)


def _make_finish_fn(settings: ReadSettings, schema: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    """Make the block function: rows of the manifest, some with their bytes → the dataset's columns."""

    def finish(table: pa.Table) -> pa.Table:
        if CONTENT.name not in table.column_names:
            table = _fetched(table, settings)
        names = ["bytes" if name == CONTENT.name else name for name in table.column_names]
        return with_kept(table.rename_columns(names), schema).select(schema.names).cast(schema)

    return finish


def _fetched(table: pa.Table, settings: ReadSettings) -> pa.Table:
    rows = [{name: value.as_py() for name, value in scalars.items()} for scalars in iterate(table)]

    def fetch_one(row: dict[str, object]) -> bytes | InputError | None:
        if row["error_class"]:
            return None
        try:
            content = fetch_row(row, settings)
        except InputError as error:
            return error
        if isinstance(content, bytes):
            return content
        return pack_faces(content) if isinstance(content, tuple) else as_png(content)

    with ThreadPoolExecutor(FETCH_THREADS) as pool:
        found = list(pool.map(fetch_one, rows))
    for row, content in zip(rows, found, strict=True):
        if isinstance(content, InputError):
            row |= {"error_class": content.error_class, "message": str(content)}
    columns = {
        CONTENT.name: pa.array([one if isinstance(one, bytes) else None for one in found], CONTENT.type),
        **{name: pa.array([row[name] for row in rows], pa.string()) for name in ("error_class", "message")},
    }
    whole = {name: table.column(name) for name in table.column_names} | columns
    return pa.table(whole)
