"""What of a PNG its decoder is given: chunks that make its picture, and no bombs."""

from __future__ import annotations

import zlib
from typing import Final

from pager_ray.read.colour import MAX_PROFILE_BYTES
from pager_ray.read.damage import corrupt

MAX_PARTS: Final = 4096
"""Chunks beside the pixels."""

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def png_parts(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG of the chunks that make its picture, its EXIF and its XMP, metadata before the pixels; and its profile.

    Every CRC up to the end is checked here: the decoder alone stops at the last row. Frames of an animation are left
    out; its default image is what stays.
    """
    before: list[memoryview] = []
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
            before.append(chunk)
            if len(before) > MAX_PARTS:
                raise corrupt("PNG", f"more than {MAX_PARTS} chunks beside its pixels")
        at += 12 + length
    return b"".join([_SIGNATURE, *before, *pixels, chunk]), profile


def _inflated(chunk: bytes) -> bytes:
    """The profile in a chunk, after its name and a byte for the method; nothing where it is none, or too large."""
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(chunk[chunk.index(b"\0") + 2 :], MAX_PROFILE_BYTES)
    except (ValueError, zlib.error):
        return b""
    return profile if inflater.eof else b""
