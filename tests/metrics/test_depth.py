"""Tests of pager_ray.metrics.depth."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import ConfigError, InputError, ShapeError
from pager_ray.metrics import ALIGNMENTS, LATITUDE_EDGES, RANGE_EDGES, bands, depth_scores
from pager_ray.metrics.depth import fit_alignment
from tests.metrics.reference import bins_of, depth_reference, golden_inputs, golden_scores, latitudes

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_maps(height: int, width: int, seed: int, valid: float = 0.9) -> Maps:
    rng = np.random.default_rng(seed)
    truth = np.exp(rng.uniform(np.log(0.011), np.log(74), (height, width))).astype(np.float32)
    prediction = (0.7 * truth * np.exp(rng.normal(0, 0.3, truth.shape)) + 0.1).astype(np.float32)
    mask = rng.random(truth.shape) < valid
    mask[rng.integers(height), rng.integers(width)] = True
    return prediction, truth, mask


def assert_scores_equal(scores: dict, maps: Maps, alignment: str, rtol: float = 2e-6) -> None:
    """Compare with the formulas, which may differ by what rounding the aligned depth to float32 moves them."""
    scale, shift = fit_alignment(*maps, alignment)
    reference = depth_reference(*maps, scale, shift)
    prediction, truth = (array[maps[2]].astype(np.float64) for array in maps[:2])
    rounding = 1.2e-7 * (np.abs(scale * prediction) + abs(shift) + truth)
    moved, moved_relative = rounding.max(), (rounding / truth).max()
    for name, expected in reference.items():
        tolerance = {"abs": moved_relative, "rms": moved, "del": 0}.get(name[:3])
        if tolerance is None:
            tolerance = moved * moved_relative + 2 * np.sqrt(expected * moved * moved_relative)
        found = scores[f"depth_{alignment}_{name}"]
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=tolerance, err_msg=f"{alignment} {name}")


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_golden(alignment: str) -> None:
    """Per sample and in the mean over samples, the released values come out."""
    inputs, expected = golden_inputs(), golden_scores()[f"depth_{alignment}"]
    maps = zip(*(inputs[f"depth_{name}"][:, 0] for name in ("pred", "gt", "mask")), strict=True)
    found = [depth_scores(*sample, (alignment,)) for sample in maps]
    assert len(found) == 4
    assert set(expected["mean"]) == set(depth_metrics())
    for name in depth_metrics():
        values = [scores[f"depth_{alignment}_{name}"] for scores in found]
        np.testing.assert_allclose(values, expected["per_sample"][name], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(np.mean(values), expected["mean"][name], rtol=1e-6, err_msg=name)


def depth_metrics() -> tuple[str, ...]:
    return "abs_relative_difference", "squared_relative_difference", "rmse_linear", "delta1_acc"


@settings(max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**32),
    valid=st.sampled_from([0.02, 0.5, 1.0]),
    band=st.sampled_from([1, 100, 1 << 16]),
)
def test_matches_formulas(height: int, width: int, seed: int, valid: float, band: int) -> None:
    """At any size, mask and band size every score equals its formula in double precision."""
    maps = random_maps(height, width, seed, valid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "BAND_PIXELS", band)
        scores = depth_scores(*maps, ALIGNMENTS)
        assert fit_alignment(*maps, "metric") == (1, 0)
        for alignment in ALIGNMENTS:
            assert_scores_equal(scores, maps, alignment)
    _, truth, mask = maps
    in_range = [int(where.sum()) for where in bins_of(truth, RANGE_EDGES, mask)]
    in_band = [int(where.sum()) for where in bins_of(latitudes(height, width), LATITUDE_EDGES, mask)]
    assert scores["pixels_by_range"].tolist() == in_range
    assert scores["pixels_by_latitude"].tolist() == in_band
    assert scores["valid_pixels"] == sum(in_range) == sum(in_band) == mask.sum()


@pytest.mark.parametrize(("spread", "tolerance"), [(0.5, 1e-5), (0.15, 1e-4), (0.03, 1e-5), (1e-4, 1e-4)])
def test_fits_are_least_squares(spread: float, tolerance: float) -> None:
    """Scale and shift minimise the squared error, also for predictions that hardly vary."""
    rng = np.random.default_rng(0)
    prediction = (5 * (1 + spread * rng.uniform(-1, 1, (60, 120)))).astype(np.float32)
    truth = (3 + 2 * (prediction - 5) / (5 * spread) + rng.uniform(-0.5, 0.5, prediction.shape)).astype(np.float32)
    mask = rng.random(truth.shape) < 0.8
    p, g = prediction[mask].astype(np.float64), truth[mask].astype(np.float64)
    scale, shift = fit_alignment(prediction, truth, mask, "scale_and_shift")
    centre, (best_scale, best_centre) = p.mean(), np.polyfit(p - p.mean(), g, 1)
    assert scale == pytest.approx(best_scale, rel=tolerance)
    assert shift + scale * centre == pytest.approx(best_centre, rel=tolerance)
    assert fit_alignment(prediction, truth, mask, "scale")[0] == pytest.approx((p @ g) / (p @ p), rel=1e-6)


def test_constant_prediction_becomes_the_mean() -> None:
    """A prediction without any relief is moved to the mean of the truth, and scaled to it by least squares."""
    _, truth, mask = random_maps(50, 70, 0)
    prediction = np.full_like(truth, 0.3)
    mean = truth[mask].astype(np.float64).mean()
    assert fit_alignment(prediction, truth, mask, "scale_and_shift") == (0, pytest.approx(mean, rel=1e-6))
    assert fit_alignment(prediction, truth, mask, "scale") == (pytest.approx(mean / 0.3, rel=1e-6), 0)
    assert fit_alignment(np.zeros_like(truth), truth, mask, "scale") == (0, 0)


def test_negative_depth_is_a_hit() -> None:
    """As released, nothing is clamped: a negative depth has both quotients below 1.25, zero has none."""
    truth = np.ones((8, 8), np.float32)
    mask = np.ones((8, 8), bool)
    for value, hit, difference in (
        (-2, 1.0, 3.0),
        (0, 0.0, 1.0),
        (0.81, 1.0, 0.19),
        (0.79, 0.0, 0.21),
        (1.25, 0, 0.25),
    ):
        scores = depth_scores(np.full((8, 8), value, np.float32), truth, mask, ("metric",))
        assert scores["depth_metric_delta1_acc"] == hit, value
        assert scores["depth_metric_abs_relative_difference"] == pytest.approx(difference, rel=1e-6)


def test_shift_below_zero_counts_as_hits() -> None:
    """Where the fit makes depths negative, the scores are those of the formulas."""
    rng = np.random.default_rng(0)
    prediction = rng.uniform(1, 5, (64, 128)).astype(np.float32)
    truth = (np.maximum(prediction - 2, 0.05) * rng.uniform(0.8, 1.3, prediction.shape)).astype(np.float32)
    mask = rng.random(truth.shape) < 0.8
    scale, shift = fit_alignment(prediction, truth, mask, "scale_and_shift")
    assert ((scale * prediction + shift)[mask] < 0).sum() > 100
    scores = depth_scores(prediction, truth, mask, ("scale_and_shift",))
    assert_scores_equal(scores, (prediction, truth, mask), "scale_and_shift")


@pytest.mark.parametrize("edge", RANGE_EDGES)
def test_range_edges_belong_to_the_bin_above(edge: float) -> None:
    """A depth on an edge counts in the bin that begins there, its neighbour below in the bin before."""
    at = np.float32(edge)
    at = at if at >= edge else np.nextafter(at, np.float32(np.inf))
    truth = np.array([[np.nextafter(at, np.float32(0)), at]], np.float32)
    mask = np.ones((1, 2), bool)
    pixels = depth_scores(truth, truth, mask, ("metric",))["pixels_by_range"]
    where = RANGE_EDGES.index(edge)
    assert pixels.tolist() == [int(i in (where - 1, where)) for i in range(7)]


def test_depth_beyond_the_range_counts_in_the_totals() -> None:
    """Valid pixels nearer or farther than any bin are scored, and in no bin."""
    truth = np.array([[0.005, 1.5, 80.0, 1.5]], np.float32)
    scores = depth_scores(truth * np.float32(1.1), truth, np.array([[True, True, True, False]]), ("metric",))
    assert scores["valid_pixels"] == 3
    assert scores["pixels_by_range"].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert scores["depth_metric_abs_relative_difference"] == pytest.approx(0.1, rel=1e-5)
    by_range = scores["depth_metric_abs_relative_difference_by_range"]
    assert by_range[1] == pytest.approx(0.1, rel=1e-5)
    assert np.isnan(np.delete(by_range, 1)).all()


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 0.0, -1.0, 3e38, 1e-40])
def test_invalid_pixels_have_no_influence(garbage: float) -> None:
    """Whatever the maps hold where the mask is off, the scores stay within rounding of what they are without it."""
    prediction, truth, mask = random_maps(40, 80, 3, valid=0.7)
    clean = depth_scores(prediction, truth, mask, ALIGNMENTS)
    assert (~mask).sum() > 100
    prediction[~mask], truth[~mask] = garbage, garbage
    for name, value in depth_scores(prediction, truth, mask, ALIGNMENTS).items():
        np.testing.assert_allclose(value, clean[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("factor", [1e-30, 1e20, 1e30])
def test_extreme_predictions(factor: float) -> None:
    """Predictions of any finite size are scored without overflow, and scale alignment undoes the size."""
    prediction, truth, mask = random_maps(30, 60, 5)
    expected = depth_scores(prediction, truth, mask, ("scale", "scale_and_shift"))
    extreme = prediction * np.float32(factor)
    scores = depth_scores(extreme, truth, mask, ALIGNMENTS)
    for name, value in depth_reference(extreme, truth, mask).items():
        np.testing.assert_allclose(scores[f"depth_metric_{name}"], value, rtol=1e-5, err_msg=name)
    for name, value in expected.items():
        np.testing.assert_allclose(scores[name], value, rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_non_finite_predictions_are_refused(bad: float, alignment: str) -> None:
    """NaN or infinity at valid pixels, and only there, is an input error that counts them."""
    prediction, truth, mask = random_maps(600, 300, 1, valid=1.0)
    mask[5, 5] = False
    for row, column in ((5, 5), (0, 0), (599, 299), (300, 7)):
        prediction[row, column] = bad
    with pytest.raises(InputError, match="at 3 valid pixels") as refused:
        depth_scores(prediction, truth, mask, (alignment,))
    assert refused.value.error_class == "non_finite_prediction"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_impossible_truth_is_refused(bad: float) -> None:
    """A valid pixel whose true depth nothing can be divided by is an input error that counts such pixels."""
    prediction, truth, mask = random_maps(20, 30, 1, valid=1.0)
    truth[3, 4:6] = bad
    with pytest.raises(InputError, match="at 2 valid pixels") as refused:
        depth_scores(prediction, truth, mask, ("metric",))
    assert refused.value.error_class == "bad_ground_truth"


def test_nothing_to_score() -> None:
    """A mask without any pixel is an input error, not a NaN."""
    prediction, truth, mask = random_maps(8, 8, 1)
    with pytest.raises(InputError, match="no valid pixel") as refused:
        depth_scores(prediction, truth, np.zeros_like(mask), ("metric",))
    assert refused.value.error_class == "no_valid_pixels"


def test_wrong_arguments() -> None:
    """Shapes, dtypes and alignments that cannot be scored are refused with what came."""
    prediction, truth, mask = random_maps(8, 16, 1)
    for arguments, message in (
        ((prediction[:4], truth, mask), r"prediction must be a \(8, 16\) array of float32, got float32 \(4, 16\)"),
        ((prediction, truth, mask[:, :3]), r"mask must be a \(8, 16\) array of bool, got bool \(8, 3\)"),
        ((prediction, truth.astype(np.float64), mask), r"truth must be a \(H, W\) .* got float64 \(8, 16\)"),
        ((prediction, truth, mask.astype(np.uint8)), r"mask must be .* got uint8"),
        ((prediction[None], truth[None], mask[None]), r"truth must be a \(H, W\) .* got float32 \(1, 8, 16\)"),
        ((None, truth, mask), "got NoneType"),
    ):
        with pytest.raises(ShapeError, match=message):
            depth_scores(*arguments, ("metric",))
    with pytest.raises(ConfigError, match="unknown alignment 'median'"):
        depth_scores(prediction, truth, mask, ("median",))
    with pytest.raises(ConfigError, match="unknown alignment 'median'"):
        fit_alignment(prediction, truth, mask, "median")


def test_same_bits_on_any_number_of_threads_and_memory_layout() -> None:
    """Scores are the same to the last bit whatever OpenCV's threads and the arrays' strides are."""
    prediction, truth, mask = random_maps(300, 600, 2)
    found = []
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            found.append(depth_scores(prediction, truth, mask, ALIGNMENTS))
    finally:
        cv2.setNumThreads(before)
    columns_first = [np.asfortranarray(array) for array in (prediction, truth, mask)]
    found.append(depth_scores(*columns_first, ALIGNMENTS))
    assert all(set(scores) == set(found[0]) for scores in found)
    for name, value in found[0].items():
        assert {np.asarray(scores[name]).tobytes() for scores in found} == {np.asarray(value).tobytes()}, name


def test_memory_stays_small() -> None:
    """Beyond its inputs a panorama takes a few bands of memory, not multiples of itself."""
    maps = random_maps(1024, 2048, 4)
    tracemalloc.start()
    try:
        depth_scores(*maps, ALIGNMENTS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1e5 < peak < 8e6 < maps[0].nbytes
