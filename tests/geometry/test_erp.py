"""Tests of pager_ray.geometry.erp."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ShapeError
from pager_ray.geometry import FACE_AXES, erp_rays, face_map
from pager_ray.geometry.erp import erp_columns, stitched_angles
from tests.geometry.reference import golden


@pytest.mark.parametrize(("height", "width"), [(64, 128), (96, 192)])
def test_face_map_golden(height: int, width: int) -> None:
    """Every pixel belongs to the released face."""
    ours = face_map(height, width)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, golden("geometry.npz")[f"face_map_{height}x{width}"])


@pytest.mark.parametrize(("height", "width"), [(60, 120), (63, 126), (51, 102), (75, 151), (100, 200)])
def test_face_map_is_nearest_axis(height: int, width: int) -> None:
    """At any width a pixel's face is, up to the reference's rounding, the one whose axis is nearest to its ray."""
    along = erp_rays(height, width) @ FACE_AXES[:, 2].T.astype(np.float32)
    chosen = np.take_along_axis(along, face_map(height, width)[..., None].astype(np.int64), -1)[..., 0]
    # A border that is off by two pixels changes the two axes' products by twice two pixels' angle.
    assert (along.max(-1) - chosen).max() < 4 * 2 * np.pi / width


def test_rays_point_where_the_frame_says() -> None:
    """Rays are unit, x forward at the centre, y up at the top, z right at three quarters of the width."""
    rays = erp_rays(90, 180)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-6)
    half_pixel = np.deg2rad(2)
    np.testing.assert_allclose(rays[45, 90], [1, 0, 0], atol=half_pixel)
    np.testing.assert_allclose(rays[0, 17], [0, 1, 0], atol=half_pixel)
    np.testing.assert_allclose(rays[45, 135], [0, 0, 1], atol=half_pixel)


def test_points_golden() -> None:
    """Depth times ray gives the released point cloud."""
    data = golden("postprocess.npz")
    points = data["depth_default_scaled"][0][..., None] * erp_rays(96, 192)
    np.testing.assert_allclose(points, data["xyz"].transpose(1, 2, 0), rtol=1e-6, atol=2e-4)


def test_stitched_angles_reach_both_ends() -> None:
    """Angles run from one end to the other without a gap or an overshoot, antisymmetric about zero."""
    angles = stitched_angles(np.pi, 100)
    assert angles[0] == -np.float32(np.pi)
    np.testing.assert_array_equal(angles, -angles[::-1])
    np.testing.assert_allclose(angles, np.linspace(-np.pi, np.pi, 100), atol=3e-7)


def test_columns_are_kept_and_frozen() -> None:
    """The columns of a size are computed once and cannot be changed by who reads them."""
    columns = erp_columns(64, 128)
    assert erp_columns(64, 128) is columns
    with pytest.raises(ValueError, match="read-only"):
        columns.longitude[0] = 0


@pytest.mark.parametrize("function", [erp_rays, face_map])
def test_rejects_tiny_sizes(function) -> None:
    """A size that is no panorama is refused with the size."""
    with pytest.raises(ShapeError, match="1x2"):
        function(1, 2)
