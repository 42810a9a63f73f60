from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from pager_ray.model import cameras

CASES = [(16, 90), (16, 95), (36, 90), (36, 95)]


def test_extrinsics_match_golden(geometry: Mapping[str, np.ndarray]):
    """The six cameras, absolute and relative to the first, are the released ones."""
    np.testing.assert_allclose(cameras.extrinsics(), geometry["extrinsics"], atol=1e-5)
    relative = cameras.normalise_extrinsics(cameras.extrinsics())
    np.testing.assert_allclose(relative, geometry["extrinsics_normalised"][0], atol=1e-5)


@pytest.mark.parametrize(("size", "fov"), CASES)
def test_intrinsics_and_pose_encoding_match_golden(geometry: Mapping[str, np.ndarray], size: int, fov: int):
    """Intrinsics and pose encodings are the released ones, quaternion signs included."""
    camera = cameras.intrinsics(size, fov)
    np.testing.assert_allclose(camera, geometry[f"intrinsics_f{size}_fov{fov}"], rtol=1e-5, atol=1e-5)
    encoding = cameras.pose_encoding(cameras.extrinsics(), camera, size)
    np.testing.assert_allclose(encoding, geometry[f"pose_encoding_f{size}_fov{fov}"][0], atol=1e-5)


def test_pose_encoding_of_any_camera():
    """A general pose encodes to its camera centre and to the quaternion of its orientation, w not negative."""
    axis, angle = np.array([2.0, -1.0, 3.0]) / np.sqrt(14.0), 2.5
    cross = np.cross(np.eye(3), axis)  # cross @ v is axis × v
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, (0.5, -2.0, 7.0)
    encoding = cameras.pose_encoding(np.linalg.inv(pose)[None], cameras.intrinsics(100, 120.0)[:1], 100)[0]
    expected = [0.5, -2.0, 7.0, *(axis * np.sin(angle / 2)), np.cos(angle / 2), *[np.radians(120.0)] * 2]
    np.testing.assert_allclose(encoding, expected, atol=1e-12)
