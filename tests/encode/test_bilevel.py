"""Masks as PNG files: the same bits come back, and what is no such file is refused before it is unpacked."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pager_ray.encode import get_codec
from pager_ray.encode.bilevel import decode_mask, encode_mask
from pager_ray.errors import StorageError
from tests.read.images import encode, picture, png_bomb


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (64, 128)])
def test_masks_come_back(shape: tuple[int, int]) -> None:
    """Whatever the width, and by any reader of PNG."""
    mask = np.random.default_rng(1).random(shape) < 0.5
    content = encode_mask(mask)
    np.testing.assert_array_equal(decode_mask(content), mask)
    assert Image.open(io.BytesIO(content)).mode == "1"


@pytest.mark.parametrize("has_opencv", [True, False])
def test_pillows_own_limit_is_not_that_of_maps(has_opencv: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is read whatever Pillow takes for a bomb, masks as maps, and nothing is said of it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr("pager_ray.encode.planes.HAS_OPENCV", has_opencv)
    mask = np.random.default_rng(1).random((16, 32)) < 0.5
    np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)
    depth, codec = np.linspace(1, 5, 16 * 32, dtype=np.float32).reshape(16, 32), get_codec("depth", "portable")
    np.testing.assert_allclose(codec.decode(codec.encode(depth), depth.shape), depth, rtol=1e-3)


def test_a_plain_mask_is_small() -> None:
    """A crop of eight million pixels takes less than a thousandth of its bits."""
    mask = np.zeros((2048, 4096), bool)
    mask[400:1600, :3000] = True
    assert len(encode_mask(mask)) < mask.size / 8 / 100


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        encode(picture(64, 32)),
        encode(picture(64, 32), "JPEG"),
        encode_mask(np.ones((64, 64), bool))[:-30],
        encode_mask(np.ones((64, 64), bool)).replace(b"\0\0\0\x40\0\0\0\x40", b"\0\1\0\0\0\1\0\0"),
        png_bomb(1 << 20, 1 << 20),
    ],
    ids=["empty", "text", "colours", "jpeg", "cut", "larger", "bomb"],
)
def test_other_bytes_are_refused(content: bytes) -> None:
    """Another kind of picture, a damaged one, and one that promises too much are errors, not masks."""
    with pytest.raises(StorageError, match="mask"):
        decode_mask(content)
