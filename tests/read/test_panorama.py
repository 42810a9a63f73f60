"""A panorama comes out 2:1, at its own size or reduced, and everything else is an input error of a stable class."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile

from pager_ray.errors import InputError
from pager_ray.read import DecodedPanorama, decode_panorama
from pager_ray.read.formats import _READERS
from tests.read.images import FORMATS, LOSSLESS, cropped, encode, gpano_xmp, picture, png_bomb, with_xmp

WITH_XMP = [name for name in FORMATS if name != "BMP"]


def sizes(panorama: DecodedPanorama) -> tuple[int, int, int, int]:
    return panorama.source_width, panorama.source_height, panorama.file_width, panorama.file_height


def error_class(data: bytes, **limits: float) -> str:
    with pytest.raises(InputError) as caught:
        decode_panorama(data, **limits)  # type: ignore[arg-type]
    return caught.value.error_class


@pytest.mark.parametrize("format", LOSSLESS)
def test_whole_panorama_as_it_is(format: str) -> None:
    """A 2:1 image within the working width is untouched."""
    image = picture(256, 128)
    panorama = decode_panorama(encode(image, format, **LOSSLESS[format]))
    assert np.array_equal(panorama.erp, image)
    assert panorama.erp.flags.c_contiguous
    assert sizes(panorama) == (256, 128, 256, 128)
    assert (panorama.coverage, panorama.stretch, panorama.blank_fraction) == (1, 1, 0)
    assert (panorama.suspect, panorama.remarks) == (None, ())


def test_a_few_pixels_off_are_scaled_across() -> None:
    """Where an encoder wanted multiples of 16 the picture fills the sphere, shifted nowhere by more than a pixel."""
    for width in (2032, 2016):
        panorama = decode_panorama(encode(picture(width, 1008)))
        assert panorama.erp.shape == (1008, 2016, 3)
        assert np.abs(panorama.erp.astype(int) - picture(2016, 1008)).max() <= 6
        assert panorama.stretch == pytest.approx(2016 / width)


def test_what_carries_nothing_adds_up() -> None:
    """What lies beyond a crop, transparent pixels and black bars within it count once each."""
    image = np.dstack([picture(200, 60), np.full((60, 200), 255, np.uint8)])
    image[:, :20, 3] = 0
    image[:6, :, :3] = image[-6:, :, :3] = 0
    data = with_xmp(image, "PNG", gpano_xmp(**cropped(40, 30, 200, 60, 256, 128)))
    panorama = decode_panorama(data)
    assert panorama.blank_fraction == pytest.approx(1 - 180 * 48 / (256 * 128))
    assert panorama.suspect == "black_bars"


@pytest.mark.parametrize("max_width", [4096, 100])
def test_valid_is_what_the_file_shows(max_width: int) -> None:
    """Pixels of the rectangle that are not wholly transparent, exactly, however much the panorama is reduced."""
    alpha = np.random.default_rng(1).integers(0, 3, (60, 200)).astype(np.uint8)
    image = np.dstack([picture(200, 60), alpha])
    data = with_xmp(image, "PNG", gpano_xmp(**cropped(40, 30, 200, 60, 256, 128)))
    expected = np.zeros((128, 256), bool)
    expected[30:90, 40:240] = alpha > 0
    panorama = decode_panorama(data, max_width=max_width)
    np.testing.assert_array_equal(panorama.validity.erp(128, 256), expected)
    assert decode_panorama(encode(picture(256, 128)), max_width=max_width).validity.is_whole


def test_stretched_pictures_keep_their_own_mask() -> None:
    """A picture that is a little off 2:1 is transparent where its own pixels are."""
    image = np.dstack([picture(252, 128), np.full((128, 252), 255, np.uint8)])
    image[:, 126:, 3] = 0
    validity = decode_panorama(encode(image), aspect_tolerance=0.02).validity
    expected = np.repeat(np.arange(256)[None] < 128, 128, axis=0)
    np.testing.assert_array_equal(validity.erp(128, 256), expected)


@pytest.mark.parametrize("width", [255, 257])
def test_a_pixel_of_rounding_is_resampled_and_nothing_else(width: int) -> None:
    """Odd sizes keep their height, become exactly 2:1, and move by less than a pixel."""
    image = picture(width, 128)
    panorama = decode_panorama(encode(image))
    assert sizes(panorama) == (256, 128, width, 128)
    assert np.abs(panorama.erp.astype(int) - picture(256, 128)).max() <= 6
    assert panorama.stretch == pytest.approx(256 / width)
    assert error_class(encode(picture(260 if width == 257 else 252, 128))) == "not_a_panorama"
    assert error_class(encode(picture(258 if width == 257 else 254, 128)), aspect_tolerance=0) == "not_a_panorama"


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize(("width", "max_width"), [(512, 256), (600, 256), (1030, 256), (4000, 256)])
def test_wide_panoramas_are_reduced_with_antialiasing(format: str, width: int, max_width: int) -> None:
    """Reduction is to exactly max_width, the source keeps its size, and fine stripes become grey, not moiré."""
    stripes = np.repeat(np.tile(np.array([0, 255], dtype=np.uint8), width // 2)[None], width // 2, axis=0)
    options = {"quality": 95} if format == "JPEG" else {}
    panorama = decode_panorama(encode(np.dstack([stripes] * 3), format, **options), max_width=max_width)
    assert panorama.erp.shape == (max_width // 2, max_width, 3)
    assert panorama.erp.flags.c_contiguous
    assert sizes(panorama) == (width, width // 2, width, width // 2)
    spread = panorama.erp.astype(int).max() - panorama.erp.min()
    # An odd number of stripes per pixel leaves at most one stripe's share; none where the sizes divide.
    assert spread <= (2 if width % (2 * max_width) == 0 else 255 * max_width / width / 2)


def test_reduced_jpeg_shows_the_same_picture() -> None:
    """Decoder scaling and area averaging agree with reducing the full decode."""
    data = encode(picture(2000, 1000), "JPEG", quality=95)
    full = decode_panorama(data)
    small = decode_panorama(data, max_width=300)
    reference = cv2.resize(full.erp, (300, 150), interpolation=cv2.INTER_AREA)
    assert np.abs(small.erp.astype(int) - reference).max() <= 4


@pytest.mark.parametrize("format", WITH_XMP)
def test_cropped_panorama_is_placed(format: str) -> None:
    """In every format with XMP, pixels lie where the metadata say, the rest is black, the share is known."""
    image = picture(200, 50)
    xmp = gpano_xmp(**cropped(40, 30, 200, 50, 256, 128))
    data = with_xmp(image, format, xmp, **LOSSLESS.get(format, {"quality": 95}))
    panorama = decode_panorama(data)
    assert sizes(panorama) == (256, 128, 200, 50)
    assert panorama.coverage == pytest.approx(200 * 50 / (256 * 128))
    assert panorama.blank_fraction == pytest.approx(1 - panorama.coverage)
    assert (panorama.suspect, panorama.remarks) == (None, ())
    inside = panorama.erp[30:80, 40:240]
    assert np.abs(inside.astype(int) - image).mean() < (3 if format not in LOSSLESS else 1e-9)
    outside = panorama.erp.copy()
    outside[30:80, 40:240] = 0
    assert not outside.any()


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_cropped_panorama_is_reduced_in_place(format: str) -> None:
    """Reducing a cropped panorama equals reducing the placed one, up to its rounded borders."""
    image = picture(1600, 400)
    data = with_xmp(image, format, gpano_xmp(**cropped(201, 303, 1600, 400, 2000, 1000)), subsampling=0, quality=98)
    full, small = decode_panorama(data), decode_panorama(data, max_width=250)
    assert small.erp.shape == (125, 250, 3)
    assert sizes(small) == sizes(full) == (2000, 1000, 1600, 400)
    reference = cv2.resize(full.erp, (250, 125), interpolation=cv2.INTER_AREA)
    assert np.abs(small.erp[40:86, 27:223].astype(int) - reference[40:86, 27:223]).max() <= 8
    covered = small.erp.any(axis=2)
    assert (covered.any(axis=1).sum(), covered.any(axis=0).sum()) == (50, 200)


def test_scaled_crop_keeps_its_own_resolution() -> None:
    """A file shrunk after stitching is stitched back to the shrunken panorama's size."""
    xmp = gpano_xmp(**cropped(0, 600, 4000, 800, 4000, 2000))
    panorama = decode_panorama(with_xmp(picture(400, 80), "JPEG", xmp))
    assert sizes(panorama) == (400, 200, 400, 80)
    assert panorama.erp[60:140].any(axis=2).all()
    assert not panorama.erp[:60].any()
    assert not panorama.erp[140:].any()


