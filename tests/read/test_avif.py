"""AVIF: what a file holds counts, whatever its container says."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import AvifImagePlugin, Image

from pager_ray.errors import InputError
from pager_ray.read.avif import coded_pixels
from pager_ray.read.pixels import open_image

pytestmark = pytest.mark.skipif(not AvifImagePlugin.SUPPORTED, reason="this Pillow has no AVIF")


def avif(width: int, height: int, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 90)).save(file, "AVIF", **options)
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(64, 32), (513, 255), (2048, 1024)])
def test_the_coded_size_is_found(width: int, height: int) -> None:
    """Of pictures, and of sequences, as an encoder writes them."""
    assert coded_pixels(avif(width, height)) == width * height
    more = [Image.new("RGB", (width, height), (0, 0, 0))]
    assert coded_pixels(avif(width, height, save_all=True, append_images=more)) == width * height


def test_a_header_that_says_less_passes_no_limit() -> None:
    """A lowered limit counts the pixels that a decoder would make, not those that the container tells."""
    data = avif(512, 256)
    place = data.index(b"ispe") + 8
    forged = data[:place] + struct.pack(">II", 64, 32) + data[place + 8 :]
    assert open_image(data, 512 * 256).width == 512
    with pytest.raises(InputError, match="says 64×32 and holds 131072 pixels, at most 100000 are read") as caught:
        open_image(forged, 100_000)
    assert caught.value.error_class == "too_large"


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_have_some_size(noise: bytes, place: int) -> None:
    """Nothing but a number comes of it."""
    data = avif(64, 32)
    assert coded_pixels(data[:place] + noise + data[place:]) >= 0
    assert coded_pixels(noise) >= 0
