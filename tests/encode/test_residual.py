"""The planar predictor is reversible whatever the codes, and independent of how rows are cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.encode.residual import BLOCK_PIXELS, predict, restore, row_blocks


@pytest.mark.parametrize("dtype", ["<u4", "<u2", "|u1"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (1, 9, 1), (3, 300, 700)])
def test_restore_undoes_predict(dtype: str, shape: tuple[int, int, int]) -> None:
    """restore(predict(x)) == x over the whole range of the type, remainders wrapping around included."""
    codes = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    before = codes.copy()
    remainders = predict(codes)
    assert np.array_equal(codes, before)
    restore(remainders)
    assert np.array_equal(remainders, before)


def test_planes_of_constant_slope_vanish() -> None:
    """A map that is linear in both directions leaves remainders only in its first row and column."""
    y, x = np.mgrid[:500, :400]
    remainders = predict((3 * x + 5 * y + 7).astype(np.uint16)[None])
    assert not remainders[0, 1:, 1:].any()
    assert remainders[0, 0, 0] == 14  # zigzag of 7


@pytest.mark.parametrize(("rows", "width"), [(1, 10), (1000, 77), (5, 4 * BLOCK_PIXELS)])
def test_row_blocks_cover_every_row_once(rows: int, width: int) -> None:
    """Blocks are consecutive, disjoint and complete, also for rows wider than a block."""
    covered = [index for block in row_blocks(rows, width) for index in range(block.start, block.stop)]
    assert covered == list(range(rows))
