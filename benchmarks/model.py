"""Panoramas per second of the network, beside the released way of running it and beside what the chip could do.

Random weights, made on the device from a seed; the baseline ``released`` (see ``released_model.py``) and ours get the
same ones and the same panoramas. Per way of running and number of panoramas:

- *network*: from normalised faces to raw maps, all five heads, one scale head running. Median, by events of the device
  on a GPU, by the clock on a CPU, where the baseline and ours take turns for ten seconds: a machine that is slow for a
  while is so for both.
- *served*: from uint8 faces in host memory to finished arrays in host memory, one batch submitted before the one before
  it is fetched. Mean of ``--repeats`` batches by the clock.
- *latency*: the same of one batch alone; median.
- *peak*: most memory ever allocated, weights included: on the device, or of this process on a CPU; beside it what
  ``pager_ray.model.memory`` says.
- *share*: network panoramas per second times the floating-point operations of a panorama (matrix products, attention
  and convolutions, counted) over the best rate of large square matrix products, measured in the same run and dtype.

The released way runs one panorama per forward, so it has one row. Times of parts are of eager runs of one panorama; the
padding's is part of its heads', and only ours' post-processing includes the quality columns. On a CPU the serving
precision is float32 for both, and *peak* includes the interpreter and its libraries.

Agreement with the baseline on the same panoramas, one indoors and one outdoors: the relative error of log-depth is the
norm of the difference over the norm of the baseline's log-depth; median and largest are of |difference| over
max(|log-depth|, 1); the angle is between predicted normals.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.frame import Report, Table
from benchmarks.released_model import ReleasedNetwork
from pager_ray.infer.predictor import Predictor
from pager_ray.infer.settings import InferenceSettings
from pager_ray.model import PagerModel, resolve_checkpoint
from pager_ray.model.architecture import FACES
from pager_ray.model.checkpoint import ResolvedCheckpoint
from pager_ray.model.flops import panorama_flops
from pager_ray.model.memory import peak_bytes
from pager_ray.model.network import PagerNetwork
from pager_ray.model.random_checkpoint import random_architecture, random_network
from pager_ray.model.serving import PRECISIONS
from pager_ray.model.spherical_padding import SphericalPadding
from pager_ray.postprocess import euclidean_depth

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOG_DEPTH_ERROR = 2e-3
MAX_NORMALS_DEGREES = 0.2
LEAST_RATIO = {"cuda": 3.0, "cpu": 1.5}
LEAST_SHARE = 50.0
GIB = 2**30
TURN_SECONDS = 10.0
MATRIX_SIDES = {"cuda": (4096, 8192, 16384), "cpu": (1024, 2048)}
SEED = 7


@dataclass
class Measured:
    """One way of running at one number of panoramas; seconds, bytes."""

    way: str
    batch: int
    network: float = math.nan
    served: float = math.nan
    latency: float = math.nan
    peak: float = math.nan
    predicted_peak: float = math.nan
    problem: str | None = None

    @property
    def network_rate(self) -> float:
        """Panoramas per second of the network."""
        return self.batch / self.network

    @property
    def served_rate(self) -> float:
        """Panoramas per second from host to host."""
        return self.batch / self.served


class Clock:
    """Seconds of work on a device: by its own events, or by the clock on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> Any:
        """A moment: in the device's order of work on a GPU, else now."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, began: Any, ended: Any) -> float:
        """Seconds between two moments that are past."""
        return ended - began if self.device.type != "cuda" else began.elapsed_time(ended) / 1e3

    def wait(self) -> None:
        """Wait until the device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median(self, call: Callable[[], object], repeats: int) -> float:
        """Median of timed calls after one that warms up."""
        call()
        moments = []
        for _ in range(repeats):
            self.wait()
            began = self.mark()
            call()
            moments.append((began, self.mark()))
        self.wait()
        return statistics.median(self.between(*pair) for pair in moments)

    def turns(self, calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
        """Medians of timed calls that take turns, at least so many and for a few seconds."""
        for call in calls:
            call()
        spent: list[list[float]] = [[] for _ in calls]
        while len(spent[-1]) < repeats or sum(map(sum, spent)) < TURN_SECONDS:
            for call, seconds in zip(calls, spent, strict=True):
                began = self.mark()
                call()
                self.wait()
                seconds.append(self.between(began, self.mark()))
        return [statistics.median(seconds) for seconds in spent]


class Parts:
    """Adds up what is spent in functions of objects, by label."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.moments: defaultdict[str, list[tuple[Any, Any]]] = defaultdict(list)
        self._restore: list[tuple[object, str]] = []

    def watch(self, owner: object, function: str, label: str) -> None:
        """Count every call of one function."""
        call = getattr(owner, function)

        def timed(*arguments: Any, **named: Any) -> Any:
            began = self.clock.mark()
            result = call(*arguments, **named)
            self.moments[label].append((began, self.clock.mark()))
            return result

        setattr(owner, function, timed)
        self._restore.append((owner, function))

    def release(self) -> None:
        """Put the functions back."""
        for owner, function in self._restore:
            delattr(owner, function)

    def seconds(self) -> dict[str, float]:
        """Sum by label since the last time."""
        self.clock.wait()
        sums = {label: sum(self.clock.between(*pair) for pair in pairs) for label, pairs in self.moments.items()}
        self.moments.clear()
        return sums


class Released:
    """The released chain: one panorama after the other, float32 after the network, copied to the host by map."""

    def __init__(self, network: ReleasedNetwork, settings: InferenceSettings) -> None:
        self.network = network
        self.settings = settings
        self.normaliser = Predictor(as_model(network.network, network.device, "float32"), settings)

    @torch.inference_mode()
    def __call__(self, faces: np.ndarray, scenes: Sequence[str]) -> list[dict[str, np.ndarray]]:
        """uint8 faces (B, 6, S, S, 3) to maps on the host."""
        return [self._one(faces[row : row + 1], scene) for row, scene in enumerate(scenes)]

    def _one(self, faces: np.ndarray, scene: str) -> dict[str, np.ndarray]:
        raw = self.network(self.upload(faces), [f"scale_{scene}"])
        return self.download(self.finish(raw))

    def upload(self, faces: np.ndarray) -> Tensor:
        """Normalised faces on the device."""
        return normalised(self.normaliser, faces)

    def finish(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Euclidean depth, normals and sky probability, float32."""
        fov, limits = self.network.architecture.cube_fov, self.settings.depth_range
        depth = euclidean_depth(raw["depth"].float(), raw["log_scale"].float(), fov, limits)
        normals = raw["normals"].float().permute(0, 1, 3, 4, 2).contiguous()
        return {"depth": depth, "normals": normals, "sky": raw["sky"].float().sigmoid()}

    def download(self, maps: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Each map by a copy of its own."""
        return {name: values.cpu().numpy() for name, values in maps.items()}


def normalised(predictor: Predictor, faces: np.ndarray) -> Tensor:
    """ImageNet-normalised faces (B, 6, 3, S, S) on the device."""
    pixels = torch.from_numpy(faces).to(predictor.model.device).permute(0, 1, 4, 2, 3)
    return torch.addcmul(predictor._offset, pixels.float(), predictor._gain)


def as_model(network: PagerNetwork, device: torch.device, precision: str) -> PagerModel:
    nowhere = ResolvedCheckpoint("random", "random weights", None, Path(), Path(), None)
    return PagerModel(network, nowhere, device, precision)


def panoramas(count: int, size: int) -> np.ndarray:
    """Smooth shapes with fine noise, uint8 (B, 6, S, S, 3)."""
    generator = torch.Generator().manual_seed(SEED)
    coarse = torch.randn(count * FACES, 3, 9, 9, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    values = 128 + 45 * smooth + 8 * torch.randn(smooth.shape, generator=generator)
    return values.clamp(0, 255).byte().view(count, FACES, 3, size, size).permute(0, 1, 3, 4, 2).contiguous().numpy()


def matrix_rate(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """Operations per second of the fastest of a few square matrix products."""
    best = 0.0
    for side in MATRIX_SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        repeats = 20 if device.type == "cuda" else 5
        best = max(best, 2 * side**3 / clock.median(lambda a=a, b=b: a @ b, repeats))  # type: ignore[misc]
    return best


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float]]:
    """Gives a function that tells the most bytes in use since entry."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: float(torch.cuda.max_memory_allocated(device))
        return
    with suppress(OSError):
        # Sets the process's high-water mark back to what it uses now.
        Path("/proc/self/clear_refs").write_text("5")
    yield _high_water


def _high_water() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), math.nan)


