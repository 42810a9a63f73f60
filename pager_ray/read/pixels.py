"""Image bytes to RGB bytes: headers and limits first, then pixels, at reduced size where the decoder does that itself.

What is taken for granted elsewhere and decided here: EXIF orientation is applied; embedded colour profiles are not;
more than eight bits per channel keep the upper eight; transparency is blended over black; grey becomes three equal
channels; of several frames or pages the first counts.

Files are strangers'. Decoders get the parts that pictures are made of and no others, sizes are compared wherever a file
states them twice, and what a decoder allocates is bounded by ``max_pixels`` before it starts.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from pager_ray.errors import InputError
from pager_ray.read.avif import coded_pixels
from pager_ray.read.exif import orientation_of
from pager_ray.read.formats import detect_format
from pager_ray.read.tiff import value_bytes

if TYPE_CHECKING:
    from jaxtyping import UInt8

# What Pillow's readers are known to raise on damaged files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)
# libjpeg's words for damage that leaves the picture whole: bytes between two segments, as some cameras write them, and
# a broken colour profile, which is not applied anyway.
_HARMLESS = ("extraneous bytes before marker", "bad ICC marker")
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height

MAX_SCANS = 100
"""Encoders write about ten. A scan may be a few bytes and costs a pass over all blocks: 20 ms at 2^28 pixels."""
MAX_PARTS = 4096
"""Segments before a JPEG's picture, or chunks beside a PNG's; a 10 MB depth map in a photo's metadata takes 160."""

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]", re.DOTALL)
# APP0 to APP15 without APP14, which says how colours are stored, and comments.
_JPEG_METADATA = frozenset([*range(0xE0, 0xEE), 0xEF, 0xFE])
# Entries of TIFF files of old cameras that point behind the end.
_LENIENT_BYTES = 1 << 16
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Pixels that are converted at a time: a whole picture would be held three times.
_BAND_PIXELS = 1 << 22
_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
_TILE_WIDTH, _TILE_LENGTH = 322, 323


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """An opened image whose size is known and allowed.

    Attributes:
        width: pixels, as displayed (EXIF orientation applied).
        height: pixels, as displayed.
        xmp: the XMP packet, if there is one.
        image: Pillow's view of the file; of a JPEG without most of its metadata.
    """

    data: bytes
    format: str
    width: int
    height: int
    xmp: bytes | None
    orientation: int
    image: ImageFile


def _corrupt(name: str, error: Exception | str) -> InputError:
    # Decoders repeat bytes of the file; a message is one line of text whatever they are.
    reason = "".join(character if character.isprintable() else "?" for character in " ".join(str(error).split())[:200])
    return InputError("corrupt_image", f"{name} file is damaged or incomplete: {reason}")


class _Quiet:
    """Keeps Pillow's warnings about a file out of the log while decoders run, in whatever thread, and its own limit.

    That limit is below ours for TIFF, where it is asked when pixels are decoded; ours is checked before.

    A file can cause one per metadata entry, each with a text of its own, and Python remembers all of them for ever.
    ``warnings.catch_warnings`` is no help: it is not safe between threads, and makes every other warning that is shown
    once be shown again.
    """

    _RULE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit: int | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Silence for the time of a ``with`` block."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            # Looked for each time: others replace the list of filters as a whole.
            if self._RULE not in warnings.filters:
                warnings.filters.insert(0, self._RULE)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    Image.MAX_IMAGE_PIXELS = self._limit
                if not self._users and self._RULE in warnings.filters:
                    warnings.filters.remove(self._RULE)  # type: ignore[attr-defined]


_quiet = _Quiet()


