"""Tests of pager_ray.datasets.decode."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from pager_ray.datasets import decode
from pager_ray.datasets.decode import (
    MAX_PIXELS,
    as_depth_map,
    as_normal_map,
    clip_depth,
    cropped_rows,
    decode_colours,
    decode_depth_png,
    decode_dpt,
    decode_mask,
    decode_npy,
    decode_npz,
    decode_rgb,
    picture_size,
    resize_nearest,
    steps_to_metres,
)
from pager_ray.errors import InputError
from tests.datasets.folders import depth_png, dpt_bytes, image_bytes, npy_bytes, picture_bytes

DEPTH = np.random.default_rng(0).uniform(0.1, 80, (6, 12)).astype(np.float32)


def huge_png(height: int, width: int, depth: int = 16, colour: int = 0) -> bytes:
    """A PNG whose header says a size that its data do not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_rgb_is_resampled_as_pillow_does() -> None:
    """A picture of another size is what Pillow's LANCZOS makes of it; of the same size it is itself."""
    pixels = np.random.default_rng(1).integers(0, 256, (30, 60, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((40, 20), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(decode_rgb(image_bytes(pixels), 20, 40), expected)
    np.testing.assert_array_equal(decode_rgb(image_bytes(pixels), 30, 60), pixels)


def test_colours_under_transparency_stay() -> None:
    """The released protocol drops the alpha channel: a transparent pixel keeps its colour."""
    pixels = np.random.default_rng(1).integers(1, 256, (8, 16, 4), np.uint8)
    pixels[..., 3] = 0
    np.testing.assert_array_equal(decode_rgb(image_bytes(pixels), 8, 16), pixels[..., :3])
    np.testing.assert_array_equal(decode_colours(image_bytes(pixels)), pixels[..., :3])


@pytest.mark.parametrize("read", [lambda data: decode_rgb(data, 8, 16), picture_size])
def test_pictures_are_bounded_before_they_are_decoded(read) -> None:
    """A picture that says more pixels than are read is refused by its header."""
    with pytest.raises(InputError) as caught:
        read(huge_png(2**14, 2**14, 8, 2))
    assert caught.value.error_class == "too_large"


@pytest.mark.parametrize("read", [decode_depth_png, decode_mask, decode_colours])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (huge_png(2**14, 2**14), f"at most {MAX_PIXELS}"),
        (depth_png()[:-20], "incomplete"),
        (depth_png()[:60] + b"\xff" + depth_png()[61:], "damaged"),
        (picture_bytes(kind="JPEG"), "JPEG file, takes PNG"),
        (b"", "empty"),
        (b"no picture at all", "no image"),
    ],
)
def test_maps_that_are_no_whole_png_are_refused(read, data: bytes, message: str) -> None:
    """Maps are PNGs, within the limit and complete up to their checksums; else the ground truth is bad."""
    with pytest.raises(InputError, match=message) as caught:
        read(data)
    assert caught.value.error_class == "bad_ground_truth"


def test_depth_takes_sixteen_bits() -> None:
    """Steps come out as stored; eight bits or colours would be another unit and are refused."""
    steps = np.arange(128, dtype=np.uint16).reshape(8, 16) * 511
    decoded = decode_depth_png(image_bytes(steps))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, steps)
    for pixels in (steps.astype(np.uint8), np.zeros((8, 16, 3), np.uint8)):
        with pytest.raises(InputError, match="takes grey ones of 16 bits"):
            decode_depth_png(image_bytes(pixels))
    with pytest.raises(InputError, match="takes three colours"):
        decode_colours(image_bytes(steps))


@pytest.mark.parametrize(("metres", "per_steps"), [(128, 65535), (1, 1000)])
def test_metres_are_rounded_once(metres: int, per_steps: int) -> None:
    """Every step becomes the float32 next to its exact value."""
    steps = np.arange(65536, dtype=np.uint16)[None]
    exact = (steps.astype(np.float64) * metres / per_steps).astype(np.float32)
    np.testing.assert_array_equal(steps_to_metres(steps, metres, per_steps), exact)


