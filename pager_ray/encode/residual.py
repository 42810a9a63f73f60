"""Reversible prediction of integer maps: what makes smooth depth and normals compress.

A code is predicted from its left, upper and upper-left neighbours (the planar predictor of lossless image coding);
the remainder, modulo the word size, is interleaved by sign ("zigzag") so that small remainders of either sign have
empty high bits. A bit-shuffling compressor then finds those empty bit planes for nearly nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt

BLOCK_PIXELS = 1 << 16  # float32 scratch of this many pixels stays in a core's L2 cache

_SIGNED = {np.dtype("u1"): np.dtype("i1"), np.dtype("u2"): np.dtype("i2"), np.dtype("u4"): np.dtype("i4")}


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Cut ``rows`` rows of ``width`` pixels into slices of about :data:`BLOCK_PIXELS` pixels."""
    step = max(1, BLOCK_PIXELS // width)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def predict(codes: UInt[np.ndarray, "p r w"]) -> UInt[np.ndarray, "p r w"]:
    """Replace codes by zigzag remainders of the planar predictor; planes are independent of each other.

    Args:
        codes: uint8, uint16 or uint32 codes; left as they are.

    Returns:
        Remainders of the same shape and dtype; :func:`restore` undoes them exactly.
    """
    out = np.empty_like(codes)
    signed = _SIGNED[codes.dtype]
    sign_shift = codes.dtype.itemsize * 8 - 1
    for plane, target in zip(codes, out, strict=True):
        for rows in row_blocks(*plane.shape):
            block, vertical = target[rows], np.empty_like(plane[rows])
            np.subtract(plane[rows][1:], plane[rows][:-1], out=vertical[1:])
            np.subtract(plane[rows.start], plane[rows.start - 1] if rows.start else 0, out=vertical[0])
            block[:, 0] = vertical[:, 0]
            np.subtract(vertical[:, 1:], vertical[:, :-1], out=block[:, 1:])
            sign = block.view(signed) >> sign_shift
            block <<= 1
            block ^= sign.view(codes.dtype)
    return out


def restore(remainders: UInt[np.ndarray, "p r w"]) -> None:
    """Undo :func:`predict` in place."""
    for plane in remainders:
        for rows in row_blocks(*plane.shape):
            block = plane[rows]
            sign = np.negative(block & 1)
            block >>= 1
            block ^= sign
            np.cumsum(block, axis=1, dtype=plane.dtype, out=block)
        # A cumulative sum along the slow axis costs NumPy 20 times as much as adding row after row.
        for above, row in pairwise(plane):
            row += above
