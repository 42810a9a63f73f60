"""One id to its files: read from the run, made, put where the export lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from pager_ray.errors import InputError, RunNotFoundError, ShapeError, StorageError
from pager_ray.export.formats import ExportSettings, Files, export_files
from pager_ray.plain import plain_text
from pager_ray.reader.picture import source_picture
from pager_ray.reader.run import Run, open_run
from pager_ray.storage import Folder

EXPORT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string()),
        pa.field("file", pa.string()),
        pa.field("files", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("stage", pa.string()),
        pa.field("error_class", pa.string()),
        pa.field("message", pa.string()),
        pa.field("attempts", pa.int32()),
        # Of what a listing said of it that decides the files; null where they are of a run, which says that itself.
        pa.field("listed", pa.string()),
        # Of the file that they were made of, to know whether it was replaced; null as before.
        pa.field("source", pa.string()),
    ]
)
"""What became of each id: the first of its files below the export's folder, their number and size; or why not."""

Row = dict[str, Any]


def make_export_fn(run: str, output: Folder, settings: ExportSettings) -> Callable[[pa.Table], pa.Table]:
    """Make the block function: rows with ``id`` → ``EXPORT_SCHEMA``, one row each, rejects included.

    Args:
        run: the run's URI; each process opens it once.
        output: where files are put; each as a whole.
        settings: what to make.
    """

    def export(table: pa.Table) -> pa.Table:
        if find_spec("cv2") is not None:
            import cv2

            # A job has a task per core; threads inside them would only compete.
            cv2.setNumThreads(1)
        return export_ids(_opened(run), table.column("id").to_pylist(), output, settings)

    return export


def export_ids(run: Run, ids: Sequence[str], output: Folder, settings: ExportSettings) -> pa.Table:
    """Export predictions one by one.

    Raises:
        ConfigError: a library is missing.
        StorageError: a file cannot be put.
    """
    rows = [put_files(id, output, lambda row, id=id: _make(run, id, settings, row)) for id in ids]  # type: ignore[misc]
    return pa.Table.from_pylist(rows, EXPORT_SCHEMA)


def put_files(id: str, output: Folder, make: Callable[[Row], Files]) -> Row:
    """Make a panorama's files and put them; gives its row of ``EXPORT_SCHEMA``, a reject where they cannot be made.

    Args:
        id: the panorama's.
        output: the export's folder.
        make: gives the files; gets the row, to say what it finds out.

    Raises:
        ConfigError: a library is missing.
        StorageError: a file cannot be put.
    """
    row: Row = {"id": id}
    try:
        files = make(row)
    except InputError as error:
        return row | _reject(error.error_class, str(error), error.attempts)
    except (StorageError, RunNotFoundError) as error:
        return row | _reject("unreadable_prediction", str(error), 1)
    except ShapeError as error:
        return row | _reject("not_exportable", f"{id}: {error}", 1)
    names = [*files]
    # The first file last: where it stands, all do.
    for name in (*names[1:], names[0]):
        folder, _, file = name.rpartition("/")
        target = output / folder if folder else output
        target.write(file, files[name])
    return row | {"file": names[0], "files": len(names), "bytes": sum(map(len, files.values())), "attempts": 1}


def _make(run: Run, id: str, settings: ExportSettings, row: Row) -> Files:
    if id not in run:
        # A run that was opened while it grew.
        run.refresh()
    prediction = run[id]
    row["uri"] = prediction.uri
    picture = None
    if settings.shows_picture and settings.images_from is not None:
        picture = source_picture(prediction, settings.images_from)
    return export_files(prediction, picture, settings)


def _reject(error_class: str, message: str, attempts: int) -> Row:
    return {"stage": "export", "error_class": error_class, "message": plain_text(message), "attempts": attempts}


@lru_cache(maxsize=1)
def _opened(uri: str) -> Run:
    return open_run(uri)
