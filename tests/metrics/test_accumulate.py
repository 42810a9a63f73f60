"""Tests of pager_ray.metrics.accumulate."""

from __future__ import annotations

import json
import math
import statistics
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pager_ray.errors import ShapeError, StorageError
from pager_ray.metrics import ExactMean

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def merged(parts: list[ExactMean]) -> ExactMean:
    def merge(total: ExactMean, part: ExactMean) -> ExactMean:
        total.merge(part)
        return total

    return reduce(merge, parts, ExactMean())


@given(values=st.lists(FINITE, min_size=1, max_size=50), data=st.data())
def test_order_and_partition_do_not_matter(values: list[float], data: st.DataObject) -> None:
    """Any permutation, any partition of it, merged in any order, gives the same state and the same bits."""
    expected = ExactMean(values)
    shuffled = data.draw(st.permutations(values))
    owners = data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)))
    parts = [ExactMean(v for v, owner in zip(shuffled, owners, strict=True) if owner == worker) for worker in range(5)]
    found = merged(data.draw(st.permutations(parts)))
    assert found == expected
    assert (found.mean, found.count) == (expected.mean, len(values))
    assert found.to_json() == expected.to_json()


@given(values=st.lists(FINITE, min_size=1, max_size=50))
def test_mean_is_rounded_once(values: list[float]) -> None:
    """The mean is the float nearest to the exact mean, from the smallest number to the largest."""
    assert ExactMean(values).mean == float(sum(map(Fraction, values)) / len(values))


@given(values=st.lists(FINITE, max_size=30), more=st.lists(FINITE, max_size=5))
def test_state_survives_json(values: list[float], more: list[float]) -> None:
    """A state written as JSON and read again goes on as if it had never been written."""
    restored = ExactMean.from_json(json.loads(json.dumps(ExactMean(values).to_json())))
    assert restored == ExactMean(values)
    restored.update(more)
    assert restored == ExactMean([*values, *more])


def test_what_plain_sums_lose() -> None:
    """Values that a floating-point sum would swallow count."""
    assert ExactMean([1e300, 1.0, -1e300]).mean == pytest.approx(1 / 3, rel=1e-15)
    assert ExactMean([1e308] * 3).mean == 1e308
    assert ExactMean([5e-324, 5e-324]).mean == 5e-324
    values = np.random.default_rng(0).random(2000)
    assert ExactMean(values).mean == statistics.fmean(values) == math.fsum(values) / 2000


def test_nothing_has_no_mean() -> None:
    """Without values the mean is NaN, and merging it changes nothing."""
    empty = ExactMean()
    assert empty.count == 0
    assert math.isnan(empty.mean)
    one = ExactMean([2.0])
    one.merge(empty)
    assert one == ExactMean([2.0]) != empty


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_non_finite_values_are_refused(value: float) -> None:
    """NaN and infinity are refused and leave the mean as it was."""
    mean = ExactMean([1.0])
    with pytest.raises(ShapeError, match="only finite values"):
        mean.add(value)
    assert mean == ExactMean([1.0])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "count must be a number of values, got 'None'"),
        ({"count": -1, "sum": "0"}, "got '-1'"),
        ({"count": True, "sum": "0"}, "got 'True'"),
        ({"count": 1}, "sum must be hexadecimal digits, got 'None'"),
        ({"count": 1, "sum": "xyz"}, "got 'xyz'"),
        ({"count": 1, "sum": "f" * 5000}, "sum must be hexadecimal digits"),
        ({"count": 0, "sum": "1"}, "no 0 values have a sum"),
        ({"count": 1, "sum": "f" * 540}, "no 1 values have a sum of 540"),
    ],
)
def test_broken_states_are_refused(state: dict, message: str) -> None:
    """A state that no values could have given is refused in one line."""
    with pytest.raises(StorageError, match=message):
        ExactMean.from_json(state)
