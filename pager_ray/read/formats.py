"""Which image files are read at all: by name for listings, by their first bytes for decoding.

The list is explicit, and heavy decoders are an extra (``pip install 'pager_ray[formats]'``). Decoders that run programs
(EPS, PDF), follow references (SVG) or are rare enough to be little tested are an attack surface in a job that opens
millions of strangers' files, and no panorama needs them.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from PIL import AvifImagePlugin, BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from pager_ray.errors import InputError
from pager_ray.read.boxes import media_format

_SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    ".png": "PNG",
    ".webp": "WebP",
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".bmp": "BMP",
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".jxl": "JPEG XL",
    ".hdr": "Radiance HDR",
    ".exr": "OpenEXR",
}
IMAGE_SUFFIXES = frozenset(_SUFFIXES)
"""Those of all formats that are read, some of them by an extra alone."""

EXTRA = "formats"
_DECODERS = {"HEIC": "pillow_heif", "JPEG XL": "pillow_jxl", "OpenEXR": "OpenEXR"}
"""Modules of the extra, by the format that they read."""
_ALWAYS = ("Radiance HDR",)

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
    (b"#?RGBE", "Radiance HDR"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
)


@cache
def _is_installed(module: str) -> bool:
    return find_spec(module) is not None


def _is_read(name: str) -> bool:
    """Whether this installation decodes a format."""
    if name in _DECODERS:
        return _is_installed(_DECODERS[name])
    return name in _ALWAYS or (name in _READERS and (name != "AVIF" or AvifImagePlugin.SUPPORTED))


def is_image_name(uri: str) -> bool:
    """Tell whether a path or URL names a file that is read here; hidden files (``.…``, macOS's ``._x.jpg``) are not."""
    scheme, separator, _ = uri.partition("://")
    # Only there does "?" start a query; in a file or an object's name it is a letter like any other.
    path = PurePosixPath(urlsplit(uri).path if separator and scheme.lower() in {"http", "https"} else uri)
    name = _SUFFIXES.get(path.suffix.lower())
    return name is not None and _is_read(name) and not path.name.startswith(".")


def extra_for(suffix: str) -> str | None:
    """What reads files of a suffix that are not read here, as a person installs it; None where nothing does."""
    name = _SUFFIXES.get(suffix.lower())
    return f"pip install 'pager_ray[{EXTRA}]'" if name in _DECODERS and not _is_read(name) else None


def supported_formats() -> list[str]:
    """List the formats that this installation decodes."""
    return [name for name in (*_READERS, *_ALWAYS, *_DECODERS) if _is_read(name)]


def _name_format(data: bytes) -> str | None:
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return media_format(data)
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in head:
        return "SVG"
    return None


def detect_format(data: bytes) -> tuple[str, type[ImageFile] | None]:
    """Recognise a file by its first bytes, whatever it is called; gives the format's name and Pillow's class for it.

    There is no such class for formats that Pillow does not read.

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
    if name in _DECODERS and not _is_read(name):
        raise InputError(
            "unsupported_format",
            f"{name} files are read by an extra: pip install 'pager_ray[{EXTRA}]' on every node, then --retry-rejects "
            f"unsupported_format; or convert to one of {accepted}",
        )
    if name == "ISO media":
        raise InputError(
            "unsupported_format",
            "ISO media files are no pictures: a job takes a 360° video as a whole, and a frame of one is called "
            f"video://NUMBER::FILE; convert others to one of {accepted}",
        )
    if name not in supported_formats():
        raise InputError("unsupported_format", f"{name} files are not read; convert to one of {accepted}")
    if name == "HEIC":
        return name, _heif_reader()
    return name, _READERS.get(name)


@cache
def _heif_reader() -> type[ImageFile]:
    from pillow_heif import options
    from pillow_heif.as_plugin import HeifImageFile

    # Tasks are as many as there are cores; and of all pictures in a file the first is read.
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return HeifImageFile


LEFT_BEHIND = frozenset({"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found"})
"""Folders of file servers, archivers and systems, compared without case; so is every folder whose name begins with a
dot. The pictures in them are thumbnails and deleted ones."""


def is_hidden_folder(name: str) -> bool:
    """Whether what lies in a folder of this name is none of a collection's."""
    return (name.startswith(".") and name not in (".", "..")) or name.casefold() in LEFT_BEHIND


def is_left_behind(path: str) -> bool:
    """Whether a file, or a member of an archive, is one that tools leave behind, by its path below what was named."""
    *folders, name = path.split("/")
    return name.startswith(".") or any(map(is_hidden_folder, folders))
