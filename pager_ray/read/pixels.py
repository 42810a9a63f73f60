"""Image bytes to RGB bytes: headers and limits first, then pixels, at reduced size where the decoder does that itself.

What is taken for granted elsewhere and decided here: EXIF orientation is applied; colour profiles of inks are, others
are handed on; more than eight bits per channel keep the upper eight; transparency is blended over black; grey becomes
three equal channels; of several frames or pages the first counts.

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
from pager_ray.read import jpeg
from pager_ray.read.avif import coded_pixels
from pager_ray.read.colour import MAX_PROFILE_BYTES, PROFILE_CONVERTED, Conversion, conversion_for
from pager_ray.read.exif import orientation_of
from pager_ray.read.formats import detect_format
from pager_ray.read.tiff import check_kind, check_tiles, has_usual_codec, set_planes, value_bytes

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
# a broken colour profile, which is left out of account.
_HARMLESS = ("extraneous bytes before marker", "bad ICC marker")
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height

# Entries of TIFF files of old cameras that point behind the end.
_LENIENT_BYTES = 1 << 16
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Pixels that are converted at a time: a whole picture would be held three times.
_BAND_PIXELS = 1 << 22
_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}

MAX_PARTS = 4096
"""Chunks beside the pixels of a PNG."""

NO_END_MARKER = "no_end_marker"
"""Remark: a JPEG whose picture is whole and whose end marker is missing."""


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """An opened image whose size is known and allowed.

    Attributes:
        width: pixels, as displayed (EXIF orientation applied).
        height: pixels, as displayed.
        xmp: the XMP packet, if there is one.
        profile: the ICC colour profile, if there is one; empty where what there is makes none.
        image: Pillow's view of the file; of a JPEG without most of its metadata.
    """

    data: bytes
    format: str
    width: int
    height: int
    xmp: bytes | None
    profile: bytes | None
    orientation: int
    image: ImageFile


@dataclass(frozen=True, eq=False)
class Pixels:
    """A decoded picture, upright.

    Attributes:
        rgb: in its own colours.
        hidden: 255 where it is wholly transparent; None where it is nowhere.
        conversion: from its own colours to sRGB; None where they are that, or nobody can tell.
        remarks: what was noticed about the file.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    hidden: UInt8[np.ndarray, "h w"] | None = None
    conversion: Conversion | None = None
    remarks: tuple[str, ...] = ()


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
    parts, profile = {"JPEG": _jpeg_parts, "PNG": _png_parts}.get(name, _whole)(data)
    with _quiet():
        try:
            image = reader(io.BytesIO(parts))
        except Image.DecompressionBombError as error:
            raise InputError("too_large", f"{name} file: {error}") from error
        except _DECODER_ERRORS as error:
            if name == "TIFF":
                check_kind(data)
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
            check_tiles(image, max_pixels)
            set_planes(image)
        # Pillow turns TIFF itself, in size and pixels.
        orientation = 1 if name == "TIFF" else orientation_of(image.info)
    if orientation in _TURNED:
        width, height = height, width
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    if profile is None and isinstance(found := image.info.get("icc_profile"), bytes):
        profile = found
    return ImageHeader(data, name, width, height, xmp if isinstance(xmp, bytes) else None, profile, orientation, image)


def _whole(data: bytes) -> tuple[bytes, bytes | None]:
    return data, None


def _jpeg_parts(data: bytes) -> tuple[bytes, bytes | None]:
    """A JPEG's header, which is all that Pillow is asked for, and its colour profile."""
    try:
        jpeg.check_scans(data)
        parts = jpeg.split(data)
    except jpeg.Broken as error:
        raise _corrupt("JPEG", str(error)) from error
    return parts.head, parts.profile


