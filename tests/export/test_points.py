"""Points lie on the surfaces that were rendered, and what is no surface is no point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pager_ray import geometry
from pager_ray.errors import InputError
from pager_ray.export.points import RANGE_LIMIT, Cleaning, pixels_kept, point_cloud
from pager_ray.preview import colorize_normals
from pager_ray.ranges import DEFAULT_RANGE
from pager_ray.samples import Kind, Scene, render
from pager_ray.samples.index import index_around
from pager_ray.samples.kernels import first_hits
from tests.export.scenes import predicted, rendered

EVERYTHING = Cleaning(None, edge_relative=None, saturation=None, far_percentile=None, max_points=None)


def misses(scene: Scene, xyz: np.ndarray) -> np.ndarray:
    """How far each point is from the surface that a ray through it meets, as a share of its distance."""
    distance = np.linalg.norm(xyz.astype(np.float64), axis=1)
    eye = np.asarray(scene.eye, np.float64)
    rays = scene.camera @ (xyz / distance[:, None]).T
    met, _ = first_hits(scene.packed, index_around(scene.packed, eye), eye, rays)
    return np.abs(met - distance) / distance


@pytest.mark.parametrize("kind", ["indoor", "outdoor"])
def test_points_of_exact_maps_lie_on_the_scene(kind: Kind) -> None:
    """A map with its depth at pixel centres gives points that are off by float32's rounding alone.

    Directions round to 6e-8, which a surface that is met at a grazing angle multiplies: 1e-4 of the distance at worst.
    """
    scene, truth = rendered(kind)
    cloud = point_cloud(predicted(truth), truth.rgb)
    assert len(cloud) > 3000
    off = misses(scene, cloud.xyz)
    assert np.quantile(off, 0.99) < 1e-6
    assert off.max() < 1e-4


@pytest.mark.parametrize("kind", ["indoor", "outdoor"])
def test_points_through_faces_are_off_by_the_resampling(kind: Kind) -> None:
    """Depth that was sampled to faces and stitched again, as a run's is, is off by those two resamplings.

    At 128 rows, of the distance: 0.5 % in the median, 95 % within 2.5 %, in proportion to the size of a pixel. Exact
    maps on the same pixels, above, tell that it is no fault of the points.
    """
    scene, truth = rendered(kind)
    depth = np.where(truth.sky, np.float32(75), truth.depth)
    faces = geometry.erp_to_cubemap(depth[..., None], 64)
    stitched = geometry.cubemap_to_erp(faces, *depth.shape)[..., 0]
    off = misses(scene, point_cloud(predicted(truth, depth=stitched), truth.rgb).xyz)
    assert np.median(off) < 0.006
    assert np.quantile(off, 0.95) < 0.025


@pytest.mark.parametrize("stored", ["erp", "cubemap"])
def test_points_of_levelled_panoramas_lie_on_the_scene(stored: str) -> None:
    """In the picture's own frame, whether maps were turned back before they were stored or are while they are read."""
    pitch, roll = 28.0, -35.0
    scene = replace(rendered("indoor")[0], tilt=(np.radians(pitch), np.radians(-roll)))
    truth = render(scene, 128, 256)
    rotation = geometry.level_rotation(pitch, roll)
    # What a network says that knows the levelled world: its faces, and normals in its frame.
    depth = geometry.erp_to_cubemap(truth.depth[..., None], 64, 90.0, rotation)[..., 0]
    normals = geometry.erp_to_cubemap(truth.normals @ rotation.T.astype(np.float32), 64, 90.0, rotation)
    maps = {"depth": depth, "normals": normals, "sky": np.zeros_like(depth)}
    if stored == "erp":
        maps = dict(zip(maps, geometry.stitch_maps(*maps.values(), 128, 256, 90.0, rotation), strict=True))
    prediction = predicted(truth, **maps)
    prediction.level = (pitch, roll)
    cloud = point_cloud(prediction, truth.rgb)
    straight = geometry.cubemap_to_erp(geometry.erp_to_cubemap(truth.depth[..., None], 64), 128, 256)[..., 0]
    off, usual = (misses(scene, one.xyz) for one in (cloud, point_cloud(predicted(truth, depth=straight), truth.rgb)))
    assert np.median(off) < 1.2 * np.median(usual) < 0.01
    assert np.quantile(off, 0.95) < 1.2 * np.quantile(usual, 0.95) < 0.04
    assert prediction.normals is not None
    assert np.median((prediction.normals * truth.normals).sum(axis=-1)) > 0.999
    if stored == "cubemap":
        # As they would be for a reader that knows of no level.
        assert np.median(misses(scene, point_cloud(predicted(truth, **maps), truth.rgb).xyz)) > 0.05


