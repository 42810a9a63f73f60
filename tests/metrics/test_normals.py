"""Tests of pager_ray.metrics.normals."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pager_ray.errors import InputError, ShapeError
from pager_ray.metrics import bands, normal_scores
from tests.metrics.reference import golden_inputs, golden_scores, normals_reference

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_maps(height: int, width: int, seed: int, noise: float = 0.2, valid: float = 0.9) -> Maps:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(height, width, 3))
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    prediction = (truth + rng.normal(0, noise, truth.shape)) * rng.uniform(0.5, 2, (height, width, 1))
    mask = rng.random((height, width)) < valid
    mask[rng.integers(height), rng.integers(width)] = True
    return prediction.astype(np.float32), truth.astype(np.float32), mask


def test_golden() -> None:
    """Averaged over the valid pixels of each sample, then over samples, the released values come out."""
    inputs, expected = golden_inputs(), golden_scores()["normals"]
    samples = zip(
        *(inputs[f"normals_{name}"].transpose(0, 2, 3, 1) for name in ("pred", "gt")),
        inputs["depth_mask"][:, 0],
        strict=True,
    )
    found = [normal_scores(*sample) for sample in samples]
    assert len(found) == len(expected) == 4
    for name, value in expected.items():
        column = f"normals_{name}".replace(".", "_")
        assert np.mean([scores[column] for scores in found]) == pytest.approx(value, rel=1e-6)


@settings(max_examples=60)
@example(height=23, width=1, seed=23, noise=0.02, valid=0.05, band=1)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**32),
    noise=st.sampled_from([0.02, 0.3, 5.0]),
    valid=st.sampled_from([0.05, 0.6, 1.0]),
    band=st.sampled_from([1, 150, 1 << 16]),
)
def test_matches_formulas(height: int, width: int, seed: int, noise: float, valid: float, band: int) -> None:
    """At any size, mask and band size every score equals its formula in double precision."""
    maps = random_maps(height, width, seed, noise, valid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "BAND_PIXELS", band)
        scores = normal_scores(*maps)
    reference = normals_reference(*maps)
    assert set(scores) == {f"normals_{name}" for name in reference}
    for name, expected in reference.items():
        # A cosine is rounded by up to two parts in ten million, which is the more of an angle the smaller that is.
        rounding = np.degrees(2e-7 / np.radians(np.maximum(expected, 0.01)))
        found = scores[f"normals_{name}"]
        error = np.abs(np.subtract(found, expected))
        assert np.array_equal(np.isnan(error), np.isnan(expected)), name
        assert np.all((error <= 1e-3 + rounding + 2e-4 * np.abs(expected)) | np.isnan(error)), name
        assert isinstance(found, np.ndarray if "latitude" in name else float)


@pytest.mark.parametrize("angle", [0.0, 1.0, 4.99, 5.01, 22.4, 22.6, 90.0, 179.0, 180.0])
def test_known_angles(angle: float) -> None:
    """Vectors a known angle apart give that angle, whatever their lengths are."""
    turned = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle)), 0])
    prediction = np.broadcast_to((7 * turned).astype(np.float32), (6, 12, 3))
    truth = np.broadcast_to(np.array([0.3, 0, 0], np.float32), (6, 12, 3))
    scores = normal_scores(prediction, truth, np.ones((6, 12), bool))
    assert scores["normals_mean"] == pytest.approx(angle, abs=0.03)
    assert scores["normals_mse"] == pytest.approx(angle**2, rel=1e-4, abs=1e-3)
    assert scores["normals_delta_5"] == float(angle < 5)
    assert scores["normals_delta_22_5"] == scores["normals_delta_22_5_solid_angle"] == float(angle < 22.5)


def test_zero_vectors() -> None:
    """A predicted zero is 90° off; a pixel whose truth is zero does not count."""
    prediction, truth, mask = random_maps(10, 20, 0, noise=0, valid=1.0)
    prediction[:5] = 0
    truth[:, :10] = 0
    scores = normal_scores(prediction, truth, mask)
    assert scores["normals_mean"] == pytest.approx(45, abs=0.03)
    assert scores["normals_delta_5"] == 0.5
    truth[:, 10:] = 1e-8
    with pytest.raises(InputError, match="no valid normal") as refused:
        normal_scores(prediction, truth, mask)
    assert refused.value.error_class == "no_valid_pixels"


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 3e38, 0.0])
def test_invalid_pixels_have_no_influence(garbage: float) -> None:
    """Whatever the maps hold where the mask is off, the scores stay within rounding of what they are without it."""
    prediction, truth, mask = random_maps(30, 60, 1, valid=0.7)
    clean = normal_scores(prediction, truth, mask)
    assert (~mask).sum() > 100
    prediction[~mask], truth[~mask] = garbage, -garbage
    for name, value in normal_scores(prediction, truth, mask).items():
        np.testing.assert_allclose(value, clean[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("factor", [1e-5, 1e18, 1e30])
def test_lengths_do_not_matter(factor: float) -> None:
    """Vectors too long for their square to fit single precision are scored like their directions."""
    prediction, truth, mask = random_maps(20, 40, 2)
    for name, value in normal_scores(prediction * np.float32(factor), truth, mask).items():
        np.testing.assert_allclose(value, normal_scores(prediction, truth, mask)[name], rtol=1e-5, err_msg=name)


def test_non_finite_vectors_are_refused() -> None:
    """NaN or infinity at valid pixels, and only there, is an input error that counts them."""
    for position, error_class in ((0, "non_finite_prediction"), (1, "bad_ground_truth")):
        maps = random_maps(400, 300, 3, valid=1.0)
        maps[2][0, 0] = False
        for row, column, component, value in ((0, 0, 0, np.nan), (7, 7, 1, np.nan), (399, 299, 2, -np.inf)):
            maps[position][row, column, component] = value
        with pytest.raises(InputError, match="at 2 valid pixels") as refused:
            normal_scores(*maps)
        assert refused.value.error_class == error_class


def test_wrong_arguments() -> None:
    """Shapes and dtypes that cannot be scored are refused with what came."""
    prediction, truth, mask = random_maps(8, 16, 1)
    for arguments, message in (
        (
            (prediction[:4], truth, mask),
            r"prediction must be a \(8, 16, 3\) array of float32, got float32 \(4, 16, 3\)",
        ),
        ((prediction, truth[..., :2], mask), r"truth must be .* got float32 \(8, 16, 2\)"),
        ((prediction, truth, truth[..., 0]), r"mask must be a \(H, W\) array of bool, got float32"),
        ((prediction.astype(np.float16), truth, mask), "got float16"),
    ):
        with pytest.raises(ShapeError, match=message):
            normal_scores(*arguments)


def test_same_bits_on_any_number_of_threads_and_memory_layout() -> None:
    """Scores are the same to the last bit whatever OpenCV's threads and the arrays' strides are."""
    prediction, truth, mask = random_maps(300, 600, 2)
    found = []
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            found.append(normal_scores(prediction, truth, mask))
    finally:
        cv2.setNumThreads(before)
    channels_first = [
        np.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0) for array in (prediction, truth)
    ]
    found.append(normal_scores(*channels_first, mask))
    for name, value in found[0].items():
        assert {np.asarray(scores[name]).tobytes() for scores in found} == {np.asarray(value).tobytes()}, name


def test_memory_stays_small() -> None:
    """Beyond its inputs a panorama takes a few bands of memory, not multiples of itself."""
    maps = random_maps(512, 1024, 4)
    tracemalloc.start()
    try:
        normal_scores(*maps)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1e5 < peak < 5e6 < maps[0].nbytes
