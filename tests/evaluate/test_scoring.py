"""One panorama's row of scores: complete, or a reason why there is none."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pager_ray.errors import InputError
from pager_ray.evaluate import PredictedMaps, ScoreSettings, score_sample, stitch_prediction, truth_to_faces
from pager_ray.metrics.catalogue import floor_metrics_of, metrics_of
from tests.evaluate.truths import rendered_truth

SETTINGS = ScoreSettings(("depth", "normals", "seams"), ("metric", "scale"), face_size=32)


def perfect() -> PredictedMaps:
    truth = rendered_truth()
    return PredictedMaps(truth.depth, truth.normals)


def test_a_perfect_prediction_scores_perfectly() -> None:
    """Truth as prediction: no error, every pixel within every threshold, in every weighting."""
    row = score_sample(perfect(), rendered_truth(), SETTINGS)
    for metric in metrics_of(("depth", "normals"), ("metric", "scale")):
        expected = 1 if metric.higher_is_better else 0
        assert row[metric.column] == pytest.approx(expected, abs=0.05 if metric.family == "normals" else 1e-6)
    assert {metric.column for metric in metrics_of(("seams",), ())} <= set(row)


def test_the_row_has_every_column() -> None:
    """All metrics of the catalogue, counts, floors and the picture are in the row, finite."""
    row = score_sample(perfect(), rendered_truth(), SETTINGS)
    columns = {metric.column for metric in metrics_of(SETTINGS.families, SETTINGS.alignments)}
    floors = {metric.column for metric in floor_metrics_of(SETTINGS.families)}
    assert columns | floors | {"valid_pixels", "pixels_by_range", "picture"} <= set(row)
    assert all(np.isfinite(row[name]) for name in columns | floors)
    assert Image.open(io.BytesIO(row["picture"])).width == 1024


def test_the_floor_is_the_oracle_score() -> None:
    """The floor's columns equal what scoring the resampled truth gives, and are there whatever is predicted."""
    truth = rendered_truth()
    settings = replace(SETTINGS, alignments=("metric",))
    oracle = stitch_prediction(*truth_to_faces(truth, 32, 90.0), *truth.depth.shape, 90.0)
    as_prediction = score_sample(oracle, truth, settings)
    beside = score_sample(PredictedMaps(truth.depth * 2, truth.normals), truth, settings)
    metrics, floors = metrics_of(("depth", "normals"), ("metric",)), floor_metrics_of(("depth", "normals"))
    for metric, floor in zip(metrics, floors, strict=True):
        assert (metric.name, metric.solid_angle) == (floor.name, floor.solid_angle)
        assert as_prediction[metric.column] == as_prediction[floor.column] == beside[floor.column]
    assert beside["depth_metric_abs_relative_difference"] == pytest.approx(1, rel=1e-5)


def test_predictions_of_another_size_are_resized() -> None:
    """A smaller prediction is scored at the truth's size; its seams are measured where its own pixels meet."""
    truth = rendered_truth()
    small = PredictedMaps(np.full((32, 64), 2, np.float32), None)
    settings = ScoreSettings(("depth", "seams"), ("metric",), floor=False, pictures=False)
    row = score_sample(small, truth, settings)
    expected = np.abs(2 - truth.depth[truth.mask]) / truth.depth[truth.mask]
    assert row["depth_metric_abs_relative_difference"] == pytest.approx(expected.mean(dtype=np.float64), rel=1e-5)
    assert row["seam_defect_density"] == 0


@pytest.mark.parametrize(
    ("maps", "error_class", "message"),
    [
        (PredictedMaps(None, rendered_truth().normals), "missing_prediction", "no predicted depth; leave it out"),
        (PredictedMaps(rendered_truth().depth, None), "missing_prediction", "no predicted normals; leave it out"),
        (
            PredictedMaps(np.full((128, 256), np.nan, np.float32), rendered_truth().normals),
            "non_finite_prediction",
            "the predicted depth is NaN or infinite at .* pixels; predict again",
        ),
        (
            PredictedMaps(rendered_truth().depth, np.full((128, 256, 3), np.inf, np.float32)),
            "non_finite_prediction",
            "the predicted normals are NaN or infinite at .* valid pixels; predict again",
        ),
    ],
    ids=["no-depth", "no-normals", "nan-depth", "inf-normals"],
)
def test_what_cannot_be_scored_is_no_row(maps: PredictedMaps, error_class: str, message: str) -> None:
    """A missing or non-finite map rejects the panorama as a whole: no metric is averaged over other samples."""
    with pytest.raises(InputError, match=message) as caught:
        score_sample(maps, rendered_truth(), SETTINGS)
    assert caught.value.error_class == error_class


def test_truth_that_is_missing_is_told() -> None:
    """Normals asked for where the dataset's sample has none, or no valid pixel at all: a reason, not a number."""
    truth = replace(rendered_truth(), normals=None)
    with pytest.raises(InputError) as caught:
        score_sample(perfect(), truth, SETTINGS)
    assert caught.value.error_class == "missing_ground_truth"
    assert str(caught.value).endswith("no normals for this sample; leave them out of evaluation.families")
    nothing = replace(rendered_truth(), mask=np.zeros_like(rendered_truth().mask))
    with pytest.raises(InputError) as caught:
        score_sample(perfect(), nothing, SETTINGS)
    assert caught.value.error_class == "no_valid_pixels"


def test_only_what_is_asked_for_is_computed() -> None:
    """Families decide the columns; without floor and pictures there are none."""
    settings = ScoreSettings(("seams",), ("metric",), floor=False, pictures=False)
    assert settings.maps == ("depth",)
    row = score_sample(PredictedMaps(rendered_truth().depth, None), rendered_truth(), settings)
    assert set(row) == {"valid_pixels", "seam_defect_density", "seam_prevalence", "seam_severity"}
