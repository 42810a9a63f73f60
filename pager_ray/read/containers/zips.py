"""Zips: the directory at the end lists them, and each picture is one ranged read.

The directory is read by the standard library; a member is taken out here, because the library would ask for its header
and its bytes one after the other, and inflate whatever a bomb promises.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Any, Final

from pager_ray.errors import InputError
from pager_ray.read.containers.places import (
    BEHIND_TOOLS,
    CHANGED,
    CORRUPT,
    REPLACED,
    IndexSettings,
    Members,
    bad_name,
    last_of_each,
    members_of,
    plain,
)
from pager_ray.read.formats import is_image_name, is_left_behind
from pager_ray.read.ranges import WINDOW, Ranged, read_range

MAX_DIRECTORY: Final = 256 << 20
"""Bytes of a zip's directory, about two million members; the library makes objects of them."""

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_SIGNATURE: Final = b"PK\x03\x04"
_BEHIND: Final = struct.Struct("<4sL")
_BEHIND_SIGNATURE: Final = b"PK\x07\x08"
_ENCRYPTED, _DESCRIPTOR = 0x1, 0x8
_STORED, _DEFLATED = 0, 8
_METHODS: Final = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "BZip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"
}  # fmt: skip
_DAMAGE: Final = (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError, struct.error)
# What a local header may have beyond the directory's entry: times and owners. Beyond that a second read is made.
_SLACK: Final = 256


def index_zip(file: Ranged, settings: IndexSettings) -> Members:
    """List the pictures of a zip."""
    found = Members(members_of([]))
    try:
        entries = _directory(file)
    except _DAMAGE as error:
        found.problem = f"is no zip that can be read ({' '.join(str(error).split())}); fetch it again"
        return found
    rows: list[dict[str, Any]] = []
    for entry, counts in zip(entries, last_of_each([entry.filename for entry in entries]), strict=True):
        if entry.is_dir():
            continue
        if not counts:
            found.left_out[REPLACED] += 1
            continue
        name, is_utf8 = plain(entry.filename)
        if is_left_behind(name):
            found.left_out[BEHIND_TOOLS] += 1
        elif not is_image_name(name):
            base = name.rpartition("/")[2]
            found.left_out[f".{base.rpartition('.')[2].lower()}" if "." in base else "without a suffix"] += 1
        else:
            place = {"offset": entry.header_offset, "size": entry.compress_size, "stamp": entry.CRC}
            rows.append({"name": name, "is_utf8": is_utf8, **place} | _trouble(entry, file.size, settings))
    found.table = members_of(sorted(rows, key=lambda row: row["name"]))
    return found


def zip_places(file: Ranged) -> dict[str, tuple[int, int]]:
    """Offset of the header, and size, of every file of a zip that can be read, by name.

    Raises:
        InputError: it cannot be read.
    """
    try:
        entries = _directory(file)
    except _DAMAGE as error:
        raise InputError(CORRUPT, f"its zip cannot be read ({' '.join(str(error).split())})") from error
    return {
        entry.filename: (entry.header_offset, entry.compress_size)
        for entry in entries
        if not entry.flag_bits & _ENCRYPTED
    }


def _directory(file: Ranged) -> list[zipfile.ZipInfo]:
    file.most = MAX_DIRECTORY
    # The directory's end, a comment and a small directory come together.
    file.hold(max(0, file.size - WINDOW))
    with zipfile.ZipFile(file) as archive:  # type: ignore[arg-type]
        return archive.infolist()


def _trouble(entry: zipfile.ZipInfo, zip_size: int, settings: IndexSettings) -> dict[str, str]:
    """Why a member gives no prediction, as the directory has it; nothing for one that may."""
    # What the directory says, where its system writes another sign for "/".
    wrong = bad_name(entry.orig_filename)
    if wrong is not None:
        return {"error_class": "bad_name", "message": f"the name {wrong}; pack the zip anew"}
    if entry.flag_bits & _ENCRYPTED:
        return {"error_class": "encrypted", "message": "is encrypted; pack the zip without a password"}
    if entry.compress_type not in (_STORED, _DEFLATED):
        method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        return {
            "error_class": "unsupported_format",
            "message": f"is compressed with {method}; pack the zip with deflate, or without compression",
        }
    if max(entry.file_size, entry.compress_size) > settings.max_bytes:
        return {
            "error_class": "too_large",
            "message": f"has {entry.file_size} bytes, input.max_bytes takes {settings.max_bytes}",
        }
    if entry.header_offset < 0 or entry.header_offset + entry.compress_size > zip_size:
        return {"error_class": CORRUPT, "message": "lies beyond the zip's end; fetch the zip again"}
    return {}


def read_zip_member(filesystem: Any, path: str, name: str, offset: int, size: int, max_bytes: int) -> bytes:
    """The bytes of a member, in one read with its header.

    Args:
        name: the member's.
        offset: of its header.
        size: of its compressed bytes.
        max_bytes: more is not inflated.

    Raises:
        InputError: ``changed``, ``corrupt_container``, ``too_large`` or ``unsupported_format``.
    """
    guess = _LOCAL.size + len(name.encode("utf-8", "surrogateescape")) + _SLACK
    content = read_range(filesystem, path, offset, offset + guess + size)
    try:
        signature, _, flags, method, _, _, crc, _, _, name_length, extra_length = _LOCAL.unpack_from(content)
    except struct.error:
        signature = b""
    if signature != _SIGNATURE:
        raise InputError(
            CHANGED, "its zip is another one than when it was listed: there is no such member at its place"
        )
    first = _LOCAL.size + name_length + extra_length
    end = first + size + (_BEHIND.size if flags & _DESCRIPTOR else 0)
    body = content[first:end]
    if first + len(body) < end:
        body += read_range(filesystem, path, offset + first + len(body), offset + end)
    body, behind = body[:size], body[size:]
    if len(body) < size:
        raise InputError(CORRUPT, "the zip ends in the middle of it; fetch the zip again")
    if method == _DEFLATED:
        body = _inflate(body, max_bytes)
    elif method != _STORED:
        raise InputError("unsupported_format", f"is compressed with {_METHODS.get(method, f'method {method}')}")
    if len(body) > max_bytes:
        raise InputError("too_large", f"has {len(body)} bytes; takes at most {max_bytes}")
    if flags & _DESCRIPTOR:
        crc = _sum_behind(behind)
    if crc is not None and zlib.crc32(body) != crc:
        raise InputError(CORRUPT, "its bytes have another checksum than the zip says; fetch the zip again")
    return body


def _sum_behind(behind: bytes) -> int | None:
    """The checksum of a member that was written before its sum was known, from what stands behind it.

    None where nothing is marked as that: the mark is no duty, and some write neither mark nor sum.
    """
    signature, crc = _BEHIND.unpack(behind) if len(behind) == _BEHIND.size else (b"", None)
    return crc if signature == _BEHIND_SIGNATURE else None


def _inflate(body: bytes, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InputError(CORRUPT, f"cannot be inflated ({error}); fetch the zip again") from error
    if len(content) > max_bytes:
        raise InputError("too_large", f"inflates to more than {max_bytes} bytes; takes at most that many")
    if not stream.eof:
        raise InputError(CORRUPT, "its compressed bytes end too early; fetch the zip again")
    return content
