"""Point files are read back by trimesh, plyfile and laspy: the same points, colours, unit and frame."""

from __future__ import annotations

import io

import laspy
import numpy as np
import plyfile
import pytest
import trimesh

from pager_ray.export import libraries
from pager_ray.export.pointfiles import LAZ_STEP, encode_glb, encode_laz, encode_ply
from pager_ray.export.points import PointCloud, point_cloud
from tests.export.scenes import predicted, rendered

FRAME = "x forward (ERP centre), y up, z right"


@pytest.fixture(scope="module")
def cloud() -> PointCloud:
    truth = rendered()[1]
    return point_cloud(predicted(truth), truth.rgb)


def test_glb_opens_in_trimesh(cloud: PointCloud) -> None:
    """One set of points, exact to the bit; their colours are light, as the standard has them."""
    scene = trimesh.load_scene(io.BytesIO(encode_glb(cloud)), file_type="glb")
    (points,) = scene.geometry.values()
    assert isinstance(points, trimesh.PointCloud)
    np.testing.assert_array_equal(points.vertices.astype(np.float32), cloud.xyz)
    light = np.asarray(points.colors[:, :3], np.float64) / 255
    srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    # trimesh keeps colours as bytes, of which dark ones are coarse steps of sRGB.
    steps = np.where(cloud.colors > 60, 1.6, 14)
    assert (np.abs(srgb - cloud.colors) < steps).all()
    assert (scene.metadata["unit"], scene.metadata["frame"]) == ("metre", FRAME)


def test_ply_opens_in_plyfile(cloud: PointCloud) -> None:
    """Coordinates, normals and colours, exact to the bit; unit and frame are comments."""
    ply = plyfile.PlyData.read(io.BytesIO(encode_ply(cloud, "relative")))
    vertices = ply["vertex"]
    np.testing.assert_array_equal(np.stack([vertices[name] for name in "xyz"], 1), cloud.xyz)
    np.testing.assert_array_equal(np.stack([vertices[name] for name in ("nx", "ny", "nz")], 1), cloud.normals)
    np.testing.assert_array_equal(np.stack([vertices[name] for name in ("red", "green", "blue")], 1), cloud.colors)
    assert ply.comments == ["unit: relative", f"frame: {FRAME}"]
    without = plyfile.PlyData.read(io.BytesIO(encode_ply(PointCloud(cloud.xyz, cloud.colors))))
    assert [column.name for column in without["vertex"].properties] == ["x", "y", "z", "red", "green", "blue"]


def test_laz_opens_in_laspy(cloud: PointCloud) -> None:
    """Coordinates within half a step, colours of 16 bits; unit and frame in a record of the header."""
    las = laspy.read(io.BytesIO(encode_laz(cloud)))
    np.testing.assert_allclose(las.xyz, cloud.xyz, atol=LAZ_STEP * 0.501)
    colors = np.stack([las.red, las.green, las.blue], 1)
    np.testing.assert_array_equal(colors // 257, cloud.colors)
    assert colors.max() == int(cloud.colors.max()) * 257
    (about,) = (record for record in las.header.vlrs if record.user_id == "pager_ray")
    assert about.record_data_bytes() == f"unit: metre; frame: {FRAME}".encode()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says how to install it."""

    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(libraries.importlib, "import_module", missing)
    with pytest.raises(libraries.ConfigError, match=r"needs scipy, .* pip install 'pager_ray\[export\]'"):
        libraries.load("scipy.spatial")