def open_image(data: bytes, max_pixels: int) -> ImageHeader:
    """Read format, size and metadata, and check limits, before any pixel is decoded.

    Raises:
        InputError: ``empty_file``, ``not_an_image``, ``unsupported_format``, ``corrupt_image`` or ``too_large``.
    """
    name, reader = detect_format(data)
    if name == "TIFF" and value_bytes(data) > 2 * len(data) + _LENIENT_BYTES:
        raise _corrupt(name, "its entries are larger than the file")
    parts = {"JPEG": _jpeg_parts, "PNG": _png_parts}.get(name)
    with _quiet():
        try:
            image = reader(io.BytesIO(parts(data) if parts else data))
        except Image.DecompressionBombError as error:
            raise InputError("too_large", f"{name} file: {error}") from error
        except _DECODER_ERRORS as error:
            raise _corrupt(name, error) from error
        width, height = image.size
        if width * height > max_pixels:
            raise InputError(
                "too_large", f"{width}×{height} are {width * height} pixels, at most {max_pixels} are read"
            )
        coded = coded_pixels(data) if name == "AVIF" else 0
        if coded > max_pixels:
            raise InputError(
                "too_large",
                f"AVIF file that says {width}×{height} and holds {coded} pixels, at most {max_pixels} are read",
            )
        if width < 1 or height < 1:
            raise InputError("corrupt_image", f"{name} file of {width}×{height} pixels")
        if isinstance(image, TiffImageFile):
            _check_tiles(image, max_pixels)
        # Pillow turns TIFF itself, in size and pixels.
        orientation = 1 if name == "TIFF" else orientation_of(image.info)
    if orientation in _TURNED:
        width, height = height, width
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    return ImageHeader(data, name, width, height, xmp if isinstance(xmp, bytes) else None, orientation, image)


def _check_tiles(image: TiffImageFile, max_pixels: int) -> None:
    """Refuse tiles that are larger than a picture may be: libtiff inflates each as a whole."""
    width, length = image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_LENGTH, 1)
    if not isinstance(width, int) or not isinstance(length, int):
        raise _corrupt("TIFF", "the size of its tiles is no number")
    if width * length > max_pixels:
        raise InputError("too_large", f"TIFF tiles of {width}×{length} pixels, at most {max_pixels} are read")


def _jpeg_parts(data: bytes) -> bytes:
    """A JPEG's header, which is all that Pillow is asked for."""
    _check_scans(data)
    return _split_jpeg(data)[0]