def measure_ours(way: str, predictor: Predictor, batch: int, repeats: int, clock: Clock) -> Measured:
    """All columns of one row; running out of memory and what a compiler refuses become the row's text."""
    model = predictor.model
    row = Measured(way, batch)
    faces, scenes = panoramas(batch, model.architecture.face_size), ["indoor"] * batch
    try:
        with peak_memory(model.device) as peak, torch.inference_mode():
            inputs = normalised(predictor, faces)
            row.network = clock.median(lambda: model(inputs, scenes), repeats)
            del inputs
            row.latency = clock.median(lambda: predictor(faces, scenes), repeats)
            row.served = served_seconds(predictor, faces, scenes, max(repeats, 2))
            row.peak = peak()
    except torch.OutOfMemoryError:
        row.problem = "out of memory"
    except RuntimeError as error:
        row.problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    row.predicted_peak = peak_bytes(model.architecture, batch, model.precision)
    return row


def served_seconds(predictor: Predictor, faces: np.ndarray, scenes: list[str], batches: int) -> float:
    """Seconds per batch, each submitted before the one before it is fetched."""
    predictor(faces, scenes)
    began = time.perf_counter()
    pending = predictor.submit(faces, scenes)
    for _ in range(batches - 1):
        following = predictor.submit(faces, scenes)
        pending.result()
        pending = following
    pending.result()
    return (time.perf_counter() - began) / batches


