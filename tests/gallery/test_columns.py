"""The columns that the list is sorted and filtered by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pager_ray.gallery.columns import NUMBERS, SCENES, rows_of
from tests.gallery.runs import many_rows


def test_rows_stand_in_the_order_of_their_ids() -> None:
    """Every column follows the ids when they are sorted, and an id that stands twice counts once."""
    table = pa.table(
        {
            "id": ["b", "a", "b", "ä"],
            "uri": ["/b", "/a", "/b again", "/ä"],
            "scene": ["indoor", "outdoor", "indoor", None],
            "depth_p50": pa.array([2.0, 1.0, 9.0, 3.0], pa.float32()),
        }
    )
    rows = rows_of(table)
    assert rows.ids == ["a", "b", "ä"]
    assert rows.uris == ["/a", "/b", "/ä"]
    assert [SCENES[code] for code in rows.scenes] == ["outdoor", "indoor", "unknown"]
    np.testing.assert_array_equal(rows.values["depth_p50"], np.float32([1, 2, 3]))


def test_missing_and_infinite_values_are_no_numbers() -> None:
    """Null and infinity become NaN, a column without any value is left out."""
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "uri": ["/a", "/b", "/c"],
            "scene": pa.nulls(3, pa.string()),
            "depth_p50": pa.array([None, float("inf"), 2.5], pa.float32()),
            "median_confidence": pa.nulls(3, pa.float32()),
        }
    )
    rows = rows_of(table)
    np.testing.assert_array_equal(rows.values["depth_p50"], np.float32([np.nan, np.nan, 2.5]))
    assert list(rows.values) == ["depth_p50"]
    assert rows.numbers_of(0) == {"depth_p50": None}


def test_depths_without_scale_are_called_relative() -> None:
    """Metres are promised only where a row has a scale."""
    table = many_rows(10)
    units = {column["name"]: column["unit"] for column in rows_of(table).described()}
    assert (units["depth_p50"], units["sky_fraction"]) == ("m", "share")
    relative = {column["name"]: column["unit"] for column in rows_of(table.drop(["log_scale"])).described()}
    assert relative["depth_p50"] == "relative"


def test_no_rows_are_no_columns() -> None:
    """A run that has predicted nothing yet gives an empty list."""
    rows = rows_of(many_rows(0))
    assert (rows.ids, rows.uris, rows.values, len(rows.scenes)) == ([], [], {}, 0)


def test_every_quality_column_of_a_run_can_be_sorted_by() -> None:
    """The numbers offered are the run's own columns."""
    assert {"sky_fraction", "depth_p50", "range_limit_fraction", "median_confidence", "coverage"} <= set(NUMBERS)