@pytest.mark.parametrize(
    "pixels",
    [
        np.array([[0, 1, 255]], np.uint8),
        np.array([[0, 1, 65535]], np.uint16),
        np.array([[0, 1, 1]], np.bool_),
        np.array([[[0, 0, 0], [0, 1, 0], [9, 9, 9]]], np.uint8),
        np.array([[[0, 0, 0, 255], [0, 1, 0, 0], [9, 9, 9, 9]]], np.uint8),
    ],
)
def test_masks_of_any_kind(pixels: np.ndarray) -> None:
    """A mask is on where a pixel is above zero in any colour, whatever its transparency."""
    np.testing.assert_array_equal(decode_mask(image_bytes(pixels)), [[False, True, True]])


def test_dpt_is_a_view() -> None:
    """A .dpt file gives its numbers without copying them; bytes behind the last are ignored."""
    data = dpt_bytes(DEPTH) + b"rest"
    depth = decode_dpt(data)
    np.testing.assert_array_equal(depth, DEPTH)
    assert not depth.flags.owndata
    assert not depth.flags.writeable
    assert np.shares_memory(depth, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PIEH", "4 bytes, less than the header"),
        (struct.pack("<fii", 202021.0, 12, 6) + bytes(288), "starts with 202021.0, a .dpt file with 202021.25"),
        (struct.pack(">fii", 202021.25, 12, 6) + bytes(288), "starts with"),
        (dpt_bytes(DEPTH)[:-1], r"299 bytes, 6×12 pixels take 300"),
        (struct.pack("<fii", 202021.25, 2**16, 2**16), f"65536×65536 pixels, takes 1 to {MAX_PIXELS}"),
        (struct.pack("<fii", 202021.25, -1, 6) + bytes(288), "6×-1 pixels"),
        (struct.pack("<fii", 202021.25, -4, -4) + bytes(288), "-4×-4 pixels"),
        (struct.pack("<fii", 202021.25, 0, 6) + bytes(288), "6×0 pixels"),
        (struct.pack("<fii", float("nan"), 12, 6) + bytes(288), "starts with nan"),
    ],
)
def test_wrong_dpt_is_refused(data: bytes, message: str) -> None:
    """Another magic, an impossible size or too few bytes are errors of the input that say the numbers."""
    with pytest.raises(InputError, match=message) as caught:
        decode_dpt(data)
    assert caught.value.error_class == "bad_ground_truth"
    assert str(caught.value).endswith("; fetch the file again")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_npy_is_a_view(order: str, dtype) -> None:
    """An .npy file gives its array, in either order and any precision, without copying it."""
    array = np.asarray(DEPTH.astype(dtype), order=order)
    decoded = decode_npy(npy_bytes(array))
    np.testing.assert_array_equal(decoded, array)
    assert decoded.dtype == array.dtype
    assert not decoded.flags.writeable


def npy_with_header(header: str) -> bytes:
    body = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy_bytes(np.arange(4)), "holds int64"),
        (npy_bytes(DEPTH)[:-1], "too few for float32"),
        (npy_with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999)}"), "holds float32"),
        (npy_with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}"), "holds float32"),
        (npy_with_header("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}"), "holds object"),
        (npy_with_header("{'descr': '<f4', 'shape': (4,)}"), "no npy file"),
        (npy_with_header("import os"), "no npy file"),
        (b"\x93NUMPY\x09\x00" + bytes(200), r"npy file of version \(9, 0\), takes 1\.0 and 2\.0; save it anew"),
        (b"", "no npy file"),
        (b"PK\x03\x04", "no npy file .*; fetch the file again"),
    ],
)
def test_wrong_npy_is_refused(data: bytes, message: str) -> None:
    """Objects, other dtypes, absurd or negative shapes and cut files are refused before an array is made."""
    with pytest.raises(InputError, match=message) as caught:
        decode_npy(data)
    assert caught.value.error_class == "bad_ground_truth"


