"""What the job adds to the bare model stage.

Runs the whole inference job on this machine with simulated accelerators: model actors of the ordinary pipeline whose
network is replaced by a sleep, as long as a GPU would take, and by predictions of the right shape and of realistic
content. Everything else is real: JPEGs of 4096×2048 are fetched, decoded and projected, results are stitched, encoded,
written and committed. The sleep is chosen for each number of GPUs so that all of them together take --panorama-rate
panoramas per second: what this machine's cores can feed.

Printed per number of GPUs:

- efficiency: panoramas per second of the job over those of the bare stage (GPUs / sleep), in steady state, from where
  every GPU has begun its second batch to where the first one has nothing left to do;
- the same over the whole run, start and tail included;
- the driver's processor time per panorama, the largest memory in the object store, bytes spilled, and bytes that pass
  through the object store per panorama;
- the job's own summary: busy shares, bottleneck, CPUs per GPU.

``--rows-ladder 200 800 3200`` measures instead how the driver's time per panorama grows with the number of rows, with
small panoramas that cost next to nothing beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.frame import Report
from pager_ray.config import load_config
from pager_ray.infer.batching import FittingBatches
from pager_ray.infer.predictor import FacePrediction
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.pipeline.job import run_job
from pager_ray.pipeline.model_actor import InferActor
from pager_ray.plan.stand_in import template
from pager_ray.report.stages import stage_lines
from pager_ray.samples import write_samples
from pager_ray.stages.infer import InferSettings

LEAST_EFFICIENCY = 0.95
PANORAMAS = 6


class SimulatedDevice:
    """Takes the place of a predictor: sleeps, notes when, and gives what a network would."""

    def __init__(self, seconds: float, face_size: int, trace: Path) -> None:
        self.seconds = seconds
        self.trace = trace
        self.depth, self.normals, self.sky = template(face_size)

    def submit(self, faces: np.ndarray, scenes: list[str | None], valid: object = None) -> FinishedBatch:
        """Take as long as a GPU and give the same maps for every row."""
        began = time.time()
        time.sleep(self.seconds * len(faces))
        with self.trace.open("a") as file:
            file.write(f"{began} {time.time()} {len(faces)}\n")
        predictions = [
            FacePrediction(self.depth, self.normals, self.sky, scene or "indoor", None, 0.1, {}, True)
            for scene in scenes
        ]
        return FinishedBatch(predictions, self.seconds * len(faces))


@dataclass(frozen=True)
class FinishedBatch:
    """What a simulated device gives at once."""

    predictions: list[FacePrediction]
    seconds: float

    def result(self) -> list[FacePrediction]:
        """The predictions."""
        return self.predictions


def simulated(seconds: float, face_size: int, traces: Path) -> type[InferActor]:
    """A model stage whose network takes ``seconds`` per panorama."""

    class SimulatedActor(InferActor):
        def _load(self, settings: InferSettings) -> None:
            name = ray.get_runtime_context().get_actor_id()
            self.face_size = face_size
            self.predictor: Any = SimulatedDevice(seconds, face_size, traces / f"{name}.txt")
            self.batches = FittingBatches(settings.batch_size)
            self._device, self._name = "simulated", name
            self.board.worker_started.remote(name, {"device": "simulated"})

    return SimulatedActor


class Watcher:
    """Looks at the object store while a block runs: the most shared memory that it ever touched, and what it spilled.

    Args:
        spilled_to: the folder that Ray spills to.
    """

    SHARED_MEMORY = "/dev/shm"

    def __init__(self, spilled_to: Path) -> None:
        self.spilled_to = spilled_to
        self.most = self.spilled = 0

    def __enter__(self) -> Watcher:
        """Start looking; before Ray starts."""
        self._before = shutil.disk_usage(self.SHARED_MEMORY).used
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.most = max(self.most, shutil.disk_usage(self.SHARED_MEMORY).used - self._before)
            files = [path for path in self.spilled_to.rglob("*") if path.is_file()]
            self.spilled = max(self.spilled, sum(path.stat().st_size for path in files if path.exists()))


def run_once(folder: Path, listing: Path, gpus: int, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """One run; its figures."""
    name = f"{gpus}-{listing.stem}"
    output, traces = folder / f"run-{name}", folder / f"traces-{name}"
    traces.mkdir()
    config = load_config(
        None,
        [
            f"input.uris={listing}",
            f"output.uri={output}",
            f"checkpoint={folder / 'checkpoint'}",
            "scene_mode=indoor",
            "output.previews=false",
            f"output.projection={options.projection}",
            f"output.rows_per_shard={options.rows_per_shard}",
            f"compute.gpu_workers={gpus}",
            f"compute.batch_size={options.batch_size}",
        ],
    )
    with Watcher(folder / "spilled") as watcher:
        ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            num_gpus=gpus,
            object_store_memory=options.object_store << 30,
            object_spilling_directory=str(folder / "spilled"),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="warning",
        )
        try:
            began, cpu = time.time(), time.process_time()
            run_job(config, model_stage=simulated(seconds, options.face_size, traces))
            whole, driver = time.time() - began, time.process_time() - cpu
        finally:
            ray.shutdown()
    calls = [
        [tuple(map(float, line.split())) for line in path.read_text().splitlines()] for path in sorted(traces.iterdir())
    ]
    rows = sum(count for actor in calls for *_, count in actor)
    # Steady: every device has had a batch and none has run out of them.
    start = max(actor[min(1, len(actor) - 1)][0] for actor in calls)
    stop = min(actor[-1][1] for actor in calls)
    busy = sum(max(0.0, min(end, stop) - max(first, start)) for actor in calls for first, end, _ in actor)
    stages = json.loads((output / "run.json").read_text(encoding="utf-8"))["starts"][-1]["stages"]
    return {
        "gpus": gpus,
        "seconds_per_panorama": seconds,
        "rows": int(rows),
        "steady_seconds": stop - start,
        "efficiency": busy / ((stop - start) * gpus) if stop > start else float("nan"),
        "efficiency_whole": rows * seconds / (whole * gpus),
        "panoramas_per_second": rows / whole,
        "driver_ms": 1e3 * driver / rows,
        "store_peak": watcher.most,
        "spilled": watcher.spilled,
        "store_bytes": sum(stages["stages"][name]["bytes_per_panorama"] for name in ("read", "infer")),
        "stages": stages,
    }


def make_listing(folder: Path, rows: int, panoramas: list[Path]) -> Path:
    """A listing of that many rows over a few files, each row with an id of its own."""
    path = folder / f"listing-{rows}.csv"
    lines = [f"{panoramas[number % len(panoramas)]},p{number:07}" for number in range(rows)]
    path.write_text("uri,id\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def show(report: Report, result: dict[str, Any]) -> None:
    """The figures of one run."""
    gpus, seconds = result["gpus"], result["seconds_per_panorama"]
    report.line(f"{gpus} simulated GPUs, {seconds:g} s per panorama each (bare stage {gpus / seconds:.2f} panoramas/s)")
    report.line(
        f"  efficiency {result['efficiency']:7.1%} in {result['steady_seconds']:.0f} s of steady state, "
        f"{result['efficiency_whole']:.1%} of the whole run with start and tail ({result['rows']} panoramas)"
    )
    report.line(
        f"  driver {result['driver_ms']:.1f} ms of processor time per panorama; object store: "
        f"{result['store_bytes'] / 1e6:.1f} MB per panorama, at most {result['store_peak'] / 1e6:,.0f} MB at once, "
        f"{result['spilled'] / 1e6:,.0f} MB spilled"
    )
    for line in stage_lines(result["stages"]):
        report.line(f"  {line}")
    facts = result["stages"]["stages"]
    report.line(
        "  " + ", ".join(f"{name} {1e3 * one['cpu_seconds_per_panorama']:.0f} ms" for name, one in facts.items())
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--panorama-rate", type=float, default=3.0, help="panoramas per second of all GPUs together")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long each run should take, about")
    parser.add_argument("--height", type=int, default=2048, help="of the panoramas")
    parser.add_argument("--face-size", type=int, default=504)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rows-per-shard", type=int, default=4)
    parser.add_argument("--projection", default="erp", choices=["erp", "cubemap"])
    parser.add_argument("--object-store", type=int, default=4, help="GiB")
    parser.add_argument("--rows-ladder", type=int, nargs="+", help="measure the driver's time at these numbers of rows")


def measure(options: argparse.Namespace, report: Report) -> None:
    """Measure for each number of GPUs, or for each number of rows."""
    if options.rows_ladder:
        options.height, options.face_size = 128, 56
    results = report.details["runs"] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count = PANORAMAS if options.height > 512 else 2
        write_samples(folder / "panoramas", count, height=options.height, ground_truth=False)
        panoramas = sorted((folder / "panoramas").glob("*.jpg"))
        write_random_checkpoint(folder / "checkpoint", "tiny", face_size=options.face_size)
        if options.rows_ladder:
            table = report.table("the driver's part", {"driver ms each": ".2f", "panoramas/s": ".1f"}, "rows")
            for rows in options.rows_ladder:
                one = run_once(folder, make_listing(folder, rows, panoramas), 1, 0.001, options)
                results.append(one)
                table.row(str(rows), one["driver_ms"], one["panoramas_per_second"])
            return
        for gpus in options.gpus:
            rows = max(int(options.panorama_rate * options.seconds), 8 * gpus * options.batch_size)
            listing = make_listing(folder, rows, panoramas)
            one = run_once(folder, listing, gpus, gpus / options.panorama_rate, options)
            results.append(one)
            show(report, one)
            busy, least = 100 * one["efficiency"], 100 * LEAST_EFFICIENCY
            report.figure(f"share of time that {gpus} simulated GPUs are busy", busy, "%", least=least)
            report.figure(f"bytes spilled, {gpus} simulated GPUs", one["spilled"], "bytes", most=0)
