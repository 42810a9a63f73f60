"""Tests of pager_ray.metrics.seams."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import ConfigError, InputError, ShapeError
from pager_ray.geometry import face_map
from pager_ray.metrics import SeamThresholds, seam_scores, seams
from tests.metrics.reference import golden_inputs, golden_scores, seam_reference

NAMES = ("seam_defect_density", "seam_prevalence", "seam_severity")


def smooth_depth(height: int, width: int, seed: int, noise: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(1, 9, (4, 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return (smooth * np.exp(rng.normal(0, noise, smooth.shape)) + face_map(height, width) * 0.02).astype(np.float32)


@pytest.mark.parametrize(
    ("key", "thresholds"), [("seams_cli", None), ("seams_default", SeamThresholds(0.02, 0.1, 0.015))]
)
def test_golden(key: str, thresholds: SeamThresholds | None) -> None:
    """With both sets of thresholds the released values come out as means over the samples."""
    found = [seam_scores(depth, thresholds) for depth in golden_inputs()["seam_depth"][:, 0]]
    expected = golden_scores()[key]
    assert len(found) == 4
    assert set(expected) == set(NAMES)
    for name, value in expected.items():
        assert np.mean([scores[name] for scores in found]) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (33, 67), (64, 128), (50, 90)])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_matches_pair_by_pair(height: int, width: int, noise: float) -> None:
    """Scores equal those of a loop over pixels and their neighbours, at odd sizes too."""
    depth = smooth_depth(height, width, seed=height, noise=noise)
    for thresholds in ((0.01, 0.05, 0.008), (0.03, 0.4, 0.02)):
        scores = seam_scores(depth, SeamThresholds(*thresholds))
        expected = seam_reference(depth, *thresholds)
        assert [scores[name] for name in NAMES] == pytest.approx(expected, rel=1e-12)
        assert all(type(scores[name]) is float for name in NAMES)


def test_each_edge_is_found() -> None:
    """A jump along the border of one face breaks its four edges and no others, a smooth panorama breaks none."""
    height, width = 64, 128
    faces = face_map(height, width)
    flat = np.linspace(1, 1.0001, height * width, dtype=np.float32).reshape(height, width)
    for face in range(6):
        scores = seam_scores(np.where(faces == face, np.float32(3), flat))
        assert scores["seam_prevalence"] == scores["seam_severity"] == pytest.approx(4 / 12), face
    ramp = (
        np.abs(np.linspace(-1, 1, width, dtype=np.float32))[None] + np.linspace(0, 1, height, dtype=np.float32)[:, None]
    )
    scores = seam_scores(ramp, SeamThresholds(0.03, 0.05, 0.03))
    assert [scores[name] for name in NAMES] == [0, 0, 0]


def test_pairs() -> None:
    """Pairs are neighbours on different faces, none twice, in groups of one edge; columns wrap and rows do not."""
    height, width = 48, 96
    faces = face_map(height, width).reshape(-1)
    pairs = seams.seam_pairs(height, width)
    assert (faces[pairs.first] != faces[pairs.second]).all()
    assert len({*zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}) == len(pairs.first) > 12
    groups = [
        {tuple(sorted(pair)) for pair in zip(faces[pairs.first[a:b]], faces[pairs.second[a:b]], strict=True)}
        for a, b in zip(pairs.starts, [*pairs.starts[1:], len(pairs.first)], strict=True)
    ]
    assert [len(group) for group in groups] == [1] * 12
    assert len(set.union(*groups)) == 12
    step = np.abs(
        np.stack(np.unravel_index(pairs.first, (height, width))) - np.unravel_index(pairs.second, (height, width))
    )
    assert {tuple(difference) for difference in step.T.tolist()} <= {(0, 1), (1, 0), (0, width - 1)}
    # The face behind is whole across the first and the last column.
    assert faces[0 * width + height // 2 * width] == faces[height // 2 * width + width - 1]
    assert seams.seam_pairs(height, width) is pairs
    assert not any(array.flags.writeable for array in (pairs.first, pairs.second, pairs.starts))


@settings(max_examples=60)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 120),
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["random", "few", "constant", "sorted", "signed"]),
)
def test_quantiles_are_those_of_torch(height: int, width: int, seed: int, kind: str) -> None:
    """Quantiles equal torch's to the last place, also in ties, when a sample of a few values leads the way."""
    rng = np.random.default_rng(seed)
    values = rng.lognormal(0, 3, (height, width)).astype(np.float32)
    values = {
        "random": values,
        "few": np.round(values),
        "constant": np.full_like(values, 2.5),
        "sorted": np.sort(values.reshape(-1)).reshape(values.shape),
        "signed": values - 1,
    }[kind]
    expected = torch.quantile(torch.from_numpy(values).flatten(), torch.tensor([0.01, 0.99])).numpy()
    for sampled, kept, chunk in ((1 << 14, 1 << 18, 1 << 16), (64, 1 << 18, 500), (64, 0, 500)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(seams, "_SAMPLES", sampled)
            patch.setattr(seams, "_MOST_KEPT", kept)
            patch.setattr(seams, "BAND_PIXELS", chunk)
            np.testing.assert_allclose(seams.depth_quantiles(values), expected, rtol=1.3e-7, atol=1e-45)


@pytest.mark.parametrize("misleading", [False, True])
def test_quantiles_of_a_large_map(misleading: bool) -> None:
    """At a size where the sample matters quantiles are exact, also where it sees values that the rest has not."""
    values = np.random.default_rng(0).lognormal(1, 1, (512, 1024)).astype(np.float32)
    if misleading:
        values.reshape(-1)[:: (values.size // seams._SAMPLES) | 1] = 1e6
    ordered = torch.from_numpy(values).flatten()
    expected = torch.quantile(ordered, torch.tensor([0.01, 0.99])).numpy()
    np.testing.assert_allclose(seams.depth_quantiles(values), expected, rtol=1.3e-7)


def test_no_range_no_jump() -> None:
    """A constant panorama has no seams, rather than a division by zero."""
    assert seam_scores(np.full((32, 64), 3, np.float32)) == dict.fromkeys(NAMES, 0.0)


def test_scale_and_shift_do_not_matter() -> None:
    """Seams are relative to the range of depth, whatever its unit."""
    depth = smooth_depth(64, 128, 0)
    expected = seam_scores(depth)
    assert 0.1 < expected["seam_defect_density"] < 0.9
    for scale, shift in ((1e-20, 0), (1e30, 0), (2, -4)):
        scores = seam_scores(depth * np.float32(scale) + np.float32(shift))
        assert [scores[name] for name in NAMES] == pytest.approx([expected[name] for name in NAMES], abs=0.01)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_predictions_are_refused(bad: float) -> None:
    """NaN or infinity anywhere is an input error that counts the pixels."""
    depth = smooth_depth(300, 600, 0)
    depth[299, 599] = depth[0, 0] = bad
    with pytest.raises(InputError, match="at 2 pixels") as refused:
        seam_scores(depth)
    assert refused.value.error_class == "non_finite_prediction"


def test_wrong_arguments() -> None:
    """Arrays, sizes and thresholds that give no seams are refused."""
    with pytest.raises(ShapeError, match=r"depth must be a \(H, W\) array of float32, got float64"):
        seam_scores(np.ones((64, 128)))
    with pytest.raises(ShapeError, match=r"of 2x8 pixels is too small to show the 12 edges"):
        seam_scores(np.ones((2, 8), np.float32))
    with pytest.raises(ConfigError, match="min_broken_fraction must lie between 0 and 1, got 5"):
        SeamThresholds(min_broken_fraction=5)
    with pytest.raises(ConfigError, match="pixel must lie between 0 and 1, got nan"):
        SeamThresholds(pixel=float("nan"))


def test_any_memory_layout_and_little_memory() -> None:
    """Strides do not matter, and a panorama takes less memory than a copy of it once its pairs are known."""
    depth = smooth_depth(1024, 2048, 1)
    scores = seam_scores(depth)
    tracemalloc.start()
    try:
        assert seam_scores(depth) == scores
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1e5 < peak < depth.nbytes / 2
    assert seam_scores(np.asfortranarray(depth)) == scores
