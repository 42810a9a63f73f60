"""Pseudo-random numbers of integer cells and the smooth noise made of them, compiled.

Compiled code is kept on disk between processes, so that only the very first rendering waits for the compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray

_WORD = 0xFFFFFFFF
_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)


def lattice(*cells: Int[ndarray, "n"], seed: int) -> Float[ndarray, "n"]:
    """Pseudo-random numbers in [0, 1), one per integer cell; the same for the same cell and seed everywhere."""
    state = np.full(np.broadcast_shapes(*(cell.shape for cell in cells)), seed & _WORD, np.uint32)
    for cell, prime in zip(cells, _PRIMES, strict=False):
        state = (state ^ (cell.astype(np.uint32) * np.uint32(prime))) * np.uint32(0x27D4EB2F)
        state ^= state >> np.uint32(15)
    return ((state * np.uint32(0x165667B1)) >> np.uint32(8)) * 2.0**-24


def value_noise(*axes: Float[ndarray, "n"], seed: int) -> Float[ndarray, "n"]:
    """Smooth noise in [0, 1) with one value per unit cell of the one to three given coordinates."""
    return fractal_noise(*axes, seed=seed, octaves=1)


def fractal_noise(*axes: Float[ndarray, "n"], seed: int, octaves: int = 3) -> Float[ndarray, "n"]:
    """Value noise of ``octaves`` halving scales in one to three coordinates, in [0, 1)."""
    points = np.empty((3, axes[0].size))
    for axis, values in enumerate(axes):
        points[axis] = values
    return _fractal(points, len(axes), seed & _WORD, octaves)


@njit(cache=True)
def _mixed(state: int, cell: float, prime: int) -> int:
    mixed = ((state ^ ((int(cell) * prime) & _WORD)) * 0x27D4EB2F) & _WORD
    return mixed ^ (mixed >> 15)


@njit(cache=True)
def _uniform(state: int) -> float:
    return (((state * 0x165667B1) & _WORD) >> 8) * 2.0**-24


@njit(cache=True)
def _fractal(points: ndarray, axes: int, seed: int, octaves: int) -> ndarray:
    count = points.shape[1]
    out = np.empty(count)
    for n in range(count):
        total, weight, scale = 0.0, 0.0, 1.0
        for octave in range(octaves):
            state = (seed + 7919 * octave) & _WORD
            total += _value(points[:, n], scale, axes, state) / scale
            weight += 1 / scale
            scale *= 2.0
        out[n] = total / weight
    return out


@njit(cache=True)
def _value(point: ndarray, scale: float, axes: int, seed: int) -> float:
    x = point[0] * scale
    x0 = np.floor(x)
    x -= x0
    x *= x * (3 - 2 * x)
    total = 0.0
    for i in range(2):
        along = x if i else 1 - x
        first = _mixed(seed, x0 + i, 0x9E3779B1)
        if axes == 1:
            total += along * _uniform(first)
            continue
        y = point[1] * scale
        y0 = np.floor(y)
        y -= y0
        y *= y * (3 - 2 * y)
        for j in range(2):
            across = along * (y if j else 1 - y)
            second = _mixed(first, y0 + j, 0x85EBCA77)
            if axes == 2:
                total += across * _uniform(second)
                continue
            z = point[2] * scale
            z0 = np.floor(z)
            z -= z0
            z *= z * (3 - 2 * z)
            for k in range(2):
                total += across * (z if k else 1 - z) * _uniform(_mixed(second, z0 + k, 0xC2B2AE3D))
    return total
