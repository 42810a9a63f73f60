"""Pixels come out as RGB bytes, upright, whatever the file stored; damage never comes out as pixels."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from pager_ray.errors import InputError
from pager_ray.read import pixels as read_pixels
from pager_ray.read.jpeg import MAX_PARTS, MAX_SCANS
from pager_ray.read.pixels import decode_pixels, open_image
from tests.harness.mutations import exif_bomb, scans_jpeg, tile_bomb, tiled_tiff
from tests.read.images import FORMATS, LOSSLESS, encode, picture, png_bomb, png_chunk, with_xmp


def decode(data: bytes, width: int = 1 << 20, height: int = 1 << 20) -> np.ndarray:
    """Decode at full size unless a smaller one is wanted."""
    return decode_pixels(open_image(data, 2**28), width, height)


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


RGB = picture(132, 66)  # rows of whole words: the last row of a BMP would otherwise end in padding that may be lost
GREY = Image.fromarray(RGB).convert("L")


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_are_exact(format: str) -> None:
    """What was saved comes back bit by bit."""
    assert np.array_equal(decode(encode(RGB, format, **LOSSLESS[format])), RGB)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}]
)
@pytest.mark.parametrize("image", [Image.fromarray(RGB), GREY], ids=["colour", "grey"])
def test_jpeg_is_bit_identical_to_pillow(image: Image.Image, options: dict) -> None:
    """The fast decoder gives what the common one gives, baseline and progressive, every subsampling."""
    data = encode(image, "JPEG", **options)
    assert np.array_equal(decode(data), pillow(data))


def test_cmyk_jpeg_within_one_level_of_pillow() -> None:
    """Inverted ink is undone and multiplied out; rounding may differ by one."""
    data = encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(decode(data).astype(int) - pillow(data)).max() <= 1
    assert np.abs(decode(data).astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("format", ["AVIF", "WebP"])
def test_lossy_formats_are_close(format: str) -> None:
    """The remaining formats show the same picture."""
    if format in FORMATS:
        assert np.abs(decode(encode(RGB, format, quality=95)).astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_every_common_mode_becomes_rgb(mode: str, format: str) -> None:
    """Opaque images of any mode look as Pillow's own conversion to RGB."""
    if (mode, format) == ("CMYK", "PNG"):
        mode = "P"
    source = Image.fromarray(RGB).convert(mode)
    pixels = decode(encode(source, format))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, np.asarray(source.convert("RGB")))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_scale_over_the_full_range(suffix: str, channels: int) -> None:
    """65535 is white and 256 is one level: the upper byte, neither clipped nor wrapped."""
    values = np.linspace(0, 65535, 66 * 130).astype(np.uint16).reshape(66, 130)
    image = np.repeat(values[..., None], channels, axis=2)
    if channels == 4:
        image[..., 3] = 65535
    written, buffer = cv2.imencode(suffix, image if channels > 1 else values)
    assert written
    assert np.array_equal(decode(buffer.tobytes()), np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WebP"])
def test_transparency_is_blended_over_black(format: str) -> None:
    """What a stitcher left out is black whatever colour hides there, half-transparent is half as bright."""
    alpha = np.zeros(RGB.shape[:2], dtype=np.uint8)
    alpha[:, 40:80], alpha[:, 80:] = 128, 255
    options = {"lossless": True, "exact": True} if format == "WebP" else {}
    pixels = decode(encode(np.dstack([RGB, alpha]), format, **options)).astype(int)
    assert not pixels[:, :40].any()
    assert np.abs(pixels[:, 40:80] - RGB[:, 40:80] * (128 / 255)).max() <= 0.5
    assert np.array_equal(pixels[:, 80:], RGB[:, 80:])


def test_palette_and_key_transparency_are_black_too() -> None:
    """Transparency that is no channel counts the same."""
    flat = np.full((66, 130, 3), 200, dtype=np.uint8)
    flat[:, :65] = 10
    palette = Image.fromarray(flat).quantize(2)
    index = palette.getpixel((100, 0))
    for data in (encode(palette, "PNG", transparency=index), encode(flat, "PNG", transparency=(200, 200, 200))):
        pixels = decode(data)
        assert not pixels[:, 65:].any()
        assert (pixels[:, :65] == 10).all()


@pytest.mark.parametrize(("kind", "bits"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_the_transparent_colour_of_a_png_is_the_one_that_it_says(kind: int, bits: int) -> None:
    """At every depth: the pixels of that value are black and hidden, those of others are neither."""
    levels = min(1 << bits, 256)
    step = 257 if bits == 16 else 1
    values = (np.arange(128 * 64).reshape(64, 128) * 7 % levels * step).astype(np.uint32)
    key = int(values[5, 5]) + (0x21 if (kind, bits) == (2, 16) else 0)
    values[values == values[5, 5]] = key
    channels = 3 if kind == 2 else 1
    rows = np.repeat(values[..., None], channels, axis=2)
    if bits < 8:
        packed = np.packbits(np.unpackbits(rows.astype(np.uint8)[:, :, 0, None], axis=2)[:, :, 8 - bits :], axis=None)
        lines = packed.reshape(64, -1)
    else:
        lines = rows.astype(">u2" if bits == 16 else np.uint8).reshape(64, -1).view(np.uint8)
    pixels = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    chunks = [
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 64, bits, kind, 0, 0, 0)),
        png_chunk(b"tRNS", struct.pack(">H", key) * channels),
        png_chunk(b"IDAT", pixels),
        png_chunk(b"IEND", b""),
    ]
    found = read_pixels.decode(open_image(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), 2**20), 128, 64)
    is_key = values == key
    shown = (values * 255 // ((1 << bits) - 1)).astype(np.uint8)
    assert found.hidden is not None
    np.testing.assert_array_equal(found.hidden > 0, is_key)
    np.testing.assert_array_equal(found.rgb, np.where(is_key, 0, shown)[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("head", [b"", bytes(13)])
def test_a_transparent_colour_of_a_png_that_is_none_is_damage(head: bytes) -> None:
    """Before any decoder is asked, and whatever its header lacks."""
    chunks = [png_chunk(b"IHDR", head), png_chunk(b"tRNS", b"\0"), png_chunk(b"IDAT", b""), png_chunk(b"IEND", b"")]
    with pytest.raises(InputError) as caught:
        open_image(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), 2**20)
    assert caught.value.error_class == "corrupt_image"


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_without_a_meaning_in_bytes_are_refused(mode: str) -> None:
    """Floats, 32-bit integers and Lab have no agreed range here: refused by name, not guessed."""
    image = Image.new(mode, (128, 64))
    with pytest.raises(InputError, match=f"{mode} pixels") as caught:
        decode(encode(image, "TIFF"))
    assert caught.value.error_class == "unsupported_format"


UPRIGHT = [name for name in FORMATS if name not in {"BMP"}]
"""Formats that have EXIF."""


# Every orientation, each in another format, and every format with one that exchanges height and width.
@pytest.mark.parametrize(
    ("format", "orientation"),
    sorted(
        {(UPRIGHT[number % len(UPRIGHT)], number) for number in range(1, 9)} | {(name, 6) for name in UPRIGHT},
    ),
)
def test_orientation_is_applied_once(format: str, orientation: int) -> None:
    """Every EXIF orientation gives what exif_transpose gives, in size and pixels, for every format that has EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encode(RGB, format, exif=exif, **LOSSLESS.get(format, {"quality": 95}))
    header = open_image(data, 2**28)
    image = Image.open(io.BytesIO(data))
    expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert (header.height, header.width) == expected.shape[:2]
    assert np.array_equal(decode_pixels(header, header.width, header.height), expected)


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_is_scaled_by_the_decoder_in_halves(orientation: int) -> None:
    """The smallest half, quarter or eighth that is large enough along both axes, in upright terms."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = picture(808, 400) if orientation == 1 else picture(400, 808)
    data = encode(image, "JPEG", exif=exif)
    sizes = {(808, 400): (808, 400), (500, 100): (808, 400), (404, 200): (404, 200), (404, 201): (808, 400)}
    sizes |= {(202, 100): (202, 100), (101, 50): (101, 50), (10, 5): (101, 50)}
    for (width, height), (decoded_width, decoded_height) in sizes.items():
        assert decode(data, width, height).shape == (decoded_height, decoded_width, 3)
    reference = cv2.resize(decode(data), (202, 100), interpolation=cv2.INTER_AREA)
    assert np.abs(decode(data, 202, 100).astype(int) - reference).mean() < 2


def test_jpeg_is_not_scaled_with_a_remainder() -> None:
    """A decoder that rounds sizes up would shift the picture: 1030 is halved but not quartered."""
    assert decode(encode(picture(1030, 516), "JPEG"), 100, 50).shape == (258, 515, 3)


CONTAINERS = [(name, LOSSLESS.get(name, {})) for name in FORMATS]
CONTAINERS += [("TIFF", {"compression": kind}) for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
CONTAINERS += [("JPEG", {"progressive": True}), ("PNG", {"compress_level": 0})]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bytes_between_jpeg_segments_are_skipped() -> None:
    """Bytes that some cameras leave before the end marker cost nothing; a file cut before them is still refused."""
    whole = encode(picture(128, 64), "JPEG", quality=90)
    padded = whole[:-2] + b"\x00\x11\x22\x33" + whole[-2:]
    np.testing.assert_array_equal(decode(padded), decode(whole))
    with pytest.raises(InputError) as caught:
        decode(padded[:-9])
    assert caught.value.error_class == "corrupt_image"


@pytest.mark.parametrize(("format", "options"), CONTAINERS, ids=str)
def test_no_truncated_file_gives_pixels(format: str, options: dict) -> None:
    """Cut anywhere, the last byte included, every format is an input error: never grey or black filling."""
    data = encode(RGB, format, **options)
    decode(data)
    end = 3 if format == "JPEG" else 1  # a JPEG's end marker may be missing
    for size in [*range(0, len(data) - end, max(1, len(data) // 60)), len(data) - end - 1, len(data) - end]:
        with pytest.raises(InputError) as caught:
            decode(data[:size])
        assert caught.value.error_class in {"corrupt_image", "empty_file", "not_an_image"}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(("format", "options"), CONTAINERS, ids=str)
def test_damaged_files_give_pixels_or_input_errors(format: str, options: dict) -> None:
    """Whatever bytes are overwritten, no other exception escapes."""
    data = encode(RGB, format, **options)
    rng = random.Random(0)
    outcomes = {"pixels": 0, "corrupt_image": 0}
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(3):
            reach = len(data) if rng.random() < 0.5 else min(200, len(data))
            damaged[rng.randrange(reach)] = rng.randrange(256)
        try:
            assert decode(bytes(damaged)).shape[2] == 3
            outcome = "pixels"
        except InputError as error:
            outcome = error.error_class
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {"pixels", "corrupt_image", "not_an_image", "unsupported_format", "too_large"}
    assert outcomes["corrupt_image"] > 0


def test_png_checksums_are_checked() -> None:
    """A flipped bit in stored pixel bytes, which would decode, is found by the chunk's CRC."""
    data = bytearray(encode(RGB, "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    with pytest.raises(InputError, match="PNG file is damaged") as caught:
        decode(bytes(data))
    assert caught.value.error_class == "corrupt_image"


def test_metadata_behind_the_pixels_of_a_png_count() -> None:
    """EXIF and XMP chunks may follow IDAT."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    data = encode(RGB, "PNG")
    end = len(data) - 12
    xmp = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")
    header = open_image(data[:end] + png_chunk(b"eXIf", exif.tobytes()[6:]) + xmp + data[end:], 2**28)
    assert (header.orientation, header.xmp) == (3, b"<x/>")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_unreadable_exif_leaves_the_picture_upright() -> None:
    """Broken EXIF is no reason to lose a panorama."""
    data = encode(RGB, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken")
    assert open_image(data, 2**28).orientation == 1
    assert decode(data).shape == RGB.shape


def test_limit_is_checked_before_pixels() -> None:
    """A file of a hundred bytes that promises 450 megapixels is too_large; within the limit it is merely corrupt."""
    bomb = png_bomb(30_000, 15_000)
    with pytest.raises(InputError, match=f"30000×15000 are {450_000_000} pixels") as caught:
        open_image(bomb, 2**28)
    assert caught.value.error_class == "too_large"
    with pytest.raises(InputError) as caught:
        decode(png_bomb(64, 32))
    assert caught.value.error_class == "corrupt_image"


def test_scans_are_counted() -> None:
    """A progressive JPEG of hundreds of passes over its blocks is refused before the first; trailers do not count."""
    few, many = scans_jpeg(128, 64, MAX_SCANS - 1), scans_jpeg(128, 64, MAX_SCANS)
    trailer = b"\xff\xda\0\x08" * 1000
    assert decode(few + trailer).shape == (64, 128, 3)
    assert decode(encode(RGB, "JPEG") + trailer).shape == RGB.shape
    with pytest.raises(InputError, match=f"more than {MAX_SCANS} scans") as caught:
        open_image(many, 2**28)
    assert caught.value.error_class == "corrupt_image"


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments of these markers and bodies before its own."""
    data = encode(RGB, "JPEG")
    added = [bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body for marker, body in segments]
    return data[:2] + b"".join(added) + data[2:]


def test_a_broken_colour_profile_costs_nothing() -> None:
    """A profile whose parts have wrong numbers is told, and no reason to lose the picture."""
    data = jpeg_with((0xE2, b"ICC_PROFILE\0\1\2" + bytes(100)), (0xE2, b"ICC_PROFILE\0\1\2" + bytes(100)))
    assert np.array_equal(decode(data), decode(encode(RGB, "JPEG")))
    header = open_image(data, 2**28)
    assert read_pixels.decode(header, 132, 66).remarks == ("profile_ignored",)
    with pytest.raises(InputError, match="damaged or incomplete"):
        decode(data[:-300])


def test_metadata_of_a_jpeg_are_found_among_any_others() -> None:
    """Of many segments the first EXIF and the XMP count, and none is copied again for each of the others."""
    exif: Image.Exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    other = [(0xE1, b"Exif\0\0" + bytes(60_000))] * 1000 + [(0xE5, bytes(60_000))] * 1000 + [(0xFE, b"comment")]
    header = open_image(jpeg_with((0xE1, exif.tobytes()), *other, (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")), 2**28)
    assert (header.orientation, header.xmp) == (6, b"<x/>")
    with pytest.raises(InputError, match=f"more than {MAX_PARTS} segments") as caught:
        open_image(jpeg_with(*[(0xFE, b"")] * (MAX_PARTS + 1)), 2**28)
    assert caught.value.error_class == "corrupt_image"


def test_tiff_tiles_have_the_picture_s_limit() -> None:
    """A small picture in a huge tile, which the decoder inflates as a whole, is too_large."""
    assert decode(tiled_tiff(RGB, 256)).shape == RGB.shape
    with pytest.raises(InputError, match="tiles of 1024×1024") as caught:
        open_image(tile_bomb(1024), 2**20 - 1)
    assert caught.value.error_class == "too_large"


def test_chunks_that_make_no_picture_are_not_read() -> None:
    """Bombs in a PNG's text and profile go off nowhere, and its picture is the same; its second header is refused."""
    data = encode(RGB, "PNG")
    zeros = zlib.compress(bytes(8 << 20))
    chunks = png_chunk(b"iCCP", b"p\0\0" + zeros) + png_chunk(b"zTXt", b"k\0\0" + zeros)
    assert np.array_equal(decode(data[:33] + chunks + data[33:]), RGB)
    with pytest.raises(InputError, match="IHDR") as caught:
        decode(data[:33] + data[8:])
    assert caught.value.error_class == "corrupt_image"


def test_an_animated_png_shows_its_default_image() -> None:
    """Of several frames the first counts."""
    frames = [Image.fromarray(np.full((64, 128, 3), level, np.uint8)) for level in (10, 200)]
    assert (decode(encode(frames[0], "PNG", save_all=True, append_images=frames[1:])) == 10).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "I;16", "CMYK"])
def test_bands_join_without_a_seam(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converting a few rows at a time gives what converting all at once gives."""
    image = Image.fromarray((np.arange(66 * 132) * 7 % 65536).astype(np.uint16).reshape(66, 132))
    data = encode(image if mode == "I;16" else Image.fromarray(RGB).convert(mode), "TIFF")
    whole = decode(data)
    monkeypatch.setattr("pager_ray.read.pixels._BAND_PIXELS", 1000)
    assert np.array_equal(decode(data), whole)


def test_decoders_warnings_stay_out_of_the_log() -> None:
    """A file with a thousand warnings in it causes none, others' warnings come through, and no filter stays behind."""
    noisy = jpeg_with((0xE1, exif_bomb(1000, 30_000)))
    before = list(warnings.filters)
    decode(noisy)
    assert warnings.filters == before
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(noisy)
        warnings.warn("mine", stacklevel=1)
    assert [str(item.message) for item in caught] == ["mine"]


def test_a_picture_that_turns_out_otherwise_is_refused() -> None:
    """A TIFF whose XMP turns it where its own tag does not would be stretched into place."""
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="t" tiff:Orientation="6"/>'
    with pytest.raises(InputError, match="header says 132×66 pixels, the picture has 66×132") as caught:
        decode(with_xmp(RGB, "TIFF", packet))
    assert caught.value.error_class == "corrupt_image"
