"""Everything that is to be known of a GPU, in one command of a few minutes.

Needs Python, torch, NumPy and safetensors alone (and for the last part what the job needs). Parts, in this order; each
is in the file of ``--json`` as soon as it ends, and one that fails leaves the others:

- ``golden``: the golden checkpoints in each precision, errors by modality against the released implementation's arrays,
  as shares of their standard deviation; float32 with TF32 off and on.
- ``network``: the full-size network with random weights: panoramas/s of the released way and of ours, operation by
  operation, as CUDA graphs, and as graphs with kernels of its own, at 1, 2, 4, 8 panoramas and the largest batch that
  fits; share of the best measured rate of matrix products; peak memory.
- ``precisions``: the same for int8 and fp8 at the best batch, with errors against float32. *Random weights are not
  trained weights.*
- ``predictor``: uint8 faces in host memory to maps in host memory, with and without overlap of two batches; panoramas
  whose faces are sampled on the device; on CUDA a batch under ``torch.cuda.set_sync_debug_mode("error")``.
- ``job``: the job on JPEGs of 4096×2048, where Ray and the job's other libraries can be imported: its panoramas/s over
  the predictor's.
- ``kernels``: the device's kernels in one forward pass, by their time; attention by its implementation; the network
  again with convolutions that cuDNN chooses by trying. Nothing serves like that: it says what could be gained.
- ``compile``: the network's blocks compiled by torch and replayed as graphs: in a process of its own that ends with
  ``--minutes``.

The predictor and the job run the network in the way that was the fastest.

``--device cpu --preset tiny`` goes through all of it on small numbers, to try the script itself.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from benchmarks.frame import Report, in_own_process
from benchmarks.gpu_context import Context
from benchmarks.gpu_golden import GOLDEN, golden
from benchmarks.gpu_kernels import kernels
from benchmarks.gpu_parts import compiled, job, missing_libraries, network, precisions, predictor
from benchmarks.model import Clock
from pager_ray.model.random_checkpoint import random_architecture

PARTS: dict[str, Callable[[Context], None]] = {
    "golden": golden,
    "network": network,
    "precisions": precisions,
    "predictor": predictor,
    "job": job,
    "kernels": kernels,
    "compile": compiled,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script (default: cuda)")
    parser.add_argument("--preset", default="da3-giant", choices=("da3-giant", "mid", "tiny"))
    parser.add_argument("--minutes", type=float, default=8.0, help="no part begins after so many (default: 8)")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--rows", type=int, default=200, help="panoramas of the job (default: 200)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls, of which the median counts (default: 5)")
    parser.add_argument("--golden", type=Path, default=GOLDEN, metavar="FOLDER", help="of the golden checkpoints")


def measure(options: argparse.Namespace, report: Report) -> None:
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no GPU here; --device cpu --preset tiny tries the script")
    architecture = random_architecture(options.preset)
    ends = time.monotonic() + 60 * options.minutes
    context = Context(options, report, device, Clock(device), architecture, ends)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        if "job" in options.parts and not missing_libraries():
            # Rendering and writing take a minute of processors that the other parts do not need.
            task = ("gpu_parts:prepare_a_job", folder, options.preset, context.on_gpu)
            context.prepared = beside.submit(partial(in_own_process, timeout=60 * options.minutes), *task)
        run_parts(context, [name for name in PARTS if name in options.parts])


def run_parts(context: Context, names: Sequence[str]) -> None:
    """Each part, written when it ends; what fails is kept as that."""
    seconds = context.report.details["part_seconds"] = {}
    for name in names:
        began = time.monotonic()
        if context.left() <= 0:
            context.report.failed(name, f"not begun: the {context.options.minutes:g} minutes are over")
        else:
            try:
                PARTS[name](context)
            except Exception as error:  # noqa: BLE001 - whatever a part dies of, the others are measured
                context.report.failed(name, error)
        gc.collect()
        if context.on_gpu:
            torch.cuda.empty_cache()
        seconds[name] = round(time.monotonic() - began, 1)
        context.report.save()
