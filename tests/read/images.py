"""Image files for the tests of reading: asymmetric pictures in every format, with metadata on demand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from pager_ray.read.formats import supported_formats

FORMATS = [name for name in supported_formats() if name in ("JPEG", "PNG", "WebP", "TIFF", "BMP", "AVIF")]
"""Those that Pillow writes, too."""
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WebP": {"lossless": True}, "TIFF": {}, "BMP": {}}


def picture(width: int, height: int) -> np.ndarray:
    """A smooth RGB picture (height, width, 3) that no flip or turn maps onto itself."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(width, height)
    channels = [128 + 100 * np.sin(9 * x + 2 * y), 40 + 200 * y / y.max(), 250 * x * (1 - 0.3 * y)]
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    """Write an image to bytes."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gpano_xmp(elements: bool = False, **fields: object) -> bytes:
    """An XMP packet with GPano properties, as attributes or as elements."""
    attributes = "" if elements else "".join(f' GPano:{name}="{value}"' for name, value in fields.items())
    children = "".join(f"<GPano:{name}> {value}\n</GPano:{name}>" for name, value in fields.items()) if elements else ""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"{attributes}>'
        f'{children}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def cropped(left: int, top: int, width: int, height: int, full_width: int, full_height: int) -> dict[str, object]:
    """The GPano fields of a cropped panorama."""
    return {
        "ProjectionType": "equirectangular",
        "CroppedAreaLeftPixels": left,
        "CroppedAreaTopPixels": top,
        "CroppedAreaImageWidthPixels": width,
        "CroppedAreaImageHeightPixels": height,
        "FullPanoWidthPixels": full_width,
        "FullPanoHeightPixels": full_height,
    }


def with_xmp(image: np.ndarray, format: str, xmp: bytes, **options: Any) -> bytes:
    """Write an image with an XMP packet where its format keeps it."""
    if format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return encode(image, format, pnginfo=text, **options)
    if format == "TIFF":
        return encode(image, format, tiffinfo={700: xmp}, **options)
    return encode(image, format, xmp=xmp, **options)


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_bomb(width: int, height: int) -> bytes:
    """A few bytes that announce a grey PNG of any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    chunks = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
