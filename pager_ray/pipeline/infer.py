"""Stage *infer*: the model actor, from six uint8 faces to geometry on the faces."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pager_ray.errors import PagerError
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.model import load_model
from pager_ray.pipeline.rows import (
    IDENTITY,
    INFER_SCHEMA,
    SOURCE,
    STATUS,
    Row,
    blob,
    carry,
    iterate,
    to_table,
    view,
)


@dataclass(frozen=True)
class InferSettings:
    """What an actor needs to load its model and to shape its output.

    ``threads`` bounds torch on CPUs: Ray would give a fractional actor a single one.
    """

    checkpoint: str
    revision: str | None
    precision: str
    device: str
    inference: InferenceSettings
    use_router: bool
    router_weights: str | None
    threads: int | None


class InferActor:
    """Holds one model; called with blocks of ``READ_SCHEMA``, gives ``INFER_SCHEMA``, one row each."""

    def __init__(self, settings: InferSettings, progress: Any) -> None:
        self._failure: PagerError | None = None
        try:
            self._load(settings, progress)
        except PagerError as error:
            # An actor that dies while it starts loses its reason on the way to the driver; a failing call keeps it.
            self._failure = error

    def _load(self, settings: InferSettings, progress: Any) -> None:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        model = load_model(
            settings.checkpoint, device=settings.device, precision=settings.precision, revision=settings.revision
        )
        router = None
        if settings.use_router:
            from pager_ray.model.router import SceneRouter

            router = SceneRouter.load(settings.router_weights, device=model.device)
        self.face_size = model.architecture.face_size
        self.predictor = Predictor(model, settings.inference, router)
        progress.worker_started.remote(describe_worker(model.precision, model.device))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Predict the rows that have faces; rejects pass through.

        Raises:
            CheckpointError: the model could not be loaded.
        """
        if self._failure is not None:
            raise self._failure
        rows: list[Row] = []
        waiting: list[int] = []
        faces: list[np.ndarray] = []
        for number, scalars in enumerate(iterate(table)):
            rows.append(carry(scalars, [*IDENTITY, *STATUS, *SOURCE]) | {"thumbnail": _bytes(scalars["thumbnail"])})
            array = view(scalars["faces"], np.uint8, (6, self.face_size, self.face_size, 3))
            if array is not None:
                waiting.append(number)
                faces.append(array)
        if waiting:
            predictions = self.predictor(np.stack(faces), [rows[number]["scene"] for number in waiting])
            for number, prediction in zip(waiting, predictions, strict=True):
                arrays = {"depth": prediction.depth, "normals": prediction.normals, "sky": prediction.sky}
                rows[number] |= {
                    "scene": prediction.scene,
                    "p_outdoor": prediction.p_outdoor,
                    "log_scale": prediction.log_scale,
                    **prediction.quality,
                    **{name: blob(array) for name, array in arrays.items() if array is not None},
                }
        return to_table(rows, INFER_SCHEMA, table.num_rows, "infer")


def _bytes(value: pa.Scalar) -> memoryview | None:
    return memoryview(value.as_buffer()) if value.is_valid else None


def describe_worker(precision: str, device: torch.device) -> dict[str, str | None]:
    """What a prediction depends on besides the configuration: hardware and library versions."""
    on_gpu = device.type == "cuda"
    return {
        "node": platform.node(),
        "process": str(os.getpid()),
        "precision": precision,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"CPU ({torch.get_num_threads()} threads)",
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
    }
