"""The model for pipelines of one's own: batches of panoramas in, their geometry out, by the stages of the job.

.. code-block:: python

    ds = pager_ray.read_panoramas("s3://bucket/shards/")
    ds = ds.map_batches(
        pager_ray.PanoramaPredictor,
        fn_constructor_kwargs={"checkpoint": "pager"},
        num_gpus=1,
        concurrency=(1, 16),
        batch_size=4,
    )
    ds.write_parquet("s3://bucket/geometry/")
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
import torch

from pager_ray.config import RunConfig, load_config
from pager_ray.encode import get_codec
from pager_ray.encode.bilevel import encode_mask
from pager_ray.errors import ConfigError, InputError, ShapeError
from pager_ray.geometry import levelling
from pager_ray.infer import FacePrediction
from pager_ray.infer.batching import FittingBatches
from pager_ray.listing import Listed, Listing
from pager_ray.masking import mask_uri
from pager_ray.modalities import maps_of
from pager_ray.model import resolve_checkpoint
from pager_ray.model.architecture import MAX_BATCH
from pager_ray.model.checkpoint import EMBEDDED
from pager_ray.prediction import array_of
from pager_ray.read import Content
from pager_ray.read.cubemap import unpack_faces
from pager_ray.read.pose import COLUMNS as POSE_COLUMNS
from pager_ray.read.pose import pose_text
from pager_ray.runs.valid_column import VALID
from pager_ray.schemes import short_name
from pager_ray.single import file_of
from pager_ray.stages.infer import Valid, infer_rows, load_predictor, some_valid
from pager_ray.stages.names import StageName
from pager_ray.stages.read import fetch_row, project_row
from pager_ray.stages.rows import (
    IDENTITY,
    INFERRED,
    READ_SCHEMA,
    SOURCE,
    STATUS,
    Row,
    carry,
    iterate,
    reject,
    to_table,
)
from pager_ray.stages.settings import half_normals, infer_settings, read_settings, stitch_settings
from pager_ray.stages.stitch import stitched_maps
from pager_ray.validity import validity_of

CONTENT_COLUMNS: Final = ("bytes", "image", "content", "jpg", "png")
"""Columns that hold pictures, the first that is there."""

PATH_COLUMNS: Final = ("uri", "path")
"""Columns that name them, where none holds them."""


class PanoramaPredictor:
    """A loaded model that maps batches; a class for ``ray.data.Dataset.map_batches``, and needs no Ray itself.

    A row's picture is a file's bytes (of a cubemap, six files as :func:`pager_ray.read_panoramas` packs them), an RGB
    array (H, W, 3) uint8 (sizes may differ), or a path or URL in a column of paths. A row that gives no prediction
    stays, with ``error_class`` and ``message`` set and maps of no pixels; the others have empty texts there. What else
    a batch holds comes along, the pictures themselves do not.

    Each batch gains ``id`` and ``uri`` where it has none, and

    - ``depth`` float32 (H, W): metres along the ray, metric where the checkpoint has scale heads; ``normals`` float32
      (H, W, 3): unit vectors, x forward (ERP centre), y up, z right; ``sky`` float32 (H, W): probability. Faces
      (6, S, S) with ``output.projection`` ``cubemap``. With ``encode`` the bytes of ``output.codec``, as in the shards
      of a run, for :func:`pager_ray.encode.get_codec` to decode, and ``map_height`` and ``map_width``;
    - ``valid`` bool (H, W), or (6, S, S): the pixels that mean something; with ``encode`` a PNG of (H, W), white: true;
    - the columns of a run's predictions, such as ``width``, ``scene``, ``log_scale``, ``depth_p50``, ``digest``:
      numbers that are not known are NaN, whole ones 0, texts empty;
    - ``error_class``, ``message``.

    Numbers equal those of ``pager-ray run`` with the same keys, those of its ``output.codec=exact`` to the bit where
    batches are of the same size.

    Args:
        checkpoint: as the key ``checkpoint`` of a run.
        settings: further keys of a run, such as ``{"output.size": "native", "scene_mode": "indoor"}``; those of inputs,
            outputs' places and clusters do not matter.
        column: the one with the pictures; the first of ``bytes``, ``image``, ``content``, ``jpg``, ``png``, ``uri`` and
            ``path`` that is there when None.
        encode: maps as codecs' bytes, ten times smaller, which any Parquet reader can store.
        device: ``auto`` takes the GPU that this process sees, else the CPU.

    Raises:
        ConfigError: a setting is none.
        CheckpointError: the checkpoint cannot be used.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] = EMBEDDED,
        *,
        settings: Mapping[str, Any] | None = None,
        column: str | None = None,
        encode: bool = False,
        device: str = "auto",
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device: got {device!r}, takes auto, cpu or cuda")
        config = _config(os.fspath(checkpoint), settings or {})
        resolved = resolve_checkpoint(config.checkpoint, revision=config.revision)
        on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        asked = config.compute.batch_size
        threads = config.compute.threads_per_worker
        model = infer_settings(
            config,
            resolved,
            # A row whose scene is not known: it decides whether a scene router is needed.
            Listing.of([Listed("unknown", "unknown")]),
            on_gpu=on_gpu,
            threads=None if threads == "auto" else threads,
            batch_size=(MAX_BATCH if on_gpu else 1) if asked == "auto" else asked,
        )
        # The weights were digested when the checkpoint was found.
        loaded = load_predictor(replace(model, sha256=None, project=False))
        self._predictor = loaded.predictor
        self._batches: FittingBatches[FacePrediction] = FittingBatches(loaded.batch_size)
        self._predictor.prepare(model.acceleration, self._batches)
        self._read = replace(read_settings(config, resolved), project=True, thumbnail_width=None)
        self._stitch = stitch_settings(config, resolved, half=half_normals(config.precision, on_gpu=on_gpu))
        self.maps = maps_of(resolved.architecture.modalities)
        self._column = column
        self._encode = encode

    def __call__(self, batch: Mapping[str, Any] | pa.Table) -> dict[str, Any]:
        """Predict a batch: columns by name, as NumPy arrays, lists, a pandas or an Arrow table.

        Raises:
            ConfigError: no column holds or names pictures, or none says how they were held and ``input.upright`` asks.
        """
        cv2.setNumThreads(1)
        columns = _columns_of(batch)
        column = self._column_in(columns)
        if self._read.upright == "columns" and not {*POSE_COLUMNS} & {*columns}:
            there = ", ".join(columns)
            raise ConfigError(f"input.upright: columns takes {' or '.join(POSE_COLUMNS)}, and the batch has {there}")
        rows = [self._row(columns, column, number) for number in range(len(columns[column]))]
        read = [project_row(row, content, self._read) for row, content in rows]
        inferred = infer_rows(
            to_table(read, READ_SCHEMA, len(rows), StageName.READ), self._read.face_size, self._predict
        )
        found = [self._finished(scalars) for scalars in iterate(inferred)]
        types = batch.schema if isinstance(batch, pa.Table) else None
        kept = {
            name: _texts(values, None if types is None else types.field(name).type)
            for name, values in columns.items()
            if name != column or column in PATH_COLUMNS
        }
        return kept | _as_columns(found, {name: self._nothing(name) for name in (*self.maps, VALID.name)})

    def _nothing(self, name: str) -> bytes | np.ndarray:
        """A map of no pixels."""
        if self._encode:
            return b""
        is_cubemap = self._stitch.output.projection == "cubemap"
        shape = (*((0, 0, 0) if is_cubemap else (0, 0)), *((3,) if name == "normals" else ()))
        return np.zeros(shape, bool if name == VALID.name else np.float32)

    def _column_in(self, columns: Mapping[str, Any]) -> str:
        names = (self._column,) if self._column is not None else (*CONTENT_COLUMNS, *PATH_COLUMNS)
        found = next((name for name in names if name in columns), None)
        if found is None:
            raise ConfigError(
                f"column: the batch has {', '.join(columns) or 'none'}; takes one of {', '.join(names)}: bytes of "
                "image files, RGB arrays or paths"
            )
        return found

    def _row(self, columns: Mapping[str, Any], column: str, number: int) -> tuple[Row, Content | InputError | None]:
        """A row's identity, and its picture's file, why there is none, or None where it came as a reject."""
        given = {name: _plain(values[number]) for name, values in columns.items() if name in _KNOWN}
        uri = given.get("uri") or given.get("path") or ""
        row: Row = {
            "id": str(given.get("id") or (PurePosixPath(short_name(uri)).stem if uri else number)),
            "uri": uri,
            "scene": given.get("scene") or None,
            "pose": pose_text(given) if self._read.upright == "columns" else None,
        }
        if given.get("error_class"):
            return row | {name: given.get(name) or None for name in ("error_class", "message", "stage")}, None
        try:
            return row, self._content(columns[column][number], row)
        except InputError as error:
            shown = mask_uri(uri) or f"row {row['id']}"
            text = str(error) if str(error).startswith(shown) else f"{shown}: {error}"
            return row, InputError(error.error_class, text, error.attempts)

    def _content(self, value: Any, row: Row) -> Content:
        value = _plain(value)
        if isinstance(value, Mapping):
            # As Hugging Face has images.
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes | bytearray | memoryview):
            content = bytes(value)
            return unpack_faces(content) or content
        if isinstance(value, str | os.PathLike):
            return fetch_row({"uri": os.fspath(value)}, self._read)
        if value is None:
            raise InputError("no_bytes", "holds no picture; give bytes of an image file, an RGB array or a path")
        try:
            return file_of(array_of(value, "image", "uint8 (H, W, 3), bytes of an image file, or a path"))
        except ShapeError as error:
            raise InputError("not_an_image", str(error)) from error

    def _predict(
        self, faces: list[np.ndarray], scenes: list[str | None], valid: list[Valid] | None
    ) -> Sequence[FacePrediction | InputError]:
        def predict(start: int, stop: int) -> list[FacePrediction]:
            masks = valid and some_valid(valid[start:stop])
            return self._predictor(np.stack(faces[start:stop]), scenes[start:stop], masks)

        return self._batches.run(len(faces), predict)

    def _finished(self, scalars: Mapping[str, pa.Scalar]) -> Row:
        row = carry(scalars, [*IDENTITY, *STATUS, *SOURCE, *INFERRED])
        if row["error_class"] is not None:
            return reject(row, row["stage"] or StageName.READ, InputError(row["error_class"], row["message"] or ""))
        maps, (height, width) = stitched_maps(row, scalars, self._stitch)
        if self._encode:
            codec = self._stitch.output.codec
            row |= {name: get_codec(name, codec).encode(array) for name, array in maps.items()}  # type: ignore[arg-type]
        else:
            row |= maps
        row[VALID.name] = self._valid(row, height, width)
        return row | {"map_height": height, "map_width": width}

    def _valid(self, row: Row, height: int, width: int) -> bytes | np.ndarray:
        found = validity_of(row[VALID.name])
        if self._encode or self._stitch.output.projection != "cubemap":
            valid = np.ones((height, width), bool) if found is None else found.erp(height, width)
            return encode_mask(valid) if self._encode else valid
        size, rotation = self._stitch.face_size, levelling(row["level_pitch"], row["level_roll"])
        return np.ones((6, size, size), bool) if found is None else found.faces(size, self._stitch.fov, rotation)


