"""Levelled faces are those that an upright camera would have given, and what is stitched of them lies where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.geometry import (
    FACE_AXES,
    cubemap_to_erp,
    erp_rays,
    erp_to_cubemap,
    level_kernel,
    level_rotation,
    levelling,
    stitch_maps,
    turned_back,
)
from pager_ray.geometry.erp import stitched_angles
from pager_ray.geometry.level import LevelledAtlas
from pager_ray.samples import make_scene, render
from tests.geometry.reference import golden

TILTS = [(12.0, 0.0), (0.0, -25.0), (30.0, 140.0), (-90.0, 60.0), (90.0, 0.0), (0.0, 180.0)]
SMOOTH = np.array([[0.9, -1.3, 0.4], [0.5, 1.1, -0.8], [-0.7, 0.3, 1.2]])


def scene_like(directions: np.ndarray) -> np.ndarray:
    """A smooth function of directions (…, 3), (…, 3)."""
    return np.asarray(np.sin(directions @ SMOOTH * 2 + [0.1, 0.7, 1.9]))


def face_directions(size: int, fov: float = 90.0) -> np.ndarray:
    """Unit vectors (6, S, S, 3) through the pixels that a stitch reads: pixel k at k/S of the face."""
    extent = np.tan(np.radians(fov) / 2)
    plane = extent * (2 * np.arange(size) / size - 1)
    right, down, forward = (FACE_AXES[:, None, None, axis] for axis in range(3))
    rays = forward + plane[:, None] * right + plane[:, None, None] * down
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def stitched_directions(height: int, width: int) -> np.ndarray:
    """Unit vectors (H, W, 3) that a stitch gives an ERP's pixels: end points included."""
    longitude = stitched_angles(np.pi, width).astype(np.float64)
    latitude = (stitched_angles(np.pi, height) / -2).astype(np.float64)[:, None]
    around = np.cos(latitude)
    parts = (around * np.cos(longitude), np.sin(latitude) + 0 * longitude, around * np.sin(longitude))
    return np.stack(parts, axis=-1)


def test_signs_are_those_of_photo_sphere_xmp() -> None:
    """The centre is pitch above the horizon; a roll turns the horizon counterclockwise, as the right side sinks."""
    forward, up, right = np.eye(3)
    for pitch in (20.0, -35.0):
        centre = level_rotation(pitch, 70.0) @ forward
        assert np.degrees(np.arcsin(centre[1])) == pytest.approx(pitch)
        # The levelled frame looks where the centre does.
        assert centre[2] == pytest.approx(0)
    assert np.degrees(np.arcsin((level_rotation(0, 15) @ right)[1])) == pytest.approx(-15)
    # So what is level at the picture's right lies above its middle row.
    above = np.cos(np.radians(15)) * right + np.sin(np.radians(15)) * up
    assert (level_rotation(0, 15) @ above)[1] == pytest.approx(0)
    # Pitched first: the roll is about the camera's own axis, which it leaves where it is.
    assert level_rotation(40, -80) @ forward == pytest.approx(level_rotation(40, 0) @ forward)


@pytest.mark.parametrize(("pitch", "roll"), [(25.0, 0.0), (0.0, 25.0), (-20.0, 35.0)])
def test_a_tilted_camera_is_levelled(pitch: float, roll: float) -> None:
    """Faces of a tilted camera's picture are those of the upright one's, and of no other sign's."""
    scene = make_scene(3, "indoor")
    upright = render(scene, 128, 256)
    # The renderer's roll lifts the right side.
    tilted = render(replace(scene, tilt=(np.radians(pitch), np.radians(-roll))), 128, 256)
    expected = erp_to_cubemap(upright.depth[..., None], 48)
    assert np.median(np.abs(erp_to_cubemap(tilted.depth[..., None], 48) / expected - 1)) > 0.05

    def off_by(some_pitch: float, some_roll: float) -> float:
        levelled = erp_to_cubemap(tilted.depth[..., None], 48, 90.0, level_rotation(some_pitch, some_roll))
        return float(np.median(np.abs(levelled / expected - 1)))

    assert off_by(pitch, roll) < 0.005
    for wrong in {(-pitch, roll), (pitch, -roll), (-pitch, -roll)} - {(pitch, roll)}:
        assert off_by(*wrong) > 0.02
    picture = erp_to_cubemap(tilted.rgb, 48, 90.0, level_rotation(pitch, roll)).astype(int)
    assert np.median(np.abs(picture - erp_to_cubemap(upright.rgb, 48))) <= 2


