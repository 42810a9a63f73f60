"""Colours of a profile come out as sRGB, as its numbers say; profiles that cannot be used cost nothing and are told."""

from __future__ import annotations

import io
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from pager_ray.read import decode_panorama
from pager_ray.read.colour import MAX_PROFILE_BYTES, conversion_for
from tests.read.images import encode, picture, png_chunk

RGB = picture(256, 128)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = imagecodecs.cms_profile("rgb", whitepoint=(0.3127, 0.329, 1.0), gamma=2.19921875,
                                primaries=(0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0))  # fmt: skip
GREY = imagecodecs.cms_profile("gray", whitepoint=(0.3127, 0.329, 1.0), gamma=1.0)
WITH_PROFILE = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "TIFF": {},
    "WebP": {"lossless": True},
    "AVIF": {"quality": 95, "max_threads": 1},
}


def from_adobe(pixels: np.ndarray) -> np.ndarray:
    """Adobe RGB (1998) to sRGB by the matrices of their definitions; both have the same white."""
    to_xyz = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    to_rgb = [[3.24045, -1.53714, -0.49853], [-0.96927, 1.87601, 0.04156], [0.05564, -0.20403, 1.05723]]
    linear = np.clip((pixels / 255.0) ** 2.19921875 @ (np.array(to_rgb) @ np.array(to_xyz)).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("format", WITH_PROFILE)
def test_profiles_are_applied_in_every_format(format: str) -> None:
    """The panorama is what the definitions make of the pixels without a profile, and the conversion is told."""
    plain = decode_panorama(encode(RGB, format, **WITH_PROFILE[format]))
    converted = decode_panorama(encode(RGB, format, icc_profile=ADOBE, **WITH_PROFILE[format]))
    assert (plain.remarks, converted.remarks) == ((), ("profile_converted",))
    difference = np.abs(converted.erp - from_adobe(plain.erp))
    # Dark colours have coarse steps, and a curve of the library's is straight near black.
    assert difference[plain.erp.min(axis=-1) > 20].max() <= 2
    assert np.abs(plain.erp - from_adobe(plain.erp)).max() > 20


@pytest.mark.parametrize("format", WITH_PROFILE)
def test_srgb_changes_no_bit(format: str) -> None:
    """What is sRGB already is not touched, and nothing is told."""
    plain = decode_panorama(encode(RGB, format, **WITH_PROFILE[format]))
    named = decode_panorama(encode(RGB, format, icc_profile=SRGB, **WITH_PROFILE[format]))
    assert np.array_equal(plain.erp, named.erp)
    assert named.remarks == ()


def test_grey_pictures_have_grey_profiles() -> None:
    """Linear grey becomes the grey of sRGB in three equal channels."""
    grey = Image.fromarray(RGB).convert("L")
    panorama = decode_panorama(encode(grey, "PNG", icc_profile=GREY))
    linear = np.asarray(grey) / 255.0
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert panorama.remarks == ("profile_converted",)
    assert np.abs(panorama.erp - expected[..., None]).max() <= 2
    # Of another kind of colour than the pixels.
    assert decode_panorama(encode(RGB, "PNG", icc_profile=GREY)).remarks == ("profile_ignored",)
    assert decode_panorama(encode(grey, "PNG", icc_profile=ADOBE)).remarks == ("profile_ignored",)


def test_a_large_picture_is_converted_after_it_is_reduced() -> None:
    """What is converted is what is handed on: reduced, and in bands."""
    data = encode(RGB, "PNG", icc_profile=ADOBE)
    small = decode_panorama(data, max_width=128)
    plain = decode_panorama(encode(RGB, "PNG"), max_width=128)
    assert np.abs(small.erp - from_adobe(plain.erp))[plain.erp.min(axis=-1) > 20].max() <= 2


BROKEN = {
    "noise": bytes(range(256)) * 4,
    "cut": ADOBE[: len(ADOBE) // 2],
    "short": b"x",
    "header alone": ADOBE[:128],
    "large": ADOBE + bytes(MAX_PROFILE_BYTES),
}


@pytest.mark.parametrize("profile", BROKEN.values(), ids=BROKEN)
def test_broken_profiles_are_told(profile: bytes) -> None:
    """The pixels stay as they are."""
    panorama = decode_panorama(encode(RGB, "PNG", icc_profile=profile))
    assert np.array_equal(panorama.erp, RGB)
    assert panorama.remarks == ("profile_ignored",)
    assert conversion_for(profile, "RGB") == (None, "profile_ignored")


def test_a_profile_that_inflates_without_end_is_not_inflated() -> None:
    """A PNG's profile is compressed: it is cut at the limit and left out of account."""
    data = encode(RGB, "PNG")
    bomb = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(64 << 20)))
    for chunk in (bomb, png_chunk(b"iCCP", b"no end"), png_chunk(b"iCCP", b"p\0\0no zlib")):
        panorama = decode_panorama(data[:33] + chunk + data[33:])
        assert panorama.remarks == ("profile_ignored",)
        assert np.array_equal(panorama.erp, RGB)


def test_ink_is_converted_by_its_profile() -> None:
    """CMYK goes through its own profile, from a JPEG as from a TIFF, as Little CMS does by itself."""
    ink = Image.fromarray(RGB).convert("CMYK")
    profile = _ink_profile()
    expected = np.asarray(
        ImageCms.profileToProfile(
            ink,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    )
    tiff = decode_panorama(encode(ink, "TIFF", icc_profile=profile))
    jpeg = decode_panorama(encode(ink, "JPEG", icc_profile=profile, quality=100))
    assert tiff.remarks == jpeg.remarks == ("profile_converted",)
    assert np.array_equal(tiff.erp, expected)
    assert np.abs(jpeg.erp.astype(int) - expected).mean() < 3


def _ink_profile() -> bytes:
    """A CMYK profile with the crudest of tables: 2 points along each ink, of which light is what they leave."""
    import struct

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    grid = b""
    for inks in np.ndindex(2, 2, 2, 2):
        light = [(1 - ink) * (1 - inks[3]) for ink in inks[:3]]
        luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
        lab = (luminance * 65280 / 65535, 128 / 255 * 65280 / 65535, 128 / 255 * 65280 / 65535)
        grid += b"".join(struct.pack(">H", round(65535 * value)) for value in lab)
    identity = b"".join(number(float(row == column)) for row in range(3) for column in range(3))
    ramp = struct.pack(">HH", 0, 65535)
    table = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + struct.pack(">HH", 2, 2) + ramp * 4 + grid + ramp * 3
    white = b"XYZ \0\0\0\0" + number(0.9642) + number(1.0) + number(0.8249)
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"c\0" + bytes(78)
    tags, body, at = b"", b"", 128 + 4 + 12 * 3
    for name, content in ((b"A2B0", table), (b"wtpt", white), (b"desc", text)):
        content += bytes(-len(content) % 4)
        tags += name + struct.pack(">II", at, len(content))
        body += content
        at += len(content)
    head = struct.pack(">I4sI4s4s4s", at, b"\0\0\0\0", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28) + number(0.9642) + number(1.0) + number(0.8249) + bytes(48)
    return head + struct.pack(">I", 3) + tags + body
