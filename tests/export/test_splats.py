"""Splats lie on the rendered surfaces, are as large as what their pixels saw, and show the picture again."""

from __future__ import annotations

import io

import numpy as np
import plyfile
import pytest
from scipy.spatial.transform import Rotation

from pager_ray import geometry
from pager_ray.errors import InputError
from pager_ray.export.axes import rotation
from pager_ray.export.points import Cleaning
from pager_ray.export.splats import COLUMNS, GRAZING, OPACITY, SPREAD, THICKNESS, encode_splats, surface_normals
from pager_ray.samples import Kind
from tests.export.scenes import predicted, rendered
from tests.export.test_points import EVERYTHING, misses


class Splats:
    """A file as viewers read it: by the names of its properties, with the reference's activations."""

    def __init__(self, content: bytes | bytearray) -> None:
        self.ply = plyfile.PlyData.read(io.BytesIO(content))
        (element,) = self.ply.elements
        assert [column.name for column in element.properties] == [*COLUMNS]
        assert {column.val_dtype for column in element.properties} == {"f4"}
        data = {name: np.asarray(element[name], np.float64) for name in COLUMNS}
        self.xyz = np.stack([data[name] for name in "xyz"], 1)
        self.colors = 0.5 + np.stack([data[f"f_dc_{n}"] for n in range(3)], 1) / (2 * np.sqrt(np.pi))
        self.opacity = 1 / (1 + np.exp(-data["opacity"]))
        self.sizes = np.exp(np.stack([data[f"scale_{n}"] for n in range(3)], 1))
        quaternions = np.stack([data[f"rot_{n}"] for n in range(4)], 1)
        np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1, atol=1e-6)
        self.rotations = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]).as_matrix()
        self.normals = np.stack([data[f"n{name}"] for name in "xyz"], 1)

    def covariances(self) -> np.ndarray:
        turned = self.rotations * self.sizes[:, None, :]
        return turned @ turned.transpose(0, 2, 1)


@pytest.mark.parametrize("kind", ["indoor", "outdoor"])
def test_splats_lie_on_the_scene(kind: Kind) -> None:
    """Centres are off by float32's rounding alone; colours are the picture's sRGB bytes; discs lie in the surface."""
    scene, truth = rendered(kind)
    splats = Splats(encode_splats(predicted(truth), truth.rgb, axes="y-up"))
    assert len(splats.xyz) > 3000
    off = misses(scene, splats.xyz)
    assert np.quantile(off, 0.99) < 1e-6
    assert off.max() < 1e-4
    bytes_back = splats.colors * 255
    np.testing.assert_allclose(bytes_back, np.rint(bytes_back), atol=1e-4)
    np.testing.assert_allclose(splats.opacity, OPACITY, atol=1e-6)
    thin_axis = np.einsum("nij,nj->ni", splats.rotations, np.eye(3)[[2] * len(splats.xyz)])
    np.testing.assert_allclose(np.abs(np.einsum("ni,ni->n", thin_axis, splats.normals)), 1, atol=1e-5)
    assert (np.einsum("ni,ni->n", splats.normals, splats.xyz) < 1e-6).all()


def test_a_disc_is_what_its_pixel_saw() -> None:
    """Its area is distance² times solid angle over the cosine of incidence, for every pixel of a plane below."""
    height, width = 64, 128
    rays = geometry.erp_rays(height, width).astype(np.float64)
    with np.errstate(divide="ignore"):
        depth = np.where(rays[..., 1] < -1e-3, -1.6 / rays[..., 1], 0).astype(np.float32)
    normals = np.broadcast_to(np.array([0, 1, 0], np.float32), (height, width, 3))
    truth = predicted(rendered("indoor", 64)[1], depth=depth, normals=normals, sky=None)
    splats = Splats(encode_splats(truth, np.zeros((height, width, 3), np.uint8), EVERYTHING, axes="y-up"))
    distance = np.linalg.norm(splats.xyz, axis=1)
    cosine = 1.6 / distance
    latitude = np.arcsin(splats.xyz[:, 1] / distance)
    solid = 2 * np.pi / width * np.pi / height * np.cos(latitude)
    clear = cosine > GRAZING
    area = splats.sizes[:, 0] * splats.sizes[:, 1] / SPREAD**2
    np.testing.assert_allclose(area[clear], (distance**2 * solid / cosine)[clear], rtol=1e-4)
    assert (area[~clear] <= (distance**2 * solid / GRAZING)[~clear] * 1.01).all()
    np.testing.assert_allclose(splats.sizes[:, 2], THICKNESS * splats.sizes[:, 1], rtol=1e-5)
    # Near the horizon a disc is longest away from the camera, straight below it is as long as wide.
    longest = splats.rotations[:, :, 0]
    away = splats.xyz * (1, 0, 1) / np.linalg.norm(splats.xyz * (1, 0, 1), axis=1, keepdims=True)
    far = latitude > np.radians(-30)
    np.testing.assert_allclose(np.abs(np.einsum("ni,ni->n", longest, away))[far], 1, atol=1e-4)


