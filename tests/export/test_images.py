"""Images are read back by OpenEXR, OpenCV and Pillow: the numbers, and what they say of themselves."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from pager_ray.errors import ShapeError
from pager_ray.export import images
from pager_ray.read.gpano import read_gpano
from tests.export.scenes import HEIGHT, rendered


def exr(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and channels."""
    file = OpenEXR.File(io.BytesIO(content), separate_channels=True)
    return file.header(), {name: channel.pixels for name, channel in file.channels().items()}


def png(content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    """Pixels as OpenCV reads them (colours as RGB), texts as Pillow does."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return (values if values.ndim == 2 else values[..., ::-1]), dict(image.info)


def check_gpano(packet: str | bytes) -> None:
    """A whole panorama of the scenes' size."""
    found = read_gpano(packet.encode() if isinstance(packet, str) else packet)
    assert found["ProjectionType"] == "equirectangular"
    assert (found["FullPanoWidthPixels"], found["FullPanoHeightPixels"]) == (str(2 * HEIGHT), str(HEIGHT))
    assert found["CroppedAreaImageWidthPixels"] == found["FullPanoWidthPixels"]


def test_exr_depth_is_exact_and_says_what_it_is() -> None:
    """Every float32 comes back; unit and ray type are attributes, and it is a latitude-longitude map."""
    depth = rendered()[1].depth
    header, channels = exr(images.encode_depth_exr(depth))
    np.testing.assert_array_equal(channels["Z"], depth)
    assert (header["unit"], header["rayType"]) == ("metre", "euclidean")
    assert header["envmap"] == OpenEXR.ENVMAP_LATLONG
    check_gpano(header["xmp"])


def test_exr_normals_are_exact() -> None:
    """Three float32 channels, x forward, y up, z right."""
    normals = rendered()[1].normals
    header, channels = exr(images.encode_normals_exr(normals))
    np.testing.assert_array_equal(np.stack([channels[f"N.{axis}"] for axis in "XYZ"], -1), normals)
    assert header["frame"] == "x forward (ERP centre), y up, z right"


def test_png_depth_is_within_half_a_step() -> None:
    """Value times the file's scale is the depth within half a millimetre; 0 is none; GPano says panorama."""
    depth = rendered("outdoor")[1].depth
    depth = np.where(depth < 60, depth, 0)
    values, texts = png(images.encode_depth_png(depth))
    assert values.dtype == np.uint16
    assert (texts["scale"], texts["unit"], texts["ray_type"], texts["invalid"]) == ("0.001", "metre", "euclidean", "0")
    np.testing.assert_allclose(values * float(texts["scale"]), depth, atol=0.00051)
    np.testing.assert_array_equal(values == 0, depth == 0)
    check_gpano(texts["xmp"])


@pytest.mark.parametrize(("farthest", "scale"), [(65.5, 0.001), (65.6, 0.002), (300, 0.005), (0, 0.001)])
def test_the_scale_reaches_the_farthest_pixel(farthest: float, scale: float) -> None:
    """The finest step of the 1-2-5 series with which nothing is cut off; values that are no depth do not count."""
    depth = np.array([[farthest, 0.0002 * (farthest > 0), np.inf, np.nan]], np.float32)
    values, texts = png(images.encode_depth_png(depth))
    assert float(texts["scale"]) == scale
    np.testing.assert_allclose(values[0, 0] * scale, farthest, atol=scale / 2 * 1.001)
    assert values[0, 1:].tolist() == [int(farthest > 0), 0, 0]


def test_depth_beyond_all_scales_is_refused() -> None:
    """Sixteen bits end somewhere."""
    with pytest.raises(ShapeError, match="does not fit into 16 bits; choose depth-exr"):
        images.encode_depth_png(np.full((2, 4), 1e12, np.float32))


def test_png_normals_are_within_a_step_and_sky_is_zero() -> None:
    """Red, green and blue are x, y and z; the zero vectors of sky come back as exactly zero."""
    normals = rendered("outdoor")[1].normals
    values, texts = png(images.encode_normals_png(normals))
    assert values.dtype == np.uint16
    decoded = (values.astype(np.float64) - int(texts["offset"])) / 32767
    np.testing.assert_allclose(decoded, normals, atol=1 / 65534 + 1e-7)
    assert (decoded[(normals == 0).all(-1)] == 0).all()
    check_gpano(texts["xmp"])


def test_png_sky_is_within_half_a_step() -> None:
    """Value / 255 is the probability within 1/510."""
    sky = np.random.default_rng(0).random((HEIGHT, 2 * HEIGHT), np.float32)
    values, texts = png(images.encode_sky_png(sky))
    assert values.dtype == np.uint8
    assert texts["unit"] == "probability"
    np.testing.assert_allclose(values / 255, sky, atol=1 / 510 + 1e-7)
    check_gpano(texts["xmp"])


def test_what_cannot_be_encoded_says_so() -> None:
    """An encoder's refusal names the array."""
    with pytest.raises(ShapeError, match=r"uint8 \(2, 2\) cannot be encoded; takes"):
        images._encoded(False, np.zeros(0, np.uint8), np.zeros((2, 2), np.uint8))
