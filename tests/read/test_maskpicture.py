"""Mask pictures: white is valid to the pixel, whatever kind of file; what is none of the panorama's is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from pager_ray.errors import InputError
from pager_ray.geometry.cubes import cubemap_mask
from pager_ray.read import decode_cubemap, decode_panorama
from pager_ray.read.maskpicture import decode_mask_picture
from tests.harness import mutations
from tests.read import cubes
from tests.read.images import cropped, encode, gpano_xmp, picture, png_bomb, with_xmp

HEIGHT, WIDTH = 64, 128
TRUTH = np.zeros((HEIGHT, WIDTH), bool)
TRUTH[8:40, 16:96] = True
GREY = TRUTH.astype(np.uint8) * 255
PANORAMA = decode_panorama(encode(picture(WIDTH, HEIGHT)))


def read(content: Any, panorama: Any = PANORAMA) -> np.ndarray:
    return decode_mask_picture(content, panorama, 2**24)


KINDS = {
    "grey": encode(GREY),
    "one bit": encode(Image.fromarray(TRUTH)),
    "0 and 1": encode(TRUTH.astype(np.uint8)),
    "16 bits": encode(Image.fromarray(TRUTH.astype(np.uint16) * 65535)),
    "16 bits, 0 and 1": encode(Image.fromarray(TRUTH.astype(np.uint16))),
    "16 bits, 0 and 255": encode(Image.fromarray(TRUTH.astype(np.uint16) * 255)),
    "16 bits, 100 and 300": encode(Image.fromarray(TRUTH.astype(np.uint16) * 200 + 100), "TIFF"),
    "palette": encode(Image.fromarray(GREY).convert("P")),
    "colours": encode(np.stack([GREY, GREY * 0, GREY * 0], -1)),
    "alpha": encode(np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), GREY])),
    "jpeg": encode(GREY, "JPEG", quality=95),
    "webp": encode(GREY, "WebP", lossless=True),
    "tiff": encode(GREY, "TIFF"),
    "dark": encode(GREY // 5 + 3),
}


@pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)
def test_white_is_valid(content: bytes) -> None:
    """Every kind of file that tools write masks as says the same, pixel by pixel."""
    np.testing.assert_array_equal(read(content), TRUTH)


def test_black_masks_leave_nothing() -> None:
    """And white ones all."""
    assert not read(encode(np.zeros((HEIGHT, WIDTH), np.uint8))).any()
    assert read(encode(np.full((HEIGHT, WIDTH), 255, np.uint8))).all()


def test_masks_of_crops_have_their_files_size() -> None:
    """A mask lies on the file's own pixels, and so in the file's part of the sphere."""
    xmp = gpano_xmp(**cropped(40, 30, WIDTH, HEIGHT, 256, 128))
    panorama = decode_panorama(with_xmp(picture(WIDTH, HEIGHT), "PNG", xmp))
    valid = panorama.validity.masked(read(KINDS["grey"], panorama)).erp(128, 256)
    expected = np.zeros((128, 256), bool)
    expected[30 : 30 + HEIGHT, 40 : 40 + WIDTH] = TRUTH
    np.testing.assert_array_equal(valid, expected)


def test_masks_lie_upright_as_their_pictures() -> None:
    """Orientations of mask and picture are applied to each by itself."""
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = encode(Image.fromarray(GREY[::-1, ::-1]), exif=exif)
    np.testing.assert_array_equal(read(turned), TRUTH)


def test_cubemaps_have_a_mask_for_each_face() -> None:
    """Six masks are one, by the directions of their pixels."""
    size = 32
    panorama = decode_cubemap([encode(face) for face in cubes.cubemap(size)])
    masks = np.random.default_rng(1).random((6, size, size)) < 0.5
    contents = tuple(encode(Image.fromarray(mask)) for mask in masks)
    np.testing.assert_array_equal(read(contents, panorama), cubemap_mask(masks, 2 * size, 4 * size))
    with pytest.raises(InputError, match=r"is one picture, and the panorama is a cubemap"):
        read(contents[0], panorama)
    with pytest.raises(InputError, match=r"right face: has 16×16 pixels, its picture 32×32"):
        read((contents[0], encode(np.zeros((16, 16), np.uint8)), *contents[2:]), panorama)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode(np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)), "has 64×32 pixels, its picture 128×64"),
        (encode(GREY)[:-20], "cannot be|corrupt|damaged|decode"),
        (b"no picture at all", "image"),
        (b"", "empty"),
        (png_bomb(1 << 15, 1 << 15), "at most 16777216"),
        ((b"",) * 6, "is a cubemap's"),
    ],
    ids=["size", "cut", "text", "empty", "bomb", "cubemap"],
)
def test_what_is_no_mask_of_the_picture_is_named(content: Any, message: str) -> None:
    """One class, and what is wrong with it."""
    with pytest.raises(InputError, match=message) as caught:
        read(content)
    assert caught.value.error_class == "bad_mask"


def test_hostile_masks_are_refused_as_hostile_pictures_are() -> None:
    """Whatever a file is made of, it is a mask of the picture's size or a reject of one class, in plain text."""
    refused = [error for case in mutations.cases(5, 120, 2**22) if (error := trouble_of(case)) is not None]
    assert 5 < len(refused) < 115
    assert {error.error_class for error in refused} == {"bad_mask"}
    assert all(str(error).isprintable() for error in refused)


def trouble_of(case: mutations.Case) -> InputError | None:
    """Why a file is no mask; None where it is one, of the right size."""
    try:
        shape = read(case.data).shape
    except InputError as error:
        return error
    assert shape == (HEIGHT, WIDTH), case.name
    return None
