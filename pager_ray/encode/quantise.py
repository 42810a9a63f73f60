"""From float32 maps to planes of unsigned integers and back, each way with its error bound: depth, sky and exact bits.

Every quantiser works on ``(rows, width)`` or ``(rows, width, 3)`` maps (faces lie below each other) in blocks of rows,
so that no float32 copy of a 4K map is made. Code 0 stands for "no value" wherever a map can have holes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.encode.planes import interleaved
from pager_ray.encode.residual import row_blocks

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt


@dataclass(frozen=True)
class Quantiser(ABC):
    """Maps floats to integer codes.

    Attributes:
        planes: integer planes per map.
        dtype: unsigned integer type of the codes, as a NumPy type string.
        max_error: largest error of a value in range, in ``error_unit``.
        error_unit: ``"relative"``, ``"absolute"`` or ``"degree"``.
        invalid: what stands for "no value", before and after.
        value_range: which values the bound holds for, in words.
        recipe: NumPy statements from ``code`` (``planes`` × rows × width) to ``array``.
    """

    planes: int
    dtype: str
    max_error: float
    error_unit: str
    invalid: str
    value_range: str
    recipe: str

    @abstractmethod
    def to_codes(self, array: Float32[np.ndarray, "r w *c"]) -> UInt[np.ndarray, "p r w"]:
        """Quantise one map."""

    @abstractmethod
    def from_codes(self, codes: UInt[np.ndarray, "p r w"]) -> Float32[np.ndarray, "r w *c"]:
        """Give the map back, within :attr:`max_error`."""


@dataclass(frozen=True)
class UnsignedMinifloat(Quantiser):
    """Depth as a 16-bit float without sign: 5 exponent bits, 11 mantissa bits, 2⁻¹⁴ … 2¹⁸ m, rounded to nearest.

    Quantising is integer arithmetic on the float's own bits, hence fast and the same on every machine. Depth has no
    sign and no subnormals to spend codes on: half the error of float16 over a range four times as long.
    """

    planes: int = 1
    dtype: str = "<u2"
    max_error: float = 2.0**-12
    error_unit: str = "relative"
    invalid: str = "code 0: not a number, infinite, zero or negative; decoded as 0.0"
    value_range: str = "6.2e-5 to 2.6e5; values beyond are stored as the nearest end"
    recipe: str = "array = np.where(code, (code.astype('u4') + 231424 << 12).view('f4'), 0)"

    _BASE = (127 - 14) << 11  # code 0 would be 2⁻¹⁴ itself
    _DROPPED = 12  # of float32's 23 mantissa bits
    _SMALLEST, _LARGEST = np.float32(2.0**-13), np.float32(2.0**17)  # well inside the range of codes

    def to_codes(self, array: Float32[np.ndarray, "r w"]) -> UInt[np.ndarray, "1 r w"]:
        """Quantise one map."""
        codes = np.empty((1, *array.shape), dtype=self.dtype)
        offset = np.int32((1 << (self._DROPPED - 1)) - (self._BASE << self._DROPPED))
        for rows in row_blocks(*array.shape):
            values = array[rows]
            # Bits of negative numbers and of some NaNs wrap around here; the mask below clears them.
            bits = values.view(np.int32) + offset
            bits >>= self._DROPPED
            # Two passes for the extremes take less time than clipping and masking. NaN is neither above nor below.
            if not (values.min() >= self._SMALLEST and values.max() <= self._LARGEST):
                np.clip(bits, np.int32(1), np.int32(65535), out=bits)
                bits *= (values > 0) & (values < np.inf)
            codes[0, rows] = bits
        return codes

    def from_codes(self, codes: UInt[np.ndarray, "1 r w"]) -> Float32[np.ndarray, "r w"]:
        """Give the map back; holes are 0."""
        out = np.empty(codes.shape[1:], dtype=np.uint32)
        for rows in row_blocks(*codes.shape[1:]):
            block = codes[0, rows]
            bits = out[rows]
            np.add(block, np.uint32(self._BASE), out=bits)
            bits <<= self._DROPPED
            if not block.all():
                bits *= block != 0
        return out.view(np.float32)


@lru_cache(maxsize=1)
def _log_table() -> Float32[np.ndarray, "n=65536"]:
    table = np.exp2((np.arange(65536, dtype=np.float64) - 1) * (32 / 65534) - 14)
    table[0] = 0
    return table.astype(np.float32)


@dataclass(frozen=True)
class LogSteps(Quantiser):
    """Depth in 65534 equal steps of its logarithm, 2⁻¹⁴ … 2¹⁸ m: one formula that any language can write."""

    planes: int = 1
    dtype: str = "<u2"
    max_error: float = 1.75e-4  # half a step is 1.693e-4; the rest covers a float32 logarithm
    error_unit: str = "relative"
    invalid: str = "code 0: not a number, infinite, zero or negative; decoded as 0.0"
    value_range: str = "6.2e-5 to 2.6e5; values beyond are stored as the nearest end"
    recipe: str = "array = np.where(code, 2.0 ** ((code - 1.0) * 32 / 65534 - 14), 0).astype('f4')"

    def to_codes(self, array: Float32[np.ndarray, "r w"]) -> UInt[np.ndarray, "1 r w"]:
        """Quantise one map."""
        import cv2

        codes = np.empty((1, *array.shape), dtype=self.dtype)
        for rows in row_blocks(*array.shape):
            values = array[rows]
            valid = (values > 0) & (values < np.inf)
            logs = np.where(valid, values, np.float32(1))
            cv2.log(logs, logs)
            logs *= np.float32(65534 / (32 * math.log(2)))
            logs += np.float32(14 / 32 * 65534 + 1.5)
            np.clip(logs, np.float32(1), np.float32(65535), out=logs)
            logs *= valid
            codes[0, rows] = logs
        return codes

    def from_codes(self, codes: UInt[np.ndarray, "1 r w"]) -> Float32[np.ndarray, "r w"]:
        """Give the map back; holes are 0."""
        out = np.empty(codes.shape[1:], dtype=np.float32)
        table = _log_table()
        for rows in row_blocks(*codes.shape[1:]):
            np.take(table, codes[0, rows], out=out[rows], mode="clip")
        return out


@dataclass(frozen=True)
class UnitByte(Quantiser):
    """Probabilities in 255 steps."""

    planes: int = 1
    dtype: str = "|u1"
    max_error: float = 0.001961  # half a step, rounded up
    error_unit: str = "absolute"
    invalid: str = "none; not a number is stored as 0"
    value_range: str = "0 to 1; values beyond are stored as the nearest end"
    recipe: str = "array = code / np.float32(255)"

    def to_codes(self, array: Float32[np.ndarray, "r w"]) -> UInt[np.ndarray, "1 r w"]:
        """Quantise one map."""
        codes = np.empty((1, *array.shape), dtype=self.dtype)
        for rows in row_blocks(*array.shape):
            values = array[rows]
            # Two passes for the extremes take less time than two clamps. NaN is neither above nor below.
            if not (values.min() >= 0 and values.max() <= 1):
                values = np.fmin(np.fmax(values, np.float32(0)), np.float32(1))
            scaled = values * np.float32(255)
            scaled += np.float32(0.5)
            codes[0, rows] = scaled
        return codes

    def from_codes(self, codes: UInt[np.ndarray, "1 r w"]) -> Float32[np.ndarray, "r w"]:
        """Give the map back."""
        values = codes[0].astype(np.float32)
        values /= 255
        return values


@dataclass(frozen=True)
class ExactBits(Quantiser):
    """The float32 bits themselves, one plane per component."""

    planes: int = 1
    dtype: str = "<u4"
    max_error: float = 0.0
    error_unit: str = "absolute"
    invalid: str = "kept as it is, bit by bit"
    value_range: str = "all"
    recipe: str = "array = np.moveaxis(code.view('f4'), 0, -1)"

    def to_codes(self, array: Float32[np.ndarray, "r w *c"]) -> UInt[np.ndarray, "p r w"]:
        """Separate the components."""
        if self.planes == 1:
            return array.view(np.uint32)[None]
        import cv2

        return np.stack(cv2.split(array)).view(np.uint32)

    def from_codes(self, codes: UInt[np.ndarray, "p r w"]) -> Float32[np.ndarray, "r w *c"]:
        """Interleave the components."""
        values = codes.view(np.float32)
        return values[0] if self.planes == 1 else interleaved(list(values))
