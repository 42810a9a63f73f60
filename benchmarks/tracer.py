"""Processor time of a rendered panorama with its truth: samples' families, and training scenes with what makes them.

Each picture is 512x256. Samples are rendered as training does, one ray a pixel, and as ``pager-ray samples`` does, with
2x2 rays where a picture has edges. Training scenes are drawn and rendered, ``--scenes`` of each kind, and stored.
One thread of linear algebra, as in a task of one CPU: waiting threads of a second one burn as much again. Compiling is
left out of these figures: the first rendering on a machine waits for it once, and is told apart as what it takes in a
process that finds nothing compiled.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Before NumPy is loaded, which decides then.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from benchmarks import frame
from benchmarks.frame import Report
from pager_ray.samples import STYLES, Kind, make_scene, render
from pager_ray.train.scenes.panoramas import render_training_panorama, save_panorama

HEIGHT = 256
MOST_MS = 150.0
KINDS: tuple[Kind, ...] = ("indoor", "outdoor")


def best_ms(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of some runs, after one that warms up."""
    times = []
    work()
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def first_seconds() -> float:
    """What the first rendering costs where nothing is compiled yet, processor seconds; run in a process of its own."""
    start = time.process_time()
    for kind in KINDS:
        render(make_scene(0, kind), 32, 64)
    return time.process_time() - start


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", type=int, default=40, help="training scenes of each kind (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3)


def measure(options: argparse.Namespace, report: Report) -> None:
    table = report.table("samples, 512x256, processor ms", {"one ray": ".0f", "edges 2x2": ".0f", "solids": ".0f"})
    times: dict[int, list[float]] = {1: [], 2: []}
    for kind in KINDS:
        for seed, style in enumerate(STYLES[kind]):
            scene = make_scene(seed, kind)
            row = []
            for rays in times:
                row.append(best_ms(partial(render, scene, HEIGHT, 2 * HEIGHT, rays), options.repeats))
                times[rays].append(row[-1])
            table.row(style.__name__, *row, len(scene.solids))
    report.figure("sample, one ray a pixel", statistics.mean(times[1]), "ms", most=MOST_MS)
    report.figure("sample, edges 2x2", statistics.mean(times[2]), "ms")
    table = report.table("training scenes, drawn, rendered and stored, processor ms", {"mean": ".0f", "largest": ".0f"})
    both = []
    with tempfile.TemporaryDirectory() as folder:
        for first, kind in enumerate(KINDS):
            spent = []
            for index in range(first, 2 * options.scenes, 2):
                start = time.process_time()
                save_panorama(Path(folder), index, render_training_panorama(index, 0, HEIGHT))
                spent.append(1000 * (time.process_time() - start))
            table.row(kind, statistics.mean(spent), max(spent))
            both += spent
    report.figure("training scene", statistics.mean(both), "ms", most=MOST_MS)
    with tempfile.TemporaryDirectory() as folder:
        seconds = frame.in_own_process("tracer:first_seconds", environment={"NUMBA_CACHE_DIR": folder})
    report.figure("first rendering, nothing compiled", seconds, "s")
