"""Tests of pager_ray.geometry.stitch."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.geometry import FACE_AXES, cubemap_to_erp, normalise_normals, sampling, stitch, stitch_maps
from tests.geometry.reference import corner_pixels, golden, library_cubemap_to_erp

CASES = [
    (size, channels, fov, height) for size in (16, 36) for channels in (1, 3) for fov in (90, 95) for height in (64, 96)
]


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize(("size", "channels", "fov", "height"), CASES)
def test_golden(
    size: int, channels: int, fov: int, height: int, gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stitched panoramas equal the released ones, except where those are darkened at the cube corners."""
    if gathers:
        monkeypatch.setattr(sampling, "opencv_is_exact", lambda: False)
    data = golden("geometry.npz")
    faces = data[f"cubein_f{size}_c{channels}"].transpose(0, 2, 3, 1)
    expected = data[f"erpout_f{size}_c{channels}_fov{fov}_{height}x{2 * height}"].transpose(1, 2, 0)
    corners = corner_pixels(size, height, 2 * height, fov)
    assert corners.sum() < 30
    erp = cubemap_to_erp(faces, height, 2 * height, fov)
    np.testing.assert_allclose(erp[~corners], expected[~corners], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "size", "fov"),
    [(40, 80, 17, 90.0), (50, 100, 24, 90.0), (32, 64, 31, 97.5), (48, 100, 21, 120.0), (70, 140, 63, 90.5)],
)
def test_matches_library(height: int, width: int, size: int, fov: float) -> None:
    """At sizes that no golden file has, odd ones included, panoramas equal pytorch360convert's."""
    faces = np.random.default_rng(size).random((6, size, size, 4), dtype=np.float32)
    corners = corner_pixels(size, height, width, fov)
    ours = cubemap_to_erp(faces, height, width, fov)
    theirs = library_cubemap_to_erp(faces.astype(np.float64), height, width, fov)
    np.testing.assert_allclose(ours[~corners], theirs[~corners], rtol=0, atol=4e-5)


@pytest.mark.parametrize(("height", "width", "fov"), [(64, 128, 90.0), (96, 192, 95.0), (75, 151, 90.0)])
def test_constant_stays_constant(height: int, width: int, fov: float) -> None:
    """Uniform faces give a uniform panorama, cube corners included."""
    erp = cubemap_to_erp(np.full((6, 16, 16, 1), 3.7, np.float32), height, width, fov)
    np.testing.assert_allclose(erp, np.float32(3.7), rtol=2e-7)


def test_corners_stay_between_their_faces() -> None:
    """At the cube corners a panorama lies between the values of the faces that meet there."""
    faces = np.broadcast_to(np.arange(1, 7, dtype=np.float32)[:, None, None, None], (6, 16, 16, 1))
    erp = cubemap_to_erp(faces, 96, 192)[..., 0]
    corners = corner_pixels(16, 96, 192)
    assert corners.any()
    for row, column in np.argwhere(corners):
        around = erp[row - 8 : row + 9, (column + np.arange(-8, 9)) % 192]
        assert around[~corners[row - 8 : row + 9, (column + np.arange(-8, 9)) % 192]].min() <= erp[row, column]
        assert erp[row, column] <= around.max()


def test_wraps_in_longitude() -> None:
    """The first and the last column, which look the same way, hold the same values."""
    faces = np.random.default_rng(0).random((6, 24, 24, 1), dtype=np.float32)
    erp = cubemap_to_erp(faces, 64, 128)
    np.testing.assert_allclose(erp[:, 0], erp[:, -1], atol=2e-5)


def test_poles_are_single_points() -> None:
    """The first row is one direction, and so is the last."""
    faces = np.random.default_rng(0).random((6, 24, 24, 1), dtype=np.float32)
    erp = cubemap_to_erp(faces, 64, 128)
    np.testing.assert_allclose(erp[0], erp[0, 0, 0], atol=2e-5)
    np.testing.assert_allclose(erp[-1], erp[-1, 0, 0], atol=2e-5)


