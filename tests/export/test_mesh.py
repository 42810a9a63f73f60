"""Meshes lie on the rendered surfaces, bridge no jump, keep within their budget and show the panorama in its place."""

from __future__ import annotations

import io

import numpy as np
import pytest
import trimesh

from pager_ray.errors import InputError
from pager_ray.export import meshfiles
from pager_ray.export.axes import turn
from pager_ray.export.formats import ExportSettings, export_files
from pager_ray.export.mesh import Mesh, surface_mesh
from pager_ray.export.points import Cleaning
from pager_ray.prediction import Prediction
from pager_ray.samples import Kind
from tests.export.scenes import predicted, rendered
from tests.export.test_points import misses

BROKEN = Cleaning(None, saturation=None)
BRIDGED = Cleaning(None, edge_relative=None, saturation=None)


def corners(mesh: Mesh) -> np.ndarray:
    """(T, 3, 3) float64."""
    return mesh.xyz[mesh.faces].astype(np.float64)


def of_depth(depth: np.ndarray, cleaning: Cleaning) -> Mesh:
    truth = rendered("indoor", len(depth))[1]
    return surface_mesh(predicted(truth, depth=depth.astype(np.float32), sky=None), cleaning)


@pytest.mark.parametrize("kind", ["indoor", "outdoor"])
def test_vertices_are_points_of_the_scene(kind: Kind) -> None:
    """Off by float32's rounding alone, but for the poles, which are half a pixel from what was seen."""
    scene, truth = rendered(kind)
    mesh = surface_mesh(predicted(truth), max_triangles=20_000)
    is_pole = (mesh.uv[:, 1] == 0) | (mesh.uv[:, 1] == 1)
    assert np.quantile(misses(scene, mesh.xyz[~is_pole]), 0.99) < 1e-6
    assert misses(scene, mesh.xyz[is_pole]).max() < 1e-2


@pytest.mark.parametrize("kind", ["indoor", "outdoor"])
def test_surfaces_between_vertices_lie_on_the_scene(kind: Kind) -> None:
    """Triangles' middles, at 128 rows: under 1e-6 of the distance in the median, under 2 % in nine of ten."""
    scene, truth = rendered(kind)
    off = misses(scene, corners(surface_mesh(predicted(truth), max_triangles=20_000)).mean(axis=1))
    assert np.median(off) < 1e-6
    assert np.quantile(off, 0.9) < 0.02


def test_no_triangle_bridges_a_jump() -> None:
    """A box before a wall: every triangle lies on one of them."""
    depth = np.full((64, 128), 5.0)
    depth[20:40, 50:70] = 2.0
    mesh = of_depth(depth, BROKEN)
    distance = np.linalg.norm(corners(mesh), axis=2)
    assert (np.ptp(distance, axis=1) < 1e-5).all()
    assert {2.0, 5.0} == {float(value) for value in np.unique(np.round(distance, 4))}
    bridged = of_depth(depth, BRIDGED)
    assert (np.ptp(np.linalg.norm(corners(bridged), axis=2), axis=1) > 1).any()


def test_what_is_no_surface_is_left_out() -> None:
    """Sky, missing depth and the range's end: no vertex has it, and what surrounds it is complete."""
    depth = np.full((64, 128), 3.0)
    depth[30, 60] = np.nan
    depth[10:20, 0:5] = 0.0
    mesh = of_depth(depth, BROKEN)
    seen = {(int(v * 64), int(u * 128) % 128) for u, v in mesh.uv if 0 < v < 1}
    assert not seen & ({(30, 60)} | {(row, column) for row in range(10, 20) for column in range(5)})
    assert {(29, 60), (31, 60), (30, 59), (30, 61), (10, 127), (10, 5), (20, 2)} <= seen
    solid = 4 * np.pi - trimesh.Trimesh(mesh.xyz, mesh.faces).area / 9
    latitude = (0.5 - (np.arange(64) + 0.5) / 64) * np.pi
    missing = (~(depth > 0) * np.cos(latitude)[:, None]).sum() * 2 * np.pi**2 / 64 / 128
    # The hole of a pixel reaches to the middles of its neighbours.
    assert missing < solid < 4 * missing + 0.03


