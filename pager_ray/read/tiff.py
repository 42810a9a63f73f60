"""The directory at the start of a TIFF structure: what Pillow is not left alone with.

Entries may overlap, so a block of a few hundred kilobytes can hold thousands that are each as large as the block, and
Pillow before version 13 copies all of them: minutes and gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by TIFF's number of its type."""

# Signature → byte order, where the offset of the directory lies, and how offset, number of entries and entry look.
_LAYOUTS: Final = {
    b"II*\0": ("<", 4, "I", "H", "HHI", 4),
    b"MM\0*": (">", 4, "I", "H", "HHI", 4),
    b"II+\0": ("<", 8, "Q", "Q", "HHQ", 8),
    b"MM\0+": (">", 8, "Q", "Q", "HHQ", 8),
}


class Entry(NamedTuple):
    """A directory's entry: tag, type, number of values, and where its value (or the value's offset) lies."""

    tag: int
    kind: int
    number: int
    place: int


def byte_order(block: bytes) -> str:
    """``struct``'s sign for the byte order of a TIFF structure; empty where it is none."""
    layout = _LAYOUTS.get(block[:4])
    return layout[0] if layout else ""


def entries_of(block: bytes) -> Iterator[Entry]:
    """The entries of the first directory, up to where the block ends."""
    layout = _LAYOUTS.get(block[:4])
    if layout is None:
        return
    order, head, offset, number, entry, value = layout
    try:
        (start,) = struct.unpack_from(order + offset, block, head)
        if start > len(block):
            return
        (count,) = struct.unpack_from(order + number, block, start)
        start += struct.calcsize(order + number)
        size = struct.calcsize(order + entry) + value
        for place in range(start, min(start + size * count, len(block)), size):
            tag, kind, values = struct.unpack_from(order + entry, block, place)
            yield Entry(tag, kind, values, place + size - value)
    except struct.error:
        return


def value_bytes(block: bytes) -> int:
    """Bytes of all values of the first directory: no more than the block has, unless they overlap or lie outside."""
    return sum(_SIZES.get(entry.kind, 0) * entry.number for entry in entries_of(block))
