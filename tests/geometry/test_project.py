"""Tests of pager_ray.geometry.project."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.geometry import FACE_AXES, erp_rays, erp_to_cubemap, sampling
from pager_ray.geometry.face_positions import face_positions
from tests.geometry.reference import golden, library_erp_to_cubemap

CASES = [(height, size, fov) for height in (64, 96) for size in (16, 36) for fov in (90, 95)]
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])


def golden_case(height: int, size: int, fov: int) -> tuple[np.ndarray, np.ndarray]:
    data = golden("geometry.npz")
    erp = data[f"erp_{height}x{2 * height}"]
    return erp, data[f"cube_{height}x{2 * height}_f{size}_fov{fov}"].transpose(0, 2, 3, 1)


@pytest.mark.parametrize(("height", "size", "fov"), CASES)
def test_float_faces_golden(height: int, size: int, fov: int) -> None:
    """Faces of a float image equal the released ones."""
    erp, expected = golden_case(height, size, fov)
    faces = erp_to_cubemap((erp / 255).astype(np.float32), size, fov)
    np.testing.assert_allclose(faces, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize(("height", "size", "fov"), CASES)
def test_byte_faces_golden(height: int, size: int, fov: int, gathers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces of an 8-bit image are the released float faces rounded: at most half a grey level off."""
    if gathers:
        monkeypatch.setattr(sampling, "opencv_is_exact", lambda: False)
    erp, expected = golden_case(height, size, fov)
    faces = erp_to_cubemap(erp, size, fov)
    assert faces.dtype == np.uint8
    assert np.abs(faces - 255.0 * expected).max() < 0.501


def test_network_input_golden() -> None:
    """The released network input is sampled in float: float faces match it, bytes to half a grey level."""
    data = golden("tiny_unified/expected.npz")
    expected = data["cubemap"][0].transpose(0, 2, 3, 1)
    exact = erp_to_cubemap((data["erp_u8"] / 255).astype(np.float32), 56)
    np.testing.assert_allclose((exact - IMAGENET_MEAN) / IMAGENET_STD, expected, rtol=0, atol=2e-5)
    levels = 255 * (expected * IMAGENET_STD + IMAGENET_MEAN)
    assert np.abs(erp_to_cubemap(data["erp_u8"], 56) - levels).max() < 0.501


@pytest.mark.parametrize(
    ("height", "width", "size", "fov"),
    [(40, 80, 17, 90.0), (50, 100, 24, 90.0), (33, 66, 31, 97.5), (48, 100, 9, 120.0), (70, 140, 40, 90.5)],
)
def test_matches_library(height: int, width: int, size: int, fov: float) -> None:
    """At sizes that no golden file has, odd ones included, faces equal pytorch360convert's."""
    rng = np.random.default_rng(size)
    erp = rng.random((height, width, 4), dtype=np.float32)
    ours, theirs = erp_to_cubemap(erp, size, fov), library_erp_to_cubemap(erp.astype(np.float64), size, fov)
    if size % 2:
        # The pole has no longitude: which of its row's pixels is taken hangs on the sign of a zero.
        pole = size // 2
        theirs[4:, pole, pole] = ours[4:, pole, pole]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("fov", [90.0, 100.0])
def test_constant_stays_constant(fov: float) -> None:
    """A uniform panorama gives uniform faces, bit by bit."""
    assert (erp_to_cubemap(np.full((32, 64, 3), 201, np.uint8), 20, fov) == 201).all()
    assert (erp_to_cubemap(np.full((32, 64, 1), 0.7, np.float32), 20, fov) == np.float32(0.7)).all()


def test_faces_look_along_their_axes() -> None:
    """Projecting the panorama's own rays gives the rays that FACE_AXES promise, end points included."""
    size = 33
    faces = erp_to_cubemap(erp_rays(360, 720), size)
    plane = np.linspace(-1, 1, size)
    right, down, forward = (FACE_AXES[:, None, None, i] for i in range(3))
    rays = forward + plane[None, None, :, None] * right + plane[None, :, None, None] * down
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    np.testing.assert_allclose(faces, rays, atol=np.deg2rad(0.5))


def test_turning_the_camera_turns_the_faces() -> None:
    """Rolling the panorama by a quarter turn brings the right face to the front."""
    erp = np.random.default_rng(0).random((64, 128, 1), dtype=np.float32)
    turned = erp_to_cubemap(np.roll(erp, -32, axis=1), 21)
    np.testing.assert_allclose(turned[0], erp_to_cubemap(erp, 21)[1], atol=1e-5)


def test_positions_are_built_once_per_size() -> None:
    """A second panorama of a size reuses the positions; they are frozen and their number is bounded."""
    face_positions.cache_clear()
    erp = np.zeros((32, 64, 3), np.uint8)
    for fov in (90, 90.0, 95, 90):
        erp_to_cubemap(erp, 12, fov)
    info = face_positions.cache_info()
    assert (info.misses, info.currsize) == (2, 2)
    assert info.maxsize is not None
    assert not any(array.flags.writeable for array in face_positions(32, 64, 12, 90.0))


@pytest.mark.parametrize(
    ("erp", "size", "fov", "message"),
    [
        (np.zeros((4, 8), np.uint8), 4, 90, r"\(H, W, C\) .* got uint8 \(4, 8\)"),
        (np.zeros((4, 8, 3), np.uint16), 4, 90, r"uint8 or float32, got uint16"),
        (np.zeros((4, 8, 3), np.float64), 4, 90, r"got float64"),
        (np.zeros((4, 8, 0), np.uint8), 4, 90, r"got uint8 \(4, 8, 0\)"),
        ([[0]], 4, 90, r"got list"),
        (np.zeros((1, 8, 3), np.uint8), 4, 90, r"got 1x8"),
        (np.zeros((4, 8, 3), np.uint8), 1, 90, r"face_size must be at least 2 pixels, got 1"),
        (np.zeros((4, 8, 3), np.uint8), 6000, 90, r"face_size must not exceed 5461 pixels, got 6000"),
        (np.zeros((4, 8, 3), np.uint8), 4, 80, r"fov must be at least 90 .* got 80"),
        (np.zeros((4, 32768, 3), np.uint8), 4, 90, r"4x32768 is too large"),
    ],
)
def test_rejects_wrong_input(erp, size: int, fov: float, message: str) -> None:
    """Whatever cannot be projected is refused with what came and what is taken."""
    with pytest.raises(ShapeError, match=message):
        erp_to_cubemap(erp, size, fov)
