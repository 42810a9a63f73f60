"""Tables of scores as the scoring stage writes them, with numbers from a seed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from pager_ray.evaluate import ScoreSettings
from pager_ray.metrics.catalogue import floor_metrics_of, metrics_of
from pager_ray.report.evaluation import EvaluationFacts, EvaluationState
from pager_ray.stages.score import stored_schema

FAMILIES = ("depth", "normals", "seams")
ALIGNMENTS = ("metric", "scale")
SCORING = ScoreSettings(FAMILIES, ALIGNMENTS)
SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("uri", pa.string()), pa.field("scene", pa.string()),
                    *stored_schema(SCORING)])  # fmt: skip


def score_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with every column, ids in no order, some bins empty, some sky shares unknown."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in rng.permutation(count):
        row: dict[str, Any] = {
            "id": f"room_{number:03d}",
            "uri": f"/in/room_{number:03d}.jpg",
            "scene": ("indoor", "outdoor", None)[number % 3],
            "labels": json.dumps({"scene": f"s{number % 4}", "room_type": ("office", "hall|way")[number % 2]}),
            "sky_fraction": None if number % 5 == 0 else float(rng.random()),
            "log_scale": None,
            "valid_pixels": 1000,
            "picture": f"jpeg {number}".encode(),
        }
        for metric in [*metrics_of(FAMILIES, ALIGNMENTS), *floor_metrics_of(FAMILIES)]:
            row[metric.column] = float(rng.lognormal(sigma=3))
        for field in SCHEMA:
            if pa.types.is_list(field.type):
                bins = 7 if field.name.endswith("range") else 6
                values = rng.random(bins)
                values[rng.random(bins) < 0.2] = np.nan
                whole = pa.types.is_integer(field.type.value_type)
                row[field.name] = list(range(bins)) if whole else values.tolist()
        rows.append(row)
    return rows


def score_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def state_of(rows: list[dict[str, Any]]) -> EvaluationState:
    state = EvaluationState(FAMILIES, ALIGNMENTS, floor=True)
    state.add(score_table(rows))
    return state


def facts(excluded: int = 0, **changes: Any) -> EvaluationFacts:
    return EvaluationFacts(
        **{
            "dataset": {"name": "Rooms", "data_path": "s3://bucket/data", "listing_sha256": "ab"},
            "protocol": {"height": 2048, "width": 4096, "depth_range": [0.01, 75.0], "crop": "none"},
            "families": FAMILIES,
            "alignments": ALIGNMENTS,
            "settings": {"seams": {"pixel": 0.01, "edge": 0.008}, "scene_mode": "auto"},
            "checkpoint": {"name": "prs-eth/PaGeR", "sha256": "cd", "face_size": 504},
            "samples": 40,
            "excluded": [
                {
                    "id": f"bad_{number:02d}",
                    "uri": f"/in/bad_{number:02d}.jpg",
                    "stage": "score",
                    "error_class": ("missing_prediction", "bad_ground_truth")[number % 2],
                    "message": f"/in/bad_{number:02d}: is a | problem",
                }
                for number in reversed(range(excluded))
            ],
            "created": "2026-11-25T00:00:00+00:00",
            "versions": {"numpy": "2"},
        }
        | changes
    )
