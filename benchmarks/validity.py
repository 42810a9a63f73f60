"""What a crop, caps and mask pictures cost a panorama: its reading, the network's numbers, and a reader.

Processor seconds on one thread, the least of several calls in turn, after one that builds tables: stage *read* of a
JPEG of 4096×2048 with 504-px faces; a call of the predictor on random faces; ``Prediction.valid`` of a stored row at
the size of its maps. Each beside the same without anything to leave out, which stage and predictor take as if there
were no such thing.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.cpu_stages import jpeg
from benchmarks.frame import Report
from benchmarks.output_size import FACE
from pager_ray import load_model
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.retrying import Retry
from pager_ray.stages.read import ReadSettings, project_row
from pager_ray.validity import validity_of

WIDTH = 4096
MOST_OF_READ = {"caps": 2.0, "a mask for all": 3.5, "a mask of its own": 7.0}
"""Most processor time of *read*, of that without; reading is a tenth of a panorama's time on CPUs."""

MOST_OF_PREDICTOR = 1.15
"""Most of a call of the predictor, of one without a mask."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's own options."""
    parser.add_argument("--checkpoint", default="embedded", help="whose numbers are made (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="calls of each kind (default: %(default)s)")


def measure(options: argparse.Namespace, report: Report) -> None:
    """Read, predict, and read back."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure_read(Path(folder), options.repeats, report)
    measure_predictor(options.checkpoint, options.repeats, report)


def measure_read(folder: Path, repeats: int, report: Report) -> None:
    """Stage *read*, and what a reader makes of its row."""
    picture, mask = jpeg(WIDTH, None), np.full((WIDTH // 2, WIDTH), 255, np.uint8)
    cv2.ellipse(mask, (WIDTH // 2, WIDTH // 2), (WIDTH // 8, WIDTH // 6), 0, 0, 360, 0, -1)
    path = folder / "mask.png"
    path.write_bytes(png(mask))
    plain = ReadSettings(FACE, 90.0, 2**28, 2**30, None, Retry(0))
    row: dict[str, Any] = {"id": "a", "uri": "a.jpg"}
    capped, own = replace(plain, nadir_degrees=20.0), {"mask": json.dumps({"uri": str(path)})}
    shared = {"mask": json.dumps({"uri": str(path), "shared": True})}
    calls: dict[str, Callable[[], Mapping[str, Any]]] = {
        "nothing": lambda: project_row(dict(row), picture, plain),
        "caps": lambda: project_row(dict(row), picture, capped),
        "a mask for all": lambda: project_row(row | shared, picture, plain),
        "a mask of its own": lambda: project_row(row | own, picture, plain),
    }
    rows = {name: call() for name, call in calls.items()}
    if wrong := [one["message"] for one in rows.values() if one.get("error_class")]:
        raise SystemExit(f"the panorama is rejected: {wrong[0]}")
    seconds = least_of(calls, repeats)
    again = least_of({name: lambda one=one: shown(one) for name, one in rows.items()}, repeats)  # type: ignore[misc]
    columns = {"read ms": ".1f", "of nothing": ".2f", "stored bytes": ",.0f", "Prediction.valid ms": ".1f"}
    table = report.table(f"a panorama of {WIDTH}×{WIDTH // 2}, one thread", columns, first="left out", width=20)
    for name, value in seconds.items():
        ratio = value / seconds["nothing"]
        stored = rows[name]["valid"]
        size = 0 if stored is None else 40 + len(stored["mask"] or b"")
        table.row(name, 1e3 * value, ratio, size, 1e3 * again[name])
        if name in MOST_OF_READ:
            report.figure(f"read with {name}", ratio, "of nothing left out", most=MOST_OF_READ[name])


def shown(row: Mapping[str, Any]) -> np.ndarray:
    """Which pixels of maps of the source's size are valid."""
    found = validity_of(row["valid"])
    return np.ones((WIDTH // 2, WIDTH), bool) if found is None else found.erp(WIDTH // 2, WIDTH)


def measure_predictor(checkpoint: str, repeats: int, report: Report) -> None:
    """A call without and with a mask."""
    model = load_model(checkpoint, device="cpu")
    predictor, size = Predictor(model, InferenceSettings()), model.architecture.face_size
    faces = np.random.default_rng(0).integers(0, 256, (1, 6, size, size, 3), dtype=np.uint8)
    valid = np.ones((6, size, size), bool)
    valid[5, : size // 2] = False
    seconds = least_of(
        {"all": lambda: predictor(faces, ["indoor"]), "masked": lambda: predictor(faces, ["indoor"], [valid])}, repeats
    )
    table = report.table(
        f"a call of the predictor, {model.identity.title}", {"ms": ".1f", "of all": ".3f"}, first="valid"
    )
    for name, value in seconds.items():
        table.row(name, 1e3 * value, value / seconds["all"])
    report.figure("predictor with a mask", seconds["masked"] / seconds["all"], "of one without", most=MOST_OF_PREDICTOR)


def least_of(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Processor seconds of each call, in turn."""
    least = dict.fromkeys(calls, math.inf)
    for turn in range(repeats + 1):
        for name, call in calls.items():
            began = time.process_time()
            call()
            if turn:
                least[name] = min(least[name], time.process_time() - began)
    return least


def png(mask: np.ndarray) -> bytes:
    """A mask as people have it: grey, eight bits."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()
