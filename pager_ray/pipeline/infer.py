"""Stage *infer*: the model actor, from six uint8 faces to geometry on the faces."""

from __future__ import annotations

import logging
import os
import platform
import resource
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch

from pager_ray.errors import InputError, PagerError
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.infer.batching import FittingBatches, is_device_lost
from pager_ray.infer.predictor import FacePrediction, Pending
from pager_ray.model import load_model
from pager_ray.model.memory import suggested_batch
from pager_ray.pipeline.isolate import call_isolated
from pager_ray.stages.rows import (
    IDENTITY,
    INFER_SCHEMA,
    SOURCE,
    STATUS,
    Row,
    blob,
    carry,
    iterate,
    naming_row,
    reject,
    to_table,
    view,
)

log = logging.getLogger(__name__)

EXIT_DEVICE_LOST = 70


@dataclass(frozen=True)
class InferSettings:
    """What an actor needs to load its model and to shape its output.

    ``threads`` bounds torch on CPUs: Ray would give a fractional actor a single one. ``sha256`` is that of the weights,
    which every node must have alike. ``batch_size`` is the most that is wanted, ``fitting`` what earlier starts found
    to fit, by kind of device. ``memory_share`` is the part of the GPU's memory that a batch may fill, where the job
    chooses its size.
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


MAX_FAILED_STARTS = 6
"""How often one model actor may die while loading before the job says so instead of starting it again."""

HERE = "here"
"""What an actor is called that runs in the caller's own process."""


class InferActor:
    """Holds one model; called with blocks of ``READ_SCHEMA``, gives ``INFER_SCHEMA``, one row each."""

    def __init__(self, settings: InferSettings, board: Any) -> None:
        self.board = board
        # Calls overlap where Ray makes several at once; the device serves one after the other.
        self._turn = threading.RLock()
        self._spent = threading.local()
        self._failure: PagerError | None = None
        try:
            self._load(settings)
        except PagerError as error:
            # An actor that dies while it starts loses its reason on the way to the driver; a failing call keeps it.
            self._failure = error

    def _load(self, settings: InferSettings) -> None:
        actor = ray.get_runtime_context().get_actor_id() or HERE
        failed = ray.get(self.board.worker_starting.remote(actor))
        if failed >= MAX_FAILED_STARTS:
            raise PagerError(
                f"a model actor died {failed} times in a row while loading the checkpoint, most likely for want of "
                "memory; give it more (compute.gpu_workers lower, larger nodes), then run the same command again"
            )
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
        router = None
        if settings.use_router:
            from pager_ray.model.router import SceneRouter

            router = SceneRouter.load(settings.router_weights, device=model.device)
        self.face_size = model.architecture.face_size
        self.predictor = Predictor(model, settings.inference, router)
        worker = describe_worker(model.precision, model.device)
        self._device, self._name = device_kind(model.device), uuid.uuid4().hex
        most = settings.batch_size
        if settings.memory_share is not None:
            fits = suggested_batch(model.architecture, int(free * settings.memory_share), model.precision)
            most = min(most, fits)
        self.batches: FittingBatches[tuple[Pending, int]] = FittingBatches(
            most,
            settings.fitting.get(self._device),
            tell=lambda size: self.board.fits.remote(self._device, self._name, size),
        )
        self.board.worker_started.remote(actor, worker)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Predict the rows that have faces; rejects pass through.

        Raises:
            CheckpointError: the model could not be loaded.
        """
        if self._failure is not None:
            raise self._failure
        self._spent.seconds = 0.0
        result = call_isolated(
            "infer",
            self._predict,
            table,
            INFER_SCHEMA,
            self.board,
            turn=self._turn,
            busy_seconds=lambda: self._spent.seconds,
        )
        self.board.hear.remote(self._device, self._name, most_memory(), self.batches.size)
        return result

    def _predict(self, table: pa.Table) -> pa.Table:
        rows: list[Row] = []
        waiting: list[int] = []
        faces: list[np.ndarray] = []
        for number, scalars in enumerate(iterate(table)):
            rows.append(carry(scalars, [*IDENTITY, *STATUS, *SOURCE]) | {"thumbnail": _bytes(scalars["thumbnail"])})
            array = view(scalars["faces"], np.uint8, (6, self.face_size, self.face_size, 3))
            if array is not None:
                waiting.append(number)
                faces.append(array)

        def submit(start: int, stop: int) -> list[tuple[Pending, int]]:
            scenes = [rows[number]["scene"] for number in waiting[start:stop]]
            pending = self.predictor.submit(np.stack(faces[start:stop]), scenes)
            return [(pending, row) for row in range(stop - start)]

        try:
            # The next call's batch goes to the device while this one's results are on their way.
            with self._turn:
                submitted = self.batches.run(len(waiting), submit)
            predictions = self._await(submitted)
        except RuntimeError as error:
            if is_device_lost(error):
                # Nothing in this process will use the device again: another process, on another device perhaps, does.
                log.critical("the model's device is lost, the actor ends: %s", error)
                os._exit(EXIT_DEVICE_LOST)
            raise
        for number, prediction in zip(waiting, predictions, strict=True):
            rows[number] = predicted_row(rows[number], prediction)
        return to_table(rows, INFER_SCHEMA, table.num_rows, "infer")

    def _await(self, submitted: Sequence[tuple[Pending, int] | InputError]) -> list[FacePrediction | InputError]:
        results: dict[int, list[FacePrediction]] = {}
        predictions: list[FacePrediction | InputError] = []
        for item in submitted:
            if isinstance(item, InputError):
                predictions.append(item)
                continue
            pending, row = item
            if id(pending) not in results:
                results[id(pending)] = pending.result()
                self._spent.seconds += pending.seconds
            predictions.append(results[id(pending)][row])
        return predictions


def predicted_row(row: Row, prediction: FacePrediction | InputError) -> Row:
    """The row of ``INFER_SCHEMA`` that a prediction, or why there is none, makes of a row that was read."""
    if isinstance(prediction, InputError):
        return reject(row, "infer", naming_row(row, prediction))
    if not prediction.is_finite:
        error = InputError(
            "non_finite_prediction",
            "the network's output is not all finite; precision=float32 may help, then --retry-rejects "
            "non_finite_prediction does it again",
        )
        return reject(row, "infer", naming_row(row, error))
    arrays = {"depth": prediction.depth, "normals": prediction.normals, "sky": prediction.sky}
    return row | {
        "scene": prediction.scene,
        "p_outdoor": prediction.p_outdoor,
        "log_scale": prediction.log_scale,
        **prediction.quality,
        **{name: blob(array) for name, array in arrays.items() if array is not None},
    }


def _bytes(value: pa.Scalar) -> memoryview | None:
    return memoryview(value.as_buffer()) if value.is_valid else None


def device_kind(device: torch.device) -> str:
    """What devices of equal memory are called; batch sizes are remembered under it."""
    if device.type != "cuda":
        return "CPU"
    gigabytes = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"{torch.cuda.get_device_name(device)} ({gigabytes:.0f} GiB)"


def most_memory() -> int:
    """The most memory, in bytes, that this process has held: on its GPU where it uses one, else its own."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def describe_worker(precision: str, device: torch.device) -> dict[str, str | None]:
    """What a prediction depends on besides the configuration: hardware and library versions."""
    on_gpu = device.type == "cuda"
    return {
        "node": platform.node(),
        "process": str(os.getpid()),
        "precision": precision,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"CPU ({torch.get_num_threads()} threads)",
        # A plain string: unpickling torch's own type would import torch wherever it is read.
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if on_gpu else None,
    }