@pytest.mark.parametrize("fov", [90.0, 100.0])
@pytest.mark.parametrize(("pitch", "roll"), TILTS)
def test_faces_show_what_lies_in_their_direction(pitch: float, roll: float, fov: float) -> None:
    """Every face pixel is the panorama at its direction, turned; as exactly as without a turn."""
    erp = scene_like(erp_rays(200, 400)).astype(np.float32)
    plane = np.linspace(-1, 1, 31) * np.tan(np.radians(fov) / 2)
    right, down, forward = (FACE_AXES[:, None, None, axis] for axis in range(3))
    rays = forward + plane[:, None] * right + plane[:, None, None] * down
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    straight = np.abs(erp_to_cubemap(erp, 31, fov) - scene_like(rays)).max()
    rotation = level_rotation(pitch, roll)
    turned = np.abs(erp_to_cubemap(erp, 31, fov, rotation) - scene_like(rays @ rotation)).max()
    assert turned <= max(2 * straight, 0.02)


@pytest.mark.parametrize(("height", "width", "fov"), [(64, 128, 90.0), (51, 102, 90.0), (64, 128, 100.0)])
@pytest.mark.parametrize(("pitch", "roll"), TILTS)
def test_values_are_turned_back(pitch: float, roll: float, height: int, width: int, fov: float) -> None:
    """A stitched pixel has the value of its own direction, seams included, as exactly as without a turn."""
    size, rotation = 60, level_rotation(pitch, roll)
    directions = stitched_directions(height, width)
    inner = round(size / np.tan(np.radians(fov) / 2))
    # Of a face that is cropped the stitch takes what is left for 90 degrees.
    values = np.zeros((6, size, size, 3), np.float32)
    start = (size - inner) // 2
    values[:, start : start + inner, start : start + inner] = scene_like(face_directions(inner))

    def errors(turn: np.ndarray | None) -> np.ndarray:
        seen = directions if turn is None else directions @ turn.T
        return np.abs(cubemap_to_erp(values, height, width, fov, turn) - scene_like(seen)).max(axis=-1)

    straight, turned = errors(None), errors(rotation)
    assert turned.max() <= 1.2 * straight.max()
    assert turned.mean() <= 1.2 * straight.mean()


@pytest.mark.parametrize(("pitch", "roll"), TILTS)
def test_positions_are_those_of_double_precision(pitch: float, roll: float) -> None:
    """Every pixel has the face that its direction is nearest to, and its place there to a thousandth of a pixel."""
    height, width, inner = 66, 130, 504
    rotation = level_rotation(pitch, roll)
    directions = stitched_directions(height, width) @ rotation.T
    along = directions @ FACE_AXES[:, 2].T
    longest, second = np.sort(along, axis=-1)[..., -1], np.sort(along, axis=-1)[..., -2]
    face = along.argmax(axis=-1)
    across, down = (
        np.take_along_axis(directions @ FACE_AXES[:, axis].T, face[..., None], -1)[..., 0] / longest for axis in (0, 1)
    )
    longitude = stitched_angles(np.pi, width).astype(np.float64)
    latitude = (stitched_angles(np.pi, height) / -2).astype(np.float64)
    map_x, map_y = LevelledAtlas(longitude, latitude, rotation, inner).positions(slice(0, height))
    assert map_x.min() >= 0
    assert (map_x.max(), map_y.max()) <= (inner + 1e-3, 6 * (inner + 1))
    # On a border either face is right.
    clear = longest - second > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_allclose(map_x[clear], ((across + 1) * inner / 2)[clear], atol=2e-3)
    np.testing.assert_allclose(map_y[clear], ((down + 1) * inner / 2 + face * (inner + 1))[clear], atol=2e-3)


