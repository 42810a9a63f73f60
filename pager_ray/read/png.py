"""What of a PNG its decoder is given: chunks that make its picture, and no bombs."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from pager_ray.read.colour import MAX_PROFILE_BYTES
from pager_ray.read.damage import corrupt

MAX_PARTS: Final = 4096
"""Chunks beside the pixels."""

_GREY, _COLOUR = 0, 2
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def png_parts(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG of the chunks that make its picture, its EXIF and its XMP, metadata before the pixels; and its profile.

    Every CRC up to the end is checked here: the decoder alone stops at the last row. Frames of an animation are left
    out; its default image is what stays.
    """
    before: list[memoryview | bytes] = []
    profile: bytes | None = None
    pixels: list[memoryview] = []
    at, kind = len(_SIGNATURE), b""
    view = memoryview(data)
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        chunk = view[at : at + 12 + length]
        if len(chunk) < 12 + length:
            raise corrupt("PNG", "its end is missing")
        if not kind.isalpha() or (kind == b"IHDR") != (not before):
            raise corrupt("PNG", f"chunk {kind!r} at byte {at}")
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise corrupt("PNG", f"wrong checksum of chunk {kind.decode()} at byte {at}")
        if kind == b"IDAT":
            pixels.append(chunk)
        elif kind == b"iCCP" and profile is None:
            profile = _inflated(bytes(chunk[8:-4]))
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf") or (
            kind in (b"iTXt", b"tEXt", b"zTXt")
            and bytes(chunk[8:30]).startswith((b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"))
        ):
            before.append(_as_decoded(before[0], chunk) if kind == b"tRNS" else chunk)
            if len(before) > MAX_PARTS:
                raise corrupt("PNG", f"more than {MAX_PARTS} chunks beside its pixels")
        at += 12 + length
    return b"".join([_SIGNATURE, *before, *pixels, chunk]), profile


def _as_decoded(head: memoryview | bytes, chunk: memoryview) -> memoryview | bytes:
    """The colour that is transparent as Pillow's pixels have it: it spreads grey of 2 and 4 bits over bytes, and keeps
    the upper byte of three channels of 16 bits, but compares with what the file says."""
    if len(head) < 18 or len(chunk) % 2:
        # Neither is one; the decoder says so.
        return chunk
    bits, kind = head[16], head[17]
    values = struct.unpack(f">{(len(chunk) - 12) // 2}H", chunk[8:-4])
    if kind == _GREY and bits in (2, 4):
        values = tuple((value & ((1 << bits) - 1)) * 255 // ((1 << bits) - 1) for value in values)
    elif kind == _COLOUR and bits == 16:
        values = tuple(value >> 8 for value in values)
    else:
        return chunk
    content = b"tRNS" + struct.pack(f">{len(values)}H", *values)
    return struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))


def _inflated(chunk: bytes) -> bytes:
    """The profile in a chunk, after its name and a byte for the method; nothing where it is none, or too large."""
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(chunk[chunk.index(b"\0") + 2 :], MAX_PROFILE_BYTES)
    except (ValueError, zlib.error):
        return b""
    return profile if inflater.eof else b""
