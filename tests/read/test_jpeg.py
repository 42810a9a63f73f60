"""A JPEG that lacks only its end marker is whole, with or without a trailer; one that lacks pixels is not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pager_ray.errors import InputError
from pager_ray.read.jpeg import with_end
from pager_ray.read.pixels import NO_END_MARKER, Pixels, decode, open_image
from tests.read.images import encode, picture

RGB = picture(256, 128)
KINDS = {
    "baseline": {"quality": 90},
    "progressive": {"progressive": True},
    "restart": {"restart_marker_blocks": 4},
    "grey": {"mode": "L"},
    "ink": {"mode": "CMYK"},
}
PHONE = b"\x00\x11data of a phone" * 20
TRAILERS = {
    "nothing": b"",
    "half a marker": b"\xff",
    "text": PHONE,
    "zeros": bytes(4000),
    "another picture": PHONE + encode(RGB, "JPEG"),
    "a movie": b"\0\0\0\x18ftypmp42" + bytes(range(255)) * 40,
}


def whole(kind: str) -> bytes:
    options = dict(KINDS[kind])
    return encode(Image.fromarray(RGB).convert(options.pop("mode", "RGB")), "JPEG", **options)


def read(data: bytes) -> Pixels:
    return decode(open_image(data, 2**24), 256, 128)


@pytest.mark.parametrize("trailer", TRAILERS.values(), ids=TRAILERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_end_costs_nothing_and_is_told(kind: str, trailer: bytes) -> None:
    """The pixels are those of the whole file, and the remark is there for the unended one alone."""
    data = whole(kind)
    assert data.endswith(b"\xff\xd9")
    unended = read(data[:-2] + trailer)
    assert unended.remarks == (NO_END_MARKER,)
    assert np.array_equal(unended.rgb, read(data).rgb)
    assert read(data).remarks == read(data + trailer).remarks == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_cut_off_is_refused(kind: str) -> None:
    """Wherever it was cut, and also where the rest is zeros, as downloads that broke off leave them."""
    data = whole(kind)
    for size in range(3, len(data) - 700, len(data) // 20):
        for rest in (b"", bytes(len(data))):
            with pytest.raises(InputError) as caught:
                read(data[: len(data) - size] + rest)
            assert caught.value.error_class == "corrupt_image"
            if size < 40:
                break  # the last blocks decode from a few zeros as from anything else


def test_scans_that_are_missing_are_no_missing_end() -> None:
    """A progressive file cut between two scans decodes without complaint, to a picture without its fine detail."""
    data = whole("progressive")
    starts = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) > 5
    for start in starts[1:]:
        # Tables stand before the scan that they are for.
        cut = data.rfind(b"\xff\xc4", 0, start)
        for data_until in (data[:start], data[:cut]):
            Image.open(io.BytesIO(data_until + b"\xff\xd9")).load()
            assert with_end(data_until) is None
            with pytest.raises(InputError):
                read(data_until)


def test_a_file_with_its_end_is_left_alone() -> None:
    """Nothing is added where a marker stands, whatever follows it."""
    for kind in KINDS:
        assert with_end(whole(kind)) is None
        assert with_end(whole(kind) + PHONE) is None
        assert with_end(whole(kind)[:-2]) == whole(kind)