def measure_released(chain: Released, repeats: int, clock: Clock) -> Measured:
    row = Measured("released", 1)
    faces, scenes = panoramas(1, chain.network.architecture.face_size), ["indoor"]
    with peak_memory(chain.network.device) as peak, torch.inference_mode():
        inputs = chain.upload(faces)
        row.network = clock.median(lambda: chain.network(inputs, ["scale_indoor"]), repeats)
        row.latency = clock.median(lambda: chain(faces, scenes), repeats)
        row.served = row.latency
        row.peak = peak()
    return row


@torch.inference_mode()
def take_turns(chain: Released, predictor: Predictor, repeats: int, clock: Clock) -> tuple[float, float]:
    """Seconds of the baseline's network and of ours, for one panorama."""
    faces = panoramas(1, predictor.model.architecture.face_size)
    theirs, ours = chain.upload(faces), normalised(predictor, faces)
    calls = [lambda: chain.network(theirs, ["scale_indoor"]), lambda: predictor.model(ours, ["indoor"])]
    baseline, eager = clock.turns(calls, repeats)
    return baseline, eager


def watch_network(parts: Parts, network: PagerNetwork) -> None:
    """Label the network's parts; paddings count once more, inside their heads."""
    parts.watch(network.backbone, "forward", "backbone")
    for name in network.architecture.modalities:
        parts.watch(network.head(name), "forward", "scale" if name.startswith("scale") else f"{name} head")
    paddings = {id(module.border): module.border for module in network.modules() if hasattr(module, "border")}
    for border in paddings.values():
        if isinstance(border, nn.Module):
            parts.watch(border, "forward", "padding, of these")
            if isinstance(border, SphericalPadding):
                # `forward` ends in `refresh`; only the calls from elsewhere count.
                outer_only(parts, border)


