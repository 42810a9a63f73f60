"""Peak memory of loading a checkpoint, in each precision, against the size of the weights.

Writes a random full-size checkpoint (float32, streamed) to a temporary folder and loads it in a fresh process per
precision. The peak is the largest resident set of that process, as it stands and without what the process held before
loading. The ratio is to the parameters' size in the precision. In float32 the weights stay in their file, mapped into
memory: they count as resident, but all processes of a node share them. What the process has for itself after loading
is in the column "own".

The bound of 1.15 is on what loading adds. It once was on the whole process, and that was wrong: an interpreter with
torch takes 0.3 to 0.65 GB before anything is loaded, by the wheel of torch (those for CUDA load cuBLAS, nvJitLink and
NVRTC), and a constant of that size is 0.1 to 0.23 of the full checkpoint in half precision, 0.05 to 0.11 of it in
float32, and a hundred times a small one. No loader can lower it: with a CUDA wheel it and the bare weights alone come
to 1.15 in float16. The whole process is still told.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.frame import Report, in_own_process

LIMIT = 1.15
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def loading(folder: Path, precision: str) -> dict[str, float]:
    """Load in a fresh process and give its bytes and seconds."""
    figures: dict[str, float] = in_own_process(
        "checkpoint_memory:load", str(folder), precision, environment={"OMP_NUM_THREADS": "1"}
    )
    return figures


def load(folder: str, precision: str) -> dict[str, float]:
    """Load in this process."""
    import torch

    from pager_ray.model import load_model

    torch.empty(1).normal_()
    before = peak_rss()
    started = time.perf_counter()
    model = load_model(folder, device="cpu", precision=precision)
    seconds = time.perf_counter() - started
    peak = peak_rss()
    own = status_bytes("RssAnon")
    held = sum(t.numel() * t.element_size() for t in model.network.parameters())
    tables = sum(t.numel() * t.element_size() for t in model.network.buffers())
    return {"before": before, "peak": peak, "own": own, "held": held, "tables": tables, "seconds": seconds}


def peak_rss() -> int:
    """Largest resident set of this program so far, in bytes.

    Of the kernel's two counters the one that starts with the program: ``ru_maxrss`` starts at what the parent held.
    """
    return status_bytes("VmHWM")


def status_bytes(counter: str) -> int:
    """One of the kernel's counters of this process's memory, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{counter}:")[2].split()[0])


def parameters_of(folder: Path) -> int:
    from pager_ray.model.checkpoint import WEIGHTS
    from pager_ray.model.weights import read_entries

    total = 0
    for entry in read_entries(folder / WEIGHTS).values():
        count = 1
        for side in entry.shape:
            count *= side
        total += count
    return total


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="da3-giant")
    parser.add_argument("--folder", type=Path, help="keep the checkpoint here, and use it if it is there")
    parser.add_argument("--precisions", nargs="+", choices=tuple(BYTES), default=list(BYTES))


def measure(options: argparse.Namespace, report: Report) -> None:
    from pager_ray.model.random_checkpoint import write_random_checkpoint

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "model.safetensors").exists():
            started = time.perf_counter()
            write_random_checkpoint(folder, options.preset)
            report.line(
                f"wrote a random {options.preset} in {time.perf_counter() - started:.1f} s, "
                f"this process's peak {peak_rss() / 1e6:.0f} MB"
            )
        parameters = parameters_of(folder)
        report.line(f"{parameters / 1e9:.3f} G parameters, {4 * parameters / 1e9:.2f} GB as float32")
        columns = {"weights GB": ".3f", "before GB": ".3f", "peak GB": ".3f", "ratio": ".3f", "peak-before GB": ".3f"}
        columns |= {"own GB": ".3f", "held GB": ".3f", "tables MB": ".1f", "seconds": ".1f"}
        table = report.table("loading", columns, "precision")
        for precision in options.precisions:
            size = BYTES[precision] * parameters
            row = loading(folder, precision)
            figures = (size, row["before"], row["peak"])
            table.row(
                precision,
                *(value / 1e9 for value in figures),
                row["peak"] / size,
                (row["peak"] - row["before"]) / 1e9,
                row["own"] / 1e9,
                row["held"] / 1e9,
                row["tables"] / 1e6,
                row["seconds"],
            )
            added = (row["peak"] - row["before"]) / size
            report.figure(f"most that loading in {precision} adds, over the weights", added, "×", most=LIMIT)
            note = f"{row['before'] / 1e9:.2f} GB of {row['peak'] / 1e9:.2f} GB before loading"
            whole = f"peak of the process that loads in {precision}, over the weights"
            report.figure(whole, row["peak"] / size, "×", note=note)
