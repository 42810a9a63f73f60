"""A few real panoramas through every stage of the job, in this process: what each one costs.

The block functions are the job's own, called with blocks of one row and without Ray. What a stage costs is measured
warm: a first pass makes the tables that a worker makes once, the second counts.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.config import RunConfig
from pager_ray.errors import ConfigError, InputError
from pager_ray.infer import FacePrediction, Predicts
from pager_ray.infer.settings import Validities
from pager_ray.listing import Listed, Listing, rows_to_do
from pager_ray.model import ResolvedCheckpoint
from pager_ray.plain import get_logger
from pager_ray.plan.stand_in import template
from pager_ray.read.content import length_of
from pager_ray.runs import RunLayout, write_shard
from pager_ray.stages.infer import infer_rows
from pager_ray.stages.names import StageName
from pager_ray.stages.read import fetch_row, make_read_fn
from pager_ray.stages.rows import iterate
from pager_ray.stages.settings import run_settings
from pager_ray.stages.stitch import make_stitch_fn
from pager_ray.stages.work import Work
from pager_ray.storage import Folder

log = get_logger(__name__)

Result = TypeVar("Result")


class StandIn:
    """Gives every row the same predictions, of the right shape and as dear to encode as a network's.

    Args:
        arrays: those of depth, normals and sky that the checkpoint gives.
    """

    def __init__(self, face_size: int, arrays: Sequence[str], *, half_normals: bool) -> None:
        depth, normals, sky = template(face_size)
        maps = {"depth": depth, "normals": normals if half_normals else normals.astype(np.float32), "sky": sky}
        self._maps = {name: array if name in arrays else None for name, array in maps.items()}

    def __call__(
        self, faces: np.ndarray, scenes: Sequence[str | None], valid: Validities = None
    ) -> list[FacePrediction]:
        """One prediction per row, without work."""
        return [
            FacePrediction(**self._maps, scene=scene, p_outdoor=None, log_scale=0.0, quality={}, is_finite=True)
            for scene in scenes
        ]


@dataclass(frozen=True)
class Sample:
    """What one panorama took.

    Attributes:
        bytes_in: of its file.
        fetch_seconds: waiting for the file, beside the processor's time.
        stages: by name, in order: ``read``, ``infer`` (handing maps on, without the network), ``stitch``, ``write``.
        network: what the network itself took.
        stored_bytes: what it leaves behind.
    """

    bytes_in: int
    fetch_seconds: float
    stages: dict[str, Work]
    network: Work
    stored_bytes: int


@dataclass(frozen=True)
class Measured:
    """What the samples took; ``rejected`` counts those that gave no prediction, by class, ``first_reason`` is why."""

    samples: tuple[Sample, ...]
    rejected: dict[str, int] = field(default_factory=dict)
    first_reason: str = ""

    @property
    def tried(self) -> int:
        """Panoramas that were tried."""
        return len(self.samples) + sum(self.rejected.values())


def spread_evenly(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` places, one at random in each of as many equal parts; the same in every call."""
    if wanted >= count:
        return list(range(count))
    chance = random.Random(0)
    edges = [number * count // wanted for number in range(wanted + 1)]
    return [chance.randrange(first, last) for first, last in pairwise(edges)]


def measure_samples(
    config: RunConfig,
    checkpoint: ResolvedCheckpoint,
    rows: Sequence[Listed],
    wanted: int,
    predict: Predicts,
    *,
    on_gpu: bool,
) -> Measured:
    """Take samples of the rows that the listing has not rejected through every stage.

    Args:
        wanted: how many, where there are as many.
        predict: the network, or a :class:`StandIn`.
        on_gpu: whether the job's model is to run on one.

    Raises:
        ConfigError: none of them gives a prediction, so nothing can be said.
    """
    usable = usable_rows(rows)
    if not usable.num_rows:
        raise ConfigError("input.uris: the listing rejects every row; list panoramas that can be read")
    samples: list[Sample] = []
    rejected: Counter[str] = Counter()
    reason = ""
    with tempfile.TemporaryDirectory(prefix="pager-ray-plan-") as folder:
        stages = _Stages(config, checkpoint, predict, RunLayout(Folder(folder)), usable, on_gpu)
        for number in spread_evenly(usable.num_rows, wanted):
            outcome = stages.measure(rows_to_do(usable.slice(number, 1), usable.slice(number, 1)["id"].to_pylist(), {}))
            if isinstance(outcome, Sample):
                samples.append(outcome)
                continue
            rejected[outcome.error_class] += 1
            reason = reason or str(outcome)
    if not samples:
        raise ConfigError(
            f"input.uris: none of {sum(rejected.values())} samples gives a prediction; the first one: {reason}"
        )
    return Measured(tuple(samples), dict(rejected), reason)


def usable_rows(rows: Sequence[Listed]) -> pa.Table:
    """The listing without the rows that it rejects itself."""
    table = Listing.of(rows).table
    return table.filter(pc.is_null(table.column("error_class")))


class _Stages:
    def __init__(
        self,
        config: RunConfig,
        checkpoint: ResolvedCheckpoint,
        predict: Predicts,
        layout: RunLayout,
        inputs: pa.Table,
        on_gpu: bool,
    ) -> None:
        settings = run_settings(config, checkpoint, Listing.of(inputs), on_gpu=on_gpu)
        self.face_size = checkpoint.architecture.face_size
        # Faces are sampled here whoever samples them in the job: the network that is measured takes faces.
        self.read_settings = replace(settings.read, project=True)
        self.read = make_read_fn(self.read_settings)
        self.predict = predict
        self.stitch = make_stitch_fn(settings.stitch)
        self.schema = settings.stored
        self.layout = layout
        layout.make()
        self._warm: set[tuple[int, int]] = set()

    def measure(self, row: pa.Table) -> Sample | InputError:
        """One row, through all stages."""
        try:
            # First of all, while no cache has it.
            content, fetched = _timed(lambda: fetch_row(row.to_pylist()[0], self.read_settings), length_of)
        except InputError as error:
            return error
        read, cost = _timed(lambda: self.read(row), _nbytes)
        if (failed := _reject_of(read)) is not None:
            return failed
        size = read["height"][0].as_py(), read["width"][0].as_py()
        if size not in self._warm:
            self._warm.add(size)
            self._after_read(read, lambda *_: None)
            read, cost = _timed(lambda: self.read(row), _nbytes)
        waited = max(0.0, fetched.seconds - fetched.cpu_seconds)
        return self._after_read(
            read, lambda *rest: Sample(length_of(content), waited, {StageName.READ: cost} | rest[0], *rest[1:])
        )

    def _after_read(self, read: pa.Table, found: Callable[[dict[str, Work], Work, int], Result]) -> Result | InputError:
        prediction, network = _timed(lambda: self._predict(read), lambda prediction: 0)
        if not prediction.is_finite:
            return InputError(
                "non_finite_prediction", "the network's output is not all finite; precision=float32 may help"
            )
        inferred, infer = _timed(lambda: infer_rows(read, self.face_size, lambda *_: [prediction]), _nbytes)
        stitched, stitch = _timed(lambda: self.stitch(inferred), _nbytes)
        _, write = _timed(lambda: write_shard(self.layout, "sample", stitched, self.schema), lambda record: 0)
        stored = self._take_stored()
        write = write._replace(bytes_out=stored)
        stages: dict[str, Work] = {StageName.INFER: infer, StageName.STITCH: stitch, StageName.WRITE: write}
        return found(stages, network, stored)

    def _predict(self, read: pa.Table) -> FacePrediction:
        scalars = next(iterate(read))
        faces = np.frombuffer(scalars["faces"].as_buffer(), np.uint8).reshape(1, 6, self.face_size, self.face_size, 3)
        return self.predict(faces.copy(), [scalars["scene"].as_py()])[0]

    def _take_stored(self) -> int:
        """Bytes in the folder, which is emptied: every sample leaves its own."""
        filesystem, root = self.layout.root.filesystem, self.layout.root.path
        files = filesystem.find(root)
        total = sum(filesystem.size(path) for path in files)
        for path in files:
            filesystem.rm_file(path)
        return total


def _reject_of(table: pa.Table) -> InputError | None:
    error_class = table["error_class"][0].as_py()
    return InputError(error_class, table["message"][0].as_py() or error_class) if error_class else None


def _nbytes(table: pa.Table) -> int:
    return table.nbytes


def _timed(call: Callable[[], Result], size: Callable[[Result], int]) -> tuple[Result, Work]:
    began, cpu_began = time.perf_counter(), time.process_time()
    result = call()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return result, Work(1, seconds, cpu_seconds, size(result))