def outer_only(parts: Parts, border: SphericalPadding) -> None:
    """Count calls of ``refresh`` that do not come from ``forward``."""
    refresh, forward = type(border).refresh.__get__(border), border.forward
    inside = [False]

    def timed_refresh(padded: Tensor) -> Tensor:
        if inside[0]:
            return refresh(padded)
        began = parts.clock.mark()
        result = refresh(padded)
        parts.moments["padding, of these"].append((began, parts.clock.mark()))
        return result

    def marked_forward(x: Tensor, **how: bool) -> Tensor:
        inside[0] = True
        try:
            return forward(x, **how)
        finally:
            inside[0] = False

    border.refresh = timed_refresh  # type: ignore[method-assign]
    border.forward = marked_forward  # type: ignore[method-assign]
    parts._restore.append((border, "refresh"))


def parts_of(parts: Parts, run: Callable[[], object], repeats: int, total: Callable[[dict[str, float]], None]) -> None:
    """Give the medians of parts over a few runs."""
    run()
    parts.seconds()
    runs = []
    for _ in range(repeats):
        run()
        runs.append(parts.seconds())
    total({label: statistics.median(values[label] for values in runs) for label in runs[0]})
    parts.release()


def released_parts(chain: Released, repeats: int, clock: Clock) -> dict[str, float]:
    parts, result = Parts(clock), dict[str, float]()
    watch_network(parts, chain.network.network)
    parts.watch(chain, "upload", "upload")
    parts.watch(chain, "finish", "post-processing")
    parts.watch(chain, "download", "download")
    faces = panoramas(1, chain.network.architecture.face_size)
    parts_of(parts, lambda: chain(faces, ["indoor"]), repeats, result.update)
    return result


def our_parts(predictor: Predictor, repeats: int, clock: Clock) -> dict[str, float]:
    parts, result = Parts(clock), dict[str, float]()
    watch_network(parts, predictor.model.network)
    parts.watch(predictor, "_upload", "upload")
    parts.watch(predictor, "_collect", "post-processing")
    download = predictor._download

    def awaited_download(maps: dict[str, Tensor]) -> Any:
        arriving = download(maps)
        # Joins the stream of the copies, so that the event after this lies after them.
        if predictor._copies is not None:
            torch.cuda.current_stream(predictor.model.device).wait_stream(predictor._copies)
        return arriving

    predictor._download = awaited_download  # type: ignore[method-assign]
    parts.watch(predictor, "_download", "download")
    faces = panoramas(1, predictor.model.architecture.face_size)
    parts_of(parts, lambda: predictor(faces, ["indoor"]), repeats, result.update)
    return result


@torch.inference_mode()
def compare(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Figures of agreement, as the module's text defines them."""
    log_depth, expected = ours["depth"].astype(np.float64), theirs["depth"].astype(np.float64)
    error = np.abs(log_depth - expected)
    relative = error / np.maximum(np.abs(expected), 1)
    a, b = (np.moveaxis(maps["normals"].astype(np.float64), 2, -1) for maps in (ours, theirs))
    # By both lengths of the sum and the difference of unit vectors: the arc cosine is blunt at small angles.
    a, b = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-6) for v in (a, b))
    angle = np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))
    return {
        "log_depth_relative": float(np.linalg.norm(error) / np.linalg.norm(expected)),
        "log_depth_median": float(np.median(relative)),
        "log_depth_max": float(relative.max()),
        "normals_mean_degrees": float(angle.mean()),
        "normals_max_degrees": float(angle.max()),
        "sky_logit_max": float(np.abs(ours["sky"] - theirs["sky"]).max()),
        "log_scale_max": float(np.abs(ours["log_scale"] - theirs["log_scale"]).max()),
    }


def on_host(raw: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: raw[name].float().cpu().numpy() for name in ("depth", "normals", "sky", "log_scale")}


def rows_until_full(
    way: str, predictor: Predictor, batches: Sequence[int], repeats: int, clock: Clock
) -> Iterator[Measured]:
    """Rows up to the first that does not fit."""
    for batch in batches:
        row = measure_ours(way, predictor, batch, repeats, clock)
        yield row
        if row.problem is not None:
            return


