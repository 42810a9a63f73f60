"""EXIF orientation, and nothing else of EXIF: Pillow reads all of a block to find it, however large that is."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any, Final

from pager_ray.read.tiff import byte_order, entries_of

_PREFIX: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
# Types of TIFF that a whole number comes in: byte, short, long.
_FORMATS: Final = {1: "B", 3: "H", 4: "I"}
# As Pillow looks for it where EXIF has none.
_IN_XMP: Final = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(info: Mapping[Any, Any]) -> int:
    """EXIF orientation 1…8 of what Pillow found in a file; 1 where there is none or it cannot be read.

    Unreadable EXIF is no reason to lose a picture: viewers show it upright, so do we.

    Args:
        info: ``Image.info`` before any pixel was decoded.
    """
    value = _in_block(_block(info))
    if value is None:
        xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
        match = _IN_XMP.search(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp)
        value = int(match[1]) if match else 1
    return value if 1 <= value <= 8 else 1


def _block(info: Mapping[Any, Any]) -> bytes:
    block = info.get("exif")
    if isinstance(block, bytes):
        return block
    # PNG before it had a chunk for EXIF: a line break, a name, a length, and hexadecimal digits.
    text = info.get("Raw profile type exif")
    if not isinstance(text, str):
        return b""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def _in_block(block: bytes) -> int | None:
    """The orientation in the first directory of a TIFF structure; None where it has none."""
    while block.startswith(_PREFIX):
        block = block[len(_PREFIX) :]
    entry = next((entry for entry in entries_of(block) if entry.tag == _ORIENTATION), None)
    if entry is None:
        return None
    form = _FORMATS.get(entry.kind)
    if form is None or entry.number != 1:
        return 1
    try:
        return struct.unpack_from(byte_order(block) + form, block, entry.place)[0]
    except struct.error:
        return 1
