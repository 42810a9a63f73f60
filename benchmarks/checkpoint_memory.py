"""Peak memory of loading a checkpoint, in each precision, against the size of the weights.

Writes a random full-size checkpoint (float32, streamed) to a temporary folder and loads it in a fresh process per
precision. The peak is the largest resident set of that process, as it stands and without what the process held before
loading. The ratio is to the parameters' size in the precision. In float32 the weights stay in their file, mapped into
memory: they count as resident, but all processes of a node share them. What the process has for itself after loading
is in the column "own".

    python benchmarks/checkpoint_memory.py [--preset tiny] [--folder KEEP]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.15
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def measure(folder: Path, precision: str) -> dict[str, float]:
    """Load in a fresh process and give its bytes and seconds."""
    command = [sys.executable, __file__, "--load", str(folder), precision]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout)


def load(folder: str, precision: str) -> None:
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
    json.dump(
        {"before": before, "peak": peak, "own": own, "held": held, "tables": tables, "seconds": seconds}, sys.stdout
    )


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


def main() -> int:
    from pager_ray.model.random_checkpoint import write_random_checkpoint

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="da3-giant")
    parser.add_argument("--folder", type=Path, help="keep the checkpoint here, and use it if it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "model.safetensors").exists():
            started = time.perf_counter()
            write_random_checkpoint(folder, options.preset)
            print(
                f"wrote a random {options.preset} in {time.perf_counter() - started:.1f} s, "
                f"this process's peak {peak_rss() / 1e6:.0f} MB"
            )
        parameters = parameters_of(folder)
        print(f"{parameters / 1e9:.3f} G parameters, {4 * parameters / 1e9:.2f} GB as float32")
        print("precision   weights GB  peak GB  ratio  peak-before GB  ratio  own GB  held GB  tables MB  seconds")
        worst = 0.0
        for precision, width in BYTES.items():
            size = width * parameters
            row = measure(folder, precision)
            grown = row["peak"] - row["before"]
            worst = max(worst, row["peak"] / size)
            print(
                f"{precision:10}  {size / 1e9:10.3f}  {row['peak'] / 1e9:7.3f}  {row['peak'] / size:5.3f}"
                f"  {grown / 1e9:14.3f}  {grown / size:5.3f}"
                f"  {row['own'] / 1e9:6.3f}  {row['held'] / 1e9:7.3f}  {row['tables'] / 1e6:9.1f}"
                f"  {row['seconds']:7.1f}"
            )
        print(f"worst ratio {worst:.3f}, limit {LIMIT}")
        return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--load":
        load(sys.argv[2], sys.argv[3])
    else:
        sys.exit(main())
