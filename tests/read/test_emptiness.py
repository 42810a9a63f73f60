"""Black bars and the black round of a dual fisheye are found, and dark panoramas are not taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.read.emptiness import BLACK_BARS, DUAL_FISHEYE, emptiness_of
from pager_ray.samples import make_scene, render
from tests.read.images import encode, picture

RGB = np.maximum(picture(256, 128), 30)


def barred(above: int, below: int) -> np.ndarray:
    image = RGB.copy()
    image[:above] = image[128 - below :] = 0
    return image


def fisheye(radius: float, height: int = 128) -> np.ndarray:
    """Two circles of a radius, in halves of the height."""
    y, x = np.mgrid[:height, : 2 * height] + 0.5
    distance = np.hypot(x % height - height / 2, y - height / 2) / (height / 2)
    return (np.maximum(picture(2 * height, height), 40) * (distance < radius)[..., None]).astype(np.uint8)


@pytest.mark.parametrize(("above", "below"), [(0, 0), (1, 1), (30, 0), (0, 30), (2, 2), (20, 40), (128, 0)])
def test_black_rows_are_counted_and_bars_are_suspected(above: int, below: int) -> None:
    """Rows count on either side; only those on both sides are a letterbox."""
    empty = emptiness_of(barred(above, below), None, is_whole=True)
    assert empty.share == pytest.approx((above + below) / 128)
    assert empty.suspect == (BLACK_BARS if min(above, below) >= 2 or above == 128 else None)


def test_bars_are_found_through_compression() -> None:
    """Beside their edge a JPEG's bars are not quite black."""
    from pager_ray.read import decode_panorama

    panorama = decode_panorama(encode(barred(20, 20), "JPEG", quality=80))
    assert panorama.suspect == BLACK_BARS
    assert panorama.blank_fraction == pytest.approx(40 / 128, abs=16 / 128)


def test_transparency_is_no_bar() -> None:
    """Transparent pixels count once, and black ones under them are no suspicion."""
    hidden = np.zeros((128, 256), np.uint8)
    hidden[:30] = hidden[-30:] = 255
    assert emptiness_of(barred(30, 30), hidden, is_whole=True) == (pytest.approx(60 / 128), None)
    hidden[:, :128] = 255
    assert emptiness_of(RGB, hidden, is_whole=True) == (pytest.approx((128 * 128 + 60 * 128) / (256 * 128)), None)


@pytest.mark.parametrize("radius", [0.88, 0.96, 1.0])
@pytest.mark.parametrize("height", [64, 128, 500])
def test_dual_fisheyes_are_found(radius: float, height: int) -> None:
    """Circles that nearly fill their half are found at any size, with the share of the black round about."""
    empty = emptiness_of(fisheye(radius, height), None, is_whole=True)
    assert empty.suspect == DUAL_FISHEYE
    assert empty.share == pytest.approx(1 - np.pi * radius**2 / 4, abs=0.03)
    assert emptiness_of(fisheye(radius, height), None, is_whole=False).suspect != DUAL_FISHEYE


@pytest.mark.parametrize("number", range(6))
def test_panoramas_are_not_suspected(number: int) -> None:
    """Rendered rooms and streets, and the same by night, are what they are."""
    rgb = render(make_scene(number, "outdoor" if number % 2 else "indoor"), 64, 128, supersample=1).rgb
    for image in (rgb, rgb // 4, np.where(rgb > 9, rgb, 9)):
        assert emptiness_of(image, None, is_whole=True).suspect is None


def test_a_dark_letterbox_is_no_fisheye() -> None:
    """Wide bars leave the corners of both halves black, and the middle of their top, too."""
    assert emptiness_of(barred(46, 46), None, is_whole=True).suspect == BLACK_BARS
    dim = np.where(barred(46, 46) == 0, 15, barred(46, 46)).astype(np.uint8)
    assert emptiness_of(dim, None, is_whole=True).suspect is None