@pytest.mark.parametrize("width", [128, 130, 151])
def test_stitches_rays_where_they_belong(width: int) -> None:
    """Faces that hold their own rays give the panorama's rays, within the half pixel of the released positions."""
    size = 64
    plane = (np.arange(size) + 0.5) * 2 / size - 1
    right, down, forward = (FACE_AXES[:, None, None, i] for i in range(3))
    rays = forward + plane[None, None, :, None] * right + plane[None, :, None, None] * down
    erp = normalise_normals(cubemap_to_erp(rays.astype(np.float32), 64, width))
    theta, phi = np.linspace(-np.pi, np.pi, width), np.linspace(np.pi / 2, -np.pi / 2, 64)[:, None]
    expected = np.stack(
        np.broadcast_arrays(np.cos(phi) * np.cos(theta), np.sin(phi), np.cos(phi) * np.sin(theta)), axis=-1
    )
    angle = np.rad2deg(np.arccos(np.clip((erp * expected).sum(-1), -1, 1)))
    pixel = 90 / size
    assert angle.mean() < pixel
    # A face map rounded to columns puts some pixels up to one and a half columns beyond their face's edge.
    assert angle.max() < 2 * pixel + 1.5 * 360 / width


def test_bands_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panorama too large to keep its positions is stitched in bands to the same values, and keeps nothing."""
    faces = np.random.default_rng(0).random((6, 20, 20, 3), dtype=np.float32)
    whole = cubemap_to_erp(faces, 64, 128)
    stitch._erp_positions.cache_clear()
    monkeypatch.setattr(stitch, "_MAX_KEPT_PIXELS", 0)
    monkeypatch.setattr(stitch, "_BAND_PIXELS", 1000)
    np.testing.assert_array_equal(cubemap_to_erp(faces, 64, 128), whole)
    assert stitch._erp_positions.cache_info().currsize == 0


def test_positions_are_built_once_per_size() -> None:
    """A second panorama of a size reuses the positions, fields of view with the same crop share them."""
    stitch._erp_positions.cache_clear()
    for size, fov in ((15, 90), (15, 90.0), (16, 95.0), (16, 90)):
        cubemap_to_erp(np.zeros((6, size, size, 1), np.float32), 32, 64, fov)
    info = stitch._erp_positions.cache_info()
    assert (info.misses, info.maxsize) == (2, 2)
    assert not any(array.flags.writeable for array in stitch._erp_positions(32, 64, 15))


def test_faces_need_not_be_contiguous() -> None:
    """Channels-first network output, seen through a transpose, gives what its copy gives."""
    channels_first = np.random.default_rng(0).random((6, 3, 12, 12), dtype=np.float32)
    view = channels_first.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(cubemap_to_erp(view, 24, 48), cubemap_to_erp(np.ascontiguousarray(view), 24, 48))


@pytest.mark.parametrize(
    ("faces", "height", "width", "fov", "message"),
    [
        (np.zeros((6, 8, 8), np.float32), 16, 32, 90, r"\(6, S, S, C\) .* got float32 \(6, 8, 8\)"),
        (np.zeros((5, 8, 8, 1), np.float32), 16, 32, 90, r"got float32 \(5, 8, 8, 1\)"),
        (np.zeros((6, 8, 9, 1), np.float32), 16, 32, 90, r"got float32 \(6, 8, 9, 1\)"),
        (np.zeros((6, 8, 8, 1), np.uint8), 16, 32, 90, r"float32, got uint8"),
        ([0], 16, 32, 90, r"got list"),
        (np.zeros((6, 8, 8, 1), np.float32), 0, 32, 90, r"got 0x32"),
        (np.zeros((6, 8, 8, 1), np.float32), 16, 32767, 90, r"exceed 32766 pixels, got 16x32767"),
        (np.zeros((6, 8, 8, 1), np.float32), 16, 32, 60, r"fov .* got 60"),
        (np.zeros((6, 8, 8, 1), np.float32), 16, 32, 179, r"face_size must be at least 2 pixels, got 0"),
        (np.broadcast_to(np.float32(0), (6, 6000, 6000, 1)), 16, 32, 90, r"exceed 5460 pixels .* got 6000"),
    ],
)
def test_rejects_wrong_input(faces, height: int, width: int, fov: float, message: str) -> None:
    """Whatever cannot be stitched is refused with what came and what is taken."""
    with pytest.raises(ShapeError, match=message):
        cubemap_to_erp(faces, height, width, fov)


def test_normals_become_unit_and_sky_stays_zero() -> None:
    """Vectors of any usable length become unit; the zero of the sky stays zero instead of turning into NaN."""
    normals = np.array([[3, 0, 4], [0, 2e-6, 0], [0, 0, 0], [0, 0, 1e-7]], np.float32)
    expected = np.array([[0.6, 0, 0.8], [0, 1, 0], [0, 0, 0], [0, 0, 0.1]], np.float32)
    unit = normalise_normals(normals)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, expected, rtol=1e-6)


def test_long_lists_of_normals_are_scaled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """More vectors than are scaled at a time, of any number of axes, strided or none at all, become unit."""
    monkeypatch.setattr(stitch, "_BAND_PIXELS", 7)
    normals = np.random.default_rng(0).standard_normal((4, 5, 6, 3)).astype(np.float32)[:, ::2]
    expected = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    np.testing.assert_allclose(normalise_normals(normals), expected, rtol=1e-6)
    np.testing.assert_allclose(normalise_normals(normals[0, 0, 0]), expected[0, 0, 0], rtol=1e-6)
    assert normalise_normals(normals[:0]).shape == (0, 3, 6, 3)


def test_normals_need_three_components() -> None:
    """An array that holds no vectors is refused with its shape."""
    with pytest.raises(ShapeError, match=r"got shape \(3, 4\)"):
        normalise_normals(np.zeros((3, 4), np.float32))


# Every set of maps with either engine; precision, field of view and engine in pairs.
@pytest.mark.parametrize(
    ("kinds", "half", "fov", "gathers"),
    [
        (kinds, (number + gathers) % 2 == 0, (90.0, 95.0)[number // 2 % 2], gathers)
        for number, kinds in enumerate(["dns", "dn", "ns", "n", "ds", "d", "s", ""])
        for gathers in (False, True)
    ],
)
def test_one_pass_equals_one_map_at_a_time(
    kinds: str, half: bool, fov: float, gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever maps there are, stitched together they are what each is alone, with normals of unit length."""
    if gathers:
        monkeypatch.setattr(sampling, "opencv_is_exact", lambda: False)
    monkeypatch.setattr(stitch, "_BAND_PIXELS", 1000)
    rng = np.random.default_rng(0)
    depth, sky = rng.random((2, 6, 20, 20), dtype=np.float32)
    normals = rng.standard_normal((6, 20, 20, 3)).astype(np.float16 if half else np.float32)
    normals[0, :5] = 0
    maps = (depth if "d" in kinds else None, normals if "n" in kinds else None, sky if "s" in kinds else None)
    for ours, faces in zip(stitch_maps(*maps, 48, 96, fov), maps, strict=True):
        if faces is None:
            assert ours is None
        elif faces.ndim == 4:
            alone = normalise_normals(cubemap_to_erp(faces.astype(np.float32), 48, 96, fov))
            assert ours.dtype == np.float32
            assert not ours.all()
            np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-6)
        else:
            np.testing.assert_allclose(ours, cubemap_to_erp(faces[..., None], 48, 96, fov)[..., 0], rtol=1e-6)


