"""Where a device's time goes: its kernels by their time, and what it could do otherwise about the largest of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import DeviceType, ProfilerActivity, profile

from benchmarks.frame import in_own_process
from benchmarks.gpu_context import Context, alone, measure_network
from benchmarks.model import SEED, Clock, Measured, normalised, panoramas
from pager_ray.infer.predictor import Predictor
from pager_ray.infer.settings import InferenceSettings
from pager_ray.model.architecture import FACES

SHOWN = 25
BACKENDS = ("default", "FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")


def kernels(context: Context) -> None:
    """The network's kernels, attention by its implementation, and convolutions that cuDNN chooses by trying."""
    options, report = context.options, context.report
    batch = context.best.batch if context.best is not None else 1
    arguments = (options.preset, options.device, batch, context.way, options.repeats)
    found = in_own_process("gpu_kernels:run_kernels", *arguments, timeout=max(context.left(), 1.0))
    report.details["kernels"] = found
    columns = {"calls": "d", "ms": ".3f", "share": ".1%"}
    table = report.table(f"kernels of a panorama, {context.way}, batches of {batch}", columns, width=64)
    whole = sum(milliseconds for _, _, milliseconds in found["kernels"])
    for name, calls, milliseconds in found["kernels"][:SHOWN]:
        table.row(name[:64], calls, milliseconds, milliseconds / whole)
    rest = found["kernels"][SHOWN:]
    if rest:
        milliseconds = sum(one for _, _, one in rest)
        table.row(f"{len(rest)} others", sum(calls for _, calls, _ in rest), milliseconds, milliseconds / whole)
    columns = {"TFLOP/s": ".1f", "share": ".1%"}
    table = report.table(f"attention among {found['tokens']} tokens", columns, width=34)
    for name, rate in found["attention"].items():
        if isinstance(rate, str):
            table.row(name.lower(), rate)
        else:
            table.row(name.lower(), rate / 1e12, rate / context.ceiling)
    if found["tried"] is not None:
        row = Measured(**found["tried"])
        context.keep(row)
        table = report.table("convolutions that cuDNN chooses by trying", {"batch": "d", "panoramas/s": ".3f"})
        table.row(row.way, batch, row.problem or row.network_rate)


def run_kernels(preset: str, device: str, batch: int, way: str, repeats: int) -> dict[str, Any]:
    """Kernels of one forward, by falling time: name, calls, and milliseconds of a panorama; the others' figures."""
    context = alone(preset, device)
    model = context.model()
    predictor = Predictor(model, InferenceSettings())
    inputs = normalised(predictor, panoramas(batch, context.architecture.face_size))
    # One by one and not as a graph, whose kernels a profiler may not see when it was recorded before.
    with ExitStack() as undo, torch.inference_mode():
        if way == "fused":
            from pager_ray.model.fused import fuse

            undo.callback(fuse(model.network))
        found = kernels_of(lambda: model(inputs, ["indoor"] * batch), context.clock)
    backbone = context.architecture.backbone
    tokens = FACES * (context.architecture.grid**2 + 1)
    tried = None
    if context.on_gpu:
        torch.backends.cudnn.benchmark = True
        model.accelerate(way, batch)
        tried = vars(measure_network(f"tried, {way}", predictor, batch, repeats, context.clock))
    return {
        "kernels": [(name, calls, milliseconds / batch) for name, calls, milliseconds in found],
        "tokens": tokens,
        "attention": attention_rates(context, (batch, backbone.num_heads, tokens, backbone.head_dim)),
        "tried": tried,
    }


def kernels_of(call: Callable[[], object], clock: Clock) -> list[tuple[str, int, float]]:
    """Name, calls and milliseconds of what ran on the device, the longest first; a CPU's are torch's operations."""
    call()
    clock.wait()
    on_gpu = clock.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        call()
        clock.wait()
    wanted = DeviceType.CUDA if on_gpu else DeviceType.CPU
    found = []
    for event in profiler.key_averages():
        if event.device_type == wanted:
            spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            found.append((event.key, event.count, spent / 1e3))
    return sorted(found, key=lambda one: one[2], reverse=True)


def attention_rates(context: Context, shape: tuple[int, int, int, int]) -> dict[str, float | str]:
    """Operations per second of attention by its implementation, or why there is none."""
    generator = torch.Generator(context.device).manual_seed(SEED)
    batch, heads, tokens, head_dim = shape
    # As the network hands them over: three views of one product's rows.
    qkv = torch.randn(batch, tokens, 3, heads, head_dim, generator=generator, device=context.device)
    qkv = qkv.to(torch.float16 if context.on_gpu else torch.float32)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    work = 4.0 * batch * heads * tokens**2 * head_dim
    rates: dict[str, float | str] = {}
    for name in BACKENDS if context.on_gpu else BACKENDS[:1]:
        try:
            if name == "default":
                seconds = context.clock.median(lambda: F.scaled_dot_product_attention(q, k, v), 5)
            else:
                with sdpa_kernel(getattr(SDPBackend, name)):
                    seconds = context.clock.median(lambda: F.scaled_dot_product_attention(q, k, v), 5)
        except RuntimeError as error:
            rates[name] = str(error).strip().splitlines()[0][:100]
        else:
            rates[name] = work / seconds
    return rates
