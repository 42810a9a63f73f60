"""What of a JPEG its decoder is given: segments without metadata, and an end where only that is missing.

Files are cut off before their end marker by cameras that were switched off and by programs that append data of their
own in its place. Whether the picture is whole is for the decoder to say: it is given the end that is missing, and
complains when the picture ends before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MAX_SCANS: Final = 100
"""Encoders write about ten. A scan may be a few bytes and costs a pass over all blocks: 20 ms at 2^28 pixels."""
MAX_PARTS: Final = 4096
"""Segments before a JPEG's picture; a 10 MB depth map in a photo's metadata takes 160."""

END: Final = b"\xff\xd9"

_MARKER: Final = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]", re.DOTALL)
_ANY_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]", re.DOTALL)
# APP0 to APP15 without APP14, which says how colours are stored, and comments.
_METADATA: Final = frozenset([*range(0xE0, 0xEE), 0xEF, 0xFE])
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
# Frames whose blocks are refined over several scans.
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# Tables and scans, of which a picture goes on after its first scan; other markers there are of something else.
_BETWEEN_SCANS: Final = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD})
_FILLING: Final = 8

READ_AHEAD: Final = 16
"""Bytes of a trailer that a decoder may have in its hands when the picture ends, and does not count."""


class Parts(NamedTuple):
    """A JPEG taken apart.

    Attributes:
        head: up to its first scan's header; of metadata it has one EXIF and one XMP segment.
        rest: where the file goes on after it.
        profile: the colour profile, empty where its parts do not make one; None without one.
    """

    head: bytes
    rest: int
    profile: bytes | None


class Broken(Exception):
    """A JPEG that is not taken apart, with the reason."""


def split(data: bytes) -> Parts:
    """Take a file apart without copying what grows without a limit.

    Raises:
        Broken: it has too many segments.
    """
    kept: list[bytes] = []
    profile: list[tuple[int, int, int, int]] = []
    exif = xmp = b""
    end = 2
    for count, (marker, start, end) in enumerate(_segments(data)):
        if count == MAX_PARTS:
            raise Broken(f"more than {MAX_PARTS} segments before its picture")
        segment = data[start:end]
        if marker == 0xE1 and segment[4:].startswith(_EXIF):
            exif = exif or segment
        elif marker == 0xE1 and segment[4:].startswith(_XMP):
            xmp = segment
        elif marker == 0xE2 and segment[4:].startswith(_ICC) and len(segment) > 18:
            profile.append((segment[16], segment[17], start + 18, end))
        elif marker not in _METADATA:
            kept.append(segment)
        if marker == 0xDA:
            break
    return Parts(data[:2] + exif + xmp + b"".join(kept), end, _joined(data, profile))


def _joined(data: bytes, parts: list[tuple[int, int, int, int]]) -> bytes | None:
    """The profile that numbered segments make: each of as many as all say, once."""
    if not parts:
        return None
    if [number for number, *_ in sorted(parts)] != list(range(1, len(parts) + 1)):
        return b""
    if any(total != len(parts) for _, total, *_ in parts):
        return b""
    return b"".join(data[start:end] for _, _, start, end in sorted(parts))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment, whatever lies between them: padding, and the coded bytes of scans."""
    match = _MARKER.search(data, 2)
    while match:
        end = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
        yield data[match.end() - 1], match.start(), end
        match = _MARKER.search(data, end)


def check_scans(data: bytes) -> None:
    """Refuse a file of more passes over its picture than any encoder makes.

    Raises:
        Broken: it is one.
    """
    # Counting bytes is cheap and nearly always enough; trailers of phones hold these two by chance.
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans = 0
    for marker, _, _ in _segments(data):
        scans += marker == 0xDA
        if marker == 0xD9:
            return
        if scans > MAX_SCANS:
            raise Broken(f"more than {MAX_SCANS} scans")


def with_end(data: bytes) -> bytes | None:
    """The file with the end marker that it lacks, in place of a trailer that begins with a marker of its own.

    None where it has one, and where its scans are not all there: a decoder shows what there is, unrefined.
    """
    frame: bytes | None = None
    is_progressive = False
    scans: list[bytes] = []
    match = _ANY_MARKER.search(data, 2)
    while match:
        marker = data[match.end() - 1]
        if scans and marker not in _BETWEEN_SCANS:
            break
        stop = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
        if marker == 0xDA:
            scans.append(data[match.end() + 2 : stop])
        elif marker in _FRAMES:
            frame, is_progressive = data[match.end() + 2 : stop], marker in _PROGRESSIVE
        match = _ANY_MARKER.search(data, stop)
    end = match.start() if match else len(data)
    if frame is None or data[end : end + 2] == END or not _is_complete(frame, is_progressive, scans):
        return None
    return data[:end] + END


def _is_complete(frame: bytes, is_progressive: bool, scans: list[bytes]) -> bool:
    """Whether every coefficient of every component has a scan that brings its last bit."""
    wanted = {
        (component, coefficient)
        for component in frame[6 : 6 + 3 * (frame[5] if len(frame) > 5 else 0) : 3]
        for coefficient in range(64 if is_progressive else 1)
    }
    for scan in scans:
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            return False
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
        if not is_progressive:
            first, last, bits = 0, 0, 0
        if not bits & 15:
            wanted -= {(component, k) for component in scan[1 : 1 + 2 * count : 2] for k in range(first, last + 1)}
    return not wanted


_LEFT_OVER: Final = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def trailer_begins(ended: bytes, complaint: str) -> int | None:
    """Where a trailer begins, or a few bytes behind, in a file of :func:`with_end` that a decoder complains about.

    None where it complains of something else than bytes that it left over.
    """
    match = _LEFT_OVER.search(complaint)
    return len(ended) - len(END) - int(match[1]) if match else None


def is_filling(data: bytes, begins: int) -> bool:
    """Whether what seems to be a trailer goes on with the byte that the picture ends with again and again.

    That is what is left in place of bytes that never arrived, and the picture's end was decoded from it, too.
    """
    return len(set(data[max(0, begins - _FILLING) : begins + 1])) == 1
