"""What the parts of the GPU benchmark share: the device, the network with random weights, rows that were measured."""

from __future__ import annotations

import argparse
import gc
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch

from benchmarks.frame import Report
from benchmarks.model import (
    GIB,
    SEED,
    Clock,
    Measured,
    as_model,
    matrix_rate,
    normalised,
    panoramas,
    peak_memory,
)
from pager_ray.infer.predictor import Predictor
from pager_ray.model import PagerModel
from pager_ray.model.architecture import Architecture
from pager_ray.model.flops import panorama_flops
from pager_ray.model.random_checkpoint import random_architecture, random_network
from pager_ray.model.serving import PRECISIONS


@dataclass
class Context:
    """What the parts share."""

    options: argparse.Namespace
    report: Report
    device: torch.device
    clock: Clock
    architecture: Architecture
    ends: float
    rows: list[Measured] = field(default_factory=list)
    best: Measured | None = None
    """The fastest of ours by panoramas/s of the network."""
    predictor_rate: float | None = None
    prepared: Future[str] | None = None
    """Where the job's panoramas and checkpoint come to be; None where its libraries are missing."""

    @property
    def on_gpu(self) -> bool:
        """Whether this is the real thing."""
        return self.device.type == "cuda"

    @property
    def precision(self) -> str:
        """The ordinary serving precision of the device."""
        return "float16" if self.on_gpu else "float32"

    @property
    def way(self) -> str:
        """The fastest way of running the network."""
        return self.best.way.removeprefix("ours, ") if self.best is not None else "auto"

    @property
    def chip(self) -> str:
        """What everything runs on."""
        if self.on_gpu:
            return torch.cuda.get_device_name(self.device)
        return f"CPU, {torch.get_num_threads()} threads"

    @cached_property
    def work(self) -> float:
        """Floating-point operations of a panorama."""
        return panorama_flops(self.architecture)

    @cached_property
    def ceiling(self) -> float:
        """Best rate of matrix products, in operations per second."""
        return matrix_rate(self.device, PRECISIONS[self.precision], self.clock)

    def left(self) -> float:
        """Seconds until the time is over."""
        return self.ends - time.monotonic()

    def model(self, precision: str | None = None) -> PagerModel:
        """Ours, with the random weights that all parts use."""
        gc.collect()
        name = precision or self.precision
        network = random_network(self.architecture, device=self.device, dtype=PRECISIONS[name], seed=SEED)
        network.freeze()
        return as_model(network, self.device, name)

    def keep(self, row: Measured) -> None:
        """Keep a row of the network's table, for the file and for ``pager-ray plan --profile``."""
        self.rows.append(row)
        self.report.details["rows"] = [asdict(one) for one in self.rows]
        if row.problem is None and row.way.startswith("ours"):
            self.best = row if self.best is None else max(self.best, row, key=lambda one: one.network_rate)


def alone(preset: str, device: str) -> Context:
    """What a process of its own works with."""
    target = torch.device(device)
    return Context(
        argparse.Namespace(), Report("gpu", [], None), target, Clock(target), random_architecture(preset), 0.0
    )


def measure_network(way: str, predictor: Predictor, batch: int, repeats: int, clock: Clock) -> Measured:
    """The network alone, from normalised faces to raw maps on the device."""
    model, row = predictor.model, Measured(way, batch)
    faces = panoramas(batch, model.architecture.face_size)
    try:
        with peak_memory(model.device) as peak, torch.inference_mode():
            model.use_batch(batch)
            inputs = normalised(predictor, faces)
            row.network = clock.median(lambda: model(inputs, ["indoor"] * batch), repeats)
            row.peak = peak()
    except torch.OutOfMemoryError:
        row.problem = "out of memory"
    except RuntimeError as error:
        row.problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    return row


def show(context: Context, table: Any, row: Measured, baseline: Measured) -> None:
    """Print and keep a row."""
    context.keep(row)
    if row.problem is not None:
        table.row(row.way, row.batch, row.problem)
        return
    ratio, share = row.network_rate / baseline.network_rate, row.network_rate * context.work / context.ceiling
    table.row(row.way, row.batch, row.network_rate, ratio, share, row.peak / GIB)
