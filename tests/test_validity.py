"""Validity: exact to a pixel for every size of map and for faces, the same after storage, bounded when it is read."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pager_ray.config import load_config
from pager_ray.errors import ConfigError, StorageError
from pager_ray.geometry import FACE_AXES
from pager_ray.geometry.faces import half_extent
from pager_ray.limits import MAX_PANORAMA_PIXELS
from pager_ray.runs.valid_column import VALID
from pager_ray.validity import Validity, validity_of

HEIGHT = 64
MASK = np.random.default_rng(5).random((30, 70)) < 0.5
FOUND = {
    "crop": Validity(HEIGHT, 2 * HEIGHT, 13, 7, 70, 30),
    "caps": Validity(HEIGHT, 2 * HEIGHT, 0, 0, 2 * HEIGHT, HEIGHT, 15.0, 40.0),
    "mask": Validity(HEIGHT, 2 * HEIGHT, 13, 7, 70, 30, mask=MASK),
    "all": Validity(HEIGHT, 2 * HEIGHT, 13, 7, 70, 30, 70.0, 61.0, MASK),
    "mask of another size": Validity(HEIGHT, 2 * HEIGHT, 13, 7, 35, 45, mask=MASK),
}
every = pytest.mark.parametrize("found", FOUND.values(), ids=FOUND)


def is_valid(found: Validity, row: int, column: int) -> bool:
    """What the words say of one pixel of the source."""
    if not (0 <= row - found.top < found.height and 0 <= column - found.left < found.width):
        return False
    from_nadir = (HEIGHT - row - 0.5) / HEIGHT * 180
    if from_nadir < found.nadir_degrees or 180 - from_nadir < found.zenith_degrees:
        return False
    if found.mask is None:
        return True
    height, width = found.mask.shape
    down, across = (
        Fraction(2 * (row - found.top) + 1, 2 * found.height),
        Fraction(2 * (column - found.left) + 1, 2 * found.width),
    )
    return bool(found.mask[int(down * height), int(across * width)])


def source(found: Validity) -> np.ndarray:
    """The same of all of them."""
    return np.array([[is_valid(found, row, column) for column in range(2 * HEIGHT)] for row in range(HEIGHT)])


@every
@pytest.mark.parametrize("height", [HEIGHT, 2 * HEIGHT, 3 * HEIGHT // 2, HEIGHT // 2, 23])
def test_maps_of_any_size_are_exact(found: Validity, height: int) -> None:
    """A map's pixel is valid where the source's pixel in which its centre lies is."""
    rows, columns = (
        ((np.arange(n) + 0.5) / n * of).astype(int) for n, of in ((height, HEIGHT), (2 * height, 2 * HEIGHT))
    )
    np.testing.assert_array_equal(found.erp(height, 2 * height), source(found)[np.ix_(rows, columns)])


@every
@pytest.mark.parametrize("fov", [90.0, 100.0])
def test_faces_are_exact(found: Validity, fov: float) -> None:
    """A face's pixel is valid where the source's pixel in its direction is; rounding decides on borders alone."""
    size = 24
    plane = np.linspace(-half_extent(fov), half_extent(fov), size)
    right, down, forward = (FACE_AXES[:, None, None, axis] for axis in range(3))
    ray = forward + plane[:, None] * right + plane[:, None, None] * down
    column = (np.arctan2(ray[..., 2], ray[..., 0]) / (2 * np.pi) + 0.5) * 2 * HEIGHT
    row = (0.5 - np.arctan2(ray[..., 1], np.hypot(ray[..., 0], ray[..., 2])) / np.pi) * HEIGHT
    truth = source(found)
    at = np.clip(row.astype(int), 0, HEIGHT - 1), column.astype(int) % (2 * HEIGHT)
    # Where the picture's ends meet, a face is sampled from the one before: see erp_to_cubemap.
    on_border = (np.abs(row - np.rint(row)) < 1e-3) | (np.abs(column - np.rint(column)) < 1e-3)
    on_border |= (column < 0.5) | (column > 2 * HEIGHT - 0.5)
    faces = found.faces(size, fov)
    assert not ((faces != truth[at]) & ~on_border).any()
    assert 0 < faces.mean() < 1


def test_faces_of_large_panoramas_are_told_by_their_own_pixels() -> None:
    """A mask finer than the panorama that faces are sampled from still decides pixel by pixel."""
    height, size = 5000, 9
    mask = np.equal.outer(np.arange(height) % 2, np.arange(2 * height) % 2)
    found = Validity.whole(height, 2 * height).masked(mask)
    faces = found.faces(size, 90.0)
    # The middle of the front face looks at the corner of four pixels; a step aside the angle is known.
    plane = np.linspace(-1, 1, size)
    column = int((np.arctan(plane[6]) / (2 * np.pi) + 0.5) * 2 * height)
    row = int((0.5 + np.arctan(plane[7] / np.hypot(1, plane[6])) / np.pi) * height)
    assert faces[0, 7, 6] == mask[row, column]


@every
def test_the_fraction_is_that_of_the_source(found: Validity) -> None:
    """Counted in pixels of the full panorama."""
    assert found.fraction == pytest.approx(source(found).mean(), abs=1e-12)


def test_all_of_a_panorama_is_nothing_to_store() -> None:
    """Whole, it is null in a row, and null is whole."""
    whole = Validity.whole(HEIGHT, 2 * HEIGHT)
    assert whole.is_whole
    assert whole.fraction == 1.0
    assert whole.to_row() is None
    assert validity_of(None) is validity_of(float("nan")) is None
    assert whole.erp(9, 18).all()
    assert not any(found.is_whole for found in FOUND.values())


@every
def test_it_comes_back_from_a_row(found: Validity) -> None:
    """As Arrow has it, with a mask without loss."""
    import pyarrow as pa

    (value,) = pa.array([found.to_row()], VALID.type).to_pylist()
    again = validity_of(value)
    assert again is not None
    np.testing.assert_array_equal(again.erp(HEIGHT, 2 * HEIGHT), found.erp(HEIGHT, 2 * HEIGHT))


@pytest.mark.parametrize(
    "change",
    [
        {"left": 100},
        {"width": 0},
        {"top": -1},
        {"panorama_height": None},
        {"panorama_width": 2**31 - 1},
        {"panorama_height": 2**28, "panorama_width": 1},
        {"panorama_height": 2**16, "panorama_width": 2**17},
        {"nadir_degrees": float("nan")},
        {"zenith_degrees": 1e9},
        {"mask": b"no picture"},
    ],
)
def test_values_that_no_panorama_has_are_refused(change: dict[str, Any]) -> None:
    """A damaged row is an error that says what it holds, whatever it holds."""
    row = FOUND["all"].to_row()
    assert row is not None
    with pytest.raises(StorageError, match=r"valid|mask"):
        validity_of(row | change)


def test_the_largest_panoramas_that_a_job_may_be_asked_for_come_back() -> None:
    """What `input.max_pixels` lets in, a reader knows: caps of a picture of two gigapixels, and none of more."""
    height = math.isqrt(MAX_PANORAMA_PIXELS // 2)
    capped = Validity.whole(height, 2 * height).capped(15, 0)
    again = validity_of(capped.to_row())
    assert again is not None
    assert again.fraction == capped.fraction
    with pytest.raises(ConfigError, match=r"^input\.max_pixels: got .*takes less than or equal to"):
        load_config(None, [f"input.max_pixels={MAX_PANORAMA_PIXELS + 1}"])


def test_rectangles_are_those_of_the_map() -> None:
    """The part of a map that the file covers, caps and masks left out of account."""
    assert FOUND["all"].rectangle(HEIGHT, 2 * HEIGHT) == (13, 7, 70, 30)
    left, top, width, height = FOUND["crop"].rectangle(23, 46)
    covered = FOUND["crop"].erp(23, 46)
    assert covered[top : top + height, left : left + width].all()
    assert covered.sum() == width * height
