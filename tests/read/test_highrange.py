"""Radiance and OpenEXR files are what other libraries decode, exposed by the stated rule, and bounded as all others."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest

from pager_ray.errors import InputError
from pager_ray.read import decode_panorama, highrange
from pager_ray.read.highrange import expose, load_exr, load_radiance, read_exr_head, read_radiance_head
from tests.read.images import cropped, gpano_xmp, picture

OpenEXR = pytest.importorskip("OpenEXR")

LIGHT = ((picture(256, 128) / np.float32(255)) ** 2.2 * 20 + 0.01).astype(np.float32)
SIZE = b"-Y 128 +X 256"
ORIENTED = {b"-Y 128 +X 256": np.s_[:, :], b"+Y 128 +X 256": np.s_[::-1, :], b"-Y 128 -X 256": np.s_[:, ::-1],
            b"+Y 128 -X 256": np.s_[::-1, ::-1]}  # fmt: skip


def radiance(light: np.ndarray = LIGHT) -> bytes:
    return cv2.imencode(".hdr", light[..., ::-1])[1].tobytes()


def exr(channels: dict[str, np.ndarray], **header: Any) -> bytes:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header
    with tempfile.TemporaryDirectory() as folder:
        OpenEXR.File(header, channels).write(f"{folder}/a.exr")
        return Path(f"{folder}/a.exr").read_bytes()


def error_class(data: bytes, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        decode_panorama(data, **options)
    assert str(caught.value).isprintable()
    return caught.value.error_class


@pytest.fixture
def quiet_log(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Decoding must not write into the log."""
    yield
    assert capfd.readouterr().err == ""


def test_radiance_is_what_another_library_decodes(quiet_log: None) -> None:
    """Linear values to the bit, whatever the header says besides, and divided by the exposure that it tells."""
    data = radiance()
    expected = imagecodecs.rgbe_decode(data)
    assert np.array_equal(load_radiance(read_radiance_head(data)), expected)
    commented = data.replace(b"FORMAT=", b"# a comment\nSOFTWARE=x\nEXPOSURE=2\nEXPOSURE= 4.0\nFORMAT=")
    np.testing.assert_allclose(load_radiance(read_radiance_head(commented)), expected / 8, rtol=1e-6)
    assert np.array_equal(load_radiance(read_radiance_head(data.replace(b"#?RADIANCE", b"#?RGBE"))), expected)


@pytest.mark.parametrize("size", ORIENTED)
def test_radiance_rows_and_columns_run_as_told(size: bytes) -> None:
    """All eight orders of a file's pixels are upright."""
    expected = imagecodecs.rgbe_decode(radiance())[ORIENTED[size]]
    head = read_radiance_head(radiance().replace(SIZE, size))
    assert (head.width, head.height) == (256, 128)
    assert np.array_equal(load_radiance(head), expected)
    first, length, second, other = size.split()
    # The same pixels by columns: what was a row is one.
    turned = radiance().replace(SIZE, b" ".join([first.replace(b"Y", b"X"), length, second.replace(b"X", b"Y"), other]))
    head = read_radiance_head(turned)
    assert (head.width, head.height) == (128, 256)
    assert load_radiance(head).shape == (256, 128, 3)
    stored = imagecodecs.rgbe_decode(radiance()).transpose(1, 0, 2)
    down, right = second.startswith(b"-"), first.startswith(b"+")
    assert np.array_equal(load_radiance(head), stored[:: 1 if down else -1, :: 1 if right else -1])


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_openexr_is_what_was_written(compression: str, dtype: type, tmp_path: Path) -> None:
    """Half and float, in every lossless compression, as the reference's other interface gives them."""
    data = exr({"RGB": LIGHT.astype(dtype)}, compression=getattr(OpenEXR, f"{compression}_COMPRESSION"))
    (tmp_path / "a.exr").write_bytes(data)
    light, empty = load_exr(read_exr_head(data, 2**20))
    assert empty is None
    assert np.array_equal(light, OpenEXR.File(str(tmp_path / "a.exr")).channels()["RGB"].pixels.astype(np.float32))


def test_openexr_layers_and_windows() -> None:
    """Grey is grey; the layer without a name, or the combined one, is taken; what is not there is nothing."""
    red, green, blue = (np.ascontiguousarray(LIGHT[..., k]) for k in range(3))
    grey = load_exr(read_exr_head(exr({"Y": red}), 2**20))[0]
    assert np.array_equal(grey, np.repeat(red[..., None], 3, -1))
    layers = {f"View.{part}.{name}": plane * factor for part, factor in (("AO", 9), ("Combined", 1))
              for name, plane in zip("RGB", (red, green, blue), strict=True)}  # fmt: skip
    assert np.array_equal(load_exr(read_exr_head(exr(layers | {"Depth.Z": red}), 2**20))[0], LIGHT)
    alpha = np.ones_like(red)
    alpha[:, :64] = 0
    panorama = decode_panorama(exr({"R": red, "G": green, "B": blue, "A": alpha}))
    assert panorama.blank_fraction == pytest.approx(0.25)
    whole = (np.array([0, 0], np.int32), np.array([255, 127], np.int32))
    part = (np.array([-10, 32], np.int32), np.array([245, 159], np.int32))
    moved = decode_panorama(exr({"RGB": LIGHT}, displayWindow=whole, dataWindow=part))
    assert moved.erp.shape == (128, 256, 3)
    assert moved.blank_fraction == pytest.approx(1 - 96 * 246 / (128 * 256))
    fixed = decode_panorama(exr({"RGB": LIGHT}, displayWindow=whole, dataWindow=part), exposure=0.0)
    assert np.array_equal(fixed.erp[32:, :246], expose(LIGHT, 0.0)[:96, 10:])


def test_openexr_says_which_part_it_is() -> None:
    """GPano metadata in the attribute that exporters use place it."""
    xmp = gpano_xmp(**cropped(0, 64, 256, 128, 512, 256)).decode()
    assert decode_panorama(exr({"RGB": LIGHT}, xmp=xmp)).coverage == 0.25


def rule(light: np.ndarray, gain: float) -> np.ndarray:
    """The stated rule, in double precision."""
    scaled = np.minimum(light.astype(np.float64) * gain, 4)
    curved = np.minimum(scaled * (1 + scaled / 16) / (1 + scaled), 1)
    return 255 * np.where(curved <= 0.0031308, 12.92 * curved, 1.055 * curved ** (1 / 2.4) - 0.055)


def test_light_is_exposed_as_stated() -> None:
    """auto: the mean of the logarithm by solid angle becomes 0.18; stops: powers of two; then the curves."""
    luminance = LIGHT.astype(np.float64) @ [0.2126, 0.7152, 0.0722]
    weights = np.cos((0.5 - (np.arange(128) + 0.5) / 128) * np.pi)[:, None]
    mean = np.exp((np.log(luminance) * weights).sum() / (weights.sum() * 256))
    shared = imagecodecs.rgbe_decode(radiance())  # eight bits of each channel, and an exponent for all
    for data, light in ((exr({"RGB": LIGHT}), LIGHT), (exr({"RGB": LIGHT * np.float32(1000)}), LIGHT),
                        (radiance(), shared)):  # fmt: skip
        auto = decode_panorama(data)
        assert auto.remarks == ("tone_mapped",)
        assert np.abs(auto.erp - rule(light, 0.18 / mean)).max() <= (1 if data.startswith(b"#?") else 0.51)
    for stops in (-3.0, 0.0, 2.5):
        fixed = decode_panorama(exr({"RGB": LIGHT}), exposure=stops)
        assert np.abs(fixed.erp - rule(LIGHT, 2**stops)).max() <= 0.51
    grey = np.full((64, 128, 3), 7.0, np.float32)
    assert np.abs(expose(grey, "auto") - rule(np.full((64, 128, 3), 0.18), 1)).max() <= 0.51


def test_what_is_no_light_is_black_or_white() -> None:
    """NaN and negative light are black, infinite is white, and neither moves the exposure of the rest."""
    light = LIGHT.copy()
    light[0, 0], light[0, 1], light[0, 2] = np.nan, np.inf, -5
    rgb = expose(light, 0.0)
    assert rgb[0, :3].tolist() == [[0] * 3, [255] * 3, [0] * 3]
    assert np.array_equal(rgb[1:], expose(LIGHT, 0.0)[1:])
    assert not expose(np.zeros((64, 128, 3), np.float32), "auto").any()
    assert expose(np.full((64, 128, 3), 1e30, np.float32), "auto").std() == 0


def test_bands_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows at a time give what all at once give."""
    whole = expose(LIGHT, "auto")
    monkeypatch.setattr(highrange, "_BAND", 1000)
    assert np.array_equal(expose(LIGHT, "auto"), whole)


@pytest.mark.parametrize("make", [radiance, lambda: exr({"RGB": LIGHT})], ids=["hdr", "exr"])
def test_no_truncated_file_gives_pixels(make: Any) -> None:
    """Cut anywhere it is an input error."""
    data = make()
    for size in [*range(4, len(data) - 1, len(data) // 25), len(data) - 1]:
        assert error_class(data[:size]) in {"corrupt_image", "not_an_image"}


def test_limits_are_checked_before_pixels() -> None:
    """Files that say that they are large are refused by what they say."""
    big = radiance().replace(SIZE, b"-Y 32768 +X 65536")
    assert error_class(big) == "too_large"
    assert error_class(exr({"RGB": LIGHT}), max_pixels=256 * 128 - 1) == "too_large"
    assert error_class(radiance(), max_pixels=256 * 128 - 1) == "too_large"
    whole = (np.array([0, 0], np.int32), np.array([63, 31], np.int32))
    data = (np.array([0, 0], np.int32), np.array([255, 127], np.int32))
    assert error_class(exr({"RGB": LIGHT}, displayWindow=whole, dataWindow=data), max_pixels=10_000) == "too_large"


def test_what_is_not_read_is_called_so() -> None:
    """Other colours and channels are unsupported by name."""
    xyz = radiance().replace(b"32-bit_rle_rgbe", b"32-bit_rle_xyze")
    assert error_class(xyz) == "unsupported_format"
    assert error_class(exr({"Z": LIGHT[..., 0].copy()})) == "unsupported_format"
    with pytest.raises(InputError, match=r"channels N\.X, N\.Y; takes R, G and B, or Y"):
        decode_panorama(exr({"N.X": LIGHT[..., 0].copy(), "N.Y": LIGHT[..., 1].copy()}))


def test_a_full_disk_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the decoder of Radiance cannot put down its temporary file, the file is not called damaged."""

    def full(*_: object, **__: object) -> io.BytesIO:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    assert error_class(radiance()) == "corrupt_image"
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert error_class(radiance()) == "read_failed"
