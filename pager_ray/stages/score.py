"""Stage *score*: predictions and ground truth to one row of metrics per panorama.

Ground truth is read here and nowhere else (only the oracle, which is made of it, reads it before). Stitching shares the
task: a stitched 2048×4096 depth map has five times the bytes of the six 504-px faces that it is made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from pager_ray.encode.npz import encode_npz
from pager_ray.errors import InputError
from pager_ray.evaluate import PredictedMaps, ScoreSettings, open_predictions, score_sample, stitch_prediction
from pager_ray.evaluate.predictions import Predictions
from pager_ray.metrics.catalogue import floor_metrics_of, metrics_of
from pager_ray.preview import panel_size
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import IDENTITY, STATUS, Row, carry, iterate, naming_row, reject, to_table, view
from pager_ray.stages.truth import row_sample, thumbnail_array, worker_dataset

PICTURE_WIDTH = 1024

# Stitched maps, ground truth and their tables of sample positions at 2048×4096: benchmarks/scoring.py prints the peak
# of a whole process, 0.9 GiB with normals and everything on.
SCORE_TASK_MEMORY = 2**30

_CARRIED = [pa.field("sky_fraction", pa.float32()), pa.field("log_scale", pa.float32())]


@dataclass(frozen=True)
class ScoreStageSettings:
    """What the stage needs to know.

    Attributes:
        dataset, data_path: where the ground truth is.
        scoring: what is computed.
        half_normals: whether normals arrive from the model as float16.
        keep_predictions: whether stitched maps go on to the writer as npz files.
        predictions: where standing predictions lie; None where they come with the rows.
    """

    dataset: str
    data_path: str | None
    scoring: ScoreSettings
    half_normals: bool = False
    keep_predictions: bool = False
    predictions: str | None = None


def score_schema(settings: ScoreStageSettings) -> pa.Schema:
    """Columns after *score*: identity, status, metrics, error maps, and predictions where they are kept."""
    return pa.schema(
        [
            *IDENTITY,
            *STATUS,
            *stored_schema(settings.scoring),
            *(
                [pa.field(name, pa.large_binary()) for name in ("depth", "normals")]
                if settings.keep_predictions
                else []
            ),
        ]
    )


def stored_schema(scoring: ScoreSettings) -> list[pa.Field]:
    """The columns of scores that are stored beside id, URI and scene, with what they mean in their metadata."""
    fields = [
        _field("labels", pa.string(), "what the report slices by, a JSON object"),
        _field("sky_fraction", pa.float64(), "share of face pixels predicted as sky; null where no network told"),
        _field("log_scale", pa.float64(), "ln(metric depth / scale-invariant depth); null without scale heads"),
        _field("valid_pixels", pa.int64(), "pixels with ground truth"),
    ]
    for metric in metrics_of(scoring.families, scoring.alignments):
        meaning = f"{metric.label}, alignment: {metric.alignment or 'none'}"
        weighting = ", pixels weighted by solid angle" if metric.solid_angle else ""
        fields.append(_field(metric.column, pa.float64(), f"{meaning}{weighting}", metric.unit))
    for name, kind in _slice_columns(scoring).items():
        fields.append(_field(name, pa.list_(kind), "per bin of ground-truth depth or of latitude"))
    for metric in floor_metrics_of(scoring.families) if scoring.floor else ():
        fields.append(_field(metric.column, pa.float64(), f"{metric.label} of resampling alone", metric.unit))
    if scoring.pictures:
        fields.append(_field("picture", pa.large_binary(), "error maps, JPEG"))
    return fields


def _slice_columns(scoring: ScoreSettings) -> dict[str, pa.DataType]:
    columns: dict[str, pa.DataType] = {}
    if "depth" in scoring.families:
        columns |= {f"pixels_by_{slices}": pa.int64() for slices in ("range", "latitude")}
        for alignment in scoring.alignments:
            for name in ("abs_relative_difference", "delta1_acc"):
                columns |= {f"depth_{alignment}_{name}_by_{slices}": pa.float64() for slices in ("range", "latitude")}
    if "normals" in scoring.families:
        columns["normals_mean_by_latitude"] = pa.float64()
    return columns


def _field(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"description": description} | ({"unit": unit} if unit else {}))


def make_face_score_fn(settings: ScoreStageSettings) -> Callable[[pa.Table], pa.Table]:
    """Make the block function for rows with predicted faces: ``INFER_SCHEMA`` → ``score_schema``, one row each."""
    scoring = settings.scoring

    def maps_of(row: Row, scalars: dict[str, pa.Scalar]) -> PredictedMaps:
        size = scoring.face_size
        depth = view(scalars["depth"], np.float32, (6, size, size)) if "depth" in scoring.maps else None
        normals = None
        if "normals" in scoring.maps:
            kind = np.float16 if settings.half_normals else np.float32
            normals = view(scalars["normals"], kind, (6, size, size, 3))
        return stitch_prediction(
            depth,
            normals.astype(np.float32, copy=False) if normals is not None else None,
            row["height"],
            row["width"],
            scoring.fov,
        )

    return _block_function(settings, maps_of)


def make_stored_score_fn(settings: ScoreStageSettings) -> Callable[[pa.Table], pa.Table]:
    """Make the block function for standing predictions: manifest rows → ``score_schema``, one row each."""

    def maps_of(row: Row, scalars: dict[str, pa.Scalar]) -> PredictedMaps:
        assert settings.predictions is not None
        return _worker_predictions(settings.predictions).read(row["id"], settings.scoring.maps)

    return _block_function(settings, maps_of)


@lru_cache(maxsize=2)
def _worker_predictions(uri: str) -> Predictions:
    return open_predictions(uri)


def _block_function(
    settings: ScoreStageSettings, maps_of: Callable[[Row, dict[str, pa.Scalar]], PredictedMaps]
) -> Callable[[pa.Table], pa.Table]:
    schema = score_schema(settings)

    def score(table: pa.Table) -> pa.Table:
        # Ray runs as many tasks as there are cores; threads inside them would only compete.
        cv2.setNumThreads(1)
        rows = []
        for scalars in iterate(table):
            row = carry(scalars, [*IDENTITY, *STATUS, pa.field("width", pa.int32()), pa.field("height", pa.int32())])
            if row.get("error_class") is None:
                try:
                    row |= _score(row, scalars, maps_of, settings)
                except InputError as error:
                    row = reject(row, StageName.SCORE, error)
            rows.append(row)
        return to_table(rows, schema, table.num_rows, StageName.SCORE)

    return score


def _score(
    row: Row,
    scalars: dict[str, pa.Scalar],
    maps_of: Callable[[Row, dict[str, pa.Scalar]], PredictedMaps],
    settings: ScoreStageSettings,
) -> dict[str, Any]:
    sample = row_sample(row)
    maps = maps_of(row, scalars)
    truth = worker_dataset(settings.dataset, settings.data_path).read_ground_truth(sample)
    rgb = None
    if settings.scoring.pictures and "thumbnail" in scalars:
        rgb = thumbnail_array(scalars["thumbnail"], *panel_size(PICTURE_WIDTH))
    try:
        scores = score_sample(maps, truth, settings.scoring, rgb=rgb, title=row["id"])
    except InputError as error:
        raise naming_row(row, error) from error
    scores |= carry(scalars, _CARRIED)
    scores["labels"] = json.dumps(sample.labels, sort_keys=True, ensure_ascii=False)
    if settings.keep_predictions:
        arrays = {"depth": maps.depth, "normals": maps.normals}
        scores |= {name: encode_npz(name, array) for name, array in arrays.items() if array is not None}
    return scores