COLUMNS = {
    "batch": "d",
    "network/s": ".3f",
    "ms each": ".1f",
    "ratio": ".2f",
    "served/s": ".3f",
    "its ratio": ".2f",
    "latency ms": ".1f",
    "share": ".1%",
    "peak GiB": ".2f",
    "predicted": ".2f",
}


@dataclass(frozen=True)
class Frame:
    """What every row is set against: the fastest matrix products, and a panorama's operations."""

    table: Table
    ceiling: float
    work: float

    def show(self, row: Measured, baseline: Measured | None) -> None:
        """Print one row."""
        if row.problem is not None:
            self.table.row(row.way, row.batch, row.problem)
            return
        predicted = None if math.isnan(row.predicted_peak) else row.predicted_peak / GIB
        self.table.row(
            row.way,
            row.batch,
            row.network_rate,
            1e3 / row.network_rate,
            row.network_rate / baseline.network_rate if baseline else None,
            row.served_rate,
            row.served_rate / baseline.served_rate if baseline else None,
            1e3 * row.latency,
            row.network_rate * self.work / self.ceiling,
            row.peak / GIB,
            predicted,
        )


def show_parts(report: Report, parts: dict[str, dict[str, float]]) -> None:
    labels = list(dict.fromkeys(label for values in parts.values() for label in values))
    table = report.table("parts, ms of one panorama, eager", dict.fromkeys(parts, ".2f") | {"ratio": ".2f"})
    for label in labels:
        values = [way.get(label, math.nan) for way in parts.values()]
        ratio = values[0] / values[-1] if len(values) > 1 and values[-1] > 0 else None
        table.row(label, *(1e3 * value for value in values), ratio)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", choices=("da3-giant", "mid", "tiny"), help="default: da3-giant on CUDA, mid else")
    parser.add_argument("--checkpoint", metavar="SOURCE", help="take its sizes, with random weights, for a preset")
    parser.add_argument(
        "--batches", help="numbers of panoramas, comma-separated (default: 1 on a CPU; 1, 2, 4 … on CUDA)"
    )
    parser.add_argument("--baseline", choices=("released", "none"), default="released")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default: float16 on CUDA, float32 else")
    parser.add_argument("--compile", action="store_true", help="measure ours compiled, too")
    parser.add_argument("--threads", type=int, help="of torch on a CPU")
    parser.add_argument("--repeats", type=int, help="timed calls, of which the median counts (default: 10 on CUDA, 5)")


def settle(options: argparse.Namespace) -> None:
    """Give options that depend on the device their values."""
    on_gpu = torch.device(options.device).type == "cuda"
    options.preset = options.checkpoint or options.preset or ("da3-giant" if on_gpu else "mid")
    options.precision = options.precision or ("float16" if on_gpu else "float32")
    options.batches = options.batches or ("1,2,4,8,16,32,64" if on_gpu else "1")
    options.repeats = options.repeats or (10 if on_gpu else 5)
    if options.threads:
        torch.set_num_threads(options.threads)


