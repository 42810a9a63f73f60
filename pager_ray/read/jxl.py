"""JPEG XL: what its first bits say of a picture, and its pixels by libjxl, within the memory that they may take.

Size and orientation stand at the beginning of the coded stream (ISO/IEC 18181-1, sections "SizeHeader" and
"ImageMetadata"). Frames behind it may be larger than the picture, and libjxl has no limit of its own: what it takes
beyond what a picture of that size needs is refused to it.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from PIL import Image

from pager_ray.read.boxes import boxes

CONTAINER: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
STREAM: Final = b"\xff\x0a"

# Width by height, where a stream gives it as a ratio.
_RATIOS: Final = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))

_PER_PIXEL, _BESIDES = 32, 1 << 30
"""Bytes of memory: a lossless picture of 32 megapixels was seen to take 6 a pixel and, in passing, reserve 300 MB."""

_one_at_a_time = threading.Lock()


class JxlHead(NamedTuple):
    """What a file says of its picture: its size as displayed, and its XMP packet."""

    width: int
    height: int
    xmp: bytes | None


class _Bits:
    """Bits of a stream, the least significant of a byte first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ValueError("its header is cut off")
        number = self.value & ((1 << count) - 1)
        self.value >>= count
        return number

    def size(self) -> int:
        """A number of pixels: one of four widths of number."""
        return self.take((9, 13, 18, 30)[self.take(2)]) + 1


def read_head(data: bytes) -> JxlHead:
    """Read size, orientation and XMP.

    Raises:
        ValueError: there is no stream, or it is cut off.
    """
    stream, xmp = data[:64], None
    if data.startswith(CONTAINER):
        stream = b""
        for kind, start, end in boxes(data, 0, len(data)):
            if kind in (b"jxlc", b"jxlp") and len(stream) < 64:
                # Parts have a number before their bytes.
                stream += data[start + (4 if kind == b"jxlp" else 0) : min(end, start + 64)]
            elif kind == b"xml ":
                xmp = data[start:end]
    if not stream.startswith(STREAM):
        raise ValueError("it holds no picture")
    bits = _Bits(stream[2:])
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.size()
    if (ratio := _RATIOS[bits.take(3)]) is not None:
        width = height * ratio[0] // ratio[1]
    elif small:
        width = 8 * (bits.take(5) + 1)
    else:
        width = bits.size()
    is_plain = bits.take(1)
    orientation = bits.take(3) + 1 if not is_plain and bits.take(1) else 1
    if orientation > 4:
        width, height = height, width
    return JxlHead(width, height, xmp)


def load(data: bytes, pixels: int) -> tuple[Image.Image | bytes, bytes | None]:
    """Decode with libjxl: a picture, upright, and its colour profile, or the JPEG that the file was made of.

    Args:
        pixels: of the picture, as :func:`read_head` has it.

    Raises:
        MemoryError, RuntimeError, ValueError: it cannot be decoded.
    """
    from pillow_jxl import Decoder

    with _one_at_a_time, _memory_ceiling(_PER_PIXEL * pixels + _BESIDES):
        try:
            is_jpeg, about, content, profile, _ = Decoder(num_threads=0)(data)
        except RuntimeError as error:
            # What it adds is advice to who builds it.
            raise ValueError(str(error).split(".")[0]) from error
        except BaseException as error:
            # Rust's panics are no exceptions, so that nobody takes them for one.
            if type(error).__name__ == "PanicException":
                raise ValueError("its decoder gave up") from error
            raise
    if is_jpeg:
        return bytes(content), None
    if about.width * about.height != pixels:
        raise ValueError(f"its picture has {about.width}×{about.height} pixels")
    return Image.frombytes(about.mode, (about.width, about.height), content), profile or None


@contextmanager
def _memory_ceiling(extra: int) -> Iterator[None]:
    """Let this process have so many bytes more, no matter what for, where the system knows such a limit."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    held = int(status.read_text().split("VmData:")[1].split()[0]) << 10
    before: Any = resource.getrlimit(resource.RLIMIT_DATA)
    soft = held + extra
    if before[0] != resource.RLIM_INFINITY:
        soft = min(soft, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
