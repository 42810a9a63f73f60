"""Tests of pager_ray.postprocess, together with the stitching that follows it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pager_ray.errors import ConfigError, ShapeError
from pager_ray.geometry import cubemap_to_erp, normalise_normals, ray_length_factor
from pager_ray.postprocess import euclidean_depth, fill_sky, fill_sky_probability
from pager_ray.ranges import DepthRange, SkySettings
from tests.geometry.reference import corner_pixels, golden, golden_cubemap_to_erp

KNOBS = {
    "default": SkySettings(),
    "hard": SkySettings(0.3, 0, 0),
    "open3": SkySettings(0.5, 0.2, 3),
    "noopen": SkySettings(0.3, 0.15, 0),
}
HEIGHT, WIDTH = 96, 192


def tensors(data: dict[str, np.ndarray], *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(data[name])[None] for name in names]


def channels_last(faces: torch.Tensor) -> np.ndarray:
    """(1, 6, C, S, S) tensor → (6, S, S, C) array."""
    return faces[0].permute(0, 2, 3, 1).numpy()


def raw_outputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    data = golden("postprocess.npz")
    log_z, normals, logits = tensors(data, "log_depth", "normals", "sky_logits")
    return log_z, normals, logits, torch.from_numpy(data["log_scale"])


def assert_depth(faces: torch.Tensor, expected: np.ndarray) -> None:
    """Faces stitched as the reference stitches equal its result; stitched by us, up to its float32 positions.

    The reference's positions are off by up to 4e-5 pixels at these sizes, which shows where neighbouring pixels differ
    by the whole range.
    """
    maps = channels_last(faces)
    height, width = expected.shape[1:]
    target = expected.transpose(1, 2, 0)
    np.testing.assert_allclose(golden_cubemap_to_erp(maps, height, width), target, rtol=2e-6, atol=1e-6)
    seen = ~corner_pixels(maps.shape[1], height, width)
    ours = cubemap_to_erp(maps, height, width)
    np.testing.assert_allclose(ours[seen], target[seen], rtol=1e-5, atol=4e-5 * float(np.ptp(maps)))


def assert_normals(faces: torch.Tensor, expected: np.ndarray) -> None:
    """As :func:`assert_depth`; vectors that nearly cancel or fade have no direction to compare."""
    maps = channels_last(faces)
    height, width = expected.shape[1:]
    target = expected.transpose(1, 2, 0)
    as_reference = golden_cubemap_to_erp(maps, height, width)
    np.testing.assert_allclose(normalise_normals(as_reference), target, rtol=0, atol=2e-5)
    stitched = cubemap_to_erp(maps, height, width)
    seen = ~corner_pixels(maps.shape[1], height, width) & (np.linalg.norm(stitched, axis=-1) > 0.05)
    assert seen.mean() > 0.2
    np.testing.assert_allclose(normalise_normals(stitched)[seen], target[seen], rtol=0, atol=2e-3)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("knobs", KNOBS)
def test_filled_depth_golden(knobs: str, scaled: bool) -> None:
    """Depth with its sky filled equals the released one, scale-invariant and metric, for every kind of sky settings."""
    log_z, _, logits, log_scale = raw_outputs()
    scale = log_scale if scaled else None
    depth, _ = fill_sky(euclidean_depth(log_z, scale), None, logits, scale, KNOBS[knobs])
    assert_depth(depth, golden("postprocess.npz")[f"depth_{knobs}_{'scaled' if scaled else 'si'}"])


@pytest.mark.parametrize("knobs", KNOBS)
def test_faded_normals_golden(knobs: str) -> None:
    """Normals faded in the sky and normalised after stitching equal the released ones."""
    log_z, normals, logits, _ = raw_outputs()
    _, faded = fill_sky(euclidean_depth(log_z, None), normals, logits, None, KNOBS[knobs])
    assert_normals(faded, golden("postprocess.npz")[f"normals_{knobs}"])


def test_unfilled_golden() -> None:
    """Without sky handling depth, normals and the stitched sky probability equal the released ones."""
    log_z, normals, logits, _ = raw_outputs()
    data = golden("postprocess.npz")
    assert_depth(euclidean_depth(log_z, None), data["depth_nosky"])
    assert_normals(normals, data["normals_nosky"])
    assert_depth(logits.sigmoid(), data["sky_prob_erp"])


@pytest.mark.parametrize("head", ["scale_indoor", "scale_outdoor"])
def test_network_to_erp_golden(head: str) -> None:
    """From raw network outputs to stitched depth and normals, with either scale head, everything is as released."""
    data = {name: array[0] for name, array in golden("tiny_unified/expected.npz").items()}
    log_z, normals, logits, log_scale = tensors(data, "depth", "normals", "sky", f"{head}__scale")
    depth = euclidean_depth(log_z, log_scale)
    filled, faded = fill_sky(depth, normals, logits, log_scale)
    expected = golden("tiny_unified/expected.npz")
    assert_depth(euclidean_depth(log_z, None), expected["erp_depth_si"])
    assert_depth(depth, expected[f"erp_depth_nosky__{head}"])
    assert_depth(filled, expected[f"erp_depth_sky__{head}"])
    assert_normals(normals, expected["erp_normals_nosky"])
    assert_normals(faded, expected["erp_normals_sky"])


def test_depth_is_clamped_before_scaling() -> None:
    """The range bounds z-depth in unscaled units; scale and ray length move its ends along."""
    log_z = torch.tensor([-20.0, 20.0]).repeat(8, 4).expand(1, 6, 1, 8, 8)
    depth = euclidean_depth(log_z, torch.tensor([[math.log(3.0)]]), 95.0, DepthRange(0.5, 10.0))
    ends = torch.tensor([0.5, 10.0]).repeat(8, 4) * 3 * torch.from_numpy(ray_length_factor(8, 95.0))
    torch.testing.assert_close(depth, ends.expand_as(depth))


def test_half_precision_outputs_are_widened() -> None:
    """Network outputs in half precision give float32 results, computed in float32."""
    log_z, normals, logits, log_scale = (tensor.half() for tensor in raw_outputs())
    depth = euclidean_depth(log_z, log_scale)
    results = (depth, *fill_sky(depth, normals, logits, log_scale))
    wide_depth = euclidean_depth(log_z.float(), log_scale.float())
    wide = (wide_depth, *fill_sky(wide_depth, normals.float(), logits.float(), log_scale.float()))
    for ours, expected in zip(results, wide, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def sky_square(side: int, size: int = 20, probability: float = 0.9) -> torch.Tensor:
    """(1, 6, 1, S, S) probability with one square of sky in the middle of the front face."""
    sky = torch.zeros(1, 6, 1, size, size)
    start = (size - side) // 2
    sky[0, 0, 0, start : start + side, start : start + side] = probability
    return sky


def test_sky_share_rule_is_strict() -> None:
    """Exactly 1 % of sky fills nothing; one pixel more fills all of it."""
    depth, normals = torch.full((1, 6, 1, 20, 20), 2.0), torch.ones(1, 6, 3, 20, 20)
    hard = SkySettings(0.3, 0, 0)
    sky = torch.zeros(1, 6, 1, 20, 20)
    sky[0, 5, 0, 0, :20] = 0.9
    sky[0, 5, 0, 1, :4] = 0.9  # 24 of 2400 pixels
    untouched, same = fill_sky_probability(depth, normals, sky, None, hard)
    torch.testing.assert_close(untouched, depth, rtol=0, atol=0)
    torch.testing.assert_close(same, normals, rtol=0, atol=0)
    sky[0, 5, 0, 1, 4] = 0.9
    filled, faded = fill_sky_probability(depth, normals, sky, None, hard)
    assert (filled > 74).sum() == 25
    torch.testing.assert_close(faded, normals * (sky == 0))


def test_specks_do_not_count_as_sky() -> None:
    """Patches smaller than the kernel are counted neither for the 1 % nor as sky."""
    depth = torch.full((1, 6, 1, 20, 20), 2.0)
    specks = torch.zeros(1, 6, 1, 20, 20)
    specks[..., 2::6, 2::6] = 0.9  # single pixels, 2 % of the panorama
    assert (specks > 0.3).float().mean() > 0.02
    unopened, _ = fill_sky_probability(depth, None, specks, None, SkySettings(open_kernel=0))
    assert (unopened > 74).any()
    opened, _ = fill_sky_probability(depth, None, specks, None)
    torch.testing.assert_close(opened, depth, rtol=0, atol=0)


def test_specks_take_the_nearest_depth_around() -> None:
    """The depth of a speck becomes the smallest within the kernel, also where there is no sky to fill."""
    depth = torch.full((1, 6, 1, 20, 20), 60.0)
    depth[0, 0, 0, 0, 2] = 3.0
    speck = torch.zeros(1, 6, 1, 20, 20)
    speck[0, 0, 0, 0, 0] = speck[0, 0, 0, 10, 10] = 0.9
    repaired, _ = fill_sky_probability(depth, None, speck, None)
    expected = depth.clone()
    expected[0, 0, 0, 0, 0] = 3.0
    torch.testing.assert_close(repaired, expected, rtol=0, atol=0)


def test_sky_lies_at_the_scaled_end_of_the_range() -> None:
    """Filled sky is at the range's maximum times the scale; what is no sky keeps its depth."""
    depth = torch.full((1, 6, 1, 20, 20), 2.0)
    filled, _ = fill_sky_probability(
        depth, None, sky_square(9), torch.tensor([[math.log(0.5)]]), depth_range=DepthRange(0.01, 40)
    )
    torch.testing.assert_close(filled, torch.where(sky_square(9) > 0, 20.0, 2.0))


