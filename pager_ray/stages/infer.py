"""Stage *infer*: from six uint8 faces to geometry on the faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pager_ray.errors import InputError
from pager_ray.infer.settings import InferenceSettings
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import (
    IDENTITY,
    INFER_SCHEMA,
    SOURCE,
    STATUS,
    Row,
    TableFunction,
    blob,
    carry,
    iterate,
    naming_row,
    reject,
    to_table,
    view,
)

if TYPE_CHECKING:
    from pager_ray.infer import FacePrediction, Predictor, Predicts

Valid = np.ndarray | None
"""Which pixels of a panorama's faces are valid, (6, S, S) bool; None where all are."""

PredictsRows = Callable[
    [list[np.ndarray], list[str | None], list[Valid] | None], "Sequence[FacePrediction | InputError]"
]
"""Faces, each uint8 (6, S, S, 3), or panoramas, each uint8 (H, W, 3), the scenes that are known, and which pixels are
valid, or None where all are in all of them → one prediction, or why there is none, per row."""


@dataclass(frozen=True)
class InferSettings:
    """What a worker needs to load its model and to shape its output.

    ``threads`` bounds torch on CPUs: Ray would give a fractional actor a single one. ``sha256`` is that of the weights,
    which every node must have alike. ``batch_size`` is the most that is wanted, ``fitting`` what earlier starts found
    to fit, by kind of device. ``memory_share`` is the part of the GPU's memory that a batch may fill, where the job
    chooses its size. ``acceleration`` is how the network is to run, ``project`` whether it gets whole panoramas.
    """

    checkpoint: str
    revision: str | None
    precision: str
    device: str
    inference: InferenceSettings
    use_router: bool
    router_weights: str | None
    threads: int | None
    sha256: str | None = None
    batch_size: int = 1
    memory_share: float | None = None
    fitting: Mapping[str, int] = field(default_factory=dict)
    acceleration: str = "eager"
    project: bool = False


@dataclass(frozen=True)
class LoadedPredictor:
    """A model on its device with all that stands around it, and the largest batch that it is to be given."""

    predictor: Predictor
    batch_size: int


def load_predictor(settings: InferSettings) -> LoadedPredictor:
    """Load model and router as the settings say; the one place where they are put together for a job.

    Raises:
        CheckpointError: the checkpoint, or the router's weights, cannot be used.
        ConfigError: the network cannot run as it is to.
    """
    # Whoever starts a job knows this stage by its settings alone, and torch takes seconds to import.
    import torch

    from pager_ray.infer.predictor import Predictor
    from pager_ray.infer.projection import MAX_PANORAMA_BYTES
    from pager_ray.infer.routing import load_router
    from pager_ray.model.acceleration import settle_acceleration
    from pager_ray.model.memory import suggested_batch
    from pager_ray.model.serving import load_model

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    free = torch.cuda.mem_get_info()[0] if settings.device == "cuda" else 0
    model = load_model(
        settings.checkpoint,
        device=settings.device,
        precision=settings.precision,
        revision=settings.revision,
        sha256=settings.sha256,
    )
    router = load_router(model, settings.router_weights) if settings.use_router else None
    batch_size = settings.batch_size
    if settings.memory_share is not None:
        fits = suggested_batch(
            model.architecture,
            int(free * settings.memory_share),
            model.precision,
            graphs=settle_acceleration(settings.acceleration, model.device).way != "eager",
            panorama_bytes=MAX_PANORAMA_BYTES if settings.project else 0,
        )
        batch_size = min(batch_size, fits)
    return LoadedPredictor(Predictor(model, settings.inference, router), batch_size)


def make_infer_fn(face_size: int, predict: Predicts) -> TableFunction:
    """Make the block function for a model in the caller's process, which gets its rows one by one."""

    def one_by_one(
        faces: list[np.ndarray], scenes: list[str | None], valid: list[Valid] | None
    ) -> list[FacePrediction]:
        return [
            predict(six[None].copy(), [scene], some_valid([known]))[0]
            for six, scene, known in zip(faces, scenes, valid or [None] * len(faces), strict=True)
        ]

    return lambda table: infer_rows(table, face_size, one_by_one)


def infer_rows(table: pa.Table, face_size: int, predict: PredictsRows) -> pa.Table:
    """``READ_SCHEMA`` → ``INFER_SCHEMA``, one row each: rows with faces are predicted, rejects pass through."""
    rows: list[Row] = []
    waiting: list[int] = []
    faces: list[np.ndarray] = []
    valid: list[Valid] = []
    for number, scalars in enumerate(iterate(table)):
        thumbnail = scalars["thumbnail"]
        row = carry(scalars, [*IDENTITY, *STATUS, *SOURCE])
        rows.append(row | {"thumbnail": memoryview(thumbnail.as_buffer()) if thumbnail.is_valid else None})
        array = _pixels(scalars, face_size)
        if array is not None:
            waiting.append(number)
            faces.append(array)
            valid.append(_valid(scalars["valid_faces"], face_size))
    if waiting:
        predictions = predict(faces, [rows[number]["scene"] for number in waiting], some_valid(valid))
        for number, prediction in zip(waiting, predictions, strict=True):
            rows[number] = _predicted(rows[number], prediction)
    return to_table(rows, INFER_SCHEMA, table.num_rows, StageName.INFER)


def _pixels(scalars: Mapping[str, pa.Scalar], face_size: int) -> np.ndarray | None:
    """A row's faces, or its whole panorama where they are still to be sampled; None for a reject."""
    if scalars["panorama"].is_valid:
        height = scalars["panorama_height"].as_py()
        return view(scalars["panorama"], np.uint8, (height, -1, 3))
    return view(scalars["faces"], np.uint8, (6, face_size, face_size, 3))


def _valid(bits: pa.Scalar, face_size: int) -> Valid:
    if not bits.is_valid:
        return None
    packed = np.frombuffer(bits.as_buffer(), np.uint8)
    return np.unpackbits(packed, count=6 * face_size**2).view(bool).reshape(6, face_size, face_size)


def some_valid(valid: Sequence[Valid]) -> list[Valid] | None:
    """The masks of some rows; None where no row has one."""
    return list(valid) if any(one is not None for one in valid) else None


def _predicted(row: Row, prediction: FacePrediction | InputError) -> Row:
    """The row of ``INFER_SCHEMA`` that a prediction, or why there is none, makes of a row that was read."""
    if isinstance(prediction, InputError):
        return reject(row, StageName.INFER, naming_row(row, prediction))
    if not prediction.is_finite:
        error = InputError(
            "non_finite_prediction",
            "the network's output is not all finite; precision=float32 may help, then --retry-rejects "
            "non_finite_prediction does it again",
        )
        return reject(row, StageName.INFER, naming_row(row, error))
    arrays = {"depth": prediction.depth, "normals": prediction.normals, "sky": prediction.sky}
    return row | {
        "scene": prediction.scene,
        "p_outdoor": prediction.p_outdoor,
        "log_scale": prediction.log_scale,
        **prediction.quality,
        **{name: blob(array) for name, array in arrays.items() if array is not None},
    }
