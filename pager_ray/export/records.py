"""What an export has done, so that the same command goes on where it stopped.

::

    <export>/export.json          what it is of, its settings, how it stands
    <export>/exported.parquet     one row per exported panorama: id, file, files, bytes
    <export>/rejects.csv          one row per panorama that gave none: id, uri, stage, error_class, message, attempts
    <export>/state/*.parquet      outcomes of a start that has not ended; folded into the two above when it does

An id counts once its record is put, which is after its files. Of several outcomes of an id a success wins.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import read_parquet
from pager_ray.errors import RunMismatchError, StorageError
from pager_ray.export.exporter import EXPORT_SCHEMA
from pager_ray.owned import foreign_entries
from pager_ray.storage import Folder, is_temporary

EXPORT_FILE: Final = "export.json"
DONE_FILE: Final = "exported.parquet"
REJECTS_FILE: Final = "rejects.csv"
FORMAT_VERSION: Final = 1
REJECT_FIELDS: Final = ("id", "uri", "stage", "error_class", "message", "attempts")

_SUFFIX = ".parquet"
_PART = re.compile(r"[0-9a-f]{16}\.parquet")
_READERS = 16
_MAY_LACK: Final = {"listed": pa.string(), "source": pa.string()}


class Records:
    """The records of one export.

    Args:
        output: the export's folder.
    """

    PARTS = "state"

    def __init__(self, output: Folder) -> None:
        self.output = output
        self.parts = output / self.PARTS

    def identity(self) -> dict[str, Any] | None:
        """What decides the files of the export that stands here; None for no export.

        Raises:
            StorageError: the folder cannot be read.
        """
        known = self.output.read_json(EXPORT_FILE).get("identity") if self.output.exists(EXPORT_FILE) else None
        return known if isinstance(known, dict) else None

    def claim(self, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        """Begin an export here, or find the same one again.

        Args:
            identity: what decides the files: run and settings.
            overwrite: forget what stands here; files are made anew.

        Raises:
            RunMismatchError: an export of another run or of other settings stands here.
            StorageError: the folder cannot be used.
        """
        before = self.output.read_json(EXPORT_FILE) if self.output.exists(EXPORT_FILE) else None
        if before is None or not isinstance(before.get("identity"), dict):
            others = [name for name in foreign_entries(self.output, (self.PARTS,)) if not is_temporary(name)]
            if others:
                raise RunMismatchError(
                    f"--output: {self.output} holds {len(others)} files or folders that no export wrote (first: "
                    f"{others[0]}); choose another folder, or move them away"
                )
        self.output.make()
        self.parts.make()
        if before is not None and not overwrite:
            was = before.get("identity", {})
            differing = [key for key in sorted({*was, *identity}) if was.get(key) != identity.get(key)]
            if differing:
                changes = "; ".join(f"{key}: was {was.get(key)!r}, now {identity.get(key)!r}" for key in differing)
                raise RunMismatchError(
                    f"--output: {self.output} holds another export ({changes}); choose another folder, or give "
                    "--overwrite to make its files anew"
                )
        if overwrite:
            self._drop_parts()
            self.output.delete([DONE_FILE, REJECTS_FILE])
        self.note({"identity": dict(identity), "state": "running"})

    def note(self, content: Mapping[str, Any]) -> None:
        """Replace the export's own description."""
        self.output.write_json(EXPORT_FILE, {"format_version": FORMAT_VERSION, **content})

    def commit(self, rows: pa.Table) -> None:
        """Record outcomes, rows of ``EXPORT_SCHEMA``, whose files are put."""
        file = io.BytesIO()
        pq.write_table(rows.select(EXPORT_SCHEMA.names), file)
        self.parts.write(f"{secrets.token_hex(8)}{_SUFFIX}", file.getvalue())

    def standing(self) -> pa.Table:
        """Every outcome so far, ``EXPORT_SCHEMA``: successes once per id, then rejects of ids without one; by id."""
        names = [name for name in self.parts.names(_SUFFIX) if _PART.fullmatch(name)]
        with ThreadPoolExecutor(_READERS) as pool:
            tables = list(pool.map(lambda name: _read(self.parts, name), names))
        if self.output.exists(DONE_FILE):
            tables.insert(0, _read(self.output, DONE_FILE))
        rows = pa.concat_tables([EXPORT_SCHEMA.empty_table(), *tables])
        is_done = pc.is_null(rows.column("error_class"))
        done = _last_of_each(rows.filter(is_done))
        rejects = rows.filter(pc.invert(is_done))
        made_since = pc.is_in(rejects.column("id"), done.column("id").combine_chunks())
        return pa.concat_tables([done, _last_of_each(rejects.filter(pc.invert(made_since)))])

    def files(self) -> set[str]:
        """Names of every file of the export, below its folder."""
        folder, filesystem = self.output, self.output.filesystem
        filesystem.invalidate_cache()
        start = len(folder.path.rstrip("/")) + 1
        return {path[start:] for path in filesystem.find(folder.path)}

    def finish(self, standing: pa.Table, content: Mapping[str, Any]) -> None:
        """Fold the records into the files that people read."""
        is_done = pc.is_null(standing.column("error_class"))
        file = io.BytesIO()
        pq.write_table(standing.filter(is_done), file)
        self.output.write(DONE_FILE, file.getvalue())
        rejects = standing.filter(pc.invert(is_done)).select(list(REJECT_FIELDS)).to_pylist()
        if rejects:
            text = io.StringIO()
            writer = csv.DictWriter(text, REJECT_FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rejects)
            self.output.write(REJECTS_FILE, text.getvalue().encode())
        else:
            self.output.delete([REJECTS_FILE])
        self._drop_parts()
        self.note(content)

    def _drop_parts(self) -> None:
        self.parts.delete_where(lambda name: _PART.fullmatch(name) is not None, keep_folder=True)


def _last_of_each(rows: pa.Table) -> pa.Table:
    """The last row of each id, in the order of ids."""
    if not rows.num_rows:
        return rows
    numbered = pa.table({"id": rows.column("id"), "row": pa.array(range(rows.num_rows), pa.int64())})
    last = numbered.group_by("id").aggregate([("row", "max")]).sort_by("id")
    return rows.take(last.column("row_max"))


def _read(folder: Folder, name: str) -> pa.Table:
    try:
        data = folder.read(name)
        table = read_parquet(pa.BufferReader(data), len(data), EXPORT_SCHEMA.names, _MAY_LACK)
        return table.select(EXPORT_SCHEMA.names).cast(EXPORT_SCHEMA)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise StorageError(
            f"{folder.uri(name)}: is no record of an export ({' '.join(str(error).split())[:200]}); remove it, then "
            "run the same command again: what it recorded is made anew"
        ) from error
