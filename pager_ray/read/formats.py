"""Which image files are read at all: by name for listings, by their first bytes for decoding.

The list is explicit. Decoders that run programs (EPS, PDF), follow references (SVG) or are rare enough to be little
tested are an attack surface in a job that opens millions of strangers' files, and no panorama needs them.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from PIL import AvifImagePlugin, BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from pager_ray.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif"})

# The plugins' classes are constructed directly. Image.open would add its own pixel limit, as a process-wide global
# and as warnings that cannot be silenced for one thread only.
_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"8BPS", "Photoshop"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}


def is_image_name(uri: str) -> bool:
    """Tell whether a path or URL names a file to read; hidden files (``.…``, macOS's ``._photo.jpg``) are not."""
    scheme, separator, _ = uri.partition("://")
    # Only there does "?" start a query; in a file or an object's name it is a letter like any other.
    path = PurePosixPath(urlsplit(uri).path if separator and scheme.lower() in {"http", "https"} else uri)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def supported_formats() -> list[str]:
    """List the formats that this installation decodes."""
    return [name for name in _READERS if name != "AVIF" or AvifImagePlugin.SUPPORTED]


def _name_format(data: bytes) -> str | None:
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "ISO media")
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in head:
        return "SVG"
    return None


def detect_format(data: bytes) -> tuple[str, type[ImageFile]]:
    """Recognise a file by its first bytes, whatever it is called; gives the format's name and Pillow's class for it.

    Raises:
        InputError: ``empty_file``, ``not_an_image`` or ``unsupported_format``.
    """
    accepted = ", ".join(supported_formats())
    if not data:
        raise InputError("empty_file", "the file is empty")
    name = _name_format(data)
    if name is None:
        start = data[:16].decode("ascii", "backslashreplace")
        raise InputError("not_an_image", f"{len(data)} bytes that start with {start!r} are no image; give {accepted}")
    if name not in supported_formats():
        raise InputError("unsupported_format", f"{name} files are not read; convert to one of {accepted}")
    return name, _READERS[name]
