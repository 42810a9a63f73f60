"""Columns of containers: which hold ids and scenes, and the values that come out again beside the results."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from pager_ray.masking import carries_secret
from pager_ray.read.containers.places import SCENES, IndexSettings
from pager_ray.read.containers.sequences import flat, place_in_sequence
from pager_ray.read.pose import pose_text

# What Arrow's values raise that are none of Python's: years beyond its own, bytes that are no UTF-8, unknown zones.
_CONVERSION: Final = (OverflowError, ValueError, LookupError, pa.ArrowException)

MAX_ID_LENGTH: Final = 1024
MAX_KEPT_BYTES: Final = 4096
"""Of the kept columns of one row, as JSON: they lie on the driver for every row."""


class Unreadable:
    """Stands for a value that Python has none for: a date of another age, a text that is no Unicode.

    It is nothing to whoever did not ask for its column, and a mistake of its row to whoever did.
    """

    def __init__(self, why: str) -> None:
        self.why = why


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table as values of Python, those that cannot be as :class:`Unreadable`."""
    columns = {name: _values(table.column(place)) for place, name in enumerate(table.column_names)}
    if not columns:
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except _CONVERSION:
        return [_value(cell, column.type) for cell in column]


def _value(cell: pa.Scalar, kind: pa.DataType) -> Any:
    try:
        return cell.as_py()
    except _CONVERSION:
        return Unreadable(f"no {kind} that can be read")


def kept_values(values: Mapping[str, Any], keep: tuple[str, ...]) -> str | None:
    """The columns to keep as one JSON object; what a row lacks is left out, and so are numbers that are none.

    Raises:
        ValueError: they take more than a row may have, or hold what JSON cannot.
    """
    if not keep:
        return None
    plain = {name: _plain(values[name]) for name in keep if values.get(name) is not None}
    found = {name: value for name, value in plain.items() if value is not None}
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError("a kept column holds text that is no Unicode") from error
    if size > MAX_KEPT_BYTES:
        raise ValueError(f"its kept columns take more than {MAX_KEPT_BYTES} bytes")
    return text


def _plain(value: Any) -> Any:
    """A value as JSON has it: numbers, texts and truths stay, times are ISO 8601, what is nested is its JSON."""
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, Unreadable):
        raise ValueError(f"a kept column holds {value.why}")
    if isinstance(value, bytes):
        raise ValueError("a kept column holds bytes; keep columns of numbers and texts")
    return json.dumps(value, ensure_ascii=False, default=str)


def is_id(text: str) -> bool:
    """Whether a text may be an id: printable, not too long, and no address with credentials."""
    return 0 < len(text) <= MAX_ID_LENGTH and text.isprintable() and not carries_secret(text)


def described(values: Mapping[str, Any], settings: IndexSettings) -> dict[str, Any]:
    """What a member's columns say of it: ``given``, ``scene``, ``sequence``, ``time``, ``kept`` and ``pose``.

    Raises:
        ValueError: a value is none that its column may have; says which.
    """
    values = _readable(flat(values), settings)
    found: dict[str, Any] = {}
    if settings.id_column is not None:
        id = values.get(settings.id_column)
        text = "" if id is None or id != id else str(id)
        if carries_secret(text):
            raise ValueError(f"its id ({settings.id_column}) carries credentials, which no manifest can store")
        if not is_id(text):
            raise ValueError(
                f"its id ({settings.id_column}) is {text[:40]!r}; takes up to {MAX_ID_LENGTH} printable characters"
            )
        found["given"] = text
    scene = values.get(settings.scene_column or "scene")
    if scene in SCENES:
        found["scene"] = scene
    elif settings.scene_column is not None and scene not in (None, ""):
        raise ValueError(
            f"its scene ({settings.scene_column}) is {str(scene)[:40]!r}; takes indoor, outdoor or nothing"
        )
    found |= place_in_sequence(values, settings.sequence_column, settings.time_column)
    found["kept"] = kept_values(values, settings.keep)
    found["pose"] = pose_text(values) if settings.pose else None
    return found


def _readable(values: dict[str, Any], settings: IndexSettings) -> dict[str, Any]:
    """The values without those that cannot be read.

    Raises:
        ValueError: one of a column that was asked for; says which.
    """
    unreadable = {name: value.why for name, value in values.items() if isinstance(value, Unreadable)}
    if not unreadable:
        return values
    columns = (settings.id_column, settings.scene_column, settings.sequence_column, settings.time_column)
    asked = next((name for name in (*columns, *settings.keep, *settings.pose) if name in unreadable), None)
    if asked is not None:
        raise ValueError(f"its {asked} is {unreadable[asked]}")
    return {name: None if name in unreadable else value for name, value in values.items()}
