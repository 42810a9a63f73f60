"""Stage *score*: every row comes out once, with all columns of its schema, or with the reason why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pager_ray.encode.npz import decode_npz, encode_npz
from pager_ray.errors import InputError
from pager_ray.evaluate import ScoreSettings
from pager_ray.metrics.catalogue import floor_metrics_of, metrics_of
from pager_ray.stages.rows import STATUS, Row, blob, reject, to_table
from pager_ray.stages.score import (
    ScoreStageSettings,
    make_face_score_fn,
    make_stored_score_fn,
    score_schema,
    stored_schema,
)
from pager_ray.stages.truth import SampleSettings, make_oracle_fn
from tests.stages.test_truth import manifest_of

SIZE = 28
SCORING = ScoreSettings(("depth", "normals", "seams"), ("metric", "scale"), face_size=SIZE)


@pytest.fixture
def stage(samples: Path) -> ScoreStageSettings:
    return ScoreStageSettings("synthetic", str(samples.parent), SCORING)


@pytest.fixture
def inferred(samples: Path) -> pa.Table:
    """Rows as a perfect network of 28-px faces leaves them."""
    settings = SampleSettings("synthetic", str(samples.parent), SIZE, 90.0, 1024)
    return make_oracle_fn(settings)(manifest_of(samples.parent))


def with_rows(table: pa.Table, rows: list[Row]) -> pa.Table:
    return to_table(rows, table.schema, len(rows), "test")


def test_every_column_is_filled(stage: ScoreStageSettings, inferred: pa.Table) -> None:
    """A scored row has every metric, floor, slice and picture; what is stored explains itself."""
    result = make_face_score_fn(stage)(inferred)
    assert result.schema == score_schema(stage)
    for row in result.to_pylist():
        assert row["error_class"] is None
        for metric in [*metrics_of(SCORING.families, SCORING.alignments), *floor_metrics_of(SCORING.families)]:
            assert np.isfinite(row[metric.column])
        assert len(row["depth_scale_delta1_acc_by_range"]) == len(row["pixels_by_range"]) == 7
        assert len(row["normals_mean_by_latitude"]) == 6
        assert row["picture"].startswith(b"\xff\xd8")
    assert all(b"description" in field.metadata for field in stored_schema(SCORING))


def test_rejects_pass_through(stage: ScoreStageSettings, inferred: pa.Table) -> None:
    """Rows that an earlier stage rejected keep their reason; NaN on the faces rejects its own row only."""
    rows = inferred.to_pylist()
    rows[0] = reject(rows[0], "read", InputError("missing", "/a: does not exist"))
    depth = np.frombuffer(rows[2]["depth"], np.float32).copy()
    depth[: SIZE * SIZE] = np.nan
    rows[2]["depth"] = blob(depth)
    result = make_face_score_fn(stage)(with_rows(inferred, rows)).to_pylist()
    assert [row["error_class"] for row in result[:4]] == ["missing", None, "non_finite_prediction", None]
    assert [row["stage"] for row in result[:4]] == ["read", None, "score", None]
    assert result[2]["depth_metric_rmse_linear"] is None
    assert result[2]["message"].startswith(f"{result[2]['uri']}: the predicted depth is NaN or infinite at ")
    assert result[2]["message"].endswith("; predict again")


def test_half_precision_normals_are_understood(stage: ScoreStageSettings, inferred: pa.Table) -> None:
    """Normals that arrive as float16 score as their float32 values do, to their own rounding."""
    rows = inferred.to_pylist()
    for row in rows:
        row["normals"] = blob(np.frombuffer(row["normals"], np.float32).astype(np.float16))
    halves = make_face_score_fn(replace(stage, half_normals=True))(with_rows(inferred, rows)).to_pylist()
    for half, whole in zip(halves, make_face_score_fn(stage)(inferred).to_pylist(), strict=True):
        assert half["normals_mean"] == pytest.approx(whole["normals_mean"], abs=0.05)
        assert half["depth_metric_rmse_linear"] == whole["depth_metric_rmse_linear"]


def test_kept_predictions_are_what_was_scored(stage: ScoreStageSettings, inferred: pa.Table, tmp_path: Path) -> None:
    """Stored as npz and scored again, they give the same numbers bit for bit."""
    kept = make_face_score_fn(replace(stage, keep_predictions=True))(inferred)
    for name in ("depth", "normals"):
        (tmp_path / name / "preds").mkdir(parents=True)
        for row in kept.to_pylist():
            assert decode_npz(row[name]).shape == ((1 if name == "depth" else 3), 128, 256)
            (tmp_path / name / "preds" / f"{row['id']}.npz").write_bytes(row[name])
    manifest = inferred.select(["id", "uri", "scene", "sample"])
    again = make_stored_score_fn(replace(stage, predictions=str(tmp_path)))(manifest)
    columns = [metric.column for metric in metrics_of(SCORING.families, SCORING.alignments)]
    assert again.select(columns).equals(kept.select(columns))


def test_missing_predictions_are_rejects(stage: ScoreStageSettings, inferred: pa.Table, tmp_path: Path) -> None:
    """Predictions that are not there reject their row by name."""
    (tmp_path / "depth" / "preds").mkdir(parents=True)
    first = inferred.column("id")[0].as_py()
    content = encode_npz("depth", np.full((128, 256), 2, np.float32))
    (tmp_path / "depth" / "preds" / f"{first}.npz").write_bytes(content)
    scoring = ScoreSettings(("depth",), ("metric",), floor=False, pictures=False)
    settings = replace(stage, scoring=scoring, predictions=str(tmp_path))
    result = make_stored_score_fn(settings)(inferred.select(["id", "uri", "scene", "sample"])).to_pylist()
    assert [row["error_class"] for row in result] == [None] + ["missing_prediction"] * 7
    assert all(f"{row['id']}.npz" in row["message"] for row in result[1:])
    assert {field.name for field in STATUS} <= set(result[0])
