"""Six files become the faces that the network would have been given of the same panorama, or an error with a class."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from PIL import Image

from pager_ray.cubemaps import cubemap_uri, face_name, faces_of
from pager_ray.errors import InputError
from pager_ray.geometry import FACE_AXES, erp_rays, erp_to_cubemap, face_map
from pager_ray.read import decode_content, decode_cubemap, decode_panorama
from pager_ray.read.cubemap import pack_faces, unpack_faces
from tests.read import cubes
from tests.read.images import encode, png_bomb

SIZE = 32


def error(contents: Sequence[bytes], **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        decode_cubemap(contents, **options)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    return caught.value


def files(size: int = 64, format: str = "PNG", **options: object) -> list[bytes]:
    return [encode(face, format, **options) for face in cubes.cubemap(size)]


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names as their cubemap's URI has them."""
    parts = {one.face: one for one in map(face_name, names) if one is not None}
    uri = cubemap_uri(parts[0].before, [parts[face].word for face in range(6)], parts[0].after)
    return faces_of(uri) or ()


@pytest.mark.parametrize("fov", [90.0, 100.0])
@pytest.mark.parametrize("kind", [*cubes.NAMES])
def test_every_naming_is_the_same_scene(kind: str, fov: float) -> None:
    """Faces by any maker's names give the network what the ERP of the scene gives it, to the error of resampling."""
    pictures = cubes.pictures(kind, 128)
    decoded = decode_cubemap([pictures[name] for name in in_order([*pictures])])
    expected = decode_panorama(encode(cubes.panorama(256))).faces(SIZE, fov)
    assert np.abs(decoded.faces(SIZE, fov).astype(int) - expected).max() <= 4
    assert np.abs(decoded.erp.astype(int) - cubes.panorama(256)).max() <= 2
    assert (decoded.source_width, decoded.source_height, decoded.coverage) == (512, 256, 1.0)
    assert (decoded.remarks, decoded.suspect, decoded.blank_fraction) == (("cubemap",), None, 0.0)


@pytest.mark.parametrize("face", [4, 5])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_that_is_turned_is_told_by_the_scene(face: int, turns: int) -> None:
    """The comparison above fails by far where up or down is turned by any quarter."""
    turned = cubes.cubemap(128)
    turned[face] = np.ascontiguousarray(np.rot90(turned[face], turns))
    got = decode_cubemap([encode(one) for one in turned]).faces(SIZE, 90.0)
    expected = erp_to_cubemap(cubes.panorama(256), SIZE)
    assert np.abs(got[face].astype(int) - expected[face]).mean() > 10