@pytest.mark.parametrize("size", [(64, 128), (96, 200), (33, 80)])
def test_a_closed_room_is_a_closed_mesh(size: tuple[int, int]) -> None:
    """No crack at any size: around the seam, at the poles, between large and small triangles; fronts look inwards."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    depth = 3 + 0.5 * np.sin(rows / 9) * np.cos(columns * 2 * np.pi * 3 / size[1])
    maps = {"depth": lambda: depth.astype(np.float32)}
    prediction = Prediction(id="a", uri="", height=size[0], width=size[1], fov=90.0, loaders=maps)
    for budget in (None, 600):
        mesh = surface_mesh(prediction, BRIDGED, budget)
        solid = trimesh.Trimesh(mesh.xyz.astype(np.float64), mesh.faces, process=False)
        solid.merge_vertices(merge_tex=True, merge_norm=True)
        assert solid.is_watertight
        assert solid.is_winding_consistent
        assert solid.volume == pytest.approx(-4 / 3 * np.pi * (depth.mean() ** 3), rel=0.1)


def test_the_budget_is_kept() -> None:
    """Fewer triangles, a larger error; never more than asked for, and about as many."""
    truth = rendered()[1]
    bridged = [surface_mesh(predicted(truth), BRIDGED, budget) for budget in (None, 20_000, 5000, 500)]
    counts, errors = [len(mesh.faces) for mesh in bridged], [mesh.error for mesh in bridged]
    assert counts[0] > 30_000
    assert all(0.8 * budget < count <= budget for budget, count in zip((20_000, 5000, 500), counts[1:], strict=True))
    assert errors == sorted(errors)
    assert errors[0] < errors[-1]
    for budget in (20_000, 3000, 300):
        assert 0 < len(surface_mesh(predicted(truth), max_triangles=budget).faces) <= budget


def test_the_picture_stays_in_its_place() -> None:
    """Anywhere in a triangle, the texture is that of the direction it is seen in, within the mesh's error."""
    truth = rendered()[1]
    mesh = surface_mesh(predicted(truth), BRIDGED, 5000)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet((1, 1, 1), len(mesh.faces))
    place = np.einsum("tk,tkc->tc", weights, mesh.uv[mesh.faces].astype(np.float64))
    seen = np.einsum("tk,tkc->tc", weights, corners(mesh))
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    theta, phi = (place[:, 0] - 0.5) * 2 * np.pi, (0.5 - place[:, 1]) * np.pi
    shown = np.stack([np.cos(phi) * np.cos(theta), np.sin(phi), np.cos(phi) * np.sin(theta)], 1)
    angle = np.arccos(np.clip(np.einsum("tc,tc->t", seen, shown), -1, 1))
    away = np.abs(place[:, 1] - 0.5) < 0.45
    assert np.quantile(angle[away], 0.99) < 2 * mesh.error + 1e-3


def test_the_file_opens_in_trimesh() -> None:
    """Vertices, places and texture, in the axes that were asked for; the texture is the picture's sRGB."""
    truth = rendered()[1]
    settings = ExportSettings("mesh", axes="z-up", max_triangles=3000)
    (content,) = export_files(predicted(truth), truth.rgb, settings).values()
    scene = trimesh.load_scene(io.BytesIO(content), file_type="glb")
    (loaded,) = scene.geometry.values()
    mesh = surface_mesh(predicted(truth), settings.cleaning, 3000)
    np.testing.assert_array_equal(loaded.vertices.astype(np.float32), turn(mesh.xyz, "z-up"))
    np.testing.assert_array_equal(loaded.faces, mesh.faces)
    # trimesh counts up from the bottom.
    np.testing.assert_allclose(loaded.visual.uv, mesh.uv * (1, -1) + (0, 1), atol=1e-6)
    texture = np.asarray(loaded.visual.material.baseColorTexture.convert("RGB"), int)
    assert texture.shape == truth.rgb.shape
    assert np.abs(texture - truth.rgb).mean() < 3
    assert scene.metadata["unit"] == "metre"
    assert scene.metadata["frame"] == "x forward (ERP centre), y left, z up"


def test_wide_panoramas_have_a_texture_that_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What graphics cards do not take is reduced."""
    monkeypatch.setattr(meshfiles, "MAX_TEXTURE", 128)
    truth = rendered()[1]
    content = meshfiles.encode_mesh(surface_mesh(predicted(truth), max_triangles=500), truth.rgb)
    (loaded,) = trimesh.load_scene(io.BytesIO(content), file_type="glb").geometry.values()
    assert loaded.visual.material.baseColorTexture.size == (128, 64)


def test_nothing_but_sky_is_said() -> None:
    """No file without triangles."""
    truth = rendered()[1]
    with pytest.raises(InputError, match="no surface is left"):
        surface_mesh(predicted(truth, sky=np.ones_like(truth.depth)))
