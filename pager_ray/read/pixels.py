"""Image bytes to RGB bytes: headers and limits first, then pixels, at reduced size where the decoder does that itself.

What is taken for granted elsewhere and decided here: EXIF orientation is applied; colour profiles of inks are, others
are handed on; more than eight bits per channel keep the upper eight; transparency is blended over black; grey becomes
three equal channels; of several frames or pages the first counts.

Files are strangers'. Decoders get the parts that pictures are made of and no others, sizes are compared wherever a file
states them twice, and what a decoder allocates is bounded by ``max_pixels`` before it starts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from pager_ray.errors import InputError
from pager_ray.read import highrange, jpeg, jxl
from pager_ray.read.avif import coded_pixels
from pager_ray.read.boxes import under_its_brand
from pager_ray.read.colour import PROFILE_CONVERTED, Conversion, conversion_for
from pager_ray.read.damage import DECODER_ERRORS, corrupt
from pager_ray.read.exif import orientation_of
from pager_ray.read.formats import detect_format
from pager_ray.read.png import png_parts
from pager_ray.read.quiet import quiet
from pager_ray.read.tiff import check_kind, check_tiles, has_usual_codec, set_planes, value_bytes

if TYPE_CHECKING:
    from jaxtyping import UInt8, UInt16

# libjpeg's words for damage that leaves the picture whole: bytes between two segments, as some cameras write them, and
# a broken colour profile, which is left out of account.
_HARMLESS = ("extraneous bytes before marker", "bad ICC marker")
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height

# Entries of TIFF files of old cameras that point behind the end.
_LENIENT_BYTES = 1 << 16
# Pixels that are converted at a time: a whole picture would be held three times.
_BAND_PIXELS = 1 << 22
_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}

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
        opened: Pillow's view of the file, of a JPEG without most of its metadata; or the head of another format.
    """

    data: bytes
    format: str
    width: int
    height: int
    xmp: bytes | None
    profile: bytes | None
    orientation: int
    opened: ImageFile | highrange.LightHead | jxl.JxlHead

    @property
    def image(self) -> ImageFile:
        """Pillow's view of a file.

        Raises:
            InputError: ``unsupported_format``: Pillow does not read it.
        """
        if not isinstance(self.opened, ImageFile):
            raise InputError("unsupported_format", f"{self.format} files are read as panoramas alone")
        return self.opened


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


def open_image(data: bytes, max_pixels: int) -> ImageHeader:
    """Read format, size and metadata, and check limits, before any pixel is decoded.

    Raises:
        InputError: ``empty_file``, ``not_an_image``, ``unsupported_format``, ``corrupt_image`` or ``too_large``.
    """
    name, reader = detect_format(data)
    if name == "TIFF" and value_bytes(data) > 2 * len(data) + _LENIENT_BYTES:
        raise corrupt(name, "its entries are larger than the file")
    if reader is None:
        return _open_other(name, data, max_pixels)
    parts, profile = {"JPEG": _jpeg_parts, "PNG": png_parts}.get(name, _whole)(data)
    if name in ("AVIF", "HEIC"):
        parts = under_its_brand(data, name)
    with quiet():
        try:
            image = reader(io.BytesIO(parts))
        except Image.DecompressionBombError as error:
            raise InputError("too_large", f"{name} file: {error}") from error
        except DECODER_ERRORS as error:
            if name == "TIFF":
                check_kind(data)
            raise corrupt(name, error) from error
        width, height = image.size
        _check_size(name, width, height, max_pixels)
        coded = coded_pixels(data) if name == "AVIF" else 0
        if coded > max_pixels:
            raise InputError(
                "too_large",
                f"AVIF file that says {width}×{height} and holds {coded} pixels, at most {max_pixels} are read",
            )
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


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InputError("too_large", f"{width}×{height} are {width * height} pixels, at most {max_pixels} are read")
    if width < 1 or height < 1:
        raise InputError("corrupt_image", f"{name} file of {width}×{height} pixels")


def _open_other(name: str, data: bytes, max_pixels: int) -> ImageHeader:
    """The header of a file that Pillow does not read."""
    head: highrange.LightHead | jxl.JxlHead
    try:
        if name == "JPEG XL":
            head = jxl.read_head(data)
        elif name == "OpenEXR":
            head = highrange.read_exr_head(data, max_pixels)
        else:
            head = highrange.read_radiance_head(data)
    except InputError:
        raise
    except DECODER_ERRORS as error:
        raise corrupt(name, error) from error
    _check_size(name, head.width, head.height, max_pixels)
    return ImageHeader(data, name, head.width, head.height, head.xmp, None, 1, head)


def _whole(data: bytes) -> tuple[bytes, bytes | None]:
    return data, None


def _jpeg_parts(data: bytes) -> tuple[bytes, bytes | None]:
    """A JPEG's header, which is all that Pillow is asked for, and its colour profile."""
    try:
        jpeg.check_scans(data)
        parts = jpeg.split(data)
    except jpeg.Broken as error:
        raise corrupt("JPEG", str(error)) from error
    return parts.head, parts.profile


