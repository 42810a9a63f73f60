"""Means that do not depend on the order in which values come, nor on how they were split over workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pager_ray.errors import ShapeError, StorageError

# Every float64 is a whole number of these steps of 2^-1074, the smallest number above zero.
_STEP_BITS: Final = 1074
# A sum of 2^63 of the largest numbers; what a state from outside may claim at most.
_MOST_DIGITS: Final = (1024 + _STEP_BITS + 63) // 4 + 2


class ExactMean:
    """The mean of float64 values, from their exact sum.

    The sum is a whole number of steps of 2^-1074, so nothing is ever rounded before the mean is asked for: any order
    of :meth:`add`, and any partition merged in any order, gives the same bits. An addition takes about a microsecond:
    made for values per sample, not per pixel.
    """

    __slots__ = ("_count", "_steps")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._steps = 0
        self._count = 0
        self.update(values)

    def add(self, value: float) -> None:
        """Take one value in.

        Raises:
            ShapeError: NaN or infinite: a missing value is to be counted by the caller, and never averaged.
        """
        value = float(value)
        if not math.isfinite(value):
            raise ShapeError(f"only finite values have a mean, got {value}; leave out and count samples without one")
        numerator, denominator = value.as_integer_ratio()
        self._steps += numerator << (_STEP_BITS + 1 - denominator.bit_length())
        self._count += 1

    def update(self, values: Iterable[float]) -> None:
        """Take several values in, one after another.

        Raises:
            ShapeError: as :meth:`add`; the values before the refused one stay in.
        """
        for value in values:
            self.add(value)

    def merge(self, other: ExactMean) -> None:
        """Take in all values of another accumulator, which stays as it is."""
        self._steps += other._steps
        self._count += other._count

    @property
    def count(self) -> int:
        """How many values there are."""
        return self._count

    @property
    def mean(self) -> float:
        """The exact mean rounded once, to the nearest float64; NaN of no values."""
        return self._steps / (self._count << _STEP_BITS) if self._count else math.nan

    def to_json(self) -> dict[str, Any]:
        """Give the state as a JSON object of a count and the sum in steps of 2^-1074, hexadecimal."""
        return {"count": self._count, "sum": f"{self._steps:x}"}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> ExactMean:
        """Restore what :meth:`to_json` gave.

        Raises:
            StorageError: no such state.
        """
        count, digits = state.get("count"), state.get("sum")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 1 << 63:
            raise StorageError(f"state of a mean: count must be a number of values, got {str(count)[:40]!r}")
        if not isinstance(digits, str) or len(digits.lstrip("-")) > _MOST_DIGITS:
            raise StorageError(f"state of a mean: sum must be hexadecimal digits, got {str(digits)[:40]!r}")
        mean = cls()
        try:
            mean._steps = int(digits, 16)
        except ValueError as error:
            raise StorageError(f"state of a mean: sum must be hexadecimal digits, got {digits[:40]!r}") from error
        mean._count = count
        if mean._steps and abs(mean._steps) >= count << (1024 + _STEP_BITS):
            raise StorageError(
                f"state of a mean: no {count} values have a sum of {len(digits)} hexadecimal digits; add them anew"
            )
        return mean

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExactMean):
            return NotImplemented
        return (self._steps, self._count) == (other._steps, other._count)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ExactMean(count={self._count}, mean={self.mean!r})"
