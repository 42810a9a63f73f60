"""Columns of containers: which hold ids and scenes, and the values that come out again beside the results."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from pager_ray.masking import carries_secret
from pager_ray.read.containers.places import SCENES, IndexSettings
from pager_ray.read.containers.sequences import flat, place_in_sequence
from pager_ray.read.pose import pose_text

MAX_ID_LENGTH: Final = 1024
MAX_KEPT_BYTES: Final = 4096
"""Of the kept columns of one row, as JSON: they lie on the driver for every row."""


def kept_values(values: Mapping[str, Any], keep: tuple[str, ...]) -> str | None:
    """The columns to keep as one JSON object; what a row lacks is left out.

    Raises:
        ValueError: they take more than a row may have.
    """
    if not keep:
        return None
    found = {name: _plain(values[name]) for name in keep if values.get(name) is not None}
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode("utf-8", "surrogatepass")) > MAX_KEPT_BYTES:
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
    if isinstance(value, bytes):
        raise ValueError("a kept column holds bytes; keep columns of numbers and texts")
    return json.dumps(value, ensure_ascii=False, default=str)


def described(values: Mapping[str, Any], settings: IndexSettings) -> dict[str, Any]:
    """What a member's columns say of it: ``given``, ``scene``, ``sequence``, ``time``, ``kept`` and ``pose``.

    Raises:
        ValueError: a value is none that its column may have; says which.
    """
    values = flat(values)
    found: dict[str, Any] = {}
    if settings.id_column is not None:
        id = values.get(settings.id_column)
        text = "" if id is None else str(id)
        if not text or len(text) > MAX_ID_LENGTH or not text.isprintable():
            raise ValueError(
                f"its id ({settings.id_column}) is {text[:40]!r}; takes up to {MAX_ID_LENGTH} printable characters"
            )
        if carries_secret(text):
            raise ValueError(f"its id ({settings.id_column}) carries credentials, which no manifest can store")
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
