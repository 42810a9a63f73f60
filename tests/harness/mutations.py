"""Hostile inputs, made from what real encoders write: files that are damaged, forged or bombs, and names that bite.

Every case is a pure function of a seed and its number, and says in its name what was done to which file. The families
take turns, so that few cases already meet each kind of malice.
"""

from __future__ import annotations

import functools
import importlib
import io
import random
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from pager_ray.read.formats import supported_formats
from pager_ray.samples import make_scene, render

HEIGHT = 64
GPANO = "http://ns.google.com/photos/1.0/panorama/"
SIGNATURES = (
    b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\1\0\0WEBPVP8 ", b"RIFF\0\1\0\0WEBPVP8X", b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0\x10\0\0\0", b"BM", b"\0\0\0\x20ftypavif", b"\0\0\0\x20ftypheic", b"GIF89a",
    b"%PDF-1.7", b"<?xml ", b"\0\0\0\x0cJXL ", b"8BPS", b"PK\x03\x04",
)  # fmt: skip
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".bmp", ".avif")


@dataclass(frozen=True)
class Case:
    """One hostile file: what was done, a suffix that may lie, and the bytes."""

    name: str
    suffix: str
    data: bytes


@dataclass(frozen=True)
class Base:
    """One file as an encoder wrote it."""

    name: str
    format: str
    data: bytes


# --- what real encoders write ---------------------------------------------------------------------------------------


@functools.cache
def _picture(number: int) -> np.ndarray:
    """A rendered panorama (H, 2H, 3)."""
    scene = make_scene(number, "outdoor" if number % 2 else "indoor")
    return render(scene, HEIGHT, 2 * HEIGHT, supersample=1).rgb


def _encode(image: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def xmp_packet(attributes: str = "", children: str = "", prolog: str = "") -> bytes:
    """An XMP packet with GPano attributes and child elements, as strangers may fill it."""
    return (
        f'{prolog}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:GPano="{GPANO}" {attributes}>{children}</rdf:Description></rdf:RDF>'
        "</x:xmpmeta>"
    ).encode()


_CROP = {
    "ProjectionType": "equirectangular",
    "CroppedAreaLeftPixels": "4",
    "CroppedAreaTopPixels": "16",
    "CroppedAreaImageWidthPixels": "120",
    "CroppedAreaImageHeightPixels": "30",
    "FullPanoWidthPixels": "128",
    "FullPanoHeightPixels": "64",
}


def gpano_attributes(fields: dict[str, str]) -> str:
    """GPano properties as XML attributes."""
    return " ".join(f'GPano:{name}="{value}"' for name, value in fields.items())


def with_xmp(image: np.ndarray, format: str, packet: bytes, **options: Any) -> bytes:
    """Write an image with an XMP packet, or with whatever else these bytes are, where its format keeps one."""
    if format == "JPEG":
        data = _encode(image, format, **options)
        body = b"http://ns.adobe.com/xap/1.0/\0" + packet
        return data[:2] + b"\xff\xe1" + struct.pack(">H", min(len(body) + 2, 65535)) + body[:65533] + data[2:]
    if format == "PNG":
        data = _encode(image, format, **options)
        return data[:33] + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet) + data[33:]
    if format == "TIFF":
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory.tagtype[700] = 1
        directory[700] = packet
        return _encode(image, format, tiffinfo=directory, **options)
    return _encode(image, format, xmp=packet, **options)