def test_one_pass_takes_transposed_maps() -> None:
    """Channels-first network output, seen through a transpose, is stitched like its copy."""
    rng = np.random.default_rng(0)
    depth, sky = rng.random((2, 6, 12, 12), dtype=np.float32).transpose(0, 1, 3, 2)
    normals = rng.random((6, 3, 12, 12), dtype=np.float32).transpose(0, 2, 3, 1)
    views = stitch_maps(depth, normals, sky, 24, 48)
    copies = stitch_maps(*(np.ascontiguousarray(faces) for faces in (depth, normals, sky)), 24, 48)
    for view, copy in zip(views, copies, strict=True):
        np.testing.assert_array_equal(view, copy)


@pytest.mark.parametrize(
    ("depth", "normals", "sky", "message"),
    [
        ((6, 8, 8, 1), (6, 8, 8, 3), None, r"depth must be a \(6, S, S\) array of float32, got float32 \(6, 8, 8, 1\)"),
        ((6, 8, 8), (6, 3, 8, 8), None, r"normals must be a \(6, S, S, 3\) array of float32 or float16"),
        (None, None, (5, 8, 8), r"sky must be .* got float32 \(5, 8, 8\)"),
        ((6, 8, 8), (6, 9, 9, 3), (6, 8, 8), r"faces of one size, got \[8, 9\] pixels"),
    ],
)
def test_one_pass_rejects_wrong_maps(depth, normals, sky, message: str) -> None:
    """A map of a wrong shape, or of another size than the rest, is refused by its name."""
    maps = [np.zeros(shape, np.float32) if shape else None for shape in (depth, normals, sky)]
    with pytest.raises(ShapeError, match=message):
        stitch_maps(*maps, 16, 32)
