"""Directories of TIFF structures: their entries are found, and never read beyond the block."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pager_ray.errors import InputError
from pager_ray.read.exif import orientation_of
from pager_ray.read.pixels import decode_pixels, open_image
from pager_ray.read.tiff import byte_order, entries_of, value_bytes

HEADS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}


def directory(signature: bytes, entries: list[tuple[int, int, int, int]]) -> bytes:
    """A structure of one directory; entries are tag, type, number and value."""
    order, big = HEADS[signature], signature[2:] in (b"+\0", b"\0+")
    if big:
        head = signature + struct.pack(f"{order}HHQQ", 8, 0, 16, len(entries))
        return head + b"".join(struct.pack(f"{order}HHQ", *entry[:3]) + value(order, entry, 8) for entry in entries)
    head = signature + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(struct.pack(f"{order}HHI", *entry[:3]) + value(order, entry, 4) for entry in entries)


def value(order: str, entry: tuple[int, int, int, int], size: int) -> bytes:
    return struct.pack(order + {1: "B", 3: "H", 4: "I"}.get(entry[1], "I"), entry[3]).ljust(size, b"\0")


@pytest.mark.parametrize("signature", HEADS)
def test_entries_are_found_in_either_order_and_size(signature: bytes) -> None:
    """Classic and big structures of both byte orders give their tags, types and numbers, and where values lie."""
    block = directory(signature, [(256, 3, 1, 640), (274, 3, 1, 6), (700, 1, 50, 40)])
    found = list(entries_of(block))
    assert [entry[:3] for entry in found] == [(256, 3, 1), (274, 3, 1), (700, 1, 50)]
    assert byte_order(block) == HEADS[signature]
    assert struct.unpack_from(f"{byte_order(block)}H", block, found[1].place) == (6,)
    assert value_bytes(block) == 2 + 2 + 50
    assert orientation_of({"exif": b"Exif\0\0" + block}) == 6


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_orientation_comes_in_any_whole_number(kind: int) -> None:
    """Bytes, shorts and longs count; more than one, other types and values that mean nothing leave it upright."""
    for signature in HEADS:
        assert orientation_of({"exif": directory(signature, [(274, kind, 1, 8)])}) == 8
        assert orientation_of({"exif": directory(signature, [(274, kind, 2, 8)])}) == 1
        assert orientation_of({"exif": directory(signature, [(274, kind, 1, 9)])}) == 1
        assert orientation_of({"exif": directory(signature, [(274, 5, 1, 8)])}) == 1


def test_orientation_is_found_wherever_pillow_puts_it() -> None:
    """EXIF as bytes or as hexadecimal text of a PNG, else XMP as text or bytes; EXIF is preferred."""
    exif = directory(b"II*\0", [(274, 3, 1, 5)])
    text = f"\nexif\n{len(exif)}\n" + exif.hex()
    xmp = '<x tiff:Orientation="7"/>'
    assert orientation_of({"Raw profile type exif": text}) == 5
    assert orientation_of({"Raw profile type exif": "\nexif\n3\nxyz"}) == 1
    assert orientation_of({"xmp": xmp.encode()}) == orientation_of({"XML:com.adobe.xmp": xmp}) == 7
    assert orientation_of({"exif": exif, "xmp": xmp.encode()}) == 5
    assert orientation_of({}) == 1


@settings(max_examples=300)
@given(st.sampled_from(list(HEADS)), st.binary(max_size=80), st.integers(0, 200))
def test_any_bytes_end_quietly(signature: bytes, rest: bytes, cut: int) -> None:
    """Whatever follows a signature, entries end with the block and orientation is a number from 1 to 8."""
    for block in (signature + rest, directory(signature, [(274, 4, 1, 3)])[:cut]):
        assert all(entry.place <= len(block) + 12 for entry in entries_of(block))
        assert value_bytes(block) >= 0
        assert 1 <= orientation_of({"exif": block}) <= 8


def test_files_that_pillow_writes_fit_their_own_size() -> None:
    """Values of an honest file are no larger than the file, whatever its compression."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    for compression in ("raw", "tiff_adobe_deflate", "tiff_lzw", "jpeg"):
        for big in (False, True):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "TIFF", compression=compression, big_tiff=big)
            assert 0 < value_bytes(file.getvalue()) <= len(file.getvalue())


def written(pixels: np.ndarray, **options: object) -> bytes:
    """A TIFF as another library writes it."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb" if pixels.ndim == 3 else None, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("tile", [None, (32, 32)], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("channels", [3, 4])
def test_planes_of_sixteen_bits_are_read(
    order: str, tile: tuple[int, int] | None, compression: str | None, channels: int, big: bool
) -> None:
    """Each channel in a plane of its own is what the same channels side by side are, and what another library reads."""
    deep = np.random.default_rng(1).integers(0, 65536, (64, 128, channels), np.uint16)
    deep[..., 3:] = 65535
    options = {"byteorder": order, "tile": tile, "compression": compression, "bigtiff": big}
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    planes = written(np.ascontiguousarray(np.moveaxis(deep, -1, 0)), planarconfig="separate", **options)
    chunky = written(deep, planarconfig="contig", **options)
    assert np.array_equal(np.moveaxis(tifffile.imread(io.BytesIO(planes)), 0, -1), deep)
    for data in (planes, chunky):
        assert np.array_equal(decode_pixels(open_image(data, 2**20), 128, 64), (deep[..., :3] >> 8).astype(np.uint8))


DEEP = np.arange(64 * 128 * 3, dtype=np.uint16).reshape(64, 128, 3)
UNREAD = {
    "float": (written(DEEP.astype(np.float32)), "floating point"),
    "half": (written(DEEP.astype(np.float16)), "floating point"),
    "double": (written(DEEP.astype(np.float64)), "floating point"),
    "grey float": (written(DEEP[..., 0].astype(np.float32)), "F pixels"),
    "float planes": (written(DEEP.astype(np.float32).reshape(3, 64, 128), planarconfig="separate"), "floating point"),
    "compressed float": (written(DEEP.astype(np.float32), compression="zlib"), "floating point"),
    "long": (written(DEEP.astype(np.uint32)), "32 bits"),
    "signed": (written(DEEP.astype(np.int16)), "signed whole numbers"),
    "JPEG 2000": (written(DEEP, compression="jpeg2000"), "JPEG 2000 compression"),
    "LERC": (written(DEEP, compression="lerc"), "LERC compression"),
    "JPEG XL": (written(DEEP, compression="jpegxl"), "JPEG XL compression"),
    "big-endian BigTIFF": (written(DEEP, byteorder=">", bigtiff=True), "big-endian"),
    "WebP": (written(DEEP.astype(np.uint8), compression="webp"), "WebP compression"),
}


@pytest.mark.parametrize(("data", "words"), UNREAD.values(), ids=UNREAD)
def test_what_is_not_read_is_called_so(data: bytes, words: str) -> None:
    """Floats, long numbers and rare codecs are unsupported by name, not damaged."""
    with pytest.raises(InputError, match=words) as caught:
        decode_pixels(open_image(data, 2**20), 128, 64)
    assert caught.value.error_class == "unsupported_format"


def test_a_damaged_file_of_a_usual_kind_is_damaged() -> None:
    """What every reader knows and cannot read is corrupt."""
    data = written(np.random.default_rng(2).integers(0, 65536, DEEP.shape, np.uint16), compression="zlib")
    with pytest.raises(InputError) as caught:
        decode_pixels(open_image(data[:1000] + bytes(len(data) - 2000) + data[-1000:], 2**20), 128, 64)
    assert caught.value.error_class == "corrupt_image"
