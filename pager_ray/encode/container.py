"""Bytes around integer planes: a blosc2 chunk with a label and checksum behind it, or a PNG file that says what it is.

Both readers compare the label with what the caller expects, check every byte, and allocate what the expected shape
takes and no more: a damaged, swapped or hostile blob is a :class:`~pager_ray.errors.StorageError`.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.bounded import parse_json
from pager_ray.encode.limits import is_bomb
from pager_ray.encode.planes import decode_png
from pager_ray.encode.residual import predict, restore
from pager_ray.errors import ShapeError, StorageError

if TYPE_CHECKING:
    from jaxtyping import UInt


# What wrote the bytes wrote them whole: they were changed where they lie or on their way.
_RESTORE = "read it again, restore its file from a copy, or predict again"


@dataclass(frozen=True)
class Label:
    """What a blob holds: ``codec`` as ``kind/name`` and the array's ``shape``."""

    codec: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Name both, for messages."""
        return f"{self.codec} {'×'.join(map(str, self.shape))}"


def _expect(found: Label, wanted: Label) -> None:
    if found != wanted:
        raise StorageError(f"blob holds {found}, not {wanted}: read it with the codec and shape stored beside it")


@dataclass(frozen=True)
class Container(ABC):
    """Packs integer planes into bytes; ``recipe`` says in NumPy how ``code`` comes out of ``blob``."""

    recipe: str

    @abstractmethod
    def pack(self, planes: UInt[np.ndarray, "p r w"], label: Label) -> bytes:
        """Give self-describing bytes; the same planes give the same bytes."""

    @abstractmethod
    def unpack(self, data: bytes | memoryview, label: Label, dtype: str, shape: tuple[int, int, int]) -> np.ndarray:
        """Give the planes of ``label``, or raise StorageError."""


_TRAILER = struct.Struct("<4s20s4I")
_CHECKSUM = struct.Struct("<I")
_MAGIC = b"PGR1"
_BLOSC_BLOCK = 1 << 18  # in bytes; blosc2's own choice, an eighth of it, takes a sixth more time and 2 % more space
_BLOSC_OVERHEAD = 32  # the most bytes that a chunk has beyond its content
_BLOSC_LIMIT = 2**31 - 1 - _BLOSC_OVERHEAD


@dataclass(frozen=True)
class BloscPlanes(Container):
    """A blosc2 chunk (zstd, level 1), optionally of planar-predictor remainders, then label and CRC-32.

    ``blosc2.decompress2`` ignores what follows the chunk, so other programs need not know the 44 bytes behind it:
    magic ``PGR1``, codec (20 bytes), shape (4 little-endian uint32, unused ones 0), CRC-32 of everything before.
    """

    typesize: int
    predicted: bool
    bitshuffle: bool

    def pack(self, planes: UInt[np.ndarray, "p r w"], label: Label) -> bytes:
        """Compress with one thread: several workers share a machine."""
        if planes.nbytes > _BLOSC_LIMIT:
            raise ShapeError(
                f"{label}: {planes.nbytes} bytes are more than one blosc2 chunk holds (2 GiB); take a smaller map"
            )
        # Its import is a tenth of a start, and most processes of a job neither pack nor unpack.
        import blosc2

        filters = [blosc2.Filter.NOFILTER] * 5
        filters.append(blosc2.Filter.BITSHUFFLE if self.bitshuffle else blosc2.Filter.SHUFFLE)
        chunk = blosc2.compress2(
            predict(planes) if self.predicted else np.ascontiguousarray(planes),
            codec=blosc2.Codec.ZSTD,
            clevel=1,
            filters=filters,
            typesize=self.typesize,
            blocksize=_BLOSC_BLOCK,
            nthreads=1,
        )
        if is_bomb(planes.nbytes, len(chunk)):
            # A large map of one value: stored as it is, so that readers need not tell it from a bomb.
            chunk = blosc2.compress2(
                predict(planes) if self.predicted else np.ascontiguousarray(planes),
                clevel=0,
                typesize=self.typesize,
                nthreads=1,
            )
        dimensions = label.shape + (0,) * (4 - len(label.shape))
        trailer = _TRAILER.pack(_MAGIC, label.codec.encode("ascii"), *dimensions)
        checksum = zlib.crc32(trailer, zlib.crc32(chunk))
        return b"".join((chunk, trailer, _CHECKSUM.pack(checksum)))

    def unpack(self, data: bytes | memoryview, label: Label, dtype: str, shape: tuple[int, int, int]) -> np.ndarray:
        """Check label, checksum and sizes, then decompress."""
        import blosc2

        view = memoryview(data)
        size = len(view) - _TRAILER.size - _CHECKSUM.size
        if size < blosc2.MIN_HEADER_LENGTH or bytes(view[size : size + 4]) != _MAGIC:
            raise StorageError(
                f"blob of {len(view)} bytes for {label} is truncated, or no blob of this codec; {_RESTORE}"
            )
        if zlib.crc32(view[: -_CHECKSUM.size]) != _CHECKSUM.unpack(view[-_CHECKSUM.size :])[0]:
            raise StorageError(f"blob for {label} is damaged: its checksum does not match; {_RESTORE}")
        _, codec, *dimensions = _TRAILER.unpack(view[size : size + _TRAILER.size])
        found = Label(codec.rstrip(b"\0").decode("ascii", "replace"), tuple(n for n in dimensions if n))
        _expect(found, label)
        unpacked = math.prod(shape) * np.dtype(dtype).itemsize
        stored, compressed, _ = blosc2.get_cbuffer_sizes(view[:size])
        if (stored, compressed) != (unpacked, size):
            raise StorageError(
                f"blob for {label} announces {stored} bytes in {compressed}, not {unpacked} in {size}; {_RESTORE}"
            )
        if is_bomb(unpacked, size):
            raise StorageError(f"blob for {label} would unpack {unpacked} bytes from {size}, which no map does")
        planes = np.empty(shape, dtype=dtype)
        try:
            blosc2.decompress2(view[:size], dst=planes, nthreads=1)
        except (RuntimeError, ValueError) as error:
            raise StorageError(f"blob for {label} cannot be decompressed ({error}); {_RESTORE}") from error
        if self.predicted:
            restore(planes)
        return planes


def blosc_planes(dtype: str, *, predicted: bool, bitshuffle: bool = True) -> BloscPlanes:
    """Build the container for codes of ``dtype``, with its recipe."""
    recipe = f"code = np.frombuffer(blosc2.decompress2(blob), '{dtype}').reshape(planes, rows, width)"
    if predicted:
        recipe += (
            "; code = (code >> 1) ^ -(code & 1); code = code.cumsum(-1, dtype=code.dtype).cumsum(-2, dtype=code.dtype)"
        )
    return BloscPlanes(recipe, np.dtype(dtype).itemsize, predicted, bitshuffle)


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEYWORD = b"pager_ray\0"
_PNG_TEXT_BYTES = 1024
_PNG_HEADER_END = 33  # signature and IHDR
_PNG_COLOUR = {1: 0, 3: 2}  # planes → colour type


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(payload, zlib.crc32(kind)))


def _png_chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, payload) up to IEND; raises ValueError on a broken chunk."""
    if bytes(view[:8]) != _PNG_SIGNATURE:
        raise ValueError("it is no PNG file")
    at = 8
    while True:
        if len(view) - at < 12:
            raise ValueError("it ends early")
        (size,) = struct.unpack(">I", view[at : at + 4])
        end = at + 12 + size
        if end > len(view):
            raise ValueError("it ends early")
        kind = bytes(view[at + 4 : at + 8])
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack(">I", view[end - 4 : end])[0]:
            raise ValueError(f"the checksum of its {kind!r} chunk does not match")
        yield kind, view[at + 8 : end - 4]
        if kind == b"IEND":
            return
        at = end


