"""What float16, bfloat16, int8 and fp8 cost in accuracy, and what they save.

Every precision loads the same checkpoint and predicts the same panoramas, one per forward; errors are against float32
on the same device. The panoramas are the folder's, or else sample scenes that the project renders, half of them
outdoors. Without ``--checkpoint`` the weights are random. *Random weights are not trained weights*: they are normally
distributed, without the few channels of large numbers that training leaves, and no layer has learned to correct
another. Errors on released weights must be measured with ``--checkpoint``.

Errors, over all pixels of all panoramas:

- *log-depth*: ``norm`` is the norm of the difference over the norm of float32's log-depth; the others are quantiles of
  |difference| over max(|log-depth|, 1).
- *normals*: angle between the predicted vectors, in degrees.
- *sky*: |difference| of probabilities. *log scale*: largest |difference|.

*Weights* are all parameters and tables. *Load peak* is the most memory above what was used before loading: of the
device's allocator, or on a CPU of a fresh process that loads nothing else. Times are medians of ``--repeats`` forwards
of each panorama, by events of the device on a GPU, taken in turn with forwards of the ordinary serving precision
(float16 on CUDA, float32 on a CPU), to whose median the ratio is: above 1 where the precision is faster.

``--parts`` also quantises one kind of product, or the first blocks, alone (``only``), and all others (``without``):
which part costs how much.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks import checkpoint_memory
from benchmarks.frame import Report, Table
from pager_ray.errors import ConfigError
from pager_ray.geometry import erp_to_cubemap
from pager_ray.infer.predictor import IMAGENET_MEAN, IMAGENET_STD
from pager_ray.model import PagerModel, load_model, resolve_checkpoint
from pager_ray.model.low_precision import LOW_PRECISIONS, QUANTISED_PREFIX, quantise_product
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.read import decode_panorama, is_image_name
from pager_ray.samples import Kind, make_scene, render

if TYPE_CHECKING:
    from torch import Tensor

KINDS: tuple[Kind, ...] = ("indoor", "outdoor")
PRODUCTS = ("attn.qkv", "attn.proj", "mlp.w12", "mlp.w3")
MEGA = 1e6
RANDOM_WEIGHTS = "RANDOM WEIGHTS: errors on trained weights are other ones; measure them with --checkpoint SOURCE"

Outputs = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Picture:
    """Six uint8 faces (6, S, S, 3) and the scene that picks the scale head."""

    faces: np.ndarray
    scene: str


@dataclass
class Row:
    """One precision; bytes, seconds."""

    name: str
    outputs: Outputs = field(default_factory=list, repr=False)
    weights: int = 0
    load_peak: float = math.nan
    seconds: float = math.nan
    baseline_seconds: float = math.nan


def pictures(folder: Path | None, count: int, size: int, fov: float) -> list[Picture]:
    """The first panoramas of a folder by name, which count as indoors, or rendered ones of both kinds in turn."""
    if folder is None:
        scenes = [make_scene(index // 2, KINDS[index % 2]) for index in range(count)]
        rendered = [render(scene, 2 * size, 4 * size, supersample=1) for scene in scenes]
        return [Picture(erp_to_cubemap(picture.rgb, size, fov), picture.scene) for picture in rendered]
    paths = sorted(path for path in folder.iterdir() if is_image_name(path.name))[:count]
    if not paths:
        raise SystemExit(f"{folder}: holds no image")
    return [Picture(erp_to_cubemap(decode_panorama(path.read_bytes()).erp, size, fov), "indoor") for path in paths]


def inputs_of(picture: Picture, device: torch.device) -> Tensor:
    """Normalised faces (1, 6, 3, S, S)."""
    pixels = torch.from_numpy(picture.faces).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((pixels - mean) / std).unsqueeze(0)


def predict(model: PagerModel, given: Sequence[Picture]) -> Outputs:
    """Raw maps of each panorama, on the host."""
    results = []
    for picture in given:
        raw = model(inputs_of(picture, model.device), [picture.scene])
        results.append({name: values[0].cpu().numpy() for name, values in raw.items()})
    return results


def median_seconds(models: Sequence[PagerModel], given: Sequence[Picture], repeats: int) -> list[float]:
    """Median time of one panorama's forward by each model, in turn; the models have warmed up."""
    times: list[list[float]] = [[] for _ in models]
    for picture in given:
        faces = inputs_of(picture, models[0].device)
        for _ in range(repeats):
            for model, spent in zip(models, times, strict=True):
                spent.append(_seconds(model, faces, picture.scene))
    return [statistics.median(spent) for spent in times]


