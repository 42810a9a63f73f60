"""The model actor: stage *infer* in a process of its own, which holds one model and overlaps its calls.

Whoever starts a job knows its class alone: what needs torch is imported where a model is loaded.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray

from pager_ray.errors import InputError, PagerError
from pager_ray.pipeline.isolate import Room, call_isolated, traced_process
from pager_ray.plain import get_logger
from pager_ray.stages.infer import InferSettings, Valid, infer_rows, load_predictor, some_valid
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import INFER_SCHEMA
from pager_ray.tracing import event

if TYPE_CHECKING:
    from pager_ray.infer import FacePrediction
    from pager_ray.infer.batching import FittingBatches
    from pager_ray.infer.predictor import Pending

log = get_logger(__name__)

EXIT_DEVICE_LOST = 70

MAX_FAILED_STARTS = 6
"""How often one model actor may die while loading before the job says so instead of starting it again."""

PROFILED_BATCH = 2
"""The batch that a traced job's first model actor profiles: the first one may still allocate."""

PANORAMA_AXES = 3
"""Of a whole panorama; six faces have one more."""

HERE = "here"
"""What an actor is called that runs in the caller's own process."""


class InferActor:
    """Holds one model; called with blocks of ``READ_SCHEMA``, gives ``INFER_SCHEMA``, one row each."""

    def __init__(self, settings: InferSettings, board: Any) -> None:
        self.board = board
        # Calls overlap where Ray makes several at once; the device serves one after the other.
        self._turn, self._room = threading.RLock(), Room()
        self._spent = threading.local()
        self._batches_begun = 0
        self._failure: PagerError | None = None
        try:
            self._load(settings)
        except PagerError as error:
            # An actor that dies while it starts loses its reason on the way to the driver; a failing call keeps it.
            self._failure = error

    def _load(self, settings: InferSettings) -> None:
        # Asked where there is no Ray, it would start one.
        actor = (ray.get_runtime_context().get_actor_id() if ray.is_initialized() else None) or HERE
        failed = ray.get(self.board.worker_starting.remote(actor))
        if failed >= MAX_FAILED_STARTS:
            raise PagerError(
                f"a model actor died {failed} times in a row while loading the checkpoint, most likely for want of "
                "memory; give it more (compute.gpu_workers lower, larger nodes), then run the same command again"
            )
        began = time.time()
        from pager_ray.infer.batching import FittingBatches
        from pager_ray.infer.device import describe_worker, device_kind

        loaded = load_predictor(settings)
        self.predictor, model = loaded.predictor, loaded.predictor.model
        self.face_size = model.architecture.face_size
        self._device, self._name = device_kind(model.device), uuid.uuid4().hex
        self.batches: FittingBatches[tuple[Pending, int]] = FittingBatches(
            loaded.batch_size,
            settings.fitting.get(self._device),
            tell=lambda size: self.board.fits.remote(self._device, self._name, size),
        )
        # What the first batch would wait for is part of loading: kernels chosen, graphs recorded, code compiled.
        taken = self.predictor.prepare(settings.acceleration, self.batches)
        log.info("the network runs %s", taken)
        facts = {"way": str(taken), "device": self._device}
        self.board.trace.remote(
            [event("load the model", "worker", began, time.time() - began, traced_process(StageName.INFER), facts)]
        )
        self.board.worker_started.remote(actor, describe_worker(model, str(taken)))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Predict the rows that have faces; rejects pass through.

        Raises:
            CheckpointError: the model could not be loaded.
        """
        if self._failure is not None:
            raise self._failure
        from pager_ray.infer.device import most_memory

        self._spent.seconds = 0.0
        result = call_isolated(
            StageName.INFER,
            self._predict,
            table,
            INFER_SCHEMA,
            self.board,
            room=self._room,
            busy_seconds=lambda: self._spent.seconds,
        )
        self.board.hear.remote(self._device, self._name, most_memory(), self.batches.size)
        return result

    def _predict(self, table: pa.Table) -> pa.Table:
        return infer_rows(table, self.face_size, self._predict_rows)

    def _predict_rows(
        self, given: list[np.ndarray], scenes: list[str | None], valid: list[Valid] | None
    ) -> Sequence[FacePrediction | InputError]:
        from pager_ray.infer.batching import is_device_lost
        from pager_ray.infer.profiling import profiled

        def submit(start: int, stop: int) -> list[tuple[Pending, int]]:
            self._batches_begun += 1
            batch = given[start:stop], scenes[start:stop], valid and some_valid(valid[start:stop])
            if self._batches_begun == PROFILED_BATCH and ray.get(self.board.may_profile.remote()):
                pending, events = profiled(lambda: self._submit(*batch), traced_process(StageName.INFER))
                self.board.trace.remote(events)
            else:
                pending = self._submit(*batch)
            return [(pending, row) for row in range(stop - start)]

        try:
            # The next call's batch goes to the device while this one's results are on their way.
            with self._turn:
                submitted = self.batches.run(len(given), submit)
            return self._await(submitted)
        except RuntimeError as error:
            if is_device_lost(error):
                # Nothing in this process will use the device again: another process, on another device perhaps, does.
                log.critical("the model's device is lost, the actor ends: %s", error)
                os._exit(EXIT_DEVICE_LOST)
            raise

    def _submit(self, pixels: list[np.ndarray], scenes: list[str | None], valid: list[Valid] | None) -> Pending:
        if pixels[0].ndim == PANORAMA_AXES:
            return self.predictor.submit_panoramas(pixels, scenes, valid)
        return self.predictor.submit(np.stack(pixels), scenes, valid)

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
