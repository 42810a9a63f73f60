"""Speed on a device: the network, its precisions, the predictor, the job, the compiled network."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.frame import Table, in_own_process
from benchmarks.gpu_context import Context, alone, measure_network, show
from benchmarks.gpu_golden import GOLDEN_NAMES, MOST_GOLDEN_ERROR, golden_errors
from benchmarks.model import (
    GIB,
    SEED,
    Measured,
    Released,
    compare,
    measure_released,
    normalised,
    on_host,
    panoramas,
    served_seconds,
)
from benchmarks.released_model import ReleasedNetwork
from pager_ray.errors import ConfigError
from pager_ray.infer.predictor import Predictor
from pager_ray.infer.settings import InferenceSettings
from pager_ray.model import PagerModel
from pager_ray.model.low_precision import LOW_PRECISIONS, QUANTISED_PREFIX, check_low_precision, quantise_product
from pager_ray.model.memory import suggested_batch
from pager_ray.model.random_checkpoint import random_network

LEAST_RATIO, LEAST_SHARE, LEAST_JOB_SHARE = 3.0, 50.0, 95.0
BATCHES = (1, 2, 4, 8)
PRODUCTS = ("attn.qkv", "attn.proj", "mlp.w12", "mlp.w3")
JOB_NEEDS = ("ray", "grpc", "pyarrow", "pydantic", "click", "yaml", "fsspec", "cv2", "simplejpeg", "PIL", "numba")
LIBRARIES_MISSING = "left out: {} cannot be imported here"


def network(context: Context) -> None:
    """Panoramas per second of the released way and of ours."""
    report, options = context.report, context.options
    report.details |= {
        "preset": options.preset,
        "precision": context.precision,
        "device": context.chip,
        "flop_per_panorama": context.work,
        "ceiling_flop_per_second": context.ceiling,
    }
    columns = {"batch": "d", "panoramas/s": ".3f", "ratio": ".2f", "share": ".1%", "peak GiB": ".2f"}
    table = report.table(f"network, {options.preset}, {context.precision}, {context.chip}", columns)
    baseline, theirs = released(context)
    show(context, table, baseline, baseline)
    model = context.model()
    pair = panoramas(2, context.architecture.face_size)
    predictor = Predictor(model, InferenceSettings())
    agreement = compare(on_host(model(normalised(predictor, pair), ["indoor", "outdoor"])), theirs)
    for way in ("eager", "graphs") if context.on_gpu else ("eager",):
        model.accelerate(way)
        for batch in batches(context):
            row = measure_network(f"ours, {way}", predictor, batch, options.repeats, context.clock)
            show(context, table, row, baseline)
            if row.problem is not None:
                break
    if context.on_gpu:
        fused(context, table, baseline)
    report.details["agreement"] = agreement
    report.figure("relative error of log-depth", agreement["log_depth_relative"], "of the norm", most=2e-3)
    report.figure("mean angle of normals", agreement["normals_mean_degrees"], "degrees", most=0.2)
    best = context.best
    if best is None:
        raise RuntimeError("no way of running the network worked")
    share = 100 * best.network_rate * context.work / context.ceiling
    note = f"{best.way}, batches of {best.batch}"
    # On a CPU the numbers try the script; nobody is promised anything.
    least = (LEAST_RATIO, LEAST_SHARE) if context.on_gpu else (None, None)
    times = 1e3 / baseline.network_rate, 1e3 / best.network_rate
    report.ratio("network on the device", "the released way", *times, "{:.1f} ms", least=least[0], note=note)
    report.figure("share of the measured matrix rate", share, "%", least=least[1], note=note)


def fused(context: Context, table: Table, baseline: Measured) -> None:
    """Ours with kernels of its own: in a process of its own, as what a kernel breaks is the whole device's state."""
    options, report = context.options, context.report
    arguments = (options.preset, options.device, batches(context), options.repeats, str(options.golden))
    try:
        found = in_own_process("gpu_parts:run_fused", *arguments, timeout=max(context.left(), 1.0))
    except RuntimeError as error:
        report.failed("fused", error)
        return
    for one in found["rows"]:
        show(context, table, Measured(**one), baseline)
    for name, value in found["golden"].items():
        report.figure(f"fused, float32, {name}", value, "standard deviations", most=MOST_GOLDEN_ERROR["cuda"])
    agreement = report.details["fused_agreement"] = found["agreement"]
    report.figure("fused: relative error of log-depth", agreement["log_depth_relative"], "of the norm", most=2e-3)
    report.figure("fused: mean angle of normals", agreement["normals_mean_degrees"], "degrees", most=0.2)


