"""The index of an MP4 or QuickTime file: when each frame of its video is shown, and which can be decoded by itself.

It lies in one box, ``moov``, of megabytes in a file of gigabytes: a listing reads that alone. Formulas are of ISO/IEC
14496-12: a frame is shown at the sum of the durations before it (``stts``) plus its own offset (``ctts``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pager_ray.read.boxes import boxes
from pager_ray.read.containers.spherical import Sphere, read_sphere
from pager_ray.read.ranges import Ranged

MAX_INDEX: Final = 256 << 20
"""Bytes of an index: a day of 60 frames a second has less than half of it."""

MAX_FRAMES: Final = 1 << 23
_MOST_TOP: Final = 4096
_MOST: Final = 4096


class Unreadable(ValueError):
    """A file is no video whose index can be read; says why."""


@dataclass(frozen=True, eq=False)
class Track:
    """The video of a file.

    Attributes:
        id: of the track, by which decoders know it, too.
        width, height: pixels of a frame, as coded.
        timescale: ticks per second.
        shown: int64 (frames,), in order: when each frame is shown, in ticks.
        is_key: bool (frames,): which of them are decoded without another.
        sphere: what it says of the sphere; None for nothing.
    """

    id: int
    width: int
    height: int
    timescale: int
    shown: np.ndarray
    is_key: np.ndarray
    sphere: Sphere | None

    @property
    def seconds(self) -> np.ndarray:
        """float64 (frames,): when each is shown, from the first on."""
        return (self.shown - self.shown[0]) / self.timescale


def read_track(file: Ranged) -> Track:
    """The largest video track of a file.

    Raises:
        Unreadable: says why there is none.
        InputError: ``not_spherical``: what it says of the sphere cannot be understood.
        OSError and what the file system's client raises.
    """
    data = _index(file)
    try:
        return _largest(data)
    except (ValueError, IndexError, OverflowError) as error:
        # Whatever a damaged table says of sizes and places.
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"its index is damaged ({error}); fetch it again") from error


def _largest(data: bytes) -> Track:
    tracks = [
        (start, end)
        for kind, start, end in boxes(data, 0, len(data), _MOST)
        if kind == b"trak" and _is_video(data, start, end)
    ]
    if not tracks:
        raise Unreadable("has no video track")
    counted = sorted(tracks, key=lambda place: -_count(data, place))
    return _track(data, counted[0])


def _index(file: Ranged) -> bytes:
    """The content of the box ``moov``."""
    if not file.size:
        raise Unreadable("is empty; fetch it again")
    at = 0
    for _ in range(_MOST_TOP):
        head = file.at(at, 16)
        if len(head) < 8:
            break
        size, kind, length = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, length = int.from_bytes(head[8:16], "big"), 16
        size = file.size - at if size == 0 else size
        if size < length or not kind.strip(b" ").isalnum():
            if not at:
                raise Unreadable(f"is no MP4 or QuickTime file (it starts with {head!r}); fetch it again")
            raise Unreadable(f"has no box at byte {at}; fetch it again")
        if kind == b"moov":
            if size > MAX_INDEX:
                raise Unreadable(f"its index has {size} bytes; at most {MAX_INDEX} are read")
            file.most = MAX_INDEX
            content = file.at(at + length, size - length)
            if len(content) < size - length:
                raise Unreadable("ends in the middle of its index; fetch it again, or record it anew")
            return content
        at += size
    raise Unreadable("ends before its index (moov); fetch it again, or repair it, with untrunc for instance")


def _is_video(data: bytes, start: int, end: int) -> bool:
    for place in _inside(data, (start, end), b"mdia", b"hdlr"):
        return data[place[0] + 8 : place[0] + 12] == b"vide"
    return False


def _count(data: bytes, track: tuple[int, int]) -> int:
    for start, end in _inside(data, track, b"mdia", b"minf", b"stbl", b"stsz"):
        return int.from_bytes(data[start + 8 : start + 12], "big") if end - start >= 12 else 0
    return 0


def _track(data: bytes, place: tuple[int, int]) -> Track:
    count = _count(data, place)
    if count == 0:
        fragmented = any(kind == b"mvex" for kind, _, _ in boxes(data, 0, len(data), _MOST))
        remedy = "it is fragmented; write its index into one place with ffmpeg -i IN -c copy OUT.mp4"
        raise Unreadable(f"has no frame in its index ({remedy})" if fragmented else "has no frame")
    if count > MAX_FRAMES:
        raise Unreadable(f"has {count} frames; at most {MAX_FRAMES} are read")
    tables = {kind: at for kind, *at in _tables(data, place)}
    lacking = [name for name in (b"stsd", b"stts") if name not in tables]
    if lacking:
        raise Unreadable(f"its index lacks {lacking[0].decode()}; fetch it again")
    timescale = _timescale(data, place, b"mdia", b"mdhd")
    shown = _run_lengths(data, tables[b"stts"], count, cumulate=True)
    if b"ctts" in tables:
        shown = shown + _run_lengths(data, tables[b"ctts"], count, cumulate=False)
    is_key = np.ones(count, dtype=bool)
    if b"stss" in tables:
        numbers = _numbers(data, tables[b"stss"], 1)[:, 0] - 1
        is_key[:] = False
        is_key[numbers[(numbers >= 0) & (numbers < count)]] = True
    order = np.argsort(shown, kind="stable")
    shown, is_key = shown[order], is_key[order]
    kept = _edited(data, place, shown, timescale)
    start, end = tables[b"stsd"]
    entry = start + 16
    if end - start < 94:
        raise Unreadable("its index does not say how its frames are coded; fetch it again")
    coding = data[start + 12 : start + 16]
    if coding == b"encv":
        raise Unreadable("is encrypted; take one without protection")
    width, height = (int.from_bytes(data[entry + at : entry + at + 2], "big") for at in (24, 26))
    inner = (entry + 78, min(end, start + 8 + int.from_bytes(data[start + 8 : start + 12], "big")))
    header = next(iter(_inside(data, place, b"tkhd")), None)
    id = 0 if header is None else _track_id(data, header)
    sphere = read_sphere(data, place, inner)
    return Track(id, width, height, timescale, shown[kept], is_key[kept], sphere)


def _track_id(data: bytes, header: tuple[int, int]) -> int:
    at = header[0] + (20 if data[header[0]] == 1 else 12)
    return int.from_bytes(data[at : at + 4], "big")


def _tables(data: bytes, track: tuple[int, int]) -> Iterator[tuple[bytes, int, int]]:
    for place in _inside(data, track, b"mdia", b"minf", b"stbl"):
        yield from boxes(data, *place, _MOST)
        return


def _inside(data: bytes, place: tuple[int, int], *path: bytes) -> Iterator[tuple[int, int]]:
    """Contents of the boxes at a path of kinds."""
    for kind, start, end in boxes(data, *place, _MOST):
        if kind == path[0]:
            if len(path) == 1:
                yield start, end
            else:
                yield from _inside(data, (start, end), *path[1:])


def _timescale(data: bytes, place: tuple[int, int], *path: bytes) -> int:
    for start, _ in _inside(data, place, *path):
        at = start + (20 if data[start] == 1 else 12)
        scale = int.from_bytes(data[at : at + 4], "big")
        if scale:
            return scale
    raise Unreadable(f"its index has no timescale ({path[-1].decode()}); fetch it again")


def _numbers(data: bytes, place: tuple[int, int] | list[int], columns: int) -> np.ndarray:
    """int64 (rows, columns) of a table: its length, and rows of numbers with 32 bits."""
    start, end = place
    rows = min(int.from_bytes(data[start + 4 : start + 8], "big"), max(0, end - start - 8) // (4 * columns))
    found = np.frombuffer(data, ">i4", rows * columns, start + 8)
    return found.reshape(rows, columns).astype(np.int64)


def _run_lengths(data: bytes, place: tuple[int, int] | list[int], count: int, *, cumulate: bool) -> np.ndarray:
    """int64 (count,): a table of runs as one number per frame, or the sums before each."""
    runs = _numbers(data, place, 2)
    lengths = np.clip(runs[:, 0], 0, count)
    # No more than the frames that there are, whatever a table says.
    ends = np.minimum(np.cumsum(lengths), count)
    values = np.repeat(runs[:, 1], np.diff(ends, prepend=0))
    values = np.concatenate([values, np.full(count - len(values), values[-1] if len(values) else 0)])
    return np.concatenate([[0], np.cumsum(values)[:-1]]) if cumulate else values


def _edited(data: bytes, track: tuple[int, int], shown: np.ndarray, timescale: int) -> np.ndarray:
    """bool (frames,): those that an edit of the video's ends leaves; all where it is cut in any other way."""
    everything = np.ones(len(shown), dtype=bool)
    for start, end in _inside(data, track, b"edts", b"elst"):
        wide = data[start] == 1
        size, entry = (8, 20) if wide else (4, 12)
        edits = []
        for at in range(start + 8, min(end - entry + 1, start + 8 + 64 * entry), entry):
            length = int.from_bytes(data[at : at + size], "big")
            begin = int.from_bytes(data[at + size : at + 2 * size], "big", signed=True)
            edits += [(begin, length)] if begin >= 0 else []
        if len(edits) != 1:
            return everything
        begin, length = edits[0]
        movie = _timescale(data, (0, len(data)), b"mvhd")
        # An end is rounded to the movie's own, coarser ticks.
        stop = begin + (length + 1) * timescale / movie if length else np.inf
        kept = (shown >= begin) & (shown < stop)
        return kept if kept.any() else everything
    return everything
