"""The report is a function of the set of scored rows, and of nothing else."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import PagerError, StorageError
from pager_ray.metrics.catalogue import floor_metrics_of, metrics_of
from pager_ray.report.evaluation import (
    EvaluationState,
    bin_names,
    make_report,
    read_report,
    summarise_tables,
)
from pager_ray.storage import Folder
from tests.report.scores import ALIGNMENTS, FAMILIES, SCHEMA, facts, score_rows, score_table, state_of

ROWS = score_rows(23)
EXPECTED = json.dumps(make_report(state_of(ROWS), facts(excluded=3)), allow_nan=False)


@given(st.data())
@settings(max_examples=12)
def test_any_partition_in_any_order_gives_the_same_bytes(data: st.DataObject) -> None:
    """Rows shuffled, cut into any number of tables (empty ones too), summed apart and merged in any order."""
    shuffled = data.draw(st.permutations(ROWS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ROWS)), max_size=7)))
    parts = [shuffled[low:high] for low, high in zip([0, *cuts], [*cuts, len(ROWS)], strict=True)]
    states = []
    for part in parts:
        state = EvaluationState(FAMILIES, ALIGNMENTS, floor=True)
        state.add(score_table(part))
        states.append(state)
    while len(states) > 1:
        taken = states.pop(data.draw(st.integers(0, len(states) - 1)))
        states[data.draw(st.integers(0, len(states) - 1))].merge(taken)
    assert json.dumps(make_report(states[0], facts(excluded=3)), allow_nan=False) == EXPECTED


def test_only_time_and_versions_may_differ() -> None:
    """Two evaluations of the same rows differ under ``created`` and ``versions`` alone."""
    other = make_report(state_of(ROWS), facts(excluded=3, created="later", versions={"numpy": "3"}))
    report = json.loads(EXPECTED)
    assert {key for key in report if report[key] != other[key]} == {"created", "versions"}


def test_means_medians_and_counts_are_those_of_the_rows() -> None:
    """Every metric's mean and median equal NumPy's over the column; the interval holds the mean."""
    report = json.loads(EXPECTED)
    for metric in metrics_of(FAMILIES, ALIGNMENTS):
        values = [row[metric.column] for row in ROWS]
        stats = report["metrics"][metric.column]
        assert stats["mean"] == pytest.approx(np.mean(values), rel=1e-13)
        assert stats["median"] == np.median(values)
        assert stats["samples"] == len(ROWS)
        assert stats["low"] < stats["mean"] < stats["high"]
    for metric in floor_metrics_of(FAMILIES):
        stats = report["resampling_floor"][metric.column.removeprefix("floor_")]
        assert stats["mean"] == pytest.approx(np.mean([row[metric.column] for row in ROWS]), rel=1e-13)


def test_slices_partition_the_panoramas() -> None:
    """Slices of a kind hold every labelled panorama once, with the means of their own rows."""
    slices = json.loads(EXPECTED)["slices"]
    assert set(slices) == {"scene", "room_type", "setting", "sky_share"}
    unlabelled = {"setting": sum(row["scene"] is None for row in ROWS),
                  "sky_share": sum(row["sky_fraction"] is None for row in ROWS)}  # fmt: skip
    for kind, values in slices.items():
        assert sum(item["samples"] for item in values.values()) == len(ROWS) - unlabelled.get(kind, 0)
    column = "depth_scale_delta1_acc"
    offices = [row[column] for row in ROWS if json.loads(row["labels"])["room_type"] == "office"]
    assert slices["room_type"]["office"]["metrics"][column]["mean"] == pytest.approx(np.mean(offices), rel=1e-13)
    bins = {"0%…1%": (0, 0.01), "1%…20%": (0.01, 0.2), "20%…50%": (0.2, 0.5), "50%…100%": (0.5, 1.01)}
    for value, item in slices["sky_share"].items():
        low, high = bins[value]
        known = [row["sky_fraction"] for row in ROWS if row["sky_fraction"] is not None]
        assert item["samples"] == sum(low <= share < high for share in known)


@pytest.mark.parametrize("kind", ["depth_range", "latitude_band"])
def test_pixel_slices_leave_out_empty_bins(kind: str) -> None:
    """A bin's mean is over the panoramas that have pixels in it, and says how many those are."""
    bins = json.loads(EXPECTED)["pixel_slices"][kind]
    assert list(bins) == bin_names(kind)
    column = f"depth_metric_delta1_acc_by_{'range' if kind == 'depth_range' else 'latitude'}"
    for place, item in enumerate(bins.values()):
        values = [row[column][place] for row in ROWS if math.isfinite(row[column][place])]
        stats = item["metrics"]["depth_metric_delta1_acc"]
        assert stats["samples"] == len(values) < len(ROWS)
        assert stats["mean"] == pytest.approx(np.mean(values), rel=1e-13)
        assert item["pixels"] == place * len(ROWS)