def run_fused(preset: str, device: str, sizes: list[int], repeats: int, golden: str) -> dict[str, Any]:
    """Rows with kernels of its own, errors of golden checkpoints, and how far the network is from itself without."""
    context = alone(preset, device)
    errors: dict[str, float] = {}
    for name in GOLDEN_NAMES:
        found = golden_errors(context.device, Path(golden) / name, "float32", way="fused")
        errors |= {f"{name}: largest error of {key}": float(values.max()) for key, values in found.items()}
    model = context.model()
    predictor = Predictor(model, InferenceSettings())
    pair = normalised(predictor, panoramas(2, context.architecture.face_size))
    expected = on_host(model(pair, ["indoor", "outdoor"]))
    model.accelerate("fused")
    agreement = compare(on_host(model(pair, ["indoor", "outdoor"])), expected)
    rows = [asdict(measure_network("ours, fused", predictor, batch, repeats, context.clock)) for batch in sizes]
    return {"rows": rows, "golden": errors, "agreement": agreement}


def released(context: Context) -> tuple[Measured, dict[str, np.ndarray]]:
    """The released way's row, and its maps of two panoramas."""
    weights = random_network(context.architecture, device=context.device, seed=SEED)
    chain = Released(ReleasedNetwork(weights, torch.float16 if context.on_gpu else None), InferenceSettings())
    baseline = measure_released(chain, context.options.repeats, context.clock)
    pair = panoramas(2, context.architecture.face_size)
    return baseline, on_host(chain.network(chain.upload(pair), ["scale_indoor", "scale_outdoor"]))


def batches(context: Context) -> list[int]:
    """1, 2, 4, 8 and the largest that fits."""
    if not context.on_gpu:
        return list(BATCHES[:2])
    free = torch.cuda.mem_get_info()[0]
    largest = suggested_batch(context.architecture, free, context.precision, graphs=True)
    return sorted({*(batch for batch in BATCHES if batch <= largest), largest})


def precisions(context: Context) -> None:
    """8-bit products beside the ordinary precision."""
    report, repeats = context.report, context.options.repeats
    # Four panoramas fill any chip, and float32 takes several times as long.
    batch = min(context.best.batch, 4) if context.best is not None else 1
    pair = panoramas(2, context.architecture.face_size)
    columns = {"panoramas/s": ".3f", "ratio": ".2f", "peak GiB": ".2f"}
    columns |= {"log-depth": ".2e", "normals °": ".3f", "sky logit": ".2e", "log scale": ".2e"}
    table = report.table(f"precisions, batches of {batch}, errors against float32 of random weights", columns)
    exact: dict[str, np.ndarray] | None = None
    ordinary: float | None = None
    for name in ("float32", context.precision, "bfloat16", *LOW_PRECISIONS):
        if exact is not None and name == "float32":
            continue
        try:
            model = quantised(context, name) if name in LOW_PRECISIONS else context.model(name)
        except (ConfigError, torch.OutOfMemoryError) as error:
            table.row(name, str(error).splitlines()[0][:100])
            continue
        predictor = Predictor(model, InferenceSettings())
        raw = on_host(model(normalised(predictor, pair), ["indoor", "outdoor"]))
        exact = exact or raw
        if context.on_gpu:
            model.accelerate("graphs")
        row = measure_network(f"precision {name}", predictor, batch, repeats, context.clock)
        if row.problem is not None:
            table.row(name, row.problem)
            continue
        context.keep(row)
        ordinary = row.network_rate if name == context.precision else ordinary
        errors = compare(raw, exact)
        ratio = row.network_rate / ordinary if ordinary else None
        table.row(
            name,
            row.network_rate,
            ratio,
            row.peak / GIB,
            errors["log_depth_relative"],
            errors["normals_mean_degrees"],
            errors["sky_logit_max"],
            errors["log_scale_max"],
        )
        report.details.setdefault("precisions", {})[name] = errors | {"ratio": ratio}
        del model, predictor


def quantised(context: Context, precision: str) -> PagerModel:
    """Ours with the backbone's products in 8 bits."""
    check_low_precision(precision, context.device)
    model = context.model()
    for path, _ in list(model.network.named_modules()):
        if path.startswith(QUANTISED_PREFIX) and path.endswith(PRODUCTS):
            quantise_product(model.network, path, precision)
    model.precision = precision
    return model


def predictor(context: Context) -> None:
    """From faces, or panoramas, in host memory to maps in host memory."""
    report, repeats = context.report, max(context.options.repeats, 2)
    batch = context.best.batch if context.best is not None else 1
    chain = Predictor(context.model(), InferenceSettings())
    chain.model.accelerate(context.way, batch)
    size = context.architecture.face_size
    faces, scenes = panoramas(batch, size), ["indoor"] * batch
    chain(faces, scenes)
    if context.on_gpu:
        check_no_waiting(chain, faces, scenes)
    table = report.table(f"predictor, batches of {batch}", {"panoramas/s": ".3f", "of overlap": ".2f"}, width=34)
    overlapping = served_seconds(chain, faces, scenes, repeats)
    alone = statistics.median(wall_seconds(lambda: chain(faces, scenes)) for _ in range(repeats))
    height = min(2048, 4 * size)
    erps = [np.random.default_rng(row).integers(0, 256, (height, 2 * height, 3), np.uint8) for row in range(batch)]
    chain.submit_panoramas(erps, scenes).result()
    sampled = statistics.median(
        wall_seconds(lambda: chain.submit_panoramas(erps, scenes).result()) for _ in range(repeats)
    )
    for name, seconds in (
        ("two batches in flight", overlapping),
        ("one batch at a time", alone),
        (f"faces sampled on the device, one at a time, of {height}×{2 * height}", sampled),
    ):
        table.row(name, batch / seconds, overlapping / seconds)
        report.details.setdefault("predictor", {})[name] = batch / seconds
    context.predictor_rate = batch / overlapping
    report.figure("predictor, two batches in flight", batch / overlapping, "panoramas/s")
    report.ratio("overlap of two batches", "one at a time", 1e3 * alone, 1e3 * overlapping, "{:.1f} ms")