def _seconds(model: PagerModel, faces: Tensor, scene: str) -> float:
    if model.device.type != "cuda":
        began = time.perf_counter()
        model(faces, [scene])
        return time.perf_counter() - began
    began_at, ended_at = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began_at.record()
    model(faces, [scene])
    ended_at.record()
    ended_at.synchronize()
    return float(began_at.elapsed_time(ended_at) / 1e3)


def measure_precision(source: str, baseline: PagerModel, name: str, given: Sequence[Picture], repeats: int) -> Row:
    """Load, predict, and time beside the baseline."""
    device = baseline.device
    load_peak = peak_of_loading(source, device, name)
    model = load_model(source, device, name)
    row = Row(name, predict(model, given), load_peak=load_peak)
    row.weights = sum(tensor.nbytes for tensor in (*model.network.parameters(), *model.network.buffers()))
    row.baseline_seconds, row.seconds = median_seconds([baseline, model], given, repeats)
    return row


def peak_of_loading(source: str, device: torch.device, precision: str) -> float:
    """Most bytes that loading takes, above those in use before."""
    if device.type != "cuda":
        counted = checkpoint_memory.loading(Path(source), precision)
        return counted["peak"] - counted["before"]
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    load_model(source, device, precision)
    return float(torch.cuda.max_memory_allocated(device) - before)


def errors(outputs: Outputs, exact: Outputs, log_depth: bool) -> dict[str, float]:
    """Every column of errors; NaN for what the checkpoint does not predict."""
    pooled: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for mine, theirs in zip(outputs, exact, strict=True):
        if "depth" in theirs:
            a, b = (raw["depth"].astype(np.float64) for raw in (mine, theirs))
            a, b = (a, b) if log_depth else (np.log(a), np.log(b))
            pooled["moved"].append((a - b).ravel())
            pooled["depth"].append(b.ravel())
        if "normals" in theirs:
            pooled["angle"].append(angles(mine["normals"], theirs["normals"]).ravel())
        if "sky" in theirs:
            a, b = (1 / (1 + np.exp(-raw["sky"].astype(np.float64))) for raw in (mine, theirs))
            pooled["sky"].append(np.abs(a - b).ravel())
        if "log_scale" in theirs:
            pooled["scale"].append(np.abs(mine["log_scale"] - theirs["log_scale"]).ravel())
    values = {name: np.concatenate(arrays) for name, arrays in pooled.items()}
    result = dict.fromkeys(COLUMNS, math.nan)
    if "depth" in values:
        relative = np.abs(values["moved"]) / np.maximum(np.abs(values["depth"]), 1)
        result["depth norm"] = float(np.linalg.norm(values["moved"]) / np.linalg.norm(values["depth"]))
        for name, share in (("depth p50", 0.5), ("depth p99", 0.99), ("depth max", 1.0)):
            result[name] = float(np.quantile(relative, share))
    if "angle" in values:
        result["normals mean"] = float(values["angle"].mean())
        result["normals p99"] = float(np.quantile(values["angle"], 0.99))
    if "sky" in values:
        result["sky mean"], result["sky max"] = float(values["sky"].mean()), float(values["sky"].max())
    if "scale" in values:
        result["log scale"] = float(values["scale"].max())
    return result


COLUMNS = {
    "depth norm": ".2e",
    "depth p50": ".2e",
    "depth p99": ".2e",
    "depth max": ".2e",
    "normals mean": ".3f",
    "normals p99": ".3f",
    "sky mean": ".1e",
    "sky max": ".1e",
    "log scale": ".1e",
}
COSTS = {"weights MB": ".1f", "load peak MB": ".1f", "ms": ".1f", "ratio": ".2f"}


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles (6, S, S) between vectors (6, 3, S, S), in degrees; from chords, which keep small ones exact."""
    a, b = (values.astype(np.float64) / np.linalg.norm(values, axis=1, keepdims=True) for values in (a, b))
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=1) / 2, 0, 1)))


def parts_of(alt_start: int) -> dict[str, Callable[[str], bool]]:
    """Which paths of products belong to a part, by its name."""
    parts: dict[str, Callable[[str], bool]] = {
        product: (lambda path, product=product: path.endswith(product))  # type: ignore[misc]
        for product in PRODUCTS
    }
    parts[f"blocks 0-{alt_start - 1}"] = lambda path: block_of(path) < alt_start
    parts[f"w3 of 0-{alt_start - 1}"] = lambda path: block_of(path) < alt_start and path.endswith("mlp.w3")
    return parts


def block_of(path: str) -> int:
    """Number of a product's block."""
    return int(path.removeprefix(QUANTISED_PREFIX).partition(".")[0])


