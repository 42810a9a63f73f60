"""Image bytes to RGB bytes: headers and limits first, then pixels, at reduced size where the decoder does that itself.

What is taken for granted elsewhere and decided here: EXIF orientation is applied; embedded colour profiles are not;
more than eight bits per channel keep the upper eight; transparency is blended over black; grey becomes three equal
channels; of several frames or pages the first counts.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from pager_ray.errors import InputError
from pager_ray.read.formats import detect_format

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
# libjpeg's words for bytes between two segments: some cameras leave them, and the picture is whole.
_PADDING = "extraneous bytes before marker"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """An opened image whose size is known and allowed.

    Attributes:
        width: pixels, as displayed (EXIF orientation applied).
        height: pixels, as displayed.
        xmp: the XMP packet, if there is one.
    """

    data: bytes
    format: str
    width: int
    height: int
    xmp: bytes | None
    orientation: int
    image: ImageFile


def _corrupt(name: str, error: Exception) -> InputError:
    return InputError("corrupt_image", f"{name} file is damaged or incomplete: {error}")


def _orientation(image: ImageFile) -> int:
    """EXIF orientation 1…8; unreadable EXIF is no reason to lose the picture: viewers show it upright, so do we."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def open_image(data: bytes, max_pixels: int) -> ImageHeader:
    """Read format, size and metadata, and check the limit, before any pixel is decoded.

    PNG is decoded here already when it is within the limit, because its metadata may follow the pixels.

    Raises:
        InputError: ``empty_file``, ``not_an_image``, ``unsupported_format``, ``corrupt_image`` or ``too_large``.
    """
    name, reader = detect_format(data)
    try:
        image = reader(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise InputError("too_large", f"{name} file: {error}") from error
    except _DECODER_ERRORS as error:
        raise _corrupt(name, error) from error
    width, height = image.size
    if width * height > max_pixels:
        raise InputError("too_large", f"{width}×{height} are {width * height} pixels, at most {max_pixels} are read")
    if width < 1 or height < 1:
        raise InputError("corrupt_image", f"{name} file of {width}×{height} pixels")
    if isinstance(image, PngImageFile):
        image = _decode_png(data)
    # Pillow turns TIFF itself, in size and pixels.
    orientation = 1 if name == "TIFF" else _orientation(image)
    if orientation in _TURNED:
        width, height = height, width
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return ImageHeader(data, name, width, height, xmp if isinstance(xmp, bytes) else None, orientation, image)


def _decode_png(data: bytes) -> PngImageFile:
    """Decode after checking every chunk's CRC up to the last: the decoder alone stops at the last row."""
    if data.rfind(_PNG_END) < 0:
        raise InputError("corrupt_image", "PNG file is incomplete: its end is missing")
    try:
        PngImageFile(io.BytesIO(data)).verify()
        image = PngImageFile(io.BytesIO(data))
        image.load()
    except _DECODER_ERRORS as error:
        raise _corrupt("PNG", error) from error
    return image


def decode_pixels(header: ImageHeader, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """Decode to RGB, upright, at the image's own size or a smaller one that is at least ``width`` × ``height``.

    Raises:
        InputError: ``corrupt_image``, ``unsupported_format`` or ``too_large``.
    """
    if header.orientation in _TURNED:
        width, height = height, width
    if header.format == "JPEG":
        pixels = _decode_jpeg(header, width, height)
    else:
        try:
            header.image.load()
            pixels = _to_rgb(header.image)
        except Image.DecompressionBombError as error:
            raise InputError("too_large", f"{header.format} file: {error}") from error
        except _DECODER_ERRORS as error:
            raise _corrupt(header.format, error) from error
    return np.ascontiguousarray(_upright(pixels, header.orientation))


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
        if _PADDING in str(error):
            return _decode_padded_jpeg(header)
        raise _corrupt("JPEG", error) from error
    if pixels.shape[2] == 3:
        return pixels
    # Four-channel JPEGs hold inverted ink (Adobe's convention, which every reader follows): light = ink · black.
    cyan, magenta, yellow, black = cv2.split(pixels)
    return cv2.merge([cv2.multiply(ink, black, scale=1 / 255) for ink in (cyan, magenta, yellow)])


def _decode_padded_jpeg(header: ImageHeader) -> UInt8[np.ndarray, "h w 3"]:
    """Decode with Pillow, which skips bytes between segments as every viewer does, and still refuses a cut file."""
    try:
        header.image.load()
        return _to_rgb(header.image)
    except _DECODER_ERRORS as error:
        raise _corrupt("JPEG", error) from error


def _to_rgb(image: ImageFile) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode.startswith("I;16"):
        return cv2.cvtColor((np.asarray(image) >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    if image.mode not in {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}:
        raise InputError(
            "unsupported_format", f"{image.format} file with {image.mode} pixels; save it as RGB with 8 or 16 bits"
        )
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
