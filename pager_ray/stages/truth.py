"""Stages of an evaluation that read a dataset: the picture to faces, or (oracle) the ground truth to faces.

A row carries its sample as JSON; pictures and ground truth are opened where they are needed, so that neither travels
through the other stages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from pager_ray.datasets import Dataset, Sample, open_dataset
from pager_ray.errors import InputError
from pager_ray.evaluate import truth_to_faces
from pager_ray.geometry import erp_to_cubemap
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import (
    IDENTITY,
    INFER_SCHEMA,
    READ_SCHEMA,
    STATUS,
    Row,
    blob,
    carry,
    iterate,
    reject,
    thumbnail,
    to_table,
)


@dataclass(frozen=True)
class SampleSettings:
    """Which dataset to open, the faces to make, and whether error maps want a thumbnail of the picture."""

    dataset: str
    data_path: str | None
    face_size: int
    fov: float
    thumbnail_width: int | None


def sample_json(sample: Sample) -> str:
    """What a row carries of a sample beside its id, URI and scene."""
    return json.dumps({"labels": sample.labels, "source": sample.source}, sort_keys=True, ensure_ascii=False)


def row_sample(row: Mapping[str, Any]) -> Sample:
    """The sample that a row stands for."""
    carried = json.loads(row["sample"])
    return Sample(row["id"], row["uri"], row["scene"], carried["labels"], carried["source"])


@lru_cache(maxsize=4)
def worker_dataset(name: str, data_path: str | None) -> Dataset:
    """The dataset as this process has it open."""
    return open_dataset(name, data_path)


def make_sample_read_fn(settings: SampleSettings) -> Callable[[pa.Table], pa.Table]:
    """Make the block function: manifest rows → ``READ_SCHEMA``, one row each, rejects included."""

    def read(row: Row) -> Row:
        rgb = worker_dataset(settings.dataset, settings.data_path).read_rgb(row_sample(row))
        return row | {
            "width": rgb.shape[1],
            "height": rgb.shape[0],
            "coverage": 1.0,
            "stretch": 1.0,
            "blank_fraction": 0.0,
            "thumbnail": thumbnail(rgb, settings.thumbnail_width),
            "faces": blob(erp_to_cubemap(rgb, settings.face_size, settings.fov)),
        }

    return _block_function(read, READ_SCHEMA)


def make_oracle_fn(settings: SampleSettings) -> Callable[[pa.Table], pa.Table]:
    """Make the block function that stands in for reading and model: manifest rows → ``INFER_SCHEMA``, one row each."""

    def read(row: Row) -> Row:
        dataset, sample = worker_dataset(settings.dataset, settings.data_path), row_sample(row)
        truth = dataset.read_ground_truth(sample)
        depth, normals = truth_to_faces(truth, settings.face_size, settings.fov)
        return row | {
            "width": truth.depth.shape[1],
            "height": truth.depth.shape[0],
            "coverage": 1.0,
            "stretch": 1.0,
            "blank_fraction": 0.0,
            "thumbnail": (
                thumbnail(dataset.read_rgb(sample), settings.thumbnail_width) if settings.thumbnail_width else None
            ),
            "depth": blob(depth),
            "normals": blob(normals) if normals is not None else None,
        }

    return _block_function(read, INFER_SCHEMA)


def _block_function(read: Callable[[Row], Row], schema: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    def read_block(table: pa.Table) -> pa.Table:
        # Ray runs as many tasks as there are cores; threads inside them would only compete.
        cv2.setNumThreads(1)
        rows = []
        for scalars in iterate(table):
            row = carry(scalars, [*IDENTITY, *STATUS])
            try:
                rows.append(read(row))
            except InputError as error:
                rows.append(reject(row, StageName.READ, error))
        return to_table(rows, schema, table.num_rows, StageName.READ)

    return read_block


def thumbnail_array(value: pa.Scalar, height: int, width: int) -> np.ndarray | None:
    """The raw RGB of a row's thumbnail, (height, width, 3) uint8; None where there is none."""
    if not value.is_valid:
        return None
    return np.frombuffer(value.as_buffer(), np.uint8).reshape(height, width, 3)