def test_wide_faces_are_reduced_as_panoramas_are() -> None:
    """To a quarter of the widest ERP, antialiased: fine stripes become grey, and do not alias."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    decoded = decode_cubemap([encode(stripes)] * 6, max_width=512)
    assert decoded.pixels.shape == (6, 128, 128, 3)
    assert np.abs(decoded.pixels.astype(int) - 128).max() <= 1
    assert (decoded.source_width, decoded.source_height) == (1024, 512)
    assert decoded.picture(64).shape == (32, 64, 3)
    assert np.abs(decoded.picture(64).astype(int) - 128).max() <= 1


def test_faces_are_upright_as_their_metadata_say() -> None:
    """Each by its own: a face stored on its side is read as it is displayed."""
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = files()
    contents[2] = encode(np.ascontiguousarray(np.rot90(cubes.cubemap(64)[2])), exif=exif)
    assert np.array_equal(decode_cubemap(contents).pixels, decode_cubemap(files()).pixels)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({4: cubes.face("up", 32)}, "front has 64×64 pixels, up has 32×32 pixels: the faces of a cubemap are six "),
        ({face: np.zeros((64, 128, 3), np.uint8) for face in range(6)}, "front has 128×64 pixels: "),
        ({0: np.zeros((64, 63, 3), np.uint8)}, "front has 63×64 pixels, right has 64×64 pixels: "),
    ],
)  # fmt: skip
def test_faces_are_six_squares_of_one_size(change: dict[int, np.ndarray], told: str) -> None:
    """What is none says which face is how large."""
    contents = files()
    for face, array in change.items():
        contents[face] = encode(array)
    found = error(contents)
    assert found.error_class == "not_a_cubemap"
    assert str(found).startswith(told)


def test_limits_count_all_faces() -> None:
    """Pixels of the panorama that they make, and of each before it is decoded; and a least size."""
    assert decode_cubemap(files(64), max_pixels=8 * 64 * 64).pixels.shape == (6, 64, 64, 3)
    found = error(files(64), max_pixels=8 * 64 * 64 - 1)
    assert (found.error_class, str(found)) == (
        "too_large", "faces of 64×64 pixels make a panorama of 256×128, at most 32767 pixels are read"
    )  # fmt: skip
    bomb = error([png_bomb(50_000, 50_000)] * 6)
    assert (bomb.error_class, str(bomb).partition(":")[0]) == ("too_large", "front face")
    assert error(files(15)).error_class == "too_small"


@pytest.mark.parametrize(
    ("content", "error_class"),
    [(b"", "empty_file"), (b"Dear Sir or Madam", "not_an_image"), (files(64, "JPEG")[0][:300], "corrupt_image")],
)
def test_what_is_wrong_with_a_face_names_it(content: bytes, error_class: str) -> None:
    """One bad file rejects the six."""
    contents = files(64, "JPEG")
    contents[3] = content
    found = error(contents)
    assert (found.error_class, str(found)[:11]) == (error_class, "left face: ")


def test_light_is_exposed_as_one() -> None:
    """Faces of very different light keep their relation; the panorama of it has the same exposure."""
    light = [(face.astype(np.float32) / 255) ** 2.2 for face in cubes.cubemap(64)]
    light[1] *= np.float32(8)
    radiance = [cv2.imencode(".hdr", one[..., ::-1])[1].tobytes() for one in light]
    decoded = decode_cubemap(radiance)
    assert decoded.remarks == ("cubemap", "tone_mapped")
    fixed = decode_cubemap(radiance, exposure=0.0).pixels
    assert decoded.pixels[1].mean() > 1.3 * decoded.pixels[3].mean()
    # Brightness keeps its order from face to face, whatever the exposure.
    order, other = (np.argsort(faces.reshape(6, -1).mean(1)) for faces in (decoded.pixels, fixed))
    assert order.tolist() == other.tolist()
    longitude = ((np.arange(256) + 0.5) / 256 - 0.5) * 2 * np.pi
    erp = (cubes.panorama(128).astype(np.float32) / 255) ** 2.2
    latitude = np.abs((0.5 - (np.arange(128) + 0.5) / 128) * np.pi)[:, None]
    is_right = (np.abs(longitude - np.pi / 2) < np.pi / 4) & (np.tan(latitude) < np.cos(longitude - np.pi / 2))
    erp[is_right] *= 8
    whole = decode_panorama(cv2.imencode(".hdr", erp[..., ::-1])[1].tobytes()).erp
    difference = np.abs(decoded.erp.astype(int) - whole)
    # At the edge of the bright face the two are sampled differently.
    assert np.median(difference) <= 1
    assert np.percentile(difference, 90) <= 3


def test_what_carries_nothing_is_told() -> None:
    """Transparent and black faces, by what they take of the panorama."""
    faces = [np.dstack([face, np.full(face.shape[:2], 255, np.uint8)]) for face in cubes.cubemap(64)]
    faces[1][..., 3] = 0
    decoded = decode_cubemap([encode(Image.fromarray(face, "RGBA")) for face in faces])
    seen = [face[..., 3] > 0 for face in faces]
    size = seen[0].shape[0]
    rays = erp_rays(2 * size, 4 * size).astype(np.float64)
    face = (rays @ FACE_AXES[:, 2].T).argmax(-1)
    across, down = (np.einsum("hwi,hwi->hw", rays, FACE_AXES[face, axis]) for axis in (0, 1))
    ahead = np.einsum("hwi,hwi->hw", rays, FACE_AXES[face, 2])
    row, column = (np.minimum((1 + at / ahead) / 2 * size, size - 1).astype(int) for at in (down, across))
    np.testing.assert_array_equal(decoded.validity.erp(2 * size, 4 * size), np.stack(seen)[face, row, column])
    # A side face is a sixth of the sphere, and less of an ERP's pixels.
    assert decoded.blank_fraction == pytest.approx((face_map(256, 512) == 1).mean(), abs=0.005)
    assert decoded.suspect is None
    black = cubes.cubemap(64)
    black[4], black[5] = np.zeros_like(black[4]), np.zeros_like(black[5])
    barred = decode_cubemap([encode(face) for face in black])
    assert barred.suspect == "black_bars"
    assert barred.blank_fraction == pytest.approx(0.5, abs=0.02)


def test_six_files_travel_as_one() -> None:
    """Packed and unpacked they are the same bytes; other zips, damaged and compressed ones, are no such file."""
    contents = tuple(files(16))
    packed = pack_faces(contents)
    assert unpack_faces(packed) == contents
    assert len(packed) < sum(map(len, contents)) + 2000
    assert unpack_faces(packed[:-30]) is None
    assert unpack_faces(contents[0]) is None
    for names, method in ((("a", "b"), zipfile.ZIP_STORED), (cubes.FACES, zipfile.ZIP_DEFLATED)):
        other = io.BytesIO()
        with zipfile.ZipFile(other, "w", method) as archive:
            for name in names:
                archive.writestr(name, bytes(100_000))
        assert unpack_faces(other.getvalue()) is None
    rng = np.random.default_rng(0)
    for _ in range(300):
        forged = bytearray(packed)
        # In headers and in the directory, which are no more than the last part.
        places = rng.integers(len(packed) - 600, len(packed), 3) if rng.random() < 0.8 else rng.integers(0, 60, 3)
        for place in places:
            forged[place] = rng.integers(256)
        found = unpack_faces(bytes(forged))
        assert found is None or len(found) == 6
    assert np.array_equal(decode_content(contents, gpano="require").erp, decode_cubemap(contents).erp)