def test_blend_is_half_way_at_the_threshold() -> None:
    """At p = threshold depth is the geometric mean of itself and the far end, and normals are halved."""
    depth, normals = torch.full((1, 6, 1, 20, 20), 3.0), torch.ones(1, 6, 3, 20, 20)
    sky = sky_square(9)
    sky[0, 3] = 0.3
    filled, faded = fill_sky_probability(depth, normals, sky, None)
    torch.testing.assert_close(filled[0, 3], torch.full_like(filled[0, 3], 15.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(faded[0, 3], torch.full_like(faded[0, 3], 0.5), rtol=1e-4, atol=0)


def test_panoramas_of_a_batch_do_not_touch() -> None:
    """A batch gives what its panoramas give alone, also where only one of them has sky."""
    log_z, normals, logits, log_scale = raw_outputs()
    batch = [torch.cat([a, b]) for a, b in ((log_z, log_z + 0.3), (normals, -normals), (logits, logits - 20))]
    scales = torch.cat([log_scale, log_scale - 1])
    together = fill_sky(euclidean_depth(batch[0], scales), batch[1], batch[2], scales)
    for row in range(2):
        one = [tensor[row : row + 1] for tensor in batch]
        scale = scales[row : row + 1]
        alone = fill_sky(euclidean_depth(one[0], scale), one[1], one[2], scale)
        for whole, single in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[row : row + 1], single, rtol=1e-6, atol=0)
    torch.testing.assert_close(together[1][1], -normals[0], rtol=0, atol=0)


def test_logits_and_probabilities_agree() -> None:
    """Filling from stored probabilities gives what filling from logits gives."""
    log_z, normals, logits, log_scale = raw_outputs()
    depth = euclidean_depth(log_z, log_scale)
    from_logits = fill_sky(depth, normals, logits, log_scale)
    from_probability = fill_sky_probability(depth, normals, logits.sigmoid(), log_scale)
    for ours, expected in zip(from_probability, from_logits, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_inputs_are_left_alone() -> None:
    """Raw outputs are stored beside the filled ones, so nothing is changed in place."""
    inputs = raw_outputs()
    copies = [tensor.clone() for tensor in inputs]
    log_z, normals, logits, log_scale = inputs
    depth = euclidean_depth(log_z, log_scale)
    depth_before = depth.clone()
    fill_sky(depth, normals, logits, log_scale)
    for tensor, copy in zip((*inputs, depth), (*copies, depth_before), strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0)


def test_no_value_reaches_the_host() -> None:
    """Nothing depends on reading a value back: tensors without data go through, as they do on a busy accelerator."""
    log_z, normals, logits, log_scale = (tensor.to("meta") for tensor in raw_outputs())
    depth = euclidean_depth(log_z, log_scale)
    filled, faded = fill_sky(depth, normals, logits, log_scale)
    assert faded is not None
    assert (filled.shape, faded.shape) == (log_z.shape, normals.shape)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DepthRange(0, 75), "min=0"),
        (lambda: DepthRange(5, 5), "max=5"),
        (lambda: DepthRange(1, math.inf), "max=inf"),
        (lambda: SkySettings(threshold=1), "sky.threshold must lie between 0 and 1, got 1"),
        (lambda: SkySettings(softness=-0.1), "sky.softness must not be negative, got -0.1"),
        (lambda: SkySettings(softness=math.nan), "sky.softness"),
        (lambda: SkySettings(open_kernel=4), "sky.open_kernel must be 0 .* or odd, got 4"),
        (lambda: SkySettings(open_kernel=-1), "got -1"),
    ],
)
def test_settings_are_checked(build, message: str) -> None:
    """Settings that mean nothing are refused by the key that they come from."""
    with pytest.raises(ConfigError, match=message):
        build()


def test_shapes_are_checked() -> None:
    """Every argument of another shape is refused by its name."""
    log_z, normals, logits, log_scale = raw_outputs()
    with pytest.raises(ShapeError, match=r"log_z must be \(B, 6, 1, S, S\), got \(6, 1, 48, 48\)"):
        euclidean_depth(log_z[0], None)
    with pytest.raises(ShapeError, match=r"log_scale must be \(1, 1\), one per panorama, got \(1,\)"):
        euclidean_depth(log_z, log_scale[0])
    depth = euclidean_depth(log_z, None)
    with pytest.raises(ShapeError, match=r"normals must be \(B, 6, 3, S, S\)"):
        fill_sky(depth, normals[:, :, :2], logits, None)
    with pytest.raises(ShapeError, match=r"normals must have the batch and face size"):
        fill_sky(depth, normals.repeat(2, 1, 1, 1, 1), logits, None)
    with pytest.raises(ShapeError, match=r"sky_logits must be"):
        fill_sky(depth, normals, normals, None)
    with pytest.raises(ShapeError, match=r"probability must have the batch and face size"):
        fill_sky(depth, normals, logits[..., :24, :24], None)
