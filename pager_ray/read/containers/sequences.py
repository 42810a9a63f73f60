"""Which sequence a picture belongs to, and when it was taken: what listings, tables, sidecars and exports call it.

A time is seconds: since 1970 (UTC) where the source tells a date, else since whatever the source counts from. Within a
sequence only differences and order count.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

SEQUENCE_NAMES: Final = ("sequence", "sequence_id", "sequence_key", "MAPSequenceUUID")
"""What columns of sequences are called, the first that is there: Mapillary's API and its tools say it in three ways."""

TIME_NAMES: Final = ("time", "captured_at", "capture_time", "MAPCaptureTime", "datetime", "timestamp")
"""The same for times: Mapillary's, STAC's (Panoramax), and what people write."""

MAX_SEQUENCE_LENGTH: Final = 1024

_MAPILLARY: Final = re.compile(r"(\d{4})_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d\d)(?:_(\d{1,6}))?")
_EXIF: Final = re.compile(r"(\d{4}):(\d\d):(\d\d) ")
# Counts since 1970 in seconds stay below until the year 5138; larger ones are milli-, micro- or nanoseconds.
_UNITS: Final = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def seconds_of(value: Any) -> float | None:
    """A time in seconds; None where nothing is told.

    Takes numbers (seconds, or milli-, micro- and nanoseconds since 1970, told by their size), dates and lengths of time
    of Python, texts of ISO 8601 (UTC where they name no zone), and Mapillary's ``2021_08_02_08_57_06_000``.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "":
        return None
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.datetime):
        return (value.astimezone(datetime.UTC) if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    try:
        # Python reads 2021_08 as a number.
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            raise ValueError("no number")
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return _seconds_of_text(value)
    unit = next((unit for limit, unit in _UNITS if abs(number) < limit), None)
    if unit is None or not math.isfinite(number):
        raise ValueError(f"{str(value)[:40]!r} is no time")
    return number / unit


def _seconds_of_text(value: Any) -> float:
    text = str(value)
    if (match := _MAPILLARY.fullmatch(text)) is not None:
        *parts, fraction = match.groups()
        text = "{}-{}-{}T{}:{}:{}".format(*parts) + (f".{fraction.ljust(6, '0')}" if fraction else "")
    text = _EXIF.sub(r"\1-\2-\3T", text)
    try:
        found = datetime.datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        return (found - _EPOCH).total_seconds()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:40]!r} is no time; takes seconds or ISO 8601") from error


def sequence_of(value: Any) -> str | None:
    """A sequence's name; None where nothing is told.

    Raises:
        ValueError: it is none that can be stored.
    """
    # A number that is none is nobody's name.
    text = "" if value is None or value != value else str(value).strip()
    if len(text) > MAX_SEQUENCE_LENGTH or not text.isprintable():
        raise ValueError(f"{text[:40]!r} is no name; takes up to {MAX_SEQUENCE_LENGTH} printable characters")
    return text or None


def place_in_sequence(
    values: Mapping[str, Any], sequence_column: str | None, time_column: str | None
) -> dict[str, str | float | None]:
    """``sequence`` and ``time`` of a picture, from its columns.

    Args:
        values: the columns, by name.
        sequence_column, time_column: those to take; None takes the first of the usual ones, where it says something.

    Raises:
        ValueError: a column that was asked for holds something else.
    """
    found: dict[str, str | float | None] = {}
    for name, asked, usual, parse in (
        ("sequence", sequence_column, SEQUENCE_NAMES, sequence_of),
        ("time", time_column, TIME_NAMES, seconds_of),
    ):
        column = asked or next((one for one in usual if values.get(one) not in (None, "")), usual[0])
        try:
            found[name] = parse(values.get(column))  # type: ignore[operator]
        except ValueError as error:
            if asked is not None:
                raise ValueError(f"its {name} ({asked}): {error}") from error
            found[name] = None
    return found


def names_wanted(sequence_column: str | None, time_column: str | None) -> tuple[str, ...]:
    """The columns to read of tables and sidecars for :func:`place_in_sequence`."""
    sequences = (sequence_column,) if sequence_column else SEQUENCE_NAMES
    return (*sequences, *((time_column,) if time_column else TIME_NAMES))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """A sidecar's values as columns: of a STAC item (Panoramax) its properties, its sequence and its id beside them."""
    properties = values.get("properties")
    if values.get("type") != "Feature" or not isinstance(properties, dict):
        return dict(values)
    return {"sequence": values.get("collection"), **properties, "id": values.get("id"), **_rest(values)}


def _rest(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in ("properties", "id")}


def times_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts as seconds, null where they are no times; all rows together where they have one form."""
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)
    texts = pc.if_else(empty, pa.scalar(None, pa.string()), column)
    if texts.null_count == len(texts):
        return pa.chunked_array([pa.nulls(len(texts), pa.float64())])
    try:
        numbers = pc.cast(texts, pa.float64())
        if (pc.max(pc.abs(numbers)).as_py() or 0.0) < _UNITS[0][0]:
            return numbers
    except pa.ArrowInvalid:
        pass
    return pa.chunked_array([pa.array([_or_none(text) for text in texts.to_pylist()], pa.float64())])


def _or_none(text: str | None) -> float | None:
    try:
        return seconds_of(text)
    except ValueError:
        return None