def test_without_a_turn_they_are_the_same() -> None:
    """A rotation by nothing moves nothing, but for pixels on the border of two faces."""
    erp = golden("geometry.npz")["erp_64x128"]
    assert np.abs(erp_to_cubemap(erp, 36, 90.0, np.eye(3)).astype(int) - erp_to_cubemap(erp, 36)).max() <= 1
    faces = scene_like(face_directions(36)).astype(np.float32)
    difference = np.abs(cubemap_to_erp(faces, 64, 128, 90.0, np.eye(3)) - cubemap_to_erp(faces, 64, 128))
    assert np.quantile(difference, 0.95) < 1e-5
    assert difference.max() < 0.2


def test_normals_are_turned_as_vectors() -> None:
    """Up in the levelled world is the picture's tilted up, of length 1; depth and sky stay what they were."""
    rotation = level_rotation(35, -50)
    normals = np.zeros((6, 24, 24, 3), np.float16)
    normals[..., 1] = 1
    depth, sky = np.full((6, 24, 24), 7, np.float32), np.full((6, 24, 24), 0.25, np.float32)
    stitched_depth, stitched, stitched_sky = stitch_maps(depth, normals, sky, 32, 64, 90.0, rotation)
    assert stitched_depth is not None
    assert stitched is not None
    assert stitched_sky is not None
    np.testing.assert_allclose(stitched, np.broadcast_to(rotation.T @ [0, 1, 0], (32, 64, 3)), atol=1e-3)
    np.testing.assert_allclose(stitched_depth, 7, rtol=1e-6)
    np.testing.assert_allclose(stitched_sky, 0.25, rtol=1e-6)
    np.testing.assert_allclose(turned_back(normals, rotation) @ rotation.T.astype(np.float32), normals, atol=1e-6)


def test_a_tilt_of_nothing_is_no_rotation() -> None:
    """Level panoramas take the way of those that nobody knows anything of; others turn by what a row keeps of them."""
    assert levelling(None, None) is None
    assert levelling(0.0, -0.0) is None
    assert levelling(0.1, None) is not None
    stored = np.float32(33.3)
    np.testing.assert_array_equal(levelling(33.3, 1.0), level_rotation(float(stored), 1.0))


@pytest.mark.parametrize("angles", [(90.1, 0), (400, 0), (0, 180.5), (0, -400), (float("nan"), 0), (0, float("inf"))])
def test_angles_beyond_their_range_are_refused(angles: tuple[float, float]) -> None:
    """Each is named with its range."""
    with pytest.raises(ShapeError, match=r"(pitch|roll) must be from −(90 to 90|180 to 180) degrees, got "):
        level_rotation(*angles)


@pytest.mark.parametrize(
    "rotation", [np.eye(2), np.zeros((3, 3)), np.diag([1, 1, -1]), 2 * np.eye(3), np.full((3, 3), np.nan)]
)
def test_matrices_that_are_no_rotations_are_refused(rotation: np.ndarray) -> None:
    """Mirrored, stretched or empty ones would give pictures that look right."""
    with pytest.raises(ShapeError, match="must be a"):
        erp_to_cubemap(np.zeros((16, 32, 3), np.uint8), 8, 90.0, rotation)


@pytest.mark.parametrize("trouble", [RuntimeError("no locator available"), OSError(28, "No space left on device")])
def test_code_that_nobody_can_keep_is_compiled_anew(trouble: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no folder for compiled code, or no room in it, panoramas are levelled all the same."""

    def nowhere(signature: str, **options: Any) -> Callable[..., Any]:
        if options.get("cache"):
            raise trouble
        return lambda function: function

    monkeypatch.setattr(level_kernel, "njit", nowhere)
    fresh = level_kernel._compiled(level_kernel._positions_on_faces)
    columns, rows = np.array([[1.0], [0.1], [0.2]], np.float32), np.zeros((3, 1), np.float32)
    map_x, map_y = np.empty((1, 1), np.float32), np.empty((1, 1), np.float32)
    fresh(columns, rows, 10, 11, 0.0, map_x, map_y)
    assert (map_x[0, 0], map_y[0, 0]) == (pytest.approx(6), pytest.approx(4.5))