def measure(options: argparse.Namespace, report: Report) -> None:
    settle(options)
    device, clock = torch.device(options.device), Clock(torch.device(options.device))
    architecture = (
        resolve_checkpoint(options.checkpoint).architecture
        if options.checkpoint
        else random_architecture(options.preset)
    )
    settings, repeats, on_gpu = InferenceSettings(), options.repeats, device.type == "cuda"
    batches = [int(part) for part in options.batches.split(",")]
    dtype = PRECISIONS[options.precision]
    chip = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    ceiling, work = matrix_rate(device, dtype, clock), panorama_flops(architecture)
    report.line(f"{options.preset}, {options.precision}, {chip}, torch {torch.__version__}")
    per_second = f"{ceiling / 1e12:.2f} TFLOP/s = {ceiling / work:.2f} panoramas/s"
    report.line(f"{work / 1e12:.3f} TFLOP per panorama; ceiling {per_second}")
    frame = Frame(report.table(f"network, {options.preset}", COLUMNS, width=18), ceiling, work)
    pair = panoramas(2, architecture.face_size)
    parts: dict[str, dict[str, float]] = {}
    rows: list[Measured] = []
    baseline = theirs = chain = None
    if options.baseline == "released":
        released = ReleasedNetwork(
            random_network(architecture, device=device, seed=SEED), torch.float16 if on_gpu else None
        )
        chain = Released(released, settings)
        baseline = measure_released(chain, repeats, clock)
        rows.append(baseline)
        theirs = on_host(released(chain.upload(pair), ["scale_indoor", "scale_outdoor"]))
        parts["released"] = released_parts(chain, repeats, clock)
        if on_gpu:
            # Ours is to have the device's memory to itself.
            chain = None
        del released

    gc.collect()
    network = random_network(architecture, device=device, dtype=dtype, seed=SEED)
    network.freeze()
    model = as_model(network, device, options.precision)
    predictor = Predictor(model, settings)
    agreement = compare(on_host(model(normalised(predictor, pair), ["indoor", "outdoor"])), theirs) if theirs else None
    eager = None
    if baseline is not None:
        if chain is not None:
            baseline.network, eager = take_turns(chain, predictor, repeats, clock)
            # What follows measures memory, too.
            chain = None
        frame.show(baseline, baseline)
    ways: list[tuple[str, Callable[[], object]]] = [("ours, eager", lambda: None)]
    if on_gpu:
        ways.append(("ours, graphs", model.replay))
    if options.compile:
        ways.append(("ours, compiled", model.compile))
        if on_gpu:
            ways.append(("compiled, graphs", model.replay))
    for way, prepare in ways:
        prepare()
        for row in rows_until_full(way, predictor, batches, repeats, clock):
            if eager is not None and (way, row.batch) == ("ours, eager", 1):
                row.network = eager
            rows.append(row)
            frame.show(row, baseline)
        if way == "ours, eager":
            parts["ours"] = our_parts(predictor, repeats, clock)
    show_parts(report, parts)
    report.details |= {
        "preset": options.preset,
        "precision": options.precision,
        "device": chip,
        "flop_per_panorama": work,
        "ceiling_flop_per_second": ceiling,
        "rows": [asdict(row) for row in rows],
        "parts_seconds": parts,
        "agreement": agreement,
    }
    keep_figures(report, options, rows, baseline, agreement, frame)


def keep_figures(
    report: Report,
    options: argparse.Namespace,
    rows: Sequence[Measured],
    baseline: Measured | None,
    agreement: dict[str, float] | None,
    frame: Frame,
) -> None:
    """Agreement and what must hold."""
    kind, preset = torch.device(options.device).type, options.preset
    if agreement is not None:
        table = report.table("agreement with the baseline", {"": ".2e"}, width=32)
        for name, value in agreement.items():
            table.row(name, value)
        name = f"relative error of log-depth, {preset}"
        report.figure(name, agreement["log_depth_relative"], "of the norm", most=MAX_LOG_DEPTH_ERROR)
        name = f"mean angle of normals, {preset}"
        report.figure(name, agreement["normals_mean_degrees"], "degrees", most=MAX_NORMALS_DEGREES)
    good = [row for row in rows if row is not baseline and row.problem is None]
    if not good:
        report.failed("network", "no way of running it worked")
        return
    best = max(good, key=lambda row: row.network_rate)
    if baseline is not None:
        report.ratio(
            f"network, {preset}",
            "the released way",
            1e3 / baseline.network_rate,
            1e3 / best.network_rate,
            least=LEAST_RATIO[kind],
            note=f"{best.way}, batches of {best.batch}",
        )
    share = 100 * best.network_rate * frame.work / frame.ceiling
    report.figure(f"share of the matrix rate, {preset}", share, "%", least=LEAST_SHARE if kind == "cuda" else None)
    alone = next((row for row in good if row.batch == 1), None)
    if alone is not None and kind == "cuda":
        report.figure(f"peak memory of one panorama, {preset}", alone.peak / GIB, "GiB", most=6)
