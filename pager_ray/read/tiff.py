"""The directory at the start of a TIFF structure: what Pillow is not left alone with, and what it gets wrong.

Entries may overlap, so a block of a few hundred kilobytes can hold thousands that are each as large as the block, and
Pillow before version 13 copies all of them: minutes and gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from PIL.TiffImagePlugin import TiffImageFile

from pager_ray.errors import InputError

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


_BITS, _COMPRESSION, _PLANAR, _TILE_WIDTH, _TILE_LENGTH, _SAMPLE_FORMAT = 258, 259, 284, 322, 323, 339
_NUMBERS: Final = {1: "B", 3: "H", 4: "I"}
# None, CCITT, LZW, JPEG, Deflate and PackBits: what every reader has.
_USUAL_CODECS: Final = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})
_CODECS: Final = {
    6: "old JPEG", 34676: "SGI LogLuv", 34677: "SGI LogLuv", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA",
    50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL", 33003: "JPEG 2000", 33005: "JPEG 2000",
}  # fmt: skip
_SAMPLES: Final = {2: "signed whole numbers", 3: "floating point numbers", 5: "complex numbers", 6: "complex numbers"}


def _first_value(block: bytes, tag: int, default: int) -> int:
    """The first number of an entry; the default where it is none that can be read."""
    entry = next((entry for entry in entries_of(block) if entry.tag == tag), None)
    if entry is None or entry.kind not in _NUMBERS or entry.number < 1:
        return default
    order, form = byte_order(block), _NUMBERS[entry.kind]
    place = entry.place
    try:
        width = 8 if b"+" in block[2:4] else 4
        if entry.number * struct.calcsize(form) > width:
            (place,) = struct.unpack_from(order + ("Q" if width == 8 else "I"), block, place)
        return struct.unpack_from(order + form, block, place)[0]
    except struct.error:
        return default


def has_usual_codec(block: bytes) -> bool:
    """Whether a picture is compressed, if at all, as every reader of TIFF knows."""
    return _first_value(block, _COMPRESSION, 1) in _USUAL_CODECS


def check_kind(block: bytes) -> None:
    """Tell a picture of a kind that is not read from one that is damaged.

    Raises:
        InputError: ``unsupported_format``: its pixels are no whole numbers of 8 or 16 bits, or its codec is unusual.
    """
    if block.startswith(b"MM\0+"):
        raise InputError("unsupported_format", "BigTIFF file of big-endian numbers; save it with little-endian ones")
    codec, samples = _first_value(block, _COMPRESSION, 1), _first_value(block, _SAMPLE_FORMAT, 1)
    bits = _first_value(block, _BITS, 1)
    if samples in _SAMPLES:
        what = f"pixels of {_SAMPLES[samples]}"
    elif bits not in (1, 2, 4, 8, 16):
        what = f"pixels of {bits} bits"
    elif codec not in _USUAL_CODECS:
        what = f"{_CODECS.get(codec, f'unknown (number {codec})')} compression"
    else:
        return
    raise InputError(
        "unsupported_format", f"TIFF file with {what}; save it as RGB with 8 or 16 bits, with LZW, Deflate or none"
    )


def check_tiles(image: TiffImageFile, max_pixels: int) -> None:
    """Refuse tiles that are larger than a picture may be: libtiff inflates each as a whole.

    Raises:
        InputError: ``corrupt_image`` or ``too_large``.
    """
    width, length = image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_LENGTH, 1)
    if not isinstance(width, int) or not isinstance(length, int):
        raise InputError("corrupt_image", "TIFF file is damaged or incomplete: the size of its tiles is no number")
    if width * length > max_pixels:
        raise InputError("too_large", f"TIFF tiles of {width}×{length} pixels, at most {max_pixels} are read")


def set_planes(image: TiffImageFile) -> None:
    """Have uncompressed planes of 16 bits read as such: Pillow takes their bytes for pixels of 8."""
    bits = image.tag_v2.get(_BITS, (8,))
    if image.tag_v2.get(_PLANAR, 1) != 2 or not isinstance(bits, tuple) or set(bits) != {16} or len(bits) < 2:
        return
    order = "L" if image.tag_v2.prefix == b"II" else "B"
    image.tile = [
        tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
        if tile.codec_name == "raw" and isinstance(tile.args, tuple) and tile.args[0] in ("R", "G", "B", "A")
        else tile
        for tile in image.tile
    ]
