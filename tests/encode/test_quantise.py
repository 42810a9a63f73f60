"""Depth and sky quantisers keep their stated bounds at the ends of their ranges and map every oddity to code 0."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.encode.quantise import ExactBits, LogSteps, Quantiser, UnitByte, UnsignedMinifloat

DEPTHS = [UnsignedMinifloat(), LogSteps()]


def round_trip(quantiser: Quantiser, values: np.ndarray) -> np.ndarray:
    return quantiser.from_codes(quantiser.to_codes(values.astype(np.float32)[None]))[0]


@pytest.mark.parametrize("quantiser", DEPTHS, ids=type)
def test_relative_bound_over_the_whole_range(quantiser: Quantiser) -> None:
    """Every float between 6.2e-5 and 2.6e5 m comes back within the stated relative error."""
    rng = np.random.default_rng(0)
    values = np.exp(rng.uniform(np.log(6.2e-5), np.log(2.6e5), 400_000)).astype(np.float32)
    back = round_trip(quantiser, values).astype(np.float64)
    assert np.abs(back / values.astype(np.float64) - 1).max() <= quantiser.max_error


def test_minifloat_bound_is_tight_between_neighbouring_codes() -> None:
    """The worst case, half way above a power of two, reaches the bound and does not pass it."""
    value = np.float32(1 + 2.0**-12)
    error = abs(round_trip(UnsignedMinifloat(), np.array([value]))[0] / np.float64(value) - 1)
    assert 0.99 * 2.0**-12 < error <= 2.0**-12


@pytest.mark.parametrize("quantiser", DEPTHS, ids=type)
def test_every_code_is_a_fixed_point(quantiser: Quantiser) -> None:
    """Decoding and encoding again changes no code, so that repeated storage does not drift."""
    codes = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    assert np.array_equal(quantiser.to_codes(quantiser.from_codes(codes)), codes)


@pytest.mark.parametrize("quantiser", DEPTHS, ids=type)
def test_invalid_depth_is_zero(quantiser: Quantiser) -> None:
    """NaN of either sign, infinities, zeros and negatives come back as 0, their neighbours untouched."""
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, -1e-40, -3e38], dtype=np.float32)
    nan_payload = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], dtype=np.uint32).view(np.float32)
    values = np.stack([odd, np.full_like(odd, 2)], axis=1).ravel()
    back = round_trip(quantiser, np.concatenate([nan_payload, values]))
    assert not back[:3].any()
    assert not back[3::2].any()
    np.testing.assert_allclose(back[4::2], 2, rtol=quantiser.max_error)


@pytest.mark.parametrize("quantiser", DEPTHS, ids=type)
def test_depth_out_of_range_saturates(quantiser: Quantiser) -> None:
    """Values past either end become that end: never a hole, never a wrapped code."""
    back = round_trip(quantiser, np.array([1e-45, 1e-10, 6e-5, 2.7e5, 1e9, 3.4e38]))
    np.testing.assert_allclose(back[:3], 2.0**-14, rtol=1e-3)
    np.testing.assert_allclose(back[3:], 2.0**18, rtol=1e-3)


@pytest.mark.parametrize("quantiser", [*DEPTHS, UnitByte()], ids=type)
def test_codes_do_not_depend_on_neighbours(quantiser: Quantiser) -> None:
    """A map of ordinary values gives the codes that it gives beside a NaN, an infinity, or a value out of range."""
    values = np.random.default_rng(4).uniform(0, 1, (8, 500)).astype(np.float32)
    values[0, :4] = 2.0**-13, np.nextafter(np.float32(1), np.float32(0)), 2.0**-12, 1
    codes = quantiser.to_codes(values)
    for odd in (np.nan, np.inf, -1, 0, 2.0**-14, 2.0**18, 3e38):
        beside = np.concatenate([values, np.full((1, 500), odd, dtype=np.float32)])
        assert np.array_equal(quantiser.to_codes(beside)[:, :8], codes)


@pytest.mark.parametrize("quantiser", DEPTHS, ids=type)
def test_order_is_kept(quantiser: Quantiser) -> None:
    """Sorted depths stay sorted."""
    values = np.sort(np.random.default_rng(1).lognormal(0, 3, 50_000)).astype(np.float32)
    assert (np.diff(round_trip(quantiser, values)) >= 0).all()


def test_sky_bound_ends_and_oddities() -> None:
    """Probabilities come back within half a step, 0 and 1 exactly; beyond saturates, NaN is 0."""
    values = np.linspace(0, 1, 100_001, dtype=np.float32)
    back = round_trip(UnitByte(), values)
    assert np.abs(back - values).max() <= UnitByte().max_error
    assert (back[0], back[-1]) == (0, 1)
    assert round_trip(UnitByte(), np.array([-1, 2, np.nan, np.inf, -np.inf])).tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("planes", [1, 3])
def test_exact_keeps_every_bit(planes: int) -> None:
    """Any bit pattern, NaN payloads included, survives."""
    bits = np.random.default_rng(2).integers(0, 2**32, (40, 50, 3), dtype=np.uint32)
    values = (bits[..., 0] if planes == 1 else bits).copy().view(np.float32)
    quantiser = ExactBits(planes=planes)
    back = quantiser.from_codes(quantiser.to_codes(values))
    assert np.array_equal(back.view(np.uint32), values.view(np.uint32))