@functools.cache
def bases() -> tuple[Base, ...]:
    """Small panoramas in every format and flavour that the reader takes, some of them cropped."""
    rgb, other = _picture(0), _picture(1)
    image = Image.fromarray(rgb)
    grey, crop = image.convert("L"), np.ascontiguousarray(rgb[16:46, 4:124])
    deep = np.asarray(grey).astype(np.uint16) << 8
    packet = xmp_packet(gpano_attributes(_CROP))
    turned: Image.Exif = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    alpha = np.dstack([rgb, np.asarray(grey)])
    found = {
        "jpeg-baseline": ("JPEG", _encode(rgb, "JPEG", quality=90)),
        "jpeg-progressive": ("JPEG", _encode(rgb, "JPEG", progressive=True)),
        "jpeg-grey": ("JPEG", _encode(grey, "JPEG")),
        "jpeg-cmyk": ("JPEG", _encode(image.convert("CMYK"), "JPEG")),
        "jpeg-restart": ("JPEG", _encode(rgb, "JPEG", restart_marker_blocks=4)),
        "jpeg-turned": ("JPEG", _encode(np.ascontiguousarray(np.rot90(rgb)), "JPEG", exif=turned)),
        "jpeg-gpano": ("JPEG", with_xmp(crop, "JPEG", packet)),
        "png-rgb": ("PNG", _encode(rgb, "PNG")),
        "png-16bit": ("PNG", _encode(Image.fromarray(deep), "PNG")),
        "png-palette": ("PNG", _encode(image.quantize(64), "PNG", transparency=3)),
        "png-alpha": ("PNG", _encode(alpha, "PNG")),
        "png-interlaced": ("PNG", interlaced_png(rgb)),
        "png-animated": ("PNG", _encode(image, "PNG", save_all=True, append_images=[Image.fromarray(other)])),
        "png-gpano": ("PNG", with_xmp(crop, "PNG", packet)),
        "webp-lossy": ("WebP", _encode(rgb, "WebP", quality=70)),
        "webp-lossless": ("WebP", _encode(alpha, "WebP", lossless=True)),
        "webp-animated": ("WebP", _encode(image, "WebP", save_all=True, append_images=[Image.fromarray(other)])),
        "webp-gpano": ("WebP", with_xmp(crop, "WebP", packet)),
        "tiff-raw": ("TIFF", _encode(rgb, "TIFF")),
        "tiff-lzw": ("TIFF", _encode(rgb, "TIFF", compression="tiff_lzw", tiffinfo={278: 16})),
        "tiff-deflate": ("TIFF", _encode(rgb, "TIFF", compression="tiff_adobe_deflate")),
        "tiff-jpeg": ("TIFF", _encode(rgb, "TIFF", compression="jpeg")),
        "tiff-pages": ("TIFF", _encode(image, "TIFF", save_all=True, append_images=[Image.fromarray(other)])),
        "tiff-16bit": ("TIFF", _encode(Image.fromarray(deep), "TIFF")),
        "tiff-float": ("TIFF", _encode(Image.fromarray(np.asarray(grey, np.float32)), "TIFF")),
        "tiff-tiled": ("TIFF", tiled_tiff(rgb, 64)),
        "tiff-big": ("TIFF", _encode(rgb, "TIFF", big_tiff=True)),
        "tiff-gpano": ("TIFF", with_xmp(crop, "TIFF", packet)),
        "bmp-rgb": ("BMP", _encode(rgb, "BMP")),
        "bmp-palette": ("BMP", _encode(image.quantize(16), "BMP")),
    }
    found["hdr"] = ("Radiance HDR", cv2.imencode(".hdr", _light(other)[..., ::-1])[1].tobytes())
    if "HEIC" in supported_formats():
        found["heic"] = ("HEIC", _heic(image))
    if "JPEG XL" in supported_formats():
        found["jxl"] = ("JPEG XL", _jxl(image, lossless=False))
        found["jxl-alpha"] = ("JPEG XL", _jxl(Image.fromarray(alpha), lossless=True))
    if "OpenEXR" in supported_formats():
        found["exr"] = ("OpenEXR", _exr(_light(rgb)))
    if "AVIF" in supported_formats():
        found["avif"] = ("AVIF", _encode(rgb, "AVIF", max_threads=1))
        found["avif-gpano"] = ("AVIF", with_xmp(crop, "AVIF", packet, max_threads=1))
    return tuple(Base(name, format, data) for name, (format, data) in found.items())


def _light(rgb: np.ndarray) -> np.ndarray:
    """A picture as light that a camera could not hold."""
    return (rgb / np.float32(255)) ** 2.2 * 20


def _heic(image: Image.Image) -> bytes:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=60)
    return file.getvalue()


def _jxl(image: Image.Image, **options: Any) -> bytes:
    # Its import is what makes Pillow know the format.
    assert importlib.import_module("pillow_jxl")
    return _encode(image, "JXL", **options)


def _exr(light: np.ndarray) -> bytes:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        OpenEXR.File(header, {"RGB": light.astype(np.float16)}).write(f"{folder}/a.exr")
        return Path(f"{folder}/a.exr").read_bytes()


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """One PNG chunk with the right CRC."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def interlaced_png(rgb: np.ndarray) -> bytes:
    """An Adam7 PNG, which Pillow reads but does not write."""
    height, width = rgb.shape[:2]
    raw = bytearray()
    for y, x, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        for row in rgb[y::dy, x::dx]:
            raw += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(raw))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def tiff_file(entries: dict[int, tuple[int, list[int]]], data: bytes) -> bytes:
    """A little-endian TIFF of one directory; ``data`` begins at byte 8, arrays of values follow the directory."""
    formats = {1: "B", 3: "H", 4: "I"}
    start = 8 + len(data) + len(data) % 2
    directory, extra = struct.pack("<H", len(entries)), b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}{formats[kind]}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", after + len(extra)), extra + packed
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + directory + bytes(4) + extra


def tiled_tiff(rgb: np.ndarray, side: int) -> bytes:
    """A tiled deflate TIFF, which Pillow reads but does not write."""
    height, width = rgb.shape[:2]
    padded = np.pad(rgb, ((0, -height % side), (0, -width % side), (0, 0)))
    tiles = [
        zlib.compress(padded[y : y + side, x : x + side].tobytes())
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    offsets = [8 + sum(map(len, tiles[:number])) for number in range(len(tiles))]
    tags = _tiff_tags(width, height, 8)
    tags |= {322: (4, [side]), 323: (4, [side]), 324: (4, offsets), 325: (4, [len(tile) for tile in tiles])}
    return tiff_file(tags, b"".join(tiles))


def _tiff_tags(width: int, height: int, compression: int) -> dict[int, tuple[int, list[int]]]:
    return {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8, 8, 8]),
        259: (3, [compression]),
        262: (3, [2]),
        277: (3, [3]),
        284: (3, [1]),
    }


# --- how files fall into parts --------------------------------------------------------------------------------------


def _parts(format: str, data: bytes) -> list[bytes]:
    """A file as its chunks, segments, boxes or blocks, in order; joined they are the file again."""
    cuts = [0]
    if format == "PNG":
        at = 8
        while at + 8 <= len(data):
            cuts.append(at)
            at += 12 + int.from_bytes(data[at : at + 4], "big")
    elif format == "JPEG":
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            cuts.append(at)
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        cuts.append(at)
    elif format == "WebP":
        at = 12
        while at + 8 <= len(data):
            cuts.append(at)
            size = int.from_bytes(data[at + 4 : at + 8], "little")
            at += 8 + size + size % 2
    elif format == "AVIF":
        at = 0
        while at + 8 <= len(data):
            cuts.append(at)
            at += max(8, int.from_bytes(data[at : at + 4], "big"))
    else:
        cuts += range(64, len(data), 512)
    ends = [*cuts[1:], len(data)]
    return [data[start:end] for start, end in zip(cuts, ends, strict=True) if end > start]


def _tiff_entries(data: bytes) -> tuple[str, int, int]:
    """Byte order, offset of the first directory's first entry, and number of entries of a classic TIFF."""
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(f"{order}I", data, 4)[0]
    return order, at + 2, struct.unpack_from(f"{order}H", data, at)[0]


