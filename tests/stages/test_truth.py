"""Stages that read a dataset: faces of the protocol's picture, or of the truth itself; every row comes out once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pager_ray.datasets import open_dataset
from pager_ray.evaluate import truth_to_faces
from pager_ray.geometry import erp_to_cubemap
from pager_ray.preview import panel_size
from pager_ray.stages.rows import IDENTITY, INFER_SCHEMA, READ_SCHEMA, to_table
from pager_ray.stages.truth import (
    SampleSettings,
    make_oracle_fn,
    make_sample_read_fn,
    row_sample,
    sample_json,
    thumbnail_array,
)

SIZE = 28


def settings_of(scenes: Path, thumbnail_width: int | None = None) -> SampleSettings:
    return SampleSettings("synthetic", str(scenes), SIZE, 90.0, thumbnail_width)


def manifest_of(scenes: Path) -> pa.Table:
    samples = open_dataset("synthetic", str(scenes)).samples()
    rows = [{"id": s.id, "uri": s.uri, "scene": s.scene, "sample": sample_json(s)} for s in samples]
    return to_table(rows, pa.schema(IDENTITY), len(rows), "test")


@pytest.fixture
def scenes(samples: Path) -> Path:
    return samples.parent


def test_samples_travel_in_rows(scenes: Path) -> None:
    """A sample is the same after its way through a row."""
    for sample, row in zip(
        open_dataset("synthetic", str(scenes)).samples(), manifest_of(scenes).to_pylist(), strict=True
    ):
        again = row_sample(row)
        assert again == sample
        assert json.loads(row["sample"])["labels"] == dict(sample.labels)


def test_pictures_become_faces(scenes: Path) -> None:
    """Faces and thumbnail are those of the picture that the dataset gives; no ground truth is in the row."""
    dataset = open_dataset("synthetic", str(scenes))
    table = make_sample_read_fn(settings_of(scenes, 1024))(manifest_of(scenes))
    assert table.schema == READ_SCHEMA
    for sample, row, cell in zip(dataset.samples(), table.to_pylist(), table.column("thumbnail"), strict=True):
        rgb = dataset.read_rgb(sample)
        assert row["error_class"] is None
        assert (row["height"], row["width"]) == rgb.shape[:2] == (128, 256)
        assert row["faces"] == erp_to_cubemap(rgb, SIZE).tobytes()
        assert thumbnail_array(cell, *panel_size(1024)).shape == (*panel_size(1024), 3)


def test_the_oracle_hands_on_the_truth(scenes: Path) -> None:
    """The oracle's rows are as a network's that predicts the truth on the faces."""
    dataset = open_dataset("synthetic", str(scenes))
    table = make_oracle_fn(settings_of(scenes))(manifest_of(scenes))
    assert table.schema == INFER_SCHEMA
    for sample, row in zip(dataset.samples(), table.to_pylist(), strict=True):
        depth, normals = truth_to_faces(dataset.read_ground_truth(sample), SIZE, 90.0)
        assert np.array_equal(np.frombuffer(row["depth"], np.float32), depth.ravel())
        assert np.array_equal(np.frombuffer(row["normals"], np.float32), normals.ravel())
        assert row["thumbnail"] is None


@pytest.mark.parametrize("make", [make_sample_read_fn, make_oracle_fn])
def test_what_cannot_be_read_is_a_reject(tmp_path: Path, scenes: Path, make) -> None:
    """A missing file rejects its own row, with its name, and no other."""
    table = manifest_of(scenes)
    rows = table.to_pylist()
    broken = json.loads(rows[1]["sample"])
    broken["source"] = {key: f"absent/{value}" for key, value in broken["source"].items()}
    rows[1]["sample"] = json.dumps(broken)
    result = make(settings_of(scenes))(to_table(rows, table.schema, len(rows), "test")).to_pylist()
    assert [row["id"] for row in result] == [row["id"] for row in rows]
    assert [row["error_class"] is None for row in result] == [number != 1 for number in range(len(rows))]
    assert "absent/" in result[1]["message"]
    assert result[1]["stage"] == "read"
