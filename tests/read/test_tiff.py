"""Directories of TIFF structures: their entries are found, and never read beyond the block."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pager_ray.read.exif import orientation_of
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


@settings(max_examples=300, deadline=None)
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
