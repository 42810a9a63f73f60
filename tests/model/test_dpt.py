from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pager_ray.model import dpt
from pager_ray.model.dpt import FaceConv2d, FaceResize, FusionBlock, ResidualConvUnit, UvEmbedding, level_sizes
from pager_ray.model.spherical_padding import Borders


def maps(channels: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(6, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_pads_from_neighbours_or_with_zeros(stride: int):
    """With borders a convolution sees the neighbouring faces, without it is the zero-padded one."""
    torch.manual_seed(0)
    border = Borders(95.0).for_convolution(7)
    conv = FaceConv2d(3, 4, border, stride=stride)
    plain = FaceConv2d(3, 4, None, stride=stride)
    plain.load_state_dict(conv.state_dict())
    x = maps(3, 7)
    torch.testing.assert_close(conv(x), F.conv2d(border(x), conv.weight, conv.bias, stride))
    torch.testing.assert_close(plain(x), F.conv2d(x, conv.weight, conv.bias, stride, padding=1))
    assert conv(x).shape == plain(x).shape
    torch.testing.assert_close(conv(x)[..., 1:-1, 1:-1], plain(x)[..., 1:-1, 1:-1])


def test_wide_resizing_is_pad_resize_crop():
    """Wide resizing samples past the face's edge; narrow resizing is plain."""
    borders = Borders(120.0)
    x = maps(3, 5)
    padded = borders.for_resizing(5)(x)
    expected = F.interpolate(padded, (12, 12), mode="bilinear", align_corners=True)[..., 1:-1, 1:-1]
    torch.testing.assert_close(FaceResize(10, borders.for_resizing(5))(x), expected)
    plain = F.interpolate(x, (10, 10), mode="bilinear", align_corners=True)
    torch.testing.assert_close(FaceResize(10, None)(x), plain)


def test_keeping_room_saves_a_copy_and_changes_nothing():
    """Resizing with room, then a convolution that overwrites it, equals cropping and padding anew."""
    torch.manual_seed(0)
    borders = Borders(95.0)
    roomy = FaceConv2d(4, 4, borders.for_convolution(10), has_room=True)
    fresh = FaceConv2d(4, 4, borders.for_convolution(10))
    fresh.load_state_dict(roomy.state_dict())
    x, inner = maps(4, 5), slice(1, -1)
    uv, uv_roomy = UvEmbedding(4, 10), UvEmbedding(4, 10, room=1)
    wide = FaceResize(10, borders.for_resizing(5), keep_room=True)(x)
    cropped = FaceResize(10, borders.for_resizing(5))(x)
    torch.testing.assert_close(wide[..., inner, inner], cropped)
    torch.testing.assert_close(roomy(uv_roomy(wide)), fresh(uv(cropped.clone())))


def test_uv_embedding_follows_its_definition():
    """Channels are sin and cos of u, then of v, at falling frequencies, times 0.1, added to the map."""
    channels, size = 8, 6
    added = UvEmbedding(channels, size)(torch.zeros(6, channels, size, size))[2]
    for row, column in ((0, 0), (3, 5), (5, 1)):
        waves = []
        for position in (column, row):
            reach = (size - 1) / size / math.sqrt(2)
            coordinate = -reach + 2 * reach * position / (size - 1)
            angles = [coordinate * 100 ** (-k / (channels // 4)) for k in range(channels // 4)]
            waves += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert added[:, row, column].tolist() == pytest.approx([0.1 * w for w in waves], abs=1e-6)


@pytest.mark.parametrize("fov", [None, 95.0])
def test_residual_unit_leaves_its_input(fov: float | None):
    """The residual unit adds to its input and does not rectify it."""
    torch.manual_seed(0)
    border = Borders(fov).for_convolution(6)
    unit = ResidualConvUnit(4, border)
    x = maps(4, 6)
    original = expected = x.clone()
    for conv in (unit.conv1, unit.conv2):
        padded = F.pad(F.relu(expected), (1, 1, 1, 1)) if border is None else border(F.relu(expected))
        expected = F.conv2d(padded, conv.weight, conv.bias)
    expected = original + expected
    torch.testing.assert_close(unit(x), expected)
    assert torch.equal(x, original)


@pytest.mark.parametrize("fov", [None, 95.0])
def test_fusing_multiplies_before_it_resizes(fov: float | None):
    """The fusion block's 1×1 convolution before the resizing gives what it gives after it."""
    torch.manual_seed(0)
    borders = Borders(fov)
    block = FusionBlock(4, borders.for_convolution(6), FaceResize(12, borders.for_resizing(6)))
    coarse, lateral = maps(4, 6), maps(4, 6, seed=1)
    refined = block.resConfUnit2(coarse + block.resConfUnit1(lateral))
    torch.testing.assert_close(block(coarse, lateral), block.out_conv(block.resizing(refined)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("grid", "sizes"), [(36, (144, 72, 36, 18)), (5, (20, 10, 5, 3)), (1, (4, 2, 1, 1))])
def test_level_sizes(grid: int, sizes: tuple[int, ...]):
    """Four times, twice, once and half the patch grid, odd grids rounded up as the stride-2 convolution does."""
    assert level_sizes(grid) == sizes
    x = torch.zeros(6, 1, grid, grid)
    assert FaceConv2d(1, 1, None, stride=2)(x).shape[-1] == sizes[3]


def test_maps_with_more_numbers_than_a_kernel_counts_are_resized_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of maps, each comes out as if it were alone."""
    x = torch.randn(5, 3, 4, 4)
    expected = dpt.resize(x, 7)
    monkeypatch.setattr(dpt, "_MOST_NUMBERS", 2 * 3 * 49)
    assert torch.equal(dpt.resize(x, 7), expected)