def _split_jpeg(data: bytes) -> tuple[bytes, int]:
    """A JPEG's header up to its first scan's, and where the file goes on after it.

    Of metadata it keeps one EXIF and one XMP segment: what grows without a limit stays out of Pillow.
    """
    kept: list[bytes] = []
    exif = xmp = b""
    end = 2
    for count, (marker, start, end) in enumerate(_jpeg_segments(data)):
        if count == MAX_PARTS:
            raise _corrupt("JPEG", f"more than {MAX_PARTS} segments before its picture")
        segment = data[start:end]
        if marker == 0xE1 and segment[4:].startswith(_EXIF):
            exif = exif or segment
        elif marker == 0xE1 and segment[4:].startswith(_XMP):
            xmp = segment
        elif marker not in _JPEG_METADATA:
            kept.append(segment)
        if marker == 0xDA:
            break
    return data[:2] + exif + xmp + b"".join(kept), end


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment, whatever lies between them: padding, and the coded bytes of scans."""
    match = _MARKER.search(data, 2)
    while match:
        end = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
        yield data[match.end() - 1], match.start(), end
        match = _MARKER.search(data, end)


def _check_scans(data: bytes) -> None:
    # Counting bytes is cheap and nearly always enough; trailers of phones hold these two by chance.
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans = 0
    for marker, _, _ in _jpeg_segments(data):
        scans += marker == 0xDA
        if marker == 0xD9:
            return
        if scans > MAX_SCANS:
            raise _corrupt("JPEG", f"more than {MAX_SCANS} scans")


def _png_parts(data: bytes) -> bytes:
    """A PNG of the chunks that make its picture, its EXIF and its XMP, with metadata before the pixels.

    Every CRC up to the end is checked here: the decoder alone stops at the last row. Frames of an animation are left
    out; its default image is what stays.
    """
    before: list[memoryview] = []
    pixels: list[memoryview] = []
    at, kind = len(_PNG_SIGNATURE), b""
    view = memoryview(data)
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        chunk = view[at : at + 12 + length]
        if len(chunk) < 12 + length:
            raise _corrupt("PNG", "its end is missing")
        if not kind.isalpha() or (kind == b"IHDR") != (not before):
            raise _corrupt("PNG", f"chunk {kind!r} at byte {at}")
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise _corrupt("PNG", f"wrong checksum of chunk {kind.decode()} at byte {at}")
        if kind == b"IDAT":
            pixels.append(chunk)
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf") or (
            kind in (b"iTXt", b"tEXt", b"zTXt")
            and bytes(chunk[8:30]).startswith((b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"))
        ):
            before.append(chunk)
            if len(before) > MAX_PARTS:
                raise _corrupt("PNG", f"more than {MAX_PARTS} chunks beside its pixels")
        at += 12 + length
    return b"".join([_PNG_SIGNATURE, *before, *pixels, chunk])


def decode_pixels(header: ImageHeader, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """Decode to RGB, upright, at the image's own size or a smaller one that is at least ``width`` × ``height``.

    Raises:
        InputError: ``corrupt_image``, ``unsupported_format`` or ``too_large``.
    """
    if header.orientation in _TURNED:
        width, height = height, width
    with _quiet():
        try:
            pixels = (
                _decode_jpeg(header, width, height) if header.format == "JPEG" else _decode_with_pillow(header.image)
            )
        except Image.DecompressionBombError as error:
            raise InputError("too_large", f"{header.format} file: {error}") from error
        except MemoryError as error:
            raise InputError(
                "too_large", f"{header.width}×{header.height} pixels do not fit into this machine's memory"
            ) from error
        except _DECODER_ERRORS as error:
            raise _corrupt(header.format, error) from error
    return np.ascontiguousarray(_upright(pixels, header.orientation))


def _decode_with_pillow(image: ImageFile) -> UInt8[np.ndarray, "h w 3"]:
    size = image.size
    image.load()
    if image.size != size:
        raise _corrupt(
            str(image.format), f"header says {size[0]}×{size[1]} pixels, the picture has {image.width}×{image.height}"
        )
    return _to_rgb(image)


def _scaling(full_width: int, full_height: int, width: int, height: int) -> int:
    """Give the largest factor that the JPEG decoder reduces by for nothing and that leaves ``width`` × ``height``.

    Only halves: libjpeg-turbo scales by any eighth, but 6/8 takes longer than 8/8. Only without remainder: the last
    column would be part padding, and the picture shifted against its left edge, which it meets at the seam.
    """
    for factor in (8, 4, 2):
        divides = full_width % factor == full_height % factor == 0
        if divides and full_width >= factor * width and full_height >= factor * height:
            return factor
    return 1


def _decode_jpeg(header: ImageHeader, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    data = header.data
    try:
        full_height, full_width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (full_width, full_height) != header.image.size:
            # Two readers disagree on which of several headers counts: limits and placement were those of the other.
            raise ValueError(
                f"header says {header.image.width}×{header.image.height}, picture {full_width}×{full_height}"
            )
        factor = _scaling(full_width, full_height, width, height)
        # Strict: by default a missing rest is filled with grey.
        pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="CMYK" if colours in {"CMYK", "YCCK"} else "RGB",
            min_width=full_width // factor,
            min_factor=factor,
            strict=True,
        )
    except ValueError as error:
        if not any(words in str(error) for words in _HARMLESS):
            raise
        # Pillow skips what every viewer skips, and still refuses a cut file.
        start, rest = _split_jpeg(data)
        return _decode_with_pillow(JpegImageFile(io.BytesIO(start + data[rest:])))
    if pixels.shape[2] == 3:
        return pixels
    # Four-channel JPEGs hold inverted ink (Adobe's convention, which every reader follows): light = ink · black.
    cyan, magenta, yellow, black = cv2.split(pixels)
    return cv2.merge([cv2.multiply(ink, black, scale=1 / 255) for ink in (cyan, magenta, yellow)])


def _to_rgb(image: ImageFile) -> UInt8[np.ndarray, "h w 3"]:
    """Convert a loaded image, a band of rows at a time."""
    if not image.mode.startswith("I;16") and image.mode not in _MODES:
        raise InputError(
            "unsupported_format", f"{image.format} file with {image.mode} pixels; save it as RGB with 8 or 16 bits"
        )
    rows = max(1, _BAND_PIXELS // image.width)
    if image.height <= rows:
        return _band_to_rgb(image)
    rgb = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        rgb[top:bottom] = _band_to_rgb(image.crop((0, top, image.width, bottom)))
    return rgb


def _band_to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode.startswith("I;16"):
        return cv2.cvtColor((np.asarray(image) >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    if not image.has_transparency_data:
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
    rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    alpha = rgba[..., 3]
    if alpha.min() < 255:
        cv2.multiply(rgb, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), dst=rgb, scale=1 / 255)
    return rgb


def _upright(pixels: UInt8[np.ndarray, "h w 3"], orientation: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Undo an EXIF orientation (tag 0x0112: which corner the first row and column are at)."""
    if orientation in _TURNED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels
