"""JPEG XL files are what another library decodes; their size is known, and their memory bounded, before they are."""

from __future__ import annotations

import contextlib
import io
import resource
import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pager_ray.errors import InputError
from pager_ray.read import decode_panorama, jxl
from pager_ray.read.jxl import read_head
from pager_ray.read.pixels import decode, open_image
from tests.read.images import cropped, encode, gpano_xmp, picture

pillow_jxl = pytest.importorskip("pillow_jxl")

RGB = picture(256, 128)


def encoded(image: Image.Image | np.ndarray, **options: object) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, "JXL", **options)
    return file.getvalue()


def boxed(data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A bare stream in the container, in two parts, with further boxes."""
    half = len(data) // 2
    parts = [(b"jxlp", b"\0\0\0\0" + data[:half]), (b"jxlp", b"\x80\0\0\1" + data[half:])]
    head = jxl.CONTAINER + struct.pack(">I", 20) + b"ftypjxl \0\0\0\0jxl "
    return head + b"".join(struct.pack(">I", 8 + len(body)) + kind + body for kind, body in (*more, *parts))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_pixels_are_those_of_another_library(mode: str, lossless: bool) -> None:
    """Bare and in a container, of every mode, as imagecodecs decodes them."""
    data = encoded(Image.fromarray(RGB).convert(mode), lossless=lossless, quality=100 if lossless else 90)
    other = imagecodecs.jpegxl_decode(data)
    expected = Image.fromarray(other.squeeze(), mode).convert("RGB")
    for file in (data, boxed(data)):
        panorama = decode_panorama(file)
        assert np.abs(panorama.erp.astype(int) - np.asarray(expected)).max() <= (0 if lossless else 1)
        assert panorama.remarks == ()


def test_sixteen_bits_of_linear_light_are_eight_of_srgb() -> None:
    """Deep pictures lose their lower bits, and colours are converted from what the decoder says that they are."""
    deep = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None], 128, 0)
    data = imagecodecs.jpegxl_encode(np.dstack([deep] * 3), lossless=True)
    assert np.array_equal(imagecodecs.jpegxl_decode(data)[..., 0], deep)
    raw = decode(open_image(data, 2**20), 256, 128).rgb
    assert np.abs(raw[..., 0] - deep / 257).max() <= 1
    panorama = decode_panorama(data)
    assert panorama.remarks == ("profile_converted",)
    linear = raw / 255.0
    srgb = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(panorama.erp - srgb).max() <= 2


def test_transparency_counts() -> None:
    """It is blended over black and counted as for every format."""
    alpha = np.dstack([RGB, np.full((128, 256), 255, np.uint8)])
    alpha[:, :64, 3] = 0
    panorama = decode_panorama(encoded(alpha, lossless=True))
    assert not panorama.erp[:, :64].any()
    assert panorama.blank_fraction == pytest.approx(0.25)


def test_a_jpeg_in_other_clothes_is_that_jpeg() -> None:
    """What was made of a JPEG gives its bytes back, and so its pixels."""
    data = encode(RGB, "JPEG", quality=90)
    wrapped = imagecodecs.jpegxl_encode_jpeg(data)
    assert wrapped.startswith(jxl.CONTAINER)
    assert np.array_equal(decode_panorama(wrapped).erp, decode_panorama(data).erp)


def test_gpano_counts() -> None:
    """XMP in a box of the container places the picture."""
    xmp = gpano_xmp(**cropped(0, 64, 256, 128, 512, 256))
    assert decode_panorama(boxed(encoded(RGB), (b"xml ", xmp))).coverage == 0.25


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 8]), st.booleans())
def test_the_size_is_the_encoders(width: int, height: int, factor: int, is_large: bool) -> None:
    """In each of the forms that a size has: small, of a ratio, of several widths of number."""
    size = (width * factor + 300 * is_large, height * factor + 600 * is_large)
    head = read_head(encoded(Image.new("RGB", size), lossless=True, effort=1))
    assert (head.width, head.height) == size
    double = read_head(encoded(Image.new("RGB", (2 * size[1], size[1])), lossless=True, effort=1))
    assert (double.width, double.height) == (2 * size[1], size[1])


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_have_a_size_or_none(noise: bytes, cut: int) -> None:
    """A header of noise is a size or an input error."""
    for data in (jxl.STREAM + noise, jxl.CONTAINER + noise, (jxl.CONTAINER + boxed(noise))[:cut]):
        with contextlib.suppress(ValueError):
            assert read_head(data).width >= 0


def test_limits_are_checked_before_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that says that it is large is never given to the decoder."""
    data = encoded(RGB)
    monkeypatch.setattr(pillow_jxl, "Decoder", lambda **_: pytest.fail("decodes"))
    with pytest.raises(InputError) as caught:
        open_image(data, 256 * 128 - 1)
    assert caught.value.error_class == "too_large"
    assert open_image(data, 256 * 128).width == 256


def test_no_truncated_file_gives_pixels() -> None:
    """Cut anywhere it is an input error."""
    data = encoded(RGB, lossless=True)
    for size in [*range(2, len(data) - 1, len(data) // 25), len(data) - 1]:
        with pytest.raises(InputError) as caught:
            decode(open_image(data[:size], 2**20), 256, 128)
        assert caught.value.error_class in {"corrupt_image", "too_large"}


def test_memory_has_a_ceiling_while_it_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a decoder wants beyond what the picture needs is refused to it, and the ceiling goes away with it."""
    before = resource.getrlimit(resource.RLIMIT_DATA)

    class Greedy:
        def __init__(self, **_: object) -> None:
            pass

        def __call__(self, data: bytes) -> None:
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] < 1 << 40
            np.ones(jxl._BESIDES // 2, np.float64)

    monkeypatch.setattr(pillow_jxl, "Decoder", Greedy)
    with pytest.raises(InputError) as caught:
        decode_panorama(encoded(RGB))
    assert caught.value.error_class == "too_large"
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
