"""A blob is read back only as what it is: damage, truncation, swaps and hostile sizes are storage errors."""

from __future__ import annotations

import struct
import zlib

import blosc2
import cv2
import numpy as np
import pytest

from pager_ray.encode.container import Container, Label, PngImage, blosc_planes
from pager_ray.errors import ShapeError, StorageError

LABEL = Label("depth/test", (40, 60))
SHAPE = (1, 40, 60)
CONTAINERS = [
    blosc_planes("<u2", predicted=True),
    blosc_planes("<u2", predicted=False),
    blosc_planes("<u2", predicted=False, bitshuffle=False),
    PngImage(),
]
NAMES = ["predicted", "plain", "shuffled", "png"]


@pytest.fixture
def planes() -> np.ndarray:
    y, x = np.mgrid[:40, :60]
    return (1000 + 7 * x + 300 * np.sin(y / 9)).astype("<u2")[None]


@pytest.mark.parametrize("container", CONTAINERS, ids=NAMES)
def test_planes_come_back_exactly_and_bytes_are_stable(container: Container, planes: np.ndarray) -> None:
    """Packing is lossless and deterministic, and a memoryview reads like bytes."""
    data = container.pack(planes, LABEL)
    assert data == container.pack(planes.copy(), LABEL)
    assert np.array_equal(container.unpack(memoryview(data), LABEL, "<u2", SHAPE), planes)


@pytest.mark.parametrize("container", CONTAINERS, ids=NAMES)
def test_any_flipped_bit_is_found(container: Container, planes: np.ndarray) -> None:
    """No single damaged byte gives pixels."""
    data = container.pack(planes, LABEL)
    step = max(1, len(data) // 300)
    for at in [*range(0, len(data), step), len(data) - 1]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(StorageError, match="depth/test 40×60"):
            container.unpack(bytes(damaged), LABEL, "<u2", SHAPE)


@pytest.mark.parametrize("container", CONTAINERS, ids=NAMES)
def test_any_truncation_is_found(container: Container, planes: np.ndarray) -> None:
    """No prefix of a blob gives pixels, the empty one included."""
    data = container.pack(planes, LABEL)
    for size in [*range(0, len(data), max(1, len(data) // 100)), len(data) - 1]:
        with pytest.raises(StorageError):
            container.unpack(data[:size], LABEL, "<u2", SHAPE)


@pytest.mark.parametrize("container", CONTAINERS, ids=NAMES)
@pytest.mark.parametrize("other", [Label("sky/test", (40, 60)), Label("depth/test", (60, 40))], ids=["codec", "shape"])
def test_swapped_blobs_are_named(container: Container, planes: np.ndarray, other: Label) -> None:
    """Another codec's blob, or the same number of pixels in another shape, is refused with both named."""
    data = container.pack(planes, LABEL)
    with pytest.raises(StorageError, match=f"holds depth/test 40×60, not {other}"):
        container.unpack(data, other, "<u2", (1, *other.shape))


def test_forged_blosc_size_is_refused_before_decompressing(planes: np.ndarray) -> None:
    """A chunk of other pixels behind a valid label and checksum does not decide how much is written."""
    forged = blosc2.compress2(np.zeros(1 << 20, dtype=np.uint16), typesize=2)
    trailer = struct.pack("<4s20s4I", b"PGR1", b"depth/test", 40, 60, 0, 0)
    data = forged + trailer + struct.pack("<I", zlib.crc32(forged + trailer))
    with pytest.raises(StorageError, match="announces 2097152 bytes"):
        blosc_planes("<u2", predicted=False).unpack(data, LABEL, "<u2", SHAPE)


def test_bytes_that_do_not_decompress_say_what_to_do(planes: np.ndarray) -> None:
    """A chunk that is no zstd behind a valid label and checksum is refused, with what to do."""
    container = blosc_planes("<u2", predicted=False)
    data = container.pack(planes, LABEL)
    chunk, trailer = bytearray(data[:-48]), data[-48:-4]
    chunk[40:] = b"\xff" * (len(chunk) - 40)
    forged = bytes(chunk) + trailer + struct.pack("<I", zlib.crc32(bytes(chunk) + trailer))
    with pytest.raises(StorageError, match=r"^blob for depth/test 40×60 cannot be decompressed .*; .*restore its file"):
        container.unpack(forged, LABEL, "<u2", SHAPE)


def test_pixels_that_do_not_decode_say_what_to_do(planes: np.ndarray) -> None:
    """A PNG whose chunks are whole but hold no pixels is refused, with what to do."""
    data = PngImage().pack(planes, LABEL)
    start = data.index(b"IDAT") - 4
    payload = b"IDAT" + b"no deflate stream"
    chunk = struct.pack(">I", len(payload) - 4) + payload + struct.pack(">I", zlib.crc32(payload))
    end = data.index(b"IEND") - 4
    with pytest.raises(StorageError, match=r"^PNG blob for depth/test 40×60 cannot be decoded; .*restore its file"):
        PngImage().unpack(data[:start] + chunk + data[end:], LABEL, "<u2", SHAPE)


def test_maps_that_png_cannot_hold_are_refused(planes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that the encoder gives up on is an error that says to take another codec."""
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(ShapeError, match=r"^depth/test 40×60: cannot be written as PNG; take another codec$"):
        PngImage().pack(planes, LABEL)


def test_forged_png_size_is_refused_before_decoding(planes: np.ndarray) -> None:
    """A PNG whose header promises another size than its text chunk is refused."""
    data = bytearray(PngImage().pack(planes, LABEL))
    data[16:24] = struct.pack(">II", 50_000, 50_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(StorageError, match="another size"):
        PngImage().unpack(bytes(data), LABEL, "<u2", SHAPE)


def test_foreign_png_is_refused(planes: np.ndarray) -> None:
    """A PNG without our text chunk says so, and so does one whose text is no label."""
    data = PngImage().pack(planes, LABEL)
    size = struct.unpack(">I", data[33:37])[0]
    with pytest.raises(StorageError, match="lacks the text chunk"):
        PngImage().unpack(data[:33] + data[45 + size :], LABEL, "<u2", SHAPE)
    payload = b"tEXtpager_ray\0[1]"
    chunk = struct.pack(">I", len(payload) - 4) + payload + struct.pack(">I", zlib.crc32(payload))
    with pytest.raises(StorageError, match="cannot be read"):
        PngImage().unpack(data[:33] + chunk + data[45 + size :], LABEL, "<u2", SHAPE)


def test_more_than_blosc_holds_is_a_shape_error() -> None:
    """An array past blosc2's 2 GiB is refused with its size, not by a compressor's exit code."""
    huge = np.broadcast_to(np.uint8(0), (1, 1 << 16, 1 << 16))
    with pytest.raises(ShapeError, match="2 GiB"):
        blosc_planes("|u1", predicted=False).pack(huge, Label("sky/uint8", (1 << 16, 1 << 16)))
