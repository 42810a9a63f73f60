"""Comma-separated values as they are written: every cell a text, and columns of numbers only where nothing is lost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pager_ray.bounded import Unreasonable, encoding_of, text_of

# Blocks of a table are cut between rows, not at any end of a line.
PARSING: Final = pyarrow.csv.ParseOptions(newlines_in_values=True)

_WHOLE: Final = r"^(0|-?[1-9][0-9]*)$"
_NUMBER: Final = r"^(-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|(?i:nan|[+-]?inf(inity)?))$"
_TRUTHS: Final = pa.array(["true", "false"])
# Beyond it not every whole number is one of a float's.
_EXACT: Final = 2**53


def in_utf8(file: Any, most: int) -> Any:
    """A text file as it is; or all of its text in UTF-8 where it is in another encoding.

    Raises:
        Unreasonable: that is larger than ``most`` bytes.
        UnicodeDecodeError: it is not what its mark says.
    """
    start = file.read(4)
    file.seek(0)
    if encoding_of(start) == "utf-8-sig":
        return file
    data = file.read(most + 1)
    if len(data) > most:
        raise Unreasonable(f"has more than {most} bytes")
    return io.BytesIO(text_of(data).encode())


def header_of(file: Any) -> list[str]:
    """The names of the columns of an open file, which is at its beginning afterwards.

    Raises:
        UnicodeDecodeError: it is no UTF-8.
        csv.Error: it is empty, or no table.
    """
    line = file.readline()
    while line.count(b'"') % 2 and (more := file.readline()):
        # A name may go on behind the end of a line.
        line += more
    file.seek(0)
    header = next(csv.reader(io.StringIO(line.decode("utf-8-sig"), newline="")), [])
    if not header:
        raise csv.Error("it is empty")
    return header


def texts_of(names: Iterable[str]) -> pyarrow.csv.ConvertOptions:
    """How to read some columns as the texts that they are; an empty cell says nothing, a name may be NA or null."""
    return pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=list(names),
        strings_can_be_null=True,
        null_values=[""],
    )


def read_texts(file: Any, names: Iterable[str]) -> pa.Table:
    """Some columns of a table, whole, as texts."""
    return pyarrow.csv.read_csv(file, parse_options=PARSING, convert_options=texts_of(names))


def typed(table: pa.Table) -> pa.Table:
    """A table of texts with numbers and truths where all of a column are, and come out as they went in.

    ``007`` and ``01067`` are codes, and so are all others of their column; so are whole numbers that a column of
    floats would round.
    """
    for place, name in enumerate(table.column_names):
        table = table.set_column(place, name, _typed(table.column(place)))
    return table


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(column)
    there = texts.drop_null()
    if not len(there):
        return column
    is_whole = pc.match_substring_regex(there, _WHOLE)
    try:
        if pc.all(is_whole).as_py():
            return texts.cast(pa.int64())
        if pc.all(pc.match_substring_regex(there, _NUMBER)).as_py():
            wholes = there.filter(is_whole).cast(pa.int64())
            largest = max((abs(value) for value in pc.min_max(wholes).as_py().values() if value is not None), default=0)
            return texts.cast(pa.float64()) if largest <= _EXACT else column
    except pa.ArrowInvalid:
        # More digits than any number of Arrow's has.
        return column
    if pc.all(pc.is_in(pc.utf8_lower(there), value_set=_TRUTHS)).as_py():
        return pc.utf8_lower(texts).cast(pa.bool_())
    return column
