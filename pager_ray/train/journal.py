"""The log of a training: a line of JSON for each record. A process that is killed may leave a half of the last one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pager_ray.errors import StorageError


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a log but for a half one at its end; none where there is no log.

    Raises:
        StorageError: another line is no record.
    """
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    found = []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is None:
            raise StorageError(
                f"{path}: its line {number} is no record of a training; delete that line, or move the file away: "
                "nothing is trained from it"
            )
        found.append(record)
    record = _record(last)
    return found if record is None else [*found, record]


def mend_log(path: Path) -> None:
    """Make a log end with a whole line, so that it can be continued: a half record at its end is dropped.

    Raises:
        StorageError: another line is no record.
    """
    read_records(path)
    if not path.exists():
        return
    with path.open("r+b") as file:
        last = file.read().rpartition(b"\n")[2]
        if not last:
            return
        if _record(last) is None:
            file.truncate(file.seek(-len(last), os.SEEK_END))
        else:
            file.write(b"\n")


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