def test_small_crop_of_an_absurd_panorama_is_refused_without_a_canvas() -> None:
    """Limits hold for the full panorama too."""
    xmp = gpano_xmp(**cropped(0, 0, 64, 32, 900_000, 450_000))
    with pytest.raises(InputError, match="900000×450000") as caught:
        decode_panorama(with_xmp(picture(64, 32), "JPEG", xmp))
    assert caught.value.error_class == "too_large"


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_no_panorama_is_never_decoded(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels stay untouched until their shape is a panorama's: a single column of them costs gigabytes."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pixels were decoded")

    data = encode(picture(64, 256), format)
    for reader in _READERS.values():
        monkeypatch.setattr(reader, "load", refuse)
    monkeypatch.setattr("simplejpeg.decode_jpeg", refuse)
    assert error_class(data) == "not_a_panorama"


def test_sliver_of_a_large_panorama_stays_visible() -> None:
    """A crop thinner than a pixel after reduction still covers one, at the far edge too."""
    xmp = gpano_xmp(**cropped(7999, 3990, 1, 10, 8000, 4000))
    panorama = decode_panorama(with_xmp(np.full((10, 1, 3), 255, np.uint8), "PNG", xmp), max_width=100)
    assert panorama.erp.shape == (50, 100, 3)
    assert np.argwhere(panorama.erp.any(axis=2)).tolist() == [[49, 99]]


def test_orientation_comes_before_the_aspect() -> None:
    """A panorama stored on its side is one, and comes out upright."""
    image = picture(256, 128)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    panorama = decode_panorama(encode(np.rot90(image), "PNG", exif=exif))
    assert np.array_equal(panorama.erp, image)
    assert sizes(panorama) == (256, 128, 256, 128)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header promises any size."""
    data = bytearray(encode(picture(64, 32), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty_file"),
        (b"this is text, whatever its name\n", "not_an_image"),
        (b"GIF89a" + b"\0" * 100, "unsupported_format"),
        (encode(picture(256, 128), "JPEG")[:900], "corrupt_image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "corrupt_image"),
        (png_bomb(30_000, 15_000), "too_large"),
        (jpeg_of_size(30_000, 15_000), "too_large"),
        (encode(np.zeros((1, 1, 3), dtype=np.uint8)), "too_small"),
        (encode(picture(32, 16)), "too_small"),
        (encode(picture(300, 100)), "not_a_panorama"),
        (with_xmp(picture(300, 100), "JPEG", gpano_xmp(FullPanoWidthPixels=-5)), "bad_gpano"),
    ],
    ids=["empty", "text", "gif", "cut", "header", "png-bomb", "jpeg-bomb", "1x1", "small", "3:1", "gpano"],
)
def test_every_failure_has_its_class(data: bytes, expected: str) -> None:
    """Rejects group by these names: they are part of the interface, and survive pickling between workers."""
    assert error_class(data) == expected
    with pytest.raises(InputError) as caught:
        decode_panorama(data)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own object
    assert (again.error_class, str(again)) == (expected, str(caught.value))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1", "LA"])
def test_unusual_modes_are_panoramas_too(mode: str) -> None:
    """Grey, transparent, ink and palette images give three channels of bytes."""
    format = "TIFF" if mode == "CMYK" else "PNG"
    assert decode_panorama(encode(Image.fromarray(picture(128, 64)).convert(mode), format)).erp.shape == (64, 128, 3)


def test_pillow_globals_and_limits_play_no_part() -> None:
    """An image past Pillow's own limits is judged by ours alone: no warning, no error of Pillow's, no global set."""
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert error_class(jpeg_of_size(20_000, 10_000)) == "corrupt_image"
        assert error_class(jpeg_of_size(14_000, 7_000), max_pixels=10**7) == "too_large"
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert after == before


def test_threads_do_not_disturb_each_other() -> None:
    """Good and bad files decoded at once give what they give alone."""
    good = {format: encode(picture(256, 128), format) for format in FORMATS}
    alone = {format: decode_panorama(data).erp for format, data in good.items()}

    def work(index: int) -> bool:
        format = FORMATS[index % len(FORMATS)]
        if index % 5 == 4:
            return error_class(good[format][:-9]) == "corrupt_image"
        return np.array_equal(decode_panorama(good[format]).erp, alone[format])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_jpeg_through_the_whole_path_is_what_pillow_shows() -> None:
    """End to end, a JPEG panorama is bit-identical to the common decoder."""
    data = encode(picture(512, 256), "JPEG", quality=90)
    assert np.array_equal(decode_panorama(data).erp, np.asarray(Image.open(io.BytesIO(data))))