def check_no_waiting(chain: Predictor, faces: np.ndarray, scenes: list[str]) -> None:
    """Submit a batch where torch makes every wait for the device an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = chain.submit(faces, scenes)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    pending.result()


def wall_seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def job(context: Context) -> None:
    """The job itself, where its libraries are."""
    if context.prepared is None:
        context.report.details["job"] = LIBRARIES_MISSING.format(", ".join(missing_libraries()))
        context.report.line(f"\njob {context.report.details['job']}")
        return
    folder = context.prepared.result(timeout=max(context.left(), 1.0))
    arguments = (folder, context.options.rows, context.on_gpu, context.way)
    found = in_own_process("gpu_parts:run_a_job", *arguments, timeout=max(context.left(), 1.0))
    context.report.details["job"] = found
    table = context.report.table("job", {"panoramas": "d", "panoramas/s": ".3f", "of predictor": ".1%"})
    steady, rate = found["steady_rate"], context.predictor_rate
    table.row("steady state", found["rows"], steady, steady / rate if rate else None)
    least = LEAST_JOB_SHARE if context.on_gpu else None
    if rate:
        context.report.figure("job over predictor", 100 * steady / rate, "%", least=least)


def missing_libraries() -> list[str]:
    """What the job needs and cannot be imported here."""
    return [name for name in JOB_NEEDS if importlib.util.find_spec(name) is None]


def prepare_a_job(folder: str, preset: str, on_gpu: bool) -> str:
    """Render panoramas and write a checkpoint for :func:`run_a_job`; gives the folder."""
    from pager_ray.model.random_checkpoint import write_random_checkpoint
    from pager_ray.samples import write_samples

    write_random_checkpoint(Path(folder) / "checkpoint", preset)
    write_samples(Path(folder) / "panoramas", 4, height=2048 if on_gpu else 64, ground_truth=False)
    return folder


def run_a_job(place: str, rows: int, on_gpu: bool, way: str) -> dict[str, Any]:
    """Run the job on what was prepared; its figures."""
    from benchmarks.pipeline import make_listing
    from pager_ray.config import load_config
    from pager_ray.pipeline.job import run_job

    folder = Path(place)
    listing = make_listing(folder, rows, sorted((folder / "panoramas").glob("*.jpg")))
    settings = [f"input.uris={listing}", f"output.uri={folder / 'run'}", f"checkpoint={folder / 'checkpoint'}"]
    # A Ray of its own, unless another is named.
    address = os.environ.get("RAY_ADDRESS", "local")
    settings += ["scene_mode=indoor", f"compute.address={address}", "output.projection=cubemap"]
    settings += [f"compute.acceleration={way}"] if on_gpu else ["compute.gpus_per_worker=0"]
    began = time.monotonic()
    run_job(load_config(None, settings))
    seconds = time.monotonic() - began
    start = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))["starts"][-1]
    infer = start["stages"]["stages"]["infer"]
    return {
        "rows": rows,
        "whole_rate": rows / seconds,
        "steady_rate": infer["busy_share"] / infer["seconds_per_panorama"],
        "stages": start["stages"],
    }


def compiled(context: Context) -> None:
    """The network compiled, as far as there is time."""
    options, batch = context.options, context.best.batch if context.best is not None else 1
    arguments = (options.preset, options.device, batch, options.repeats)
    row = Measured(**in_own_process("gpu_parts:run_compiled", *arguments, timeout=max(context.left(), 1.0)))
    context.keep(row)
    if row.problem is not None:
        raise RuntimeError(row.problem)
    table = context.report.table("compiled", {"batch": "d", "panoramas/s": ".3f", "share": ".1%"})
    table.row(row.way, batch, row.network_rate, row.network_rate * context.work / context.ceiling)
    context.report.figure("network compiled", row.network_rate, "panoramas/s", note=f"batches of {batch}")


def run_compiled(preset: str, device: str, batch: int, repeats: int) -> dict[str, Any]:
    """The row of the compiled network, in this process."""
    context = alone(preset, device)
    model = context.model()
    model.accelerate("compile", batch)
    row = measure_network("ours, compiled", Predictor(model, InferenceSettings()), batch, repeats, context.clock)
    return asdict(row)
