"""How large the pictures in an AVIF file are by their own word.

The container says a size of its own (``ispe``), and a decoder scales what it finds to that: a file may say 64×32 and
hold 2^28 pixels. So the AV1 sequence header (specification, section 5.5) of every coded item, and of every track's
first sample, is read, too; it lies in the first bytes of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pager_ray.read.boxes import SELDOM, boxes

_SEQUENCE_HEADER: Final = 1


def coded_pixels(data: bytes) -> int:
    """Most pixels of a coded picture in the file; 0 where none is found, which no decoder finds either."""
    return max((_pixels_of_units(data[start : start + 4096]) for start in _starts(data)), default=0)


def _starts(data: bytes) -> Iterator[int]:
    """Where the coded bytes of items and of tracks' first samples begin."""
    for kind, start, end in boxes(data, 0, len(data)):
        if kind == b"meta":
            inner = list(boxes(data, start + 4, end))
            inside = next((begin for name, begin, _ in inner if name == b"idat"), 0)
            for name, begin, stop in inner:
                if name == b"iloc":
                    yield from _item_starts(data[begin:stop], inside)
        elif kind == b"moov":
            yield from _chunk_starts(data, start, end, 0)


def _item_starts(box: bytes, inside: int) -> Iterator[int]:
    version, at = box[0] if box else 0, 6
    offset_size, length_size = (box[4] >> 4, box[4] & 15) if len(box) > 5 else (0, 0)
    base_size, index_size = (box[5] >> 4, box[5] & 15 if version else 0) if len(box) > 5 else (0, 0)

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(box[at - size : at], "big")

    wide = 4 if version == 2 else 2
    for _ in range(min(number(wide), SELDOM)):
        number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        for extent in range(min(number(2), SELDOM)):
            number(index_size)
            start = base + number(offset_size)
            number(length_size)
            if extent == 0:
                yield start + (inside if method == 1 else 0)


def _chunk_starts(data: bytes, start: int, end: int, depth: int) -> Iterator[int]:
    for kind, begin, stop in boxes(data, start, end):
        if kind in (b"trak", b"mdia", b"minf", b"stbl") and depth < 8:
            yield from _chunk_starts(data, begin, stop, depth + 1)
        elif kind in (b"stco", b"co64"):
            width = 4 if kind == b"stco" else 8
            yield int.from_bytes(data[begin + 8 : begin + 8 + width], "big")


def _pixels_of_units(data: bytes) -> int:
    """Pixels that the sequence header among the first units tells; 0 without one."""
    at = 0
    for _ in range(SELDOM):
        if at >= len(data):
            return 0
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size = shift = 0
            for _ in range(8):
                byte = data[at] if at < len(data) else 0
                at, size, shift = at + 1, size | (byte & 127) << shift, shift + 7
                if not byte & 128:
                    break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _pixels(_Bits(data[at : at + size]))
        at += size
    return 0


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data[:256], "big"), 8 * len(data[:256])

    def take(self, count: int) -> int:
        """The next bits, most significant first; zeros behind the end."""
        self.left -= count
        number = self.value >> self.left if self.left >= 0 else self.value << -self.left
        return number & ((1 << count) - 1)


def _pixels(bits: _Bits) -> int:
    bits.take(4)  # seq_profile, still_picture
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _skip_timing(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(width_bits) + 1) * (bits.take(height_bits) + 1)


def _skip_timing(bits: _Bits) -> None:
    """Timing, decoder model and operating points, which stand before the size."""
    delay_bits = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):  # uvlc
            zeros = 0
            while zeros < 32 and not bits.take(1):
                zeros += 1
            bits.take(zeros)
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_initial_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_initial_delay and bits.take(1):
            bits.take(4)