def npz_bytes(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_npz_unpacks_what_is_named() -> None:
    """Named arrays come out as they went in."""
    arrays = decode_npz(npz_bytes(depth=DEPTH, sky=DEPTH > 40, other=np.array("text")), ("depth", "sky"))
    assert set(arrays) == {"depth", "sky"}
    np.testing.assert_array_equal(arrays["depth"], DEPTH)
    np.testing.assert_array_equal(arrays["sky"], DEPTH > 40)


def test_wrong_npz_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are no archive, lack an array, are damaged or unpack to too much are refused."""
    whole = npz_bytes(depth=DEPTH)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for data, message in (
        (b"no archive", "no npz file"),
        (npz_bytes(sky=DEPTH), "no npz file with depth .*; fetch the file again"),
        (whole[:-30], "no npz file"),
        (bytes(damaged), "no np[yz] file|too few"),
        (npz_bytes(depth=np.arange(3)), "holds int64"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            decode_npz(data, ("depth",))
        assert caught.value.error_class == "bad_ground_truth"
    monkeypatch.setattr(decode, "MAX_PIXELS", 4)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("depth.npy", bytes(2**20))
    with pytest.raises(InputError, match="unpacks 1048576 bytes for depth, takes at most 96"):
        decode_npz(bomb.getvalue(), ("depth",))


def test_channel_axes_are_taken_off() -> None:
    """Depth and normals are the same maps with a channel axis first, last or (depth) not at all."""
    for values in (DEPTH, DEPTH[None], DEPTH[..., None], DEPTH.astype(np.float64)):
        np.testing.assert_array_equal(as_depth_map(values), DEPTH)
    normals = np.random.default_rng(0).normal(size=(6, 12, 3)).astype(np.float32)
    for values in (normals, np.moveaxis(normals, -1, 0), normals[None]):
        unpacked = as_normal_map(values)
        np.testing.assert_array_equal(unpacked, normals)
        assert unpacked.flags.c_contiguous
    for wrong, read in ((normals, as_depth_map), (DEPTH, as_normal_map), (DEPTH[None, None, None], as_depth_map)):
        with pytest.raises(InputError, match=r"holds \(.*, takes \("):
            read(wrong)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32])
def test_nearest_follows_the_rule(dtype) -> None:
    """Output pixel i is source pixel ⌊i / (new / old)⌋ at any pair of sizes, for every dtype that maps have."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        rows, columns, height, width = (int(size) for size in generator.integers(1, 60, 4))
        values = (generator.random((rows, columns)) * 250).astype(dtype)
        row, column = (
            np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(int), old - 1)
            for old, new in ((rows, height), (columns, width))
        )
        resized = resize_nearest(values, height, width)
        assert resized.dtype == dtype
        np.testing.assert_array_equal(resized, values[row[:, None], column])
    assert resize_nearest(values, *values.shape) is values


def test_depth_is_clipped_and_masked() -> None:
    """Depth ends at the range's ends; valid is what lies strictly inside 1.01·min…0.99·max and the mask, in float32."""
    low, high = np.float32(1.01 * 0.01), np.float32(0.99 * 75.0)
    inside = [np.nextafter(low, np.float32(1)), 1.0, np.nextafter(high, np.float32(1))]
    outside = [np.nan, -np.inf, -1.0, 0.0, low, high, 75.0, 90.0, np.inf]
    values = np.array([[*inside, *outside, 2.0]], np.float32)
    own = np.ones(values.shape, np.bool_)
    own[0, -1] = False
    depth, valid = clip_depth(values, (0.01, 75.0), own)
    assert valid.tolist() == [[True] * 3 + [False] * 10]
    low_end = np.float32(0.01)
    clipped = [*inside, low_end, low_end, low_end, low_end, low, high, 75.0, 75.0, 75.0, 2.0]
    np.testing.assert_array_equal(depth[0], np.array(clipped, np.float32))
    assert depth.dtype == np.float32
    assert clip_depth(values, (0.01, 75.0))[1].tolist() == [[True] * 3 + [False] * 9 + [True]]


def test_crops_are_rounded_down() -> None:
    """Rows that a protocol cuts are whole rows inside its share."""
    assert [cropped_rows(1024, 0.14), cropped_rows(2048, 0.15), cropped_rows(5, 0.14)] == [143, 307, 0]
