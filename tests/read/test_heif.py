"""HEIC and AVIF are recognised by how they are coded, whatever their brand, and are what another library decodes."""

from __future__ import annotations

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image

from pager_ray.errors import InputError
from pager_ray.read import decode_panorama
from pager_ray.read.boxes import media_format
from pager_ray.read.formats import detect_format
from pager_ray.read.pixels import decode, open_image
from tests.read.images import cropped, encode, gpano_xmp, picture

pillow_heif = pytest.importorskip("pillow_heif")

RGB = picture(256, 128)


def heic(image: Image.Image | np.ndarray = RGB, **options: object) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **{"quality": 90} | options)
    return file.getvalue()


def branded(data: bytes, *brands: bytes) -> bytes:
    """The file under other brands, as many as it had."""
    size = int.from_bytes(data[:4], "big")
    count = (size - 16) // 4
    compatible = b"".join([*brands[1:], *[b"miaf"] * count][:count])
    return data[:8] + brands[0] + data[12:16] + compatible + data[size:]


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"heim", b"miaf", b"xyzw"])
def test_heic_under_any_brand(brand: bytes) -> None:
    """The coding of its picture says what it is."""
    data = branded(heic(), brand)
    assert detect_format(data)[0] == "HEIC"
    assert np.abs(decode_panorama(data).erp.astype(int) - RGB).mean() < 2


@pytest.mark.parametrize("brand", [b"avif", b"mif1", b"miaf", b"heic", b"xyzw"])
def test_avif_under_any_brand(brand: bytes) -> None:
    """It is not lost for a brand that decoders do not ask for, and pixels are those of the file with its own."""
    data = encode(RGB, "AVIF", quality=90, max_threads=1)
    renamed = branded(data, brand)
    assert detect_format(renamed)[0] == "AVIF"
    assert np.array_equal(decode_panorama(renamed).erp, decode_panorama(data).erp)


def test_pixels_are_those_of_another_library() -> None:
    """HEIC and AVIF as imagecodecs decodes them, but for how chroma is made finer."""
    for data, other in (
        (heic(chroma="444"), lambda: np.asarray(pillow_heif.open_heif(heic(chroma="444")).to_pillow())),
        (encode(RGB, "AVIF", quality=90, subsampling="4:4:4", max_threads=1), None),
    ):
        expected = other() if other else imagecodecs.avif_decode(data, numthreads=1)
        assert np.abs(decode_panorama(data).erp.astype(int) - expected).max() <= 2


def test_grids_and_turns() -> None:
    """Pictures in tiles and on their side are what they show."""
    grid = decode_panorama(heic(picture(1024, 512), tile_size=256))
    assert np.abs(grid.erp.astype(int) - picture(1024, 512)).mean() < 2
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = Image.fromarray(RGB)
    turned.info["exif"] = exif.tobytes()
    data = heic(turned)
    at = data.index(b"irot") + 4
    stored = decode(open_image(data[:at] + b"\0" + data[at + 1 :], 2**20), 128, 256).rgb
    assert stored.shape == (256, 128, 3)
    for quarters in range(4):
        header = open_image(data[:at] + bytes([quarters]) + data[at + 1 :], 2**20)
        shown = np.rot90(stored, quarters)
        assert (header.height, header.width) == shown.shape[:2]
        assert np.array_equal(decode(header, header.width, header.height).rgb, shown)


def test_gpano_transparency_and_profile_count() -> None:
    """Metadata are found as in other formats."""
    image = Image.fromarray(RGB)
    image.info["xmp"] = gpano_xmp(**cropped(0, 64, 256, 128, 512, 256))
    assert decode_panorama(heic(image)).coverage == 0.25
    alpha = np.dstack([RGB, np.full((128, 256), 255, np.uint8)])
    alpha[:, :64, 3] = 0
    assert decode_panorama(heic(alpha, quality=-1)).blank_fraction == pytest.approx(0.25, abs=0.01)


def test_no_truncated_file_gives_pixels() -> None:
    """Cut anywhere it is an input error."""
    data = heic()
    for size in [*range(12, len(data) - 1, len(data) // 25), len(data) - 1]:
        with pytest.raises(InputError) as caught:
            decode_panorama(data[:size])
        assert caught.value.error_class in {"corrupt_image", "unsupported_format", "not_an_image"}


def test_limits_hold_for_what_is_said() -> None:
    """What is said is checked first."""
    with pytest.raises(InputError) as caught:
        decode_panorama(heic(), max_pixels=256 * 128 - 1)
    assert caught.value.error_class == "too_large"


def test_other_media_are_named() -> None:
    """A video, and pictures coded in other ways, are called what they are."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    start = box(b"ftyp", b"mif1\0\0\0\0mif1")
    properties = box(b"iprp", box(b"ipco", box(b"vvcC", bytes(8))))
    assert media_format(start + box(b"meta", bytes(4) + properties)) == "HEIF with VVC"
    assert media_format(start) == "HEIF"
    assert media_format(box(b"ftyp", b"mp42\0\0\0\0isom")) == "ISO media"
    with pytest.raises(InputError, match="takes a 360° video as a whole"):
        detect_format(box(b"ftyp", b"mp42\0\0\0\0isom"))
    assert media_format(b"\0\0\0\0ftyp") == "ISO media"
