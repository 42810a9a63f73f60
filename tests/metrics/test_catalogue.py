"""Tests of pager_ray.metrics.catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from pager_ray.errors import ConfigError
from pager_ray.metrics import ALIGNMENTS, FAMILIES, catalogue, depth_scores, normal_scores, seam_scores


def test_columns_are_those_of_the_scores() -> None:
    """The scores of a sample hold exactly the catalogue's columns, besides slices and counts."""
    depth = np.random.default_rng(0).random((64, 128), dtype=np.float32) + 1
    normals = np.random.default_rng(1).random((64, 128, 3), dtype=np.float32)
    mask = np.ones((64, 128), bool)
    scores = depth_scores(depth, depth, mask, ALIGNMENTS) | normal_scores(normals, normals, mask) | seam_scores(depth)
    scalars = {column for column, value in scores.items() if isinstance(value, float)}
    assert scalars == {found.column for found in catalogue.metrics_of(FAMILIES, ALIGNMENTS)}
    assert len(scalars) == 4 * 2 * 3 + 4 * 2 + 3
    floors = catalogue.floor_columns(scores)
    assert set(floors) == {found.column for found in catalogue.floor_metrics_of(FAMILIES)}
    assert floors["floor_depth_delta1_acc"] == scores["depth_metric_delta1_acc"]
    assert floors["floor_normals_mean_solid_angle"] == scores["normals_mean_solid_angle"]


def test_every_column_finds_its_metric() -> None:
    """Columns are unique, and each leads back to its metric."""
    every = catalogue.metrics_of(FAMILIES, ALIGNMENTS) + catalogue.floor_metrics_of(FAMILIES)
    assert len({found.column for found in every}) == len(every) == 35 + 16
    for found in every:
        assert catalogue.metric(found.column) == found
        assert found.is_floor == found.column.startswith("floor_")
        assert found.solid_angle == found.column.endswith("_solid_angle")
        assert (found.alignment is None) == (found.family != "depth" or found.is_floor)


def test_choice_and_order() -> None:
    """Families and alignments come in the order asked for, weighted versions only when wanted."""
    columns = [found.column for found in catalogue.metrics_of(("normals", "depth"), ("scale",), solid_angle=False)]
    assert columns[0] == "normals_mean"
    assert columns[3:5] == ["normals_delta_22_5", "depth_scale_abs_relative_difference"]
    assert len(columns) == 8
    assert catalogue.metric("normals_delta_22_5").name == "delta_22.5"
    assert catalogue.metrics_of(("normals",), ()) == catalogue.metrics_of(("normals",), ALIGNMENTS)
    assert catalogue.floor_metrics_of(("seams",)) == []


def test_unknown_names_are_refused() -> None:
    """An unknown column is answered with close ones, an unknown family or alignment with all."""
    with pytest.raises(ConfigError, match=r"'normals_men'; did you mean normals_mean or"):
        catalogue.metric("normals_men")
    with pytest.raises(ConfigError, match=r"'zzz'; one is depth_metric_abs"):
        catalogue.metric("zzz")
    for call in (catalogue.metrics_of, lambda families, _: catalogue.floor_metrics_of(families)):
        with pytest.raises(ConfigError, match=r"family 'sky'; known are depth, normals, seams"):
            call(("sky",), ())
    with pytest.raises(ConfigError, match=r"alignment 'median'; known are metric, scale, scale_and_shift"):
        catalogue.metrics_of(("depth",), ("median",))