def decode_pixels(header: ImageHeader, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """As :func:`decode`, in the picture's own colours, whatever was noticed on the way."""
    return decode(header, width, height).rgb


def decode(header: ImageHeader, width: int, height: int, exposure: highrange.Exposure = "auto") -> Pixels:
    """Decode to RGB, upright, at the image's own size or a smaller one that is at least ``width`` × ``height``.

    Args:
        exposure: of light without a limit; see :mod:`pager_ray.read.highrange`.

    Raises:
        InputError: ``corrupt_image``, ``unsupported_format`` or ``too_large``.
    """
    if header.orientation in _TURNED:
        width, height = height, width
    conversion: Conversion | None = None
    remark: str | None = None
    with _decoding(header):
        if not isinstance(header.opened, ImageFile):
            return _decode_other(header, header.opened, width, height, exposure)
        conversion, remark = conversion_for(header.profile, header.image.mode)
        if header.format == "JPEG":
            pixels = _decode_jpeg(header, conversion, width, height)
        else:
            pixels = _decode_with_pillow(header.image, conversion)
    upright = Pixels(
        np.ascontiguousarray(_upright(pixels.rgb, header.orientation)),
        None if pixels.hidden is None else _upright(pixels.hidden, header.orientation),
        remarks=pixels.remarks,
    )
    return _coloured(upright, conversion, remark)


def decode_light(header: ImageHeader, width: int, height: int) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """The largest channel of each pixel, upright; of grey with 16 bits all of them, as their values may all be small.

    Args:
        header, width, height: as of :func:`decode`.

    Raises:
        InputError: as of :func:`decode`.
    """
    if isinstance(header.opened, ImageFile) and header.image.mode.startswith("I;16"):
        with _decoding(header):
            header.image.load()
            return np.ascontiguousarray(_upright(np.asarray(header.image).astype(np.uint16), header.orientation))
    red, green, blue = cv2.split(decode_pixels(header, width, height))
    return cv2.max(cv2.max(red, green), blue)


@contextmanager
def _decoding(header: ImageHeader) -> Iterator[None]:
    """Say what a decoder's error means."""
    with quiet():
        try:
            yield
        except Image.DecompressionBombError as error:
            raise InputError("too_large", f"{header.format} file: {error}") from error
        except MemoryError as error:
            raise InputError(
                "too_large", f"{header.width}×{header.height} pixels do not fit into this machine's memory"
            ) from error
        except DECODER_ERRORS as error:
            if header.format == "TIFF" and not has_usual_codec(header.data):
                check_kind(header.data)
            raise corrupt(header.format, error) from error


def _coloured(pixels: Pixels, conversion: Conversion | None, remark: str | None) -> Pixels:
    """Pixels with what is still to be done about their colours, which is nothing where they were inks."""
    remarks = pixels.remarks + ((remark or PROFILE_CONVERTED,) if remark or conversion else ())
    return replace(
        pixels,
        conversion=conversion if conversion is not None and conversion.space != "CMYK" else None,
        remarks=remarks,
    )


def _decode_other(
    header: ImageHeader,
    head: highrange.LightHead | jxl.JxlHead,
    width: int,
    height: int,
    exposure: highrange.Exposure,
) -> Pixels:
    """Decode a file that Pillow does not read."""
    if isinstance(head, jxl.JxlHead):
        image, profile = jxl.load(header.data, header.width * header.height)
        if isinstance(image, bytes):
            inner = open_image(image, header.width * header.height)
            if (inner.width, inner.height) != (header.width, header.height):
                raise corrupt(header.format, f"header says {header.width}×{header.height} pixels, the JPEG in it has "
                               f"{inner.width}×{inner.height}")  # fmt: skip
            return decode(inner, width, height)
        conversion, remark = conversion_for(profile, image.mode)
        return _coloured(_to_rgb(image, conversion), conversion, remark)
    hidden: np.ndarray | None = None
    if header.format == "OpenEXR":
        light, empty = highrange.load_exr(head)
        hidden = empty.astype(np.uint8) if empty is not None and empty.any() else None
    else:
        light = highrange.load_radiance(head)
    return Pixels(highrange.expose(light, exposure), hidden, remarks=(highrange.TONE_MAPPED,))


def _decode_with_pillow(image: ImageFile, conversion: Conversion | None) -> Pixels:
    size = image.size
    image.load()
    if image.size != size:
        raise corrupt(
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


def _to_rgb(image: Image.Image, conversion: Conversion | None) -> Pixels:
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
        values = np.asarray(image)
        grey = cv2.cvtColor((values >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB)
        # Of grey with 16 bits Pillow makes no alpha of the value that is transparent.
        is_hidden = values == image.info.get("transparency", -1)
        grey[is_hidden] = 0
        return Pixels(grey, is_hidden.astype(np.uint8) * 255 if is_hidden.any() else None)
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