def test_points_are_the_released_ones() -> None:
    """Depth times ray equals the golden coordinates."""
    from tests.export.test_cleaning import GOLDEN

    with np.load(GOLDEN) as golden:
        depth, expected = golden["depth_default_scaled"][0], golden["xyz"]
    truth = rendered()[1]
    prediction = predicted(truth, depth=depth, normals=None, sky=None)
    prediction.height, prediction.width = depth.shape
    cloud = point_cloud(prediction, np.zeros((*depth.shape, 3), np.uint8), EVERYTHING)
    np.testing.assert_allclose(cloud.xyz, expected.reshape(3, -1).T, rtol=0, atol=1e-4)


def test_colours_are_the_picture_or_the_normals() -> None:
    """Every point has its own pixel's colour; without a picture, its normal's."""
    truth = rendered()[1]
    by_rgb = point_cloud(predicted(truth), truth.rgb, EVERYTHING)
    np.testing.assert_array_equal(by_rgb.colors, truth.rgb.reshape(-1, 3))
    np.testing.assert_array_equal(by_rgb.normals, truth.normals.reshape(-1, 3))
    by_normals = point_cloud(predicted(truth), None, EVERYTHING)
    np.testing.assert_array_equal(by_normals.colors, colorize_normals(truth.normals).reshape(-1, 3))


def test_sky_and_the_end_of_the_range_are_no_points() -> None:
    """Pixels of sky, and pixels at the end of the range where a scale moves it, are dropped; each can be kept."""
    truth = rendered("outdoor")[1]
    depth = np.where(truth.sky, np.float32(10), truth.depth)
    loose = Cleaning(edge_relative=None)
    assert not (pixels_kept(predicted(truth, depth=depth), loose) & truth.sky).any()
    kept = pixels_kept(predicted(truth, depth=depth), Cleaning(None, edge_relative=None))
    assert (kept & truth.sky).sum() == truth.sky.sum()
    saturated = np.where(truth.sky, np.float32(RANGE_LIMIT * np.exp(0.5)), np.float32(RANGE_LIMIT))
    prediction = predicted(truth, depth=saturated, sky=None)
    prediction.log_scale = prediction.log_scale_raw = 0.5
    np.testing.assert_array_equal(pixels_kept(prediction, loose), ~truth.sky)
    prediction.log_scale = prediction.log_scale_raw = None
    assert not pixels_kept(prediction, loose).any()
    assert DEFAULT_RANGE.max == RANGE_LIMIT


def test_the_number_of_points_is_bounded_and_repeatable() -> None:
    """At most ``max_points``, the same ones every time."""
    truth = rendered()[1]
    clouds = [point_cloud(predicted(truth), truth.rgb, Cleaning(max_points=1000)) for _ in range(2)]
    assert 500 < len(clouds[0]) <= 1000
    np.testing.assert_array_equal(clouds[0].xyz, clouds[1].xyz)


def test_what_gives_no_points_says_why() -> None:
    """No depth, nothing to colour by, and nothing left are told apart."""
    truth = rendered("outdoor")[1]
    with pytest.raises(InputError, match="a: has no depth; choose") as error:
        point_cloud(predicted(truth, depth=None), truth.rgb)
    assert error.value.error_class == "no_map"
    with pytest.raises(InputError, match="a: has no normals to colour by; take --color rgb"):
        point_cloud(predicted(truth, normals=None), None)
    with pytest.raises(InputError, match="no pixel is left after cleaning") as error:
        point_cloud(predicted(truth, depth=np.full_like(truth.depth, 80)), truth.rgb)
    assert error.value.error_class == "no_points"