def test_what_was_excluded_is_counted_and_named() -> None:
    """Rejects are sorted by id, counted by class, and part of no mean."""
    report = json.loads(EXPECTED)
    assert report["counts"] == {
        "samples": 40,
        "scored": 23,
        "excluded": 3,
        "excluded_by_class": {"bad_ground_truth": 1, "missing_prediction": 2},
    }
    assert [item["id"] for item in report["excluded"]] == ["bad_00", "bad_01", "bad_02"]


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_scores_that_are_no_numbers_are_refused(value: float | None) -> None:
    """A row without a finite score is an error that names it; it never becomes part of a mean."""
    rows = [dict(row) for row in ROWS]
    rows[3]["normals_mean"] = value
    with pytest.raises(PagerError, match=f"{rows[3]['id']}.*normals_mean; evaluate anew with --overwrite"):
        state_of(rows)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("depth_metric_delta1_acc_by_range", [math.inf] * 7),
        ("depth_metric_delta1_acc_by_range", [None] * 7),
        ("depth_metric_delta1_acc_by_latitude", [0.5] * 5),
        ("pixels_by_range", None),
        ("sky_fraction", math.nan),
        ("sky_fraction", 1.5),
        ("labels", '{"scene": 3}'),
        ("labels", '{"setting": "indoor"}'),
    ],
)
def test_values_that_fit_no_slice_are_refused(column: str, value: object) -> None:
    """Bins, sky shares and labels that would be in no slice, or twice in one, are errors that name id and column."""
    rows = [dict(row) for row in ROWS]
    rows[3][column] = value
    with pytest.raises(PagerError, match=f"{rows[3]['id']}.* as {column}; evaluate anew with --overwrite"):
        state_of(rows)


def test_a_panorama_counts_once() -> None:
    """An id that comes twice, in one table or two states, is an error."""
    with pytest.raises(PagerError, match=f"'{ROWS[0]['id']}' twice, .*; evaluate anew with --overwrite"):
        state_of([*ROWS, ROWS[0]])
    one, two = state_of(ROWS[:5]), state_of(ROWS[4:])
    with pytest.raises(PagerError, match=f"'{ROWS[4]['id']}' twice, .*; evaluate anew with --overwrite"):
        one.merge(two)


def test_no_rows_are_a_report_without_numbers() -> None:
    """When nothing could be scored the report still says what is missing."""
    report = make_report(summarise_tables([], FAMILIES, ALIGNMENTS, floor=True), facts(excluded=40))
    json.dumps(report, allow_nan=False)
    assert report["metrics"] == {}
    assert report["counts"]["scored"] == 0


def test_families_that_were_not_computed_need_no_columns() -> None:
    """A state of normals alone reads the columns of normals alone."""
    state = EvaluationState(("normals",), (), floor=False)
    assert all("depth" not in name and "seam" not in name for name in state.columns)
    state.add(score_table(ROWS).select(state.columns))
    summary = state.summarise()
    assert set(summary["metrics"]) == {metric.column for metric in metrics_of(("normals",), ())}
    assert summary["resampling_floor"] == {}
    assert set(SCHEMA.names) > set(state.columns)


def test_reports_of_other_versions_are_refused(tmp_path) -> None:
    """A report that this version does not understand is named, not misread."""
    folder = Folder(str(tmp_path))
    folder.write_json("report.json", {"schema_version": "9"})
    with pytest.raises(
        StorageError, match=r"its report\.json has schema version '9'; .*; evaluate again with this one"
    ):
        read_report(folder)