def measure_parts(
    source: str, device: torch.device, precision: str, given: Sequence[Picture], exact: Outputs
) -> dict[str, dict[str, float]]:
    """Errors with one part quantised, and with all but that part; the rest in the ordinary serving precision."""
    architecture = load_model(source, device).architecture
    parts = parts_of(architecture.backbone.alt_start)
    rows = {}
    for name, belongs in parts.items():
        for title, wanted in ((f"only {name}", True), (f"without {name}", False)):
            model = load_model(source, device)
            products = [path for path, _ in model.network.named_modules() if path.endswith(PRODUCTS)]
            for path in products:
                if path.startswith(QUANTISED_PREFIX) and belongs(path) == wanted:
                    quantise_product(model.network, path, precision)
            rows[title] = errors(predict(model, given), exact, architecture.log_depth)
            del model
    return rows


def row_of(table: Table, name: str, values: dict[str, float], *costs: float) -> None:
    table.row(name, *(None if math.isnan(values[column]) else values[column] for column in COLUMNS), *costs)


def compare(report: Report, source: str, device: torch.device, options: argparse.Namespace) -> None:
    """One row per precision, and the parts where asked for."""
    baseline = load_model(source, device)
    architecture = baseline.architecture
    given = pictures(options.panoramas, options.count, architecture.face_size, architecture.cube_fov)
    predict(baseline, given[:1])
    shown = "rendered" if options.panoramas is None else f"of {options.panoramas}"
    title = f"{len(given)} panoramas, {shown}; ratios to {baseline.precision}, errors against float32"
    table = report.table(title, COLUMNS | COSTS, "precision", width=14)
    exact: Outputs = []
    for name in ("float32", *options.precisions):
        try:
            row = measure_precision(source, baseline, name, given, options.repeats)
        except (ConfigError, RuntimeError) as error:
            report.line(f"{name:14}{str(error).splitlines()[0]}")
            continue
        exact = exact or row.outputs
        found = errors(row.outputs, exact, architecture.log_depth)
        ratio = row.baseline_seconds / row.seconds
        row_of(table, name, found, row.weights / MEGA, row.load_peak / MEGA, 1e3 * row.seconds, ratio)
        report.details[name] = found | {"ratio": ratio, "weights": row.weights}
    del baseline
    for precision in LOW_PRECISIONS:
        if options.parts and precision in options.precisions:
            parts = report.table(f"parts in {precision}", COLUMNS, width=24)
            for name, values in measure_parts(source, device, precision, given, exact).items():
                row_of(parts, name, values)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", choices=("da3-giant", "mid", "tiny"), help="default: da3-giant on CUDA, mid else")
    parser.add_argument("--checkpoint", metavar="SOURCE", help="alias, Hub id, folder or URL, in place of random ones")
    parser.add_argument("--panoramas", type=Path, metavar="FOLDER", help="images to predict (default: rendered ones)")
    parser.add_argument("--count", type=int, default=4, help="panoramas (default: 4)")
    parser.add_argument("--precisions", nargs="+", default=["float16", "bfloat16", *LOW_PRECISIONS])
    parser.add_argument("--repeats", type=int, default=3, help="timed forwards of each panorama (default: 3)")
    parser.add_argument("--threads", type=int, help="of torch on a CPU")
    parser.add_argument("--parts", action="store_true", help="errors of each kind of product")


def measure(options: argparse.Namespace, report: Report) -> None:
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    preset = options.preset or ("da3-giant" if device.type == "cuda" else "mid")
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    report.line(f"{options.checkpoint or preset}, {chip}, torch {torch.__version__}")
    if options.checkpoint:
        # The folder of its files: each precision then loads the same ones, without asking where they are again.
        compare(report, os.fspath(resolve_checkpoint(options.checkpoint).weights.parent), device, options)
        return
    report.line(RANDOM_WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        compare(report, os.fspath(write_random_checkpoint(folder, preset)), device, options)
    report.line(f"\n{RANDOM_WEIGHTS}")