def test_thinned_splats_stand_for_what_was_left_out() -> None:
    """However few there are, together they cover the same solid angle."""
    truth = rendered()[1]
    covered = []
    for count in (None, 4000, 500):
        cleaning = Cleaning(None, edge_relative=None, saturation=None, far_percentile=None, max_points=count)
        splats = Splats(encode_splats(predicted(truth), truth.rgb, cleaning, axes="y-up"))
        distance = np.linalg.norm(splats.xyz, axis=1)
        cosine = np.abs(np.einsum("ni,ni->n", splats.normals, splats.xyz)) / distance
        area = splats.sizes[:, 0] * splats.sizes[:, 1] / SPREAD**2
        covered.append(float((area * np.maximum(cosine, GRAZING) / distance**2).sum()))
    assert covered[0] == pytest.approx(4 * np.pi, rel=1e-3)
    assert covered[1] == pytest.approx(covered[0], rel=0.02)
    assert covered[2] == pytest.approx(covered[0], rel=0.06)


@pytest.mark.parametrize(("axes", "max_points"), [("y-up", 8000), ("z-up", None), ("y-down", None)])
def test_seen_from_the_camera_they_show_the_picture(axes: str, max_points: int | None) -> None:
    """Drawn as viewers draw them - projected Gaussians, front to back - four faces show what the panorama shows."""
    truth = rendered("indoor", 64)[1]
    cleaning = Cleaning(None, edge_relative=None, saturation=None, far_percentile=None, max_points=max_points)
    splats = Splats(encode_splats(predicted(truth), truth.rgb, cleaning, axes=axes))
    size = 32
    faces = geometry.erp_to_cubemap(truth.rgb, size) / 255
    for number in (0, 1, 4, 5):
        camera = geometry.FACE_AXES[number] @ rotation(axes).T
        shown, covered = drawn(splats, camera, size)
        assert covered.mean() > (0.96 if max_points is None else 0.9)
        assert np.abs(shown - faces[number])[covered > 0.5].mean() < 0.05


def drawn(splats: Splats, camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A 90° view from the origin: colours and coverage, by the local projection of each Gaussian."""
    seen = splats.xyz @ camera.T
    ahead = (seen[:, 2] > 0.05) & (np.abs(seen[:, :2]).max(1) < 1.3 * seen[:, 2])
    order = np.flatnonzero(ahead)[np.argsort(seen[ahead, 2])]
    focal, centre = (size - 1) / 2, (size - 1) / 2
    picture, light = np.zeros((size, size, 3)), np.ones((size, size))
    covariances = splats.covariances()
    for n in order:
        x, y, z = seen[n]
        jacobian = focal / z * np.array([[1, 0, -x / z], [0, 1, -y / z]]) @ camera
        flat = jacobian @ covariances[n] @ jacobian.T
        middle = centre + focal * np.array([x, y]) / z
        reach = 3 * np.sqrt(np.diag(flat)) + 1
        left, top = np.maximum(np.ceil(middle - reach), 0).astype(int)
        right, bottom = np.minimum(np.floor(middle + reach), size - 1).astype(int) + 1
        if left >= right or top >= bottom:
            continue
        across, down = np.meshgrid(np.arange(left, right) - middle[0], np.arange(top, bottom) - middle[1])
        inverse = np.linalg.inv(flat)
        power = inverse[0, 0] * across**2 + 2 * inverse[0, 1] * across * down + inverse[1, 1] * down**2
        alpha = splats.opacity[n] * np.exp(-power / 2)
        part = np.s_[top:bottom, left:right]
        picture[part] += (light[part] * alpha)[..., None] * splats.colors[n]
        light[part] *= 1 - alpha
    covered = 1 - light
    return picture / np.maximum(covered, 1e-6)[..., None], covered


def test_without_normals_the_surface_tells() -> None:
    """A checkpoint of depth alone gives discs in the surface that its depth draws."""
    truth = rendered()[1]
    splats = Splats(encode_splats(predicted(truth, normals=None), truth.rgb, axes="y-up"))
    exact = Splats(encode_splats(predicted(truth), truth.rgb, axes="y-up"))
    agree = np.abs(np.einsum("ni,ni->n", splats.normals, exact.normals))
    assert np.median(agree) > 0.999
    assert surface_normals(np.zeros((8, 16), np.float32)).any() == False  # noqa: E712


def test_nothing_left_is_said() -> None:
    """All sky: no file without splats."""
    truth = rendered()[1]
    all_sky = predicted(truth, sky=np.ones_like(truth.depth))
    with pytest.raises(InputError, match="no pixel is left after cleaning"):
        encode_splats(all_sky, truth.rgb)
