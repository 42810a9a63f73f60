"""Columns of listings and containers that come out again beside the results: from one JSON object per row to columns.

On the way a row carries them as one text. A column has one type in a run: whole numbers, numbers, truths, or texts for
what is none of these in every row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from pager_ray.listing.listed import Texts

MARK: Final = b"pager_ray.kept"
"""Key in the metadata of the fields of such columns."""

_KINDS: Final = {bool: "bool", int: "int", float: "float"}
_LARGEST: Final = 2**63


def kept_fields(kept: Iterable[pa.ChunkedArray], names: Sequence[str]) -> list[pa.Field]:
    """The fields of the kept columns of a run.

    Args:
        kept: the manifest's column, part by part.
        names: of the columns.
    """
    seen: dict[str, set[str]] = {name: set() for name in names}
    for text in (text for part in kept for text in Texts(part.drop_null())) if names else ():
        for name, value in json.loads(text).items():
            if value is None:
                # Of runs that earlier versions began: nothing, of any type.
                continue
            kind = _KINDS.get(type(value), "text")
            # Larger numbers fit no column.
            seen[name].add("text" if kind == "int" and not -_LARGEST <= value < _LARGEST else kind)
    return [
        pa.field(name, _type_of(kinds), metadata={MARK: b"true", "description": "as its listing or container has it"})
        for name, kinds in seen.items()
    ]


def _type_of(kinds: set[str]) -> pa.DataType:
    if kinds == {"bool"}:
        return pa.bool_()
    if kinds == {"int"}:
        return pa.int64()
    if kinds and kinds <= {"int", "float"}:
        return pa.float64()
    return pa.string()


def with_kept(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the kept columns of a schema, out of their column ``kept``."""
    fields = [field for field in schema if MARK in (field.metadata or {})]
    if not fields:
        return rows
    values = [json.loads(text) if text else {} for text in rows.column("kept").to_pylist()]
    for field in fields:
        column = [_as(value.get(field.name), field.type) for value in values]
        rows = rows.append_column(field, pa.array(column, field.type))
    return rows


def _as(value: Any, kind: pa.DataType) -> Any:
    if pa.types.is_string(kind) and value is not None and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return float(value) if value is not None and pa.types.is_floating(kind) else value
