"""Tests of pager_ray.metrics.bands."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.metrics import LATITUDE_EDGES, bands
from tests.metrics.reference import bins_of, latitudes


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2048, 4096), (7, 100_000), (33, 65)])
def test_bands_cover_every_row_once(height: int, width: int) -> None:
    """Bands follow one another from the first row to the last and hold no more than they may."""
    found = bands.row_bands(height, width)
    assert np.concatenate([np.arange(height)[rows] for rows in found]).tolist() == list(range(height))
    assert all((rows.stop - rows.start) * width <= max(width, bands.BAND_PIXELS) for rows in found)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 6, 31, 64, 512, 1023])
def test_rows_lie_where_their_centres_do(height: int) -> None:
    """Weights are cosines at the latitude of pixel centres, and each row is in the band that holds its latitude."""
    latitude = latitudes(height, 1)[:, 0]
    np.testing.assert_allclose(bands.solid_angle_weights(height), np.cos(np.deg2rad(latitude)), rtol=1e-10)
    expected = np.argmax(bins_of(latitude, LATITUDE_EDGES, np.ones(height, bool)), axis=0)
    np.testing.assert_array_equal(bands.latitude_bands(height), expected)
    np.testing.assert_array_equal(bands.by_latitude(np.ones(height, np.int64)), np.bincount(expected, minlength=6))


def test_solid_angle_weights_are_solid_angles() -> None:
    """Weights times the width of a pixel squared add up to the sphere."""
    height, width = 512, 1024
    pixel = (np.pi / height) * (2 * np.pi / width)
    assert bands.solid_angle_weights(height).sum() * width * pixel == pytest.approx(4 * np.pi, rel=1e-5)


def test_shared_tables_cannot_be_changed() -> None:
    """What is built once per process is read-only."""
    assert not bands.solid_angle_weights(8).flags.writeable
    assert not bands.latitude_bands(8).flags.writeable