_KNOWN: Final = frozenset({"id", "uri", "path", "scene", "error_class", "message", "stage", *POSE_COLUMNS})


def _config(checkpoint: str, settings: Mapping[str, Any]) -> RunConfig:
    """A run's configuration, without inputs and outputs."""
    given = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]
    return load_config(None, ["input.uris=none", "output.uri=none", f"checkpoint={checkpoint}", *given])


def _columns_of(batch: Any) -> dict[str, Any]:
    if isinstance(batch, pa.Table):
        return {name: batch.column(name).to_pylist() for name in batch.column_names}
    if hasattr(batch, "to_dict") and hasattr(batch, "columns"):
        return {str(name): batch[name].tolist() for name in batch.columns}
    return dict(batch)


def _texts(values: Any, type: pa.DataType | None) -> Any:
    """A column of texts with empty ones for those that are missing, any other as it is.

    Where all are missing, Ray would make another type of it than in the next batch, and no reader takes both.
    """
    if type is not None and not (pa.types.is_null(type) or pa.types.is_string(type) or pa.types.is_large_string(type)):
        return values
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values
    if not all(value is None or isinstance(value, str) for value in values):
        return values
    return np.array([value or "" for value in values], dtype=object)


def _plain(value: Any) -> Any:
    """A cell as Python has it: NumPy's texts, bytes and missing numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _as_columns(rows: list[Row], maps: Mapping[str, Any]) -> dict[str, Any]:
    """Rows as NumPy columns whose types are the same in every batch, whatever is missing in one."""
    columns: dict[str, Any] = {}
    sizes = [pa.field("map_height", pa.int32()), pa.field("map_width", pa.int32())]
    texts = [pa.field(name, pa.string()) for name in ("error_class", "message")]
    identity = [field for field in IDENTITY if field.name in ("id", "uri", "scene")]
    scalars = [field for field in SOURCE if field.name not in maps]
    for field in (*identity, *scalars, *INFERRED, *sizes, *texts):
        values = [row.get(field.name) for row in rows]
        if pa.types.is_string(field.type):
            columns[field.name] = np.array([value or "" for value in values], dtype=object)
        elif pa.types.is_floating(field.type):
            columns[field.name] = np.array([np.nan if value is None else value for value in values], np.float32)
        else:
            columns[field.name] = np.array([value or 0 for value in values], np.int32)
    for name, nothing in maps.items():
        column = np.empty(len(rows), dtype=object)
        for number, row in enumerate(rows):
            column[number] = row.get(name, nothing)
        columns[name] = column
    return columns