def _png_parts(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG of the chunks that make its picture, its EXIF and its XMP, metadata before the pixels; and its profile.

    Every CRC up to the end is checked here: the decoder alone stops at the last row. Frames of an animation are left
    out; its default image is what stays.
    """
    before: list[memoryview] = []
    profile: bytes | None = None
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
        elif kind == b"iCCP" and profile is None:
            profile = _inflated(bytes(chunk[8:-4]))
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf") or (
            kind in (b"iTXt", b"tEXt", b"zTXt")
            and bytes(chunk[8:30]).startswith((b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"))
        ):
            before.append(chunk)
            if len(before) > MAX_PARTS:
                raise _corrupt("PNG", f"more than {MAX_PARTS} chunks beside its pixels")
        at += 12 + length
    return b"".join([_PNG_SIGNATURE, *before, *pixels, chunk]), profile


def _inflated(chunk: bytes) -> bytes:
    """The profile in a chunk, after its name and a byte for the method; nothing where it is none, or too large."""
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(chunk[chunk.index(b"\0") + 2 :], MAX_PROFILE_BYTES)
    except (ValueError, zlib.error):
        return b""
    return profile if inflater.eof else b""


def decode_pixels(header: ImageHeader, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """As :func:`decode`, in the picture's own colours, whatever was noticed on the way."""
    return decode(header, width, height).rgb


def decode(header: ImageHeader, width: int, height: int) -> Pixels:
    """Decode to RGB, upright, at the image's own size or a smaller one that is at least ``width`` × ``height``.

    Raises:
        InputError: ``corrupt_image``, ``unsupported_format`` or ``too_large``.
    """
    if header.orientation in _TURNED:
        width, height = height, width
    conversion, remark = conversion_for(header.profile, header.image.mode)
    with _quiet():
        try:
            if header.format == "JPEG":
                pixels = _decode_jpeg(header, conversion, width, height)
            else:
                pixels = _decode_with_pillow(header.image, conversion)
        except Image.DecompressionBombError as error:
            raise InputError("too_large", f"{header.format} file: {error}") from error
        except MemoryError as error:
            raise InputError(
                "too_large", f"{header.width}×{header.height} pixels do not fit into this machine's memory"
            ) from error
        except _DECODER_ERRORS as error:
            if header.format == "TIFF" and not has_usual_codec(header.data):
                check_kind(header.data)
            raise _corrupt(header.format, error) from error
    remarks = pixels.remarks
    if remark or conversion:
        remarks += (remark or PROFILE_CONVERTED,)
    return Pixels(
        np.ascontiguousarray(_upright(pixels.rgb, header.orientation)),
        None if pixels.hidden is None else _upright(pixels.hidden, header.orientation),
        # Inks are light by now.
        conversion if conversion is not None and conversion.space != "CMYK" else None,
        remarks,
    )


def _decode_with_pillow(image: ImageFile, conversion: Conversion | None) -> Pixels:
    size = image.size
    image.load()
    if image.size != size:
        raise _corrupt(
            str(image.format), f"header says {size[0]}×{size[1]} pixels, the picture has {image.width}×{image.height}"
        )
    return _to_rgb(image, conversion)


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


def _decode_jpeg(header: ImageHeader, conversion: Conversion | None, width: int, height: int) -> Pixels:
    try:
        return Pixels(_decode_whole_jpeg(header, header.data, conversion, width, height))
    except ValueError as error:
        if any(words in str(error) for words in _HARMLESS):
            # Pillow skips what every viewer skips, and still refuses a cut file.
            parts = jpeg.split(header.data)
            image = JpegImageFile(io.BytesIO(parts.head + header.data[parts.rest :]))
            try:
                return _decode_with_pillow(image, conversion)
            except OSError:
                pass
        ended = jpeg.with_end(header.data)
        if ended is None:
            raise
    return Pixels(_decode_ended_jpeg(header, ended, conversion, width, height), remarks=(NO_END_MARKER,))


def _decode_ended_jpeg(
    header: ImageHeader, ended: bytes, conversion: Conversion | None, width: int, height: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a file that was given its end, if its picture is whole: the decoder has no complaint, and leaves nothing.

    Bytes that are left over may also be those behind a restart that never came, so they are taken away before anything
    is believed.
    """
    try:
        return _decode_whole_jpeg(header, ended, conversion, width, height)
    except ValueError as error:
        last = jpeg.trailer_begins(ended, str(error))
        if last is None:
            raise
        complaint = error
    first = last - jpeg.READ_AHEAD
    while first <= last:
        cut = (first + last) // 2
        try:
            pixels = _decode_whole_jpeg(header, ended[:cut] + jpeg.END, conversion, width, height)
        except ValueError as error:
            first, last = (cut + 1, last) if jpeg.trailer_begins(ended, str(error)) is None else (first, cut - 1)
        else:
            if jpeg.is_filling(ended, cut):
                break
            return pixels
    raise complaint


def _decode_whole_jpeg(
    header: ImageHeader, data: bytes, conversion: Conversion | None, width: int, height: int
) -> UInt8[np.ndarray, "h w 3"]:
    full_height, full_width, colours, _ = simplejpeg.decode_jpeg_header(data)
    if (full_width, full_height) != header.image.size:
        # Two readers disagree on which of several headers counts: limits and placement were those of the other.
        raise ValueError(f"header says {header.image.width}×{header.image.height}, picture {full_width}×{full_height}")
    factor = _scaling(full_width, full_height, width, height)
    # Strict: by default a missing rest is filled with grey.
    pixels = simplejpeg.decode_jpeg(
        data,
        colorspace="CMYK" if colours in {"CMYK", "YCCK"} else "RGB",
        min_width=full_width // factor,
        min_factor=factor,
        strict=True,
    )
    if pixels.shape[2] == 3:
        return pixels
    # Four-channel JPEGs hold inverted ink (Adobe's convention, which every reader follows): light = ink · black.
    if conversion is not None:
        return conversion(255 - pixels)
    cyan, magenta, yellow, black = cv2.split(pixels)
    return cv2.merge([cv2.multiply(ink, black, scale=1 / 255) for ink in (cyan, magenta, yellow)])


def _to_rgb(image: ImageFile, conversion: Conversion | None) -> Pixels:
    """Convert a loaded image, a band of rows at a time."""
    if not image.mode.startswith("I;16") and image.mode not in _MODES:
        raise InputError(
            "unsupported_format", f"{image.format} file with {image.mode} pixels; save it as RGB with 8 or 16 bits"
        )
    rows = max(1, _BAND_PIXELS // image.width)
    if image.height <= rows:
        return _band_to_rgb(image, conversion)
    rgb = np.empty((image.height, image.width, 3), dtype=np.uint8)
    hidden: np.ndarray | None = None
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        band = _band_to_rgb(image.crop((0, top, image.width, bottom)), conversion)
        rgb[top:bottom] = band.rgb
        if band.hidden is not None:
            hidden = np.zeros(rgb.shape[:2], np.uint8) if hidden is None else hidden
            hidden[top:bottom] = band.hidden
    return Pixels(rgb, hidden)


def _band_to_rgb(image: Image.Image, conversion: Conversion | None) -> Pixels:
    if image.mode.startswith("I;16"):
        return Pixels(cv2.cvtColor((np.asarray(image) >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB))
    if image.mode == "CMYK" and conversion is not None:
        return Pixels(conversion(np.asarray(image)))
    if not image.has_transparency_data:
        return Pixels(np.array(image if image.mode == "RGB" else image.convert("RGB")))
    rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
    rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    alpha = rgba[..., 3]
    least = alpha.min()
    if least < 255:
        cv2.multiply(rgb, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), dst=rgb, scale=1 / 255)
    return Pixels(rgb, cv2.compare(alpha, 0, cv2.CMP_EQ) if least == 0 else None)


def _upright(pixels: UInt8[np.ndarray, "h w *c"], orientation: int) -> UInt8[np.ndarray, "h2 w2 *c"]:
    """Undo an EXIF orientation (tag 0x0112: which corner the first row and column are at)."""
    if orientation in _TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels
