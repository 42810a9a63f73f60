"""Tests of pager_ray.geometry.sampling."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.geometry import sampling


@pytest.fixture(params=["installed", "gathers"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with whatever the installed OpenCV allows, and with the gathers that replace a rounding one."""
    if request.param == "gathers":
        monkeypatch.setattr(sampling, "opencv_is_exact", lambda: False)
    return request.param


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    image, x, y = image.astype(np.float64), x.astype(np.float64), y.astype(np.float64)
    left = np.minimum(np.floor(x), image.shape[1] - 2).astype(int)
    top = np.minimum(np.floor(y), image.shape[0] - 2).astype(int)
    a, b = (x - left)[..., None], (y - top)[..., None]
    upper = (1 - a) * image[top, left] + a * image[top, left + 1]
    lower = (1 - a) * image[top + 1, left] + a * image[top + 1, left + 1]
    return (1 - b) * upper + b * lower


def positions(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.uniform(0, width - 1, (33, 47)).astype(np.float32)
    y = rng.uniform(0, height - 1, (33, 47)).astype(np.float32)
    x[0], y[0], x[1], y[1] = 0, 0, width - 1, height - 1
    return x, y


# OpenCV takes up to four at once.
@pytest.mark.parametrize("channels", [1, 4, 5, 9])
@pytest.mark.usefixtures("engine")
def test_float_weights_are_exact(channels: int) -> None:
    """float32 samples equal the double-precision ones to rounding, for every number of channels."""
    rng = np.random.default_rng(channels)
    image = rng.random((40, 90, channels), dtype=np.float32)
    x, y = positions(rng, 40, 90)
    sampled = sampling.sample_bilinear(image, x, y)
    assert sampled.dtype == np.float32
    np.testing.assert_allclose(sampled, bilinear(image, x, y), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.usefixtures("engine")
def test_bytes_are_rounded_to_nearest(channels: int) -> None:
    """uint8 samples are within half a grey level of the exact ones."""
    rng = np.random.default_rng(channels)
    image = rng.integers(0, 256, (40, 90, channels), dtype=np.uint8)
    x, y = positions(rng, 40, 90)
    sampled = sampling.sample_bilinear(image, x, y)
    assert sampled.dtype == np.uint8
    assert np.abs(sampled - bilinear(image, x, y)).max() < 0.501


@pytest.mark.usefixtures("engine")
def test_views_are_sampled_like_copies() -> None:
    """A strided or flipped view gives what its contiguous copy gives."""
    rng = np.random.default_rng(0)
    base = rng.random((3, 80, 100), dtype=np.float32)
    view = base.transpose(1, 2, 0)[::2, ::-1]
    x, y = positions(rng, *view.shape[:2])
    np.testing.assert_array_equal(
        sampling.sample_bilinear(view, x, y), sampling.sample_bilinear(np.ascontiguousarray(view), x, y)
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("channels", "tile"), [(1, (33, 8)), (3, (5, 47)), (4, (100, 100)), (5, (7, 9))])
@pytest.mark.usefixtures("engine")
def test_tiles_and_a_given_array_change_nothing(channels: int, dtype: type, tile: tuple[int, int]) -> None:
    """Sampled tile by tile, into a new array or into rows of a larger one, every sample is the same."""
    rng = np.random.default_rng(channels)
    image = (rng.random((40, 90, channels)) * 255).astype(dtype)
    x, y = positions(rng, 40, 90)
    whole = sampling.sample_bilinear(image, x, y)
    np.testing.assert_array_equal(sampling.sample_bilinear(image, x, y, tile=tile), whole)
    larger = np.zeros((x.shape[0] + 2, x.shape[1], channels), dtype)
    assert np.shares_memory(sampling.sample_bilinear(image, x, y, larger[1:-1], tile=tile), larger)
    np.testing.assert_array_equal(larger[1:-1], whole)
    assert not larger[[0, -1]].any()


def test_rounding_opencv_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A remap that rounds positions to 1/32 pixel, as OpenCV 4 does, is told from an exact one."""

    def exact(image: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
        sampled = bilinear(image, x, y)
        out[...] = np.rint(sampled) if image.dtype == np.uint8 else sampled

    def rounding(image: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
        exact(image, np.rint(x * 32) / 32, np.rint(y * 32) / 32, out)

    measure = sampling.opencv_is_exact.__wrapped__
    monkeypatch.setattr(sampling, "_remap", rounding)
    assert not measure()
    monkeypatch.setattr(sampling, "_remap", exact)
    assert measure()


def test_rejects_sides_beyond_sixteen_bits() -> None:
    """An image or a result that OpenCV cannot address is refused before it is touched."""
    wide = np.zeros((2, 32767, 1), np.uint8)
    point = np.zeros((1, 1), np.float32)
    with pytest.raises(ShapeError, match="image of 2x32767"):
        sampling.sample_bilinear(wide, point, point)
    line = np.zeros((1, 32767), np.float32)
    with pytest.raises(ShapeError, match="result of 1x32767"):
        sampling.sample_bilinear(wide[:, :9], line, line)
