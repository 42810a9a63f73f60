"""From unit vectors to planes of integers and back: octahedral pairs and plain signed bytes.

A zero vector says "no normal" (sky, for one) and stays zero. Lengths are not kept: what comes back is a unit vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.encode.planes import interleaved
from pager_ray.encode.quantise import Quantiser
from pager_ray.encode.residual import row_blocks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt

# Below this the direction is rounding noise of a vector that was faded out, not a measurement.
MIN_LENGTH = 1e-3

_INVALID = "all codes 0: shorter than 1e-3 or not finite; decoded as (0, 0, 0)"
_RANGE = "vectors of any length from 1e-3 on; unit length is given back"


def _taxicab(
    x: Float32[np.ndarray, "r w"], y: Float32[np.ndarray, "r w"], z: Float32[np.ndarray, "r w"]
) -> tuple[Float32[np.ndarray, "r w"], Bool[np.ndarray, "r w"]]:
    """Give |x|+|y|+|z|, and where it is long enough and finite."""
    with np.errstate(over="ignore"):
        total = np.abs(x)
        total += np.abs(y)
        total += np.abs(z)
    return total, (total >= MIN_LENGTH) & (total < np.inf)


def _with_sign_of(
    magnitude: Float32[np.ndarray, "r w"], signed: Float32[np.ndarray, "r w"]
) -> Float32[np.ndarray, "r w"]:
    """``np.copysign`` of magnitudes that are not negative, on the bits themselves: a third of its time."""
    bits = signed.view(np.uint32) & np.uint32(0x80000000)
    bits |= magnitude.view(np.uint32)
    return bits.view(np.float32)


def _normalise(x: Float32[np.ndarray, "r w"], y: Float32[np.ndarray, "r w"], z: Float32[np.ndarray, "r w"]) -> None:
    length = x * x
    length += y * y
    length += z * z
    np.sqrt(length, out=length)
    for component in (x, y, z):
        component /= length


@dataclass(frozen=True)
class Octahedral(Quantiser):
    """Directions on an unfolded octahedron, as two codes of ``bits`` bits (Cigolle et al., JCGT 3(2), 2014).

    With s = |x|+|y|+|z|: (u, v) = (x, y)/s for z ≥ 0; for z < 0 both are moved outwards by |z|/s. u and v are
    rounded to 2ᵇⁱᵗˢ−1 levels that are symmetric about 0, so that the six axes are exact. The largest error sits in
    the middle of a face of the octahedron, where half a step h in both coordinates turns the ray by √18·h.
    """

    planes: int = 2
    dtype: str = "<u2"
    max_error: float = 0.06
    error_unit: str = "degree"
    invalid: str = _INVALID
    value_range: str = _RANGE
    recipe: str = ""
    bits: int = 12

    def _levels(self) -> np.float32:
        return np.float32((1 << (self.bits - 1)) - 1)

    def to_codes(self, array: Float32[np.ndarray, "r w 3"]) -> UInt[np.ndarray, "2 r w"]:
        """Quantise one map of vectors."""
        import cv2

        codes = np.empty((2, *array.shape[:2]), dtype=self.dtype)
        levels = self._levels()
        for rows in row_blocks(*array.shape[:2]):
            x, y, z = cv2.split(array[rows])
            inverse, valid = _taxicab(x, y, z)
            has_holes = not valid.all()
            if has_holes:
                for component in (x, y, z):
                    component[~valid] = 0
                inverse[~valid] = 1
            np.divide(levels, inverse, out=inverse)
            # max(−z, 0), in half the time; halved first, because 2·|z| may be infinite.
            z *= np.float32(0.5)
            fold = np.abs(z)
            fold -= z
            for component, plane in zip((x, y), codes, strict=True):
                component += _with_sign_of(fold, component)
                component *= inverse
                component += levels + np.float32(1.5)
                if has_holes:
                    component *= valid
                plane[rows] = component
        return codes

    def from_codes(self, codes: UInt[np.ndarray, "2 r w"]) -> Float32[np.ndarray, "r w 3"]:
        """Give unit vectors back; holes are zero vectors."""
        out = np.empty((*codes.shape[1:], 3), dtype=np.float32)
        levels = self._levels()
        for rows in row_blocks(*codes.shape[1:]):
            x, y = (plane[rows].astype(np.float32) for plane in codes)
            for component in (x, y):
                component -= levels + 1
                component /= levels
            z = 1 - np.abs(x)
            z -= np.abs(y)
            fold = np.abs(z)
            fold -= z
            fold *= np.float32(0.5)
            for component in (x, y):
                component -= _with_sign_of(fold, component)
            _normalise(x, y, z)
            block = out[rows]
            interleaved((x, y, z), block)
            if not codes[0, rows].all():
                block[codes[0, rows] == 0] = 0
        return out


def octahedral(bits: int, dtype: str, max_error: float) -> Octahedral:
    """Build the quantiser of ``bits`` bits per coordinate, with its recipe."""
    levels = (1 << (bits - 1)) - 1
    recipe = (
        f"u, v = (code.astype('f4') - {levels + 1}) / {levels}; z = 1 - abs(u) - abs(v); t = np.maximum(-z, 0); "
        "array = np.stack([u - np.copysign(t, u), v - np.copysign(t, v), z], -1); "
        "array /= np.linalg.norm(array, axis=-1, keepdims=True); array[code[0] == 0] = 0"
    )
    return Octahedral(bits=bits, dtype=dtype, max_error=max_error, recipe=recipe)


@dataclass(frozen=True)
class SignedBytes(Quantiser):
    """Directions as three bytes, 128 + 127·component: the picture that every normal-map viewer shows."""

    planes: int = 3
    dtype: str = "|u1"
    max_error: float = 0.4  # √3 half steps of 1/254 are 0.39°
    error_unit: str = "degree"
    invalid: str = _INVALID
    value_range: str = _RANGE
    recipe: str = (
        "array = np.moveaxis(code.astype('f4') - 128, 0, -1); "
        "array /= np.linalg.norm(array, axis=-1, keepdims=True); array[~code.any(0)] = 0"
    )

    def to_codes(self, array: Float32[np.ndarray, "r w 3"]) -> UInt[np.ndarray, "3 r w"]:
        """Quantise one map of vectors."""
        import cv2

        codes = np.empty((3, *array.shape[:2]), dtype=self.dtype)
        for rows in row_blocks(*array.shape[:2]):
            components = cv2.split(array[rows])
            _, valid = _taxicab(*components)
            for component in components:
                component[~valid] = 1
            _normalise(*components)
            for component, plane in zip(components, codes, strict=True):
                component *= 127
                component += 128.5
                component *= valid
                plane[rows] = component
        return codes

    def from_codes(self, codes: UInt[np.ndarray, "3 r w"]) -> Float32[np.ndarray, "r w 3"]:
        """Give unit vectors back; holes are zero vectors."""
        out = np.empty((*codes.shape[1:], 3), dtype=np.float32)
        for rows in row_blocks(*codes.shape[1:]):
            x, y, z = (plane[rows].astype(np.float32) for plane in codes)
            for component in (x, y, z):
                component -= 128
            _normalise(x, y, z)
            block = out[rows]
            interleaved((x, y, z), block)
            holes = ~codes[:, rows].any(axis=0)
            if holes.any():
                block[holes] = 0
        return out
