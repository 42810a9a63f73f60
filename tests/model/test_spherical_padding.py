from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from pager_ray.model.spherical_padding import Borders, SphericalPadding

FACE_ANGLES = [(0, 0), (-90, 0), (180, 0), (90, 0), (0, -90), (0, 90)]


def reference_padding(maps: np.ndarray, pad: int, fov: float) -> np.ndarray:
    """Pad (6, C, n, n) pixel by pixel, straight from the definition; ties between faces go to the first."""
    size = maps.shape[-1]
    focal = size / (2 * np.tan(np.radians(fov) / 2))
    rotations = []
    for yaw, pitch in np.radians(FACE_ANGLES):
        ry = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        rx = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        rotations.append((rx @ ry).round(12))
    padded = np.zeros((6, maps.shape[1], size + 2 * pad, size + 2 * pad))
    for face in range(6):
        for i in range(-pad, size + pad):
            for j in range(-pad, size + pad):
                if 0 <= i < size and 0 <= j < size:
                    padded[face, :, i + pad, j + pad] = maps[face, :, i, j]
                    continue
                ray = rotations[face].T @ np.array([j + 0.5 - size / 2, i + 0.5 - size / 2, focal])
                seen = [rotation @ ray for rotation in rotations]
                owner = int(np.argmax([camera[2].round(9) for camera in seen]))
                x, y, z = seen[owner]
                column = np.clip(focal * x / z + size / 2 - 0.5, 0, size - 1)
                row = np.clip(focal * y / z + size / 2 - 0.5, 0, size - 1)
                c0, r0 = int(column), int(row)
                c1, r1 = min(c0 + 1, size - 1), min(r0 + 1, size - 1)
                u, v = column - c0, row - r0
                padded[face, :, i + pad, j + pad] = (1 - v) * (
                    (1 - u) * maps[owner, :, r0, c0] + u * maps[owner, :, r0, c1]
                ) + v * ((1 - u) * maps[owner, :, r1, c0] + u * maps[owner, :, r1, c1])
    return padded


@pytest.mark.parametrize("size", [16, 36])
@pytest.mark.parametrize("pad", [1, 2])
@pytest.mark.parametrize("fov", [90, 95])
def test_padding_matches_golden(geometry: Mapping[str, np.ndarray], size: int, pad: int, fov: int):
    """Padded maps of two panoramas are the released ones, corners included."""
    key = f"f{size}_p{pad}_fov{fov}"
    padded = SphericalPadding(size, float(fov), pad)(torch.from_numpy(geometry[f"padin_{key}"]))
    np.testing.assert_allclose(padded.numpy(), geometry[f"padout_{key}"], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "pad", "fov"), [(1, 1, 90.0), (2, 1, 120.0), (5, 1, 90.0), (7, 2, 100.0), (8, 1, 150.0)]
)
def test_padding_follows_its_definition(size: int, pad: int, fov: float):
    """Tables give what a pixel-by-pixel projection gives, for any size and field of view."""
    maps = np.random.default_rng(0).normal(size=(6, 3, size, size)).astype(np.float32)
    padded = SphericalPadding(size, fov, pad)(torch.from_numpy(maps))
    np.testing.assert_allclose(padded.numpy(), reference_padding(maps, pad, fov), atol=1e-5)


def test_interior_is_the_input_and_input_is_untouched():
    """Padding changes nothing but the border, in any memory layout."""
    x = torch.randn(12, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    original = x.clone()
    padding = SphericalPadding(6, 95.0)
    padded = padding(x)
    assert torch.equal(padded[..., 1:-1, 1:-1], original)
    assert torch.equal(x, original)
    assert torch.equal(padded, padding(x.to(memory_format=torch.channels_last)))


def test_panoramas_pad_from_their_own_faces():
    """Each panorama of a batch is padded as if it were alone."""
    x = torch.randn(18, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    padding = SphericalPadding(5, 90.0)
    torch.testing.assert_close(padding(x), torch.cat([padding(part) for part in x.split(6)]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("cubes", [1, 3])
def test_refresh_overwrites_only_the_border(cubes: int, layout: torch.memory_format):
    """Refreshing maps that have room, in any memory layout, equals cropping and padding them."""
    padding = SphericalPadding(5, 95.0)
    wide = torch.randn(6 * cubes, 3, 7, 7, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    expected = padding(wide[..., 1:-1, 1:-1])
    inside = wide[..., 1:-1, 1:-1].clone()
    assert padding.refresh(wide) is wide
    torch.testing.assert_close(wide, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(wide[..., 1:-1, 1:-1], inside)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("trained", [False, True])
def test_faces_are_rectified_on_their_way(dtype: torch.dtype, trained: bool):
    """With a ReLU it is the padding of rectified faces, which stay what they were, and so is its gradient."""
    x = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_(trained)
    original, padding = x.detach().clone(), SphericalPadding(5, 95.0)
    padded, expected = padding(x, rectify=True), padding(torch.relu(x))
    assert torch.equal(padded, expected)
    assert torch.equal(x.detach(), original)
    if trained:
        found, wanted = (torch.autograd.grad(value.float().square().sum(), x)[0] for value in (padded, expected))
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_maps_are_sampled_in_float32(dtype: torch.dtype):
    """Half maps give the float32 result of the same values, rounded once."""
    x = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    padding = SphericalPadding(5, 90.0)
    padded = padding(x)
    assert padded.dtype == dtype
    rounding = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(padded.float(), padding(x.float()), rtol=1.01 * rounding, atol=1e-7)


def test_incomplete_cubemaps_are_refused():
    """A batch that is no multiple of six faces is a programming error."""
    with pytest.raises(ValueError, match="7 faces"):
        SphericalPadding(4, 90.0)(torch.zeros(7, 1, 4, 4))


def test_borders_share_tables_and_resizing_is_always_90_degrees():
    """Convolutions use the cube's field of view, resizing 90 degrees; each table exists once; zeros need none."""
    borders = Borders(95.0)
    assert borders.for_convolution(8) is borders.for_convolution(8)
    assert borders.for_convolution(8).fov_degrees == 95.0
    assert borders.for_resizing(8).fov_degrees == 90.0
    assert Borders(None).for_convolution(8) is None
    assert Borders(None).for_resizing(8) is None