def _set_tiff_tag(data: bytes, tag: int, value: int) -> bytes:
    """Overwrite a tag's inline value (or its offset), if the directory has the tag."""
    order, first, count = _tiff_entries(data)
    changed = bytearray(data)
    for entry in range(first, first + 12 * count, 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] == tag:
            kind = struct.unpack_from(f"{order}H", data, entry + 2)[0]
            if kind == 3:
                struct.pack_into(f"{order}HH", changed, entry + 8, value & 0xFFFF, 0)
            else:
                struct.pack_into(f"{order}I", changed, entry + 8, value & 0xFFFFFFFF)
    return bytes(changed)


# --- families of mutations: (random numbers, pixel limit) → (what was done, suffix of a true name, bytes) ------------

Made = tuple[str, bytes]
Family = Callable[[random.Random, int], Made]


def _any(rng: random.Random, *formats: str) -> Base:
    return rng.choice([base for base in bases() if not formats or base.format in formats])


def whole(rng: random.Random, _: int) -> Made:
    """A file as the encoder wrote it: what must go on being read."""
    base = _any(rng)
    return f"whole {base.name}", base.data


def flips(rng: random.Random, _: int) -> Made:
    """Bits flipped in the header, the body or anywhere; a few or many."""
    base = _any(rng)
    where = rng.choice(["header", "body", "anywhere"])
    size = len(base.data)
    low, high = {"header": (0, min(size, 256)), "body": (min(256, size // 2), size), "anywhere": (0, size)}[where]
    count = rng.choice([1, 2, 5, 40, max(1, size // 8)])
    data = bytearray(base.data)
    for _ in range(count):
        data[rng.randrange(low, high)] ^= 1 << rng.randrange(8)
    return f"{count} bits flipped {where} of {base.name}", bytes(data)


def truncation(rng: random.Random, _: int) -> Made:
    """A file cut at any scale: by a byte, a block, to a share or to its first bytes."""
    base = _any(rng)
    size = len(base.data)
    kept = rng.choice(
        [size - 1 - rng.randrange(8), size - rng.randrange(1, 512), rng.randrange(size), rng.randrange(48)]
    )
    kept = max(0, min(kept, size - 1))
    return f"cut to {kept} of {size} bytes of {base.name}", base.data[:kept]


def overwritten(rng: random.Random, _: int) -> Made:
    """A stretch set to one byte, to noise, inserted or deleted."""
    base = _any(rng)
    start = rng.randrange(len(base.data))
    length = rng.choice([1, 4, 64, 1024])
    what = rng.choice(["zeroed", "set to FF", "replaced by noise", "inserted noise", "deleted"])
    old = base.data[start : start + length]
    noise = rng.randbytes(length)
    new = {"zeroed": bytes(len(old)), "set to FF": b"\xff" * len(old), "replaced by noise": noise[: len(old)],
           "inserted noise": noise + old, "deleted": b""}[what]  # fmt: skip
    return f"{length} bytes at {start} {what} in {base.name}", base.data[:start] + new + base.data[start + length :]


def wrong_magic(rng: random.Random, _: int) -> Made:
    """The first bytes of another format."""
    base = _any(rng)
    magic = rng.choice(SIGNATURES)
    data = magic + (base.data if rng.random() < 0.3 else base.data[len(magic) :])
    return f"magic {magic[:8]!r} on {base.name}", data


def shuffled(rng: random.Random, _: int) -> Made:
    """Chunks duplicated, removed or reordered."""
    base = _any(rng)
    parts = _parts(base.format, base.data)
    what = rng.choice(["duplicated", "removed", "reordered", "repeated 300 times"])
    at = rng.randrange(1, len(parts)) if len(parts) > 1 else 0
    if what == "duplicated":
        parts.insert(rng.randrange(1, len(parts) + 1), parts[at])
    elif what == "removed":
        del parts[at]
    elif what == "reordered":
        rest = parts[1:]
        rng.shuffle(rest)
        parts[1:] = rest
    else:
        parts[at:at] = [parts[at]] * 300
    return f"part {at} {what} in {base.name}", b"".join(parts)


def lengths(rng: random.Random, _: int) -> Made:
    """A length field that lies: of a chunk, a segment, a box, a directory entry or the file."""
    base = _any(rng, "PNG", "JPEG", "WebP", "AVIF", "TIFF", "BMP")
    data = bytearray(base.data)
    value = rng.choice([0, 1, 2, 3, 0x7F, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), rng.getrandbits(32)])
    if base.format == "TIFF":
        order, first, count = _tiff_entries(base.data) if base.name != "tiff-big" else ("<", 24, 8)
        at = first + 12 * rng.randrange(max(1, min(count, 20))) + rng.choice([4, 8])
        struct.pack_into(f"{order}I", data, min(at, len(data) - 4), value)
    elif base.format == "BMP":
        at = rng.choice([2, 10, 14, 34, 46])
        struct.pack_into("<I", data, at, value)
    else:
        parts = _parts(base.format, base.data)
        number = rng.randrange(1, len(parts)) if base.format != "AVIF" else rng.randrange(len(parts))
        at = sum(map(len, parts[:number])) + {"PNG": 0, "JPEG": 2, "WebP": 4, "AVIF": 0}[base.format]
        at = min(at, len(data) - 4)
        if base.format == "JPEG":
            struct.pack_into(">H", data, at, value & 0xFFFF)
        else:
            struct.pack_into("<I" if base.format == "WebP" else ">I", data, at, value)
    return f"length at {at} set to {value} in {base.name}", bytes(data)


_SIZES = ((0, 0), (1, 1), (64, 32), (30_000, 15_000), (65_535, 65_535), (0x7FFFFFFF, 0x3FFFFFFF), (0xFFFFFFFF, 1))


def dimensions(rng: random.Random, limit: int) -> Made:
    """Other sizes written into a real header, as its format keeps them; often just within the pixel limit."""
    base = _any(rng, "JPEG", "PNG", "WebP", "TIFF", "BMP", "AVIF")
    side = int((limit / 2) ** 0.5)
    width, height = rng.choice([*_SIZES, (2 * side, side), (16_383, 8_192), (limit, 1), (1, limit)])
    data = bytearray(base.data)
    if base.format == "JPEG":
        frame = next((at for kind in (b"\xff\xc0", b"\xff\xc2") if (at := data.find(kind)) >= 0), 0)
        struct.pack_into(">HH", data, frame + 5, height & 0xFFFF, width & 0xFFFF)
    elif base.format == "PNG":
        struct.pack_into(">II", data, 16, width, height)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif base.format == "WebP":
        _set_webp_size(data, width, height)
    elif base.format == "BMP":
        struct.pack_into("<II", data, 18, width, height if rng.random() < 0.7 else -height & 0xFFFFFFFF)
    elif base.format == "AVIF":
        at = data.find(b"ispe")
        struct.pack_into(">II", data, at + 8, width, height)
    else:
        return _tiff_dimensions(rng, base, width, height)
    return f"size {width}x{height} in {base.name}", bytes(data)


def _set_webp_size(data: bytearray, width: int, height: int) -> None:
    for kind, at in ((b"VP8X", data.find(b"VP8X")), (b"VP8L", data.find(b"VP8L")), (b"VP8 ", data.find(b"VP8 "))):
        if at < 0:
            continue
        if kind == b"VP8X":
            data[at + 12 : at + 18] = (width - 1 & 0xFFFFFF).to_bytes(3, "little") + (height - 1 & 0xFFFFFF).to_bytes(
                3, "little"
            )
        elif kind == b"VP8L":
            bits = int.from_bytes(data[at + 9 : at + 13], "little") >> 28 << 28
            bits |= (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14
            data[at + 9 : at + 13] = bits.to_bytes(4, "little")
        else:
            struct.pack_into("<HH", data, at + 14, width & 0x3FFF, height & 0x3FFF)


def _tiff_dimensions(rng: random.Random, base: Base, width: int, height: int) -> Made:
    if base.name == "tiff-big":
        base = next(other for other in bases() if other.name == "tiff-lzw")
    tag, value = rng.choice([(256, width), (257, height), (278, height), (279, width), (322, width), (323, height)])
    data = _set_tiff_tag(base.data, tag, value)
    if rng.random() < 0.5:
        data = _set_tiff_tag(_set_tiff_tag(data, 256, width), 257, height)
    return f"TIFF tag {tag} set to {value} in {base.name}", data


def random_tail(rng: random.Random, _: int) -> Made:
    """Noise behind a real header."""
    base = _any(rng)
    kept = rng.choice([12, 32, 64, 200, len(base.data) // 2])
    size = rng.choice([16, 1000, 60_000])
    return f"{size} random bytes behind {kept} of {base.name}", base.data[:kept] + rng.randbytes(size)


def concatenated(rng: random.Random, _: int) -> Made:
    """Two files in one, or one inside another."""
    first, second = _any(rng), _any(rng)
    if rng.random() < 0.5:
        return f"{first.name} followed by {second.name}", first.data + second.data
    at = rng.randrange(len(first.data))
    return f"{second.name} inside {first.name} at {at}", first.data[:at] + second.data + first.data[at:]


# --- bombs ----------------------------------------------------------------------------------------------------------


def zeros_png(
    width: int, height: int, colour: int = 2, depth: int = 8, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A valid PNG of nothing but zeros: thousands of pixels for a byte."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = 1 + (width * channels * depth + 7) // 8
    packer, parts, left = zlib.compressobj(9), [], row * height
    while left > 0:
        parts.append(packer.compress(bytes(min(left, 1 << 20))))
        left -= 1 << 20
    parts.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", b"".join(parts)) + after
        + png_chunk(b"IEND", b"")
    )  # fmt: skip


def scans_jpeg(width: int, height: int, scans: int) -> bytes:
    """A progressive grey JPEG whose every scan is a few bytes, and costs the decoder a walk over all blocks."""
    blocks = ((width + 7) // 8) * ((height + 7) // 8)

    def table(number: int, symbols: bytes) -> bytes:
        # All symbols have codes of eight bits: 0, 1, 2, …
        counts = bytes([0] * 7 + [len(symbols)] + [0] * 8)
        body = bytes([number]) + counts + symbols
        return b"\xff\xc4" + struct.pack(">H", len(body) + 2) + body

    # EOB runs of 16384…32767 blocks: symbol 0xE0 and 14 more bits, then the remainder in runs of one.
    bits: list[str] = []
    left = blocks
    while left >= 16384:
        run = min(left, 32767)
        bits.append(f"{0:08b}{run - 16384:014b}")
        left -= run
    bits += [f"{1:08b}"] * left
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    coded = int(text or "11111111", 2).to_bytes(max(1, len(text) // 8), "big").replace(b"\xff", b"\xff\0")
    dc = b"\0" * blocks  # eight-bit code 0: no difference
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + coded
    return (
        b"\xff\xd8\xff\xdb\0\x43\0" + b"\x10" * 64
        + b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
        + table(0x00, b"\0") + table(0x10, b"\xe0\0")
        + b"\xff\xda\0\x08\1\1\0\0\0\0" + dc
        + scan * scans + b"\xff\xd9"
    )  # fmt: skip


def tile_bomb(side: int, strips: bool = False) -> bytes:
    """A TIFF of 128×64 pixels whose one tile (or strip) inflates to ``side`` × ``side``."""
    packer = zlib.compressobj(9)
    data = b"".join([packer.compress(bytes(3 * side)) for _ in range(side)]) + packer.flush()
    tags = _tiff_tags(128, 64, 8)
    if strips:
        tags |= {273: (4, [8]), 278: (4, [side * side // 128]), 279: (4, [len(data)])}
    else:
        tags |= {322: (4, [side]), 323: (4, [side]), 324: (4, [8]), 325: (4, [len(data)])}
    return tiff_file(tags, data)


def rle_bmp(width: int, height: int) -> bytes:
    """An RLE8 BMP that ends at once, or moves by deltas: pixels out of nothing."""
    body = b"\0\2\xff\xff" * (height // 255 + 1) + b"\0\1"
    palette = bytes(1024)
    offset = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body


@functools.lru_cache(maxsize=4)
def _flat_avif(width: int, height: int) -> bytes:
    return _encode(Image.new("RGB", (width, height)), "AVIF", speed=10, max_threads=1)


def exif_bomb(entries: int, payload: int, cyclic: bool = False) -> bytes:
    """EXIF whose entries all claim the same bytes, or whose directories point at each other."""
    if cyclic:
        directory = struct.pack("<H", 3)
        for tag in (0x8769, 0x8825, 0xA005):
            directory += struct.pack("<HHII", tag, 4, 1, 8)
        return b"Exif\0\0II*\0\x08\0\0\0" + directory + struct.pack("<I", 8)
    start = 8 + 2 + 12 * entries + 4
    directory = struct.pack("<H", entries & 0xFFFF)
    for number in range(entries):
        directory += struct.pack("<HHII", 0xC000 + number & 0xFFFF, 7, payload, start)
    return b"Exif\0\0II*\0\x08\0\0\0" + directory + bytes(4) + bytes(payload)


def _jpeg_with(marker: int, *bodies: bytes) -> bytes:
    data = bases()[0].data
    segments = [bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for body in bodies]
    return data[:2] + b"".join(segments) + data[2:]


def _png_with(*chunks: bytes) -> bytes:
    data = next(base for base in bases() if base.name == "png-rgb").data
    return data[:33] + b"".join(chunks) + data[33:]


@functools.cache
def bombs(limit: int) -> dict[str, Callable[[], bytes]]:
    """Small files that ask for much: pixels up to the limit, text, profiles, directories, scans."""
    side = int((limit / 2) ** 0.5)
    zeros = zlib.compress(bytes(32 << 20), 9)
    grey = Image.new("L", (2 * side, side))
    found: dict[str, Callable[[], bytes]] = {
        "PNG of zeros at the limit": lambda: zeros_png(2 * side, side),
        "RGBA PNG of zeros at the limit": lambda: zeros_png(2 * side, side, colour=6),
        "16-bit grey PNG of zeros at the limit": lambda: zeros_png(2 * side, side, colour=0, depth=16),
        "1-bit PNG of zeros over the limit": lambda: zeros_png(2 * side + 64, side + 32, colour=0, depth=1),
        "tall PNG of one column": lambda: zeros_png(1, limit // 4, colour=0, depth=1),
        "wide PNG of one row": lambda: zeros_png(limit // 4, 1, colour=0, depth=1),
        "PNG iTXt bomb": lambda: _png_with(*[png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros)]),
        "PNG with 40 zTXt of 1 MB": lambda: _png_with(
            *[png_chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(bytes((1 << 20) - 9))) for n in range(40)]
        ),
        "PNG with 100 zTXt of 1 MB": lambda: _png_with(
            *[png_chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(bytes((1 << 20) - 9))) for n in range(100)]
        ),
        "PNG iCCP bomb": lambda: _png_with(png_chunk(b"iCCP", b"icc\0\0" + zeros)),
        "PNG with 20000 chunks": lambda: _png_with(*[png_chunk(b"tEXt", b"k\0v")] * 20_000),
        "PNG text behind its pixels": lambda: zeros_png(128, 64, after=png_chunk(b"zTXt", b"k\0\0" + zeros)),
        "JPEG of one colour at the limit": lambda: _encode(grey, "JPEG", quality=20),
        "progressive JPEG at the limit": lambda: _encode(grey, "JPEG", progressive=True),
        "progressive JPEG of 40 scans": lambda: scans_jpeg(min(2 * side, 65_520), min(side, 32_760), 40),
        "progressive JPEG of 3000 scans": lambda: scans_jpeg(min(2 * side, 65_520), min(side, 32_760), 3000),
        "JPEG with 2 MB of ICC": lambda: _jpeg_with(0xE2, *[b"ICC_PROFILE\0\1\x20" + bytes(65_000)] * 32),
        "JPEG with 60000 small EXIF segments": lambda: _jpeg_with(0xE1, *[b"Exif\0\0" + bytes(1)] * 60_000),
        "JPEG EXIF whose entries overlap": lambda: _jpeg_with(0xE1, exif_bomb(2500, 30_000)),
        "JPEG EXIF in cycles": lambda: _jpeg_with(0xE1, exif_bomb(0, 0, cyclic=True)),
        "JPEG EXIF pointing outside": lambda: _jpeg_with(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f"),
        "JPEG EXIF behind its segment": lambda: _jpeg_with(0xE1, b"Exif\0\0MM\0*\0\0\xff\xff"),
        "PNG EXIF whose entries overlap": lambda: _png_with(png_chunk(b"eXIf", exif_bomb(60_000, 1 << 20)[6:])),
        "WebP EXIF whose entries overlap": lambda: _encode(_picture(0), "WebP", exif=exif_bomb(60_000, 1 << 20)),
        "TIFF whose entries overlap": lambda: exif_bomb(60_000, 1 << 20)[6:],
        "TIFF with a huge tile": lambda: tile_bomb(max(1024, 2 * side)),
        "TIFF with a huge strip": lambda: tile_bomb(max(1024, 2 * side), strips=True),
        "deflate TIFF of zeros at the limit": lambda: _encode(grey, "TIFF", compression="tiff_adobe_deflate"),
        "RLE BMP at the limit": lambda: rle_bmp(2 * side, side),
        "RLE BMP of one column": lambda: rle_bmp(1, limit),
        "lossless WebP of zeros": lambda: _encode(
            Image.new("RGB", (min(2 * side, 16_382), min(side, 8_191))), "WebP", lossless=True, method=0
        ),
    }
    if "AVIF" in supported_formats():
        width, height = min(2 * side, 16_384), min(side, 8_192)
        found["AVIF of one colour"] = lambda: _flat_avif(width, height)
        found["AVIF larger than it says"] = lambda: _resized_avif(_flat_avif(width, height), 128, 64)
        found["AVIF far larger than the limit, saying 128x64"] = lambda: _resized_avif(
            _flat_avif(8_192, 4_096), 128, 64
        )
    if "HEIC" in supported_formats():
        found["HEIC larger than it says"] = lambda: _resized_avif(_heic(Image.new("RGB", (4_096, 2_048))), 128, 64)
    if "JPEG XL" in supported_formats():
        found["JPEG XL of one colour"] = lambda: _jxl(Image.new("RGB", (2 * side, side)), lossless=True, effort=1)
    if "OpenEXR" in supported_formats():
        found["EXR of one colour"] = lambda: _exr(np.ones((side, 2 * side, 3), np.float32))
        found["EXR larger than the limit"] = lambda: _exr(np.ones((4 * side, 8 * side, 3), np.float32))
    found["Radiance file larger than the limit"] = lambda: _radiance(8 * side, 4 * side)
    found["Radiance file that ends"] = lambda: _radiance(2 * side, side)
    return found


def _radiance(width: int, height: int) -> bytes:
    return b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width) + bytes(1000)


def _resized_avif(data: bytes, width: int, height: int) -> bytes:
    at = data.find(b"ispe")
    return data[: at + 8] + struct.pack(">II", width, height) + data[at + 16 :]


def bomb(rng: random.Random, limit: int) -> Made:
    """A small file that asks for much."""
    name = rng.choice(list(bombs(limit)))
    return name, made_bomb(name, limit)


@functools.cache
def made_bomb(name: str, limit: int) -> bytes:
    """One of :func:`bombs`; large ones take seconds to make, and are the same each time."""
    return bombs(limit)[name]()


# --- metadata -------------------------------------------------------------------------------------------------------

NUMBERS = (
    "-1", "0", "1", "4", "64", "128", "4294967296", "999999999", "1" + "0" * 60, "9" * 5000, "NaN", "inf", "-inf",
    "1e308", "1e-9", "0x40", "١٢٨", "128.5", "128.0", "+128", " 128 ", "1_000", "", "true", "128&#10;64", "&#13;128",
    "&lt;script&gt;", "%s%s%n", "\u202e821", "🌍", "128&#x9;", "12‍8",
)  # fmt: skip


def gpano_numbers(rng: random.Random, _: int) -> Made:
    """GPano numbers that are huge, negative, no numbers, or contradict each other and the image."""
    fields = dict(_CROP)
    changed = rng.sample(list(fields), rng.choice([1, 1, 2, 6]))
    for name in changed:
        fields[name] = rng.choice(NUMBERS)
    for name in rng.sample(list(fields), rng.choice([0, 0, 0, 2])):
        del fields[name]
    children = ""
    if rng.random() < 0.2:
        children = f"<GPano:{changed[0]}>{rng.choice(NUMBERS)}</GPano:{changed[0]}>"
    format = rng.choice(["JPEG", "PNG", "WebP", "TIFF"])
    packet = xmp_packet(gpano_attributes(fields), children)
    told = ", ".join(f"{name[:24]}={fields[name][:12]!r}" for name in changed if name in fields)
    return f"GPano {told} in {format}", with_xmp(np.ascontiguousarray(_picture(0)[16:46, 4:124]), format, packet)


@functools.cache
def xml_bombs() -> dict[str, bytes]:
    """XMP packets that are attacks on XML parsers, each with GPano's namespace so that it is looked at."""
    fields = gpano_attributes(_CROP)
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    deep = 40_000
    ascii_packet = xmp_packet(fields)
    return {
        "billion laughs": xmp_packet(fields, "&l9;", f'<!DOCTYPE l [<!ENTITY l0 "lol">{lol}]>'),
        "quadratic blowup": xmp_packet(fields, "&a;" * 20_000, f'<!DOCTYPE l [<!ENTITY a "{"a" * 20_000}">]>'),
        "external entity": xmp_packet(fields, "&e;", '<!DOCTYPE l [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
        "external DTD": xmp_packet(fields, "", '<!DOCTYPE l SYSTEM "http://127.0.0.1:9/evil.dtd">'),
        "parameter entity": xmp_packet(fields, "", '<!DOCTYPE l [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;]>'),
        "default attributes": xmp_packet(
            fields, "<b/>" * 8_000, f'<!DOCTYPE l [<!ATTLIST b a CDATA "{"x" * 20_000}">]>'
        ),
        "long namespace": xmp_packet(
            fields, f'<p:r xmlns:p="{"n" * 28_000}">' + "".join(f"<p:a{n}/>" for n in range(3_000)) + "</p:r>"
        ),
        "deep nesting": xmp_packet(fields, "<a>" * 9_000 + "</a>" * 9_000),
        "deep nesting, unclosed": xmp_packet(fields, "<a>" * deep),
        "many attributes": xmp_packet(fields + " " + " ".join(f'a{n}=""' for n in range(6_000))),
        "an attribute twice": xmp_packet(fields + " " + fields),
        "UTF-16 behind a UTF-8 name": b'<?xml version="1.0" encoding="UTF-8"?>'
        + ascii_packet.decode().encode("utf-16"),
        "UTF-16 name on UTF-8": b'<?xml version="1.0" encoding="UTF-16"?>' + ascii_packet,
        "encoding UTF-7": b'<?xml version="1.0" encoding="UTF-7"?>' + ascii_packet,
        "encoding idna": b'<?xml version="1.0" encoding="idna"?>' + ascii_packet,
        "encoding with 300 letters": b'<?xml version="1.0" encoding="' + b"x" * 300 + b'"?>' + ascii_packet,
        "Latin-1 bytes": xmp_packet(fields, "caf\u00e9").replace("é".encode(), b"\xe9"),
        "NUL inside": ascii_packet.replace(b"rdf:RDF ", b"rdf:R\0DF ", 1),
        "surrogates": ascii_packet.replace(b"equirectangular", b"\xed\xa0\x80\xed\xb0\x80"),
        "line breaks in a value": ascii_packet.replace(b"equirectangular", b"a&#10;b&#13;c&#x2028;d"),
        "a value of 50 kB": ascii_packet.replace(b"equirectangular", b"e" * 50_000),
        "an unbound prefix": ascii_packet.replace(b"xmlns:GPano", b"xmlns:other"),
        "processing instructions": ascii_packet.replace(b"<rdf:RDF", b"<?a b?>" * 3_000 + b"<rdf:RDF", 1),
        "comments": ascii_packet.replace(b"<rdf:RDF", b"<!--" + b"-" * 0 + b"x" * 30_000 + b"--><rdf:RDF", 1),
    }


def hostile_xml(rng: random.Random, _: int) -> Made:
    """XMP that attacks the parser, in a format of any segment size."""
    packets = xml_bombs()
    name = rng.choice(list(packets))
    format = rng.choice(["JPEG", "PNG", "WebP", "TIFF"] if len(packets[name]) < 65_000 else ["PNG", "WebP", "TIFF"])
    return f"XMP with {name} in {format}", with_xmp(_picture(0), format, packets[name])


FAMILIES: tuple[Family, ...] = (
    flips, dimensions, truncation, bomb, shuffled, gpano_numbers, lengths, hostile_xml, overwritten, wrong_magic,
    random_tail, concatenated, flips, lengths, truncation, whole,
)  # fmt: skip


def case(seed: int, number: int, limit: int = 1 << 20) -> Case:
    """The hostile file of a seed and a number; ``limit`` is the pixel limit that bombs stay just under."""
    rng = random.Random(f"{seed}/{number}")
    family = FAMILIES[number % len(FAMILIES)]
    name, data = family(rng, limit)
    return Case(f"{number:04} {family.__name__}: {name}", rng.choice(SUFFIXES), data)


def cases(seed: int, count: int, limit: int = 1 << 20) -> Iterator[Case]:
    """The first ``count`` cases of a seed."""
    for number in range(count):
        yield case(seed, number, limit)


# --- names ----------------------------------------------------------------------------------------------------------

_FIXED_IDS = (
    # Ways out of the output folder.
    "../../x", "../" * 30 + "tmp/pager_fuzz_escape", "/etc/passwd", "/tmp/pager_fuzz_absolute", "..", ".", "...",
    "a/../../b", "a/b", "a\\b", "C:\\Windows\\x", "\\\\server\\share", "~", "~root/x", "../" * 333,
    "%2e%2e%2f%2e%2e%2fx", "%00", "%", "%%", "%2F", "a%2Fb", "s3://bucket/key", "http://h/x?width=1", "id=7",
    # What a shell, a command line or a file system takes for something else.
    "$HOME", "`id`", "$(id)", "-rf", "--help", ".hidden", ".git/config", "CON", "con.jpg", "NUL", "aux.txt", "COM1",
    "LPT1.npz", "name.", "name ", " name", "a:b", "a*b?c", "[2024]", "{x}", "x|y", 'q"uote', "q'uote", "a,b", "a;b",
    # What a reader of tables takes for nothing or for a number.
    "null", "NaN", "NA", "None", "true", "1e5", "007", "#", "#id", "<script>", "=1+1", "@SUM(1)",
    # Pairs that some file systems hold for one, and letters of other scripts.
    "A", "a", "É", "e\u0301", "é", "ﬁ", "fi", "İ", "i\u0307", "ß", "ss", "🌍", "日本語", "𝕏", "\ufffd",
    "x" * 1000, "é" * 500,
    # A run's own files.
    "0123456789ab-00000000", "0123456789ab-00000000.parquet", "0123456789ab-00000001.pending", "run.json", "manifest",
    "state/committed/x", "predictions/x.parquet", "a~2", "x.npz", "x.jpg",
)  # fmt: skip

REFUSED_IDS = (
    "line\nbreak", "carriage\rreturn", "tab\there", "nul\0inside", "bell\a", "escape\x1b[31m", "\u202eright-to-left",
    "\u200fmark", "zero\u200bwidth", "\ufeffbom", "\u2028line", "x" * 1025, "del\x7f",
    "soft\u00adhyphen", "👩‍👩‍👧",
)  # fmt: skip
"""Ids that a listing may not have: a job stops before any work and says which row it is."""

SECRET_IDS = (
    "http://h/x?sig=1", "HTTP://H/X?SIG=1", "s3://key:secret@bucket/x", "https://name:word@h/x.jpg",
    "az://box/x.jpg?sv=2024-01-01&sig=abc", "zip://x.jpg::https://h/a.zip?token=abc",
)  # fmt: skip
"""Ids that no manifest may store."""


def hostile_ids(seed: int, count: int) -> list[str]:
    """Ids that try to leave the output, to meet each other in one file or to look like a run's own files."""
    ids = list(_FIXED_IDS[:count])
    rng = random.Random(f"ids {seed}")
    taken = set(ids)
    while len(ids) < count:
        stem = rng.choice(_FIXED_IDS)[:900]
        changed = rng.choice([stem.swapcase(), unicodedata.normalize("NFD", stem), stem[::-1], f"{stem}~{len(ids)}",
                              f"../{stem}", f"{stem}/{len(ids)}", f"{len(ids)}.{stem}"])  # fmt: skip
        if changed and changed.isprintable() and changed not in taken:
            ids.append(changed)
            taken.add(changed)
    return ids


FILE_NAMES = (
    "line\nbreak", "not\udcffutf-8", "É", "E\u0301", "A", "a", "-rf", "%2e%2e%2fx", "carriage\rreturn", "tab\there",
    "bell\a", "escape\x1b[31mred", "\u202eright-to-left", "zero\u200bwidth", "\ufeffbom", "del\x7f", "🌍", "日本語",
    "👩\u200d👩\u200d👧", "--help", "%00", "[2024]", "*", "?", "{a,b}", "a,b", 'q"uote', "q'uote", "$(id)", "`id`",
    "C:\\x", "a\\b", "CON", "name.", " ", "x=7", "#1", "http:", "~", "0123456789ab-00000000", "x" * 240, "é" * 120,
)  # fmt: skip
"""Stems of file names that a Linux disk takes; the one with a surrogate is a byte that is no UTF-8."""


def hostile_names(count: int) -> list[str]:
    """The first names of files for a folder that is listed; each is another file."""
    return [f"{stem}.jpg" for stem in FILE_NAMES[:count]]