@dataclass(frozen=True)
class PngImage(Container):
    """A PNG file that any reader opens, with a text chunk that says which codec and shape it is.

    Faces lie below each other, three planes are red, green and blue.
    """

    recipe: str = (
        "code = np.asarray(PIL.Image.open(io.BytesIO(blob))); "
        "code = code[None] if code.ndim == 2 else np.moveaxis(code, -1, 0)"
    )

    def pack(self, planes: UInt[np.ndarray, "p r w"], label: Label) -> bytes:
        """Write with zlib level 1: higher levels take several times as long for a few percent."""
        import cv2

        image = planes[0] if len(planes) == 1 else cv2.merge(list(planes[::-1]))
        written, buffer = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not written:
            raise ShapeError(f"{label}: cannot be written as PNG; take another codec")
        text = json.dumps({"codec": label.codec, "shape": label.shape}).encode("ascii")
        data = buffer.tobytes()
        return data[:_PNG_HEADER_END] + _png_chunk(b"tEXt", _PNG_KEYWORD + text) + data[_PNG_HEADER_END:]

    def unpack(self, data: bytes | memoryview, label: Label, dtype: str, shape: tuple[int, int, int]) -> np.ndarray:
        """Check every chunk and the header, then decode."""
        view = memoryview(data)
        header, found = b"", None
        try:
            for kind, payload in _png_chunks(view):
                if kind == b"IHDR":
                    header = bytes(payload)
                elif kind == b"tEXt" and bytes(payload[: len(_PNG_KEYWORD)]) == _PNG_KEYWORD:
                    text = parse_json(bytes(payload[len(_PNG_KEYWORD) :]), _PNG_TEXT_BYTES)
                    found = Label(str(text["codec"]), tuple(text["shape"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"PNG blob for {label} cannot be read: {error}; {_RESTORE}") from error
        if found is None:
            raise StorageError(f"PNG blob for {label} lacks the text chunk that says what it holds; {_RESTORE}")
        _expect(found, label)
        planes, rows, width = shape
        wanted = struct.pack(">IIBBBBB", width, rows, np.dtype(dtype).itemsize * 8, _PNG_COLOUR[planes], 0, 0, 0)
        if header != wanted:
            raise StorageError(f"PNG blob for {label} has another size, bit depth or colour type; {_RESTORE}")
        if is_bomb(planes * rows * width * np.dtype(dtype).itemsize, len(view)):
            raise StorageError(f"PNG blob for {label} would unpack more than any map from {len(view)} bytes")
        image = decode_png(view)
        if image is None or image.shape[:2] != (rows, width) or image.dtype != np.dtype(dtype):
            raise StorageError(f"PNG blob for {label} cannot be decoded; {_RESTORE}")
        return image[None] if planes == 1 else np.ascontiguousarray(np.moveaxis(image, -1, 0))
