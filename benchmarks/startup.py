"""What a start takes: the commands on one small panorama, from the key press to the last byte, told by part.

- *run*: ``pager-ray run`` on one rendered panorama of 1024×512, CPUs, a Ray of its own. Seconds by the clock until the
  first line, until the end, and of each part as ``--trace`` has it: Python and imports, checkpoint, listing, claim,
  Ray, and inside the pipeline the model's worker until it is ready and each stage's first block.
- *terminal*: the same command on a pseudo-terminal, where it shows one live display: seconds until the first words, and
  the longest time without new ones (a spinner alone is none) until the end.
- *here*: the same panorama through the same stages in one process without Ray (``pager_ray.here``), import to end.

Every figure is the best of ``--repeats``: what else the machine does can only add. Processor seconds, all processes of
the command together, stand beside them, which other work changes little.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from benchmarks.frame import ROOT, Report, in_own_process

MOST_RUN, MOST_FIRST_LINE, MOST_HERE, MOST_SILENCE = 12.0, 3.0, 5.0, 2.0
HEIGHT = 512
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves a terminal's cursor and colours its text."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="SOURCE", help="default: a tiny one with random weights")
    parser.add_argument("--repeats", type=int, default=3, help="starts of each kind (default: 3)")


def measure(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        in_own_process("startup:write_inputs", temporary, options.checkpoint is None)
        checkpoint = options.checkpoint or str(folder / "checkpoint")
        runs = [run_once(folder, checkpoint, number) for number in range(options.repeats)]
        best = min(runs, key=lambda one: one["seconds"])
        table = report.table("pager-ray run", {"began at s": ".2f", "seconds": ".2f"}, "part", 34)
        for name, began, seconds in best["parts"]:
            table.row(name, began, seconds)
        terminals = [on_terminal(folder, checkpoint, number) for number in range(options.repeats)]
        heres = [here_once(folder, checkpoint, number) for number in range(options.repeats)]
        here = min(heres, key=lambda one: one["seconds"])
        parts = report.table("here", {"seconds": ".2f"}, "part", 34)
        for name, seconds in here["parts"].items():
            parts.row(name, seconds)
    report.details |= {"run": runs, "here": heres, "terminal": terminals}
    processors = f"{best['cpu_seconds']:.1f} processor seconds"
    first = min(one["first_line"] for one in runs)
    report.figure("pager-ray run on one panorama", best["seconds"], "s", most=MOST_RUN, note=processors)
    report.figure("first line of pager-ray run", first, "s", most=MOST_FIRST_LINE)
    words = min(one["first_words"] for one in terminals)
    report.figure("first words of pager-ray run on a terminal", words, "s", most=MOST_FIRST_LINE)
    silence = min(one["longest_silence"] for one in terminals)
    report.figure("longest silence of pager-ray run on a terminal", silence, "s", most=MOST_SILENCE)
    note = f"{here['cpu_seconds']:.1f} processor seconds"
    report.figure("here on one panorama, without Ray", here["seconds"], "s", most=MOST_HERE, note=note)


def write_inputs(folder: str, with_checkpoint: bool) -> None:
    """One panorama, and the checkpoint where none is given."""
    from pager_ray.model.random_checkpoint import write_random_checkpoint
    from pager_ray.samples import write_samples

    write_samples(Path(folder) / "panoramas", 1, height=HEIGHT, ground_truth=False)
    if with_checkpoint:
        write_random_checkpoint(Path(folder) / "checkpoint", "tiny")


def settings_of(folder: Path, checkpoint: str, output: str) -> list[str]:
    [panorama] = (folder / "panoramas").glob("*.jpg")
    keys = [f"input.uris={panorama}", f"output.uri={folder / output}", f"checkpoint={checkpoint}"]
    return [*keys, "scene_mode=indoor", "compute.gpus_per_worker=0"]


def run_once(folder: Path, checkpoint: str, number: int) -> dict[str, Any]:
    """One ``pager-ray run``: seconds, its first line, its parts."""
    trace = folder / f"trace-{number}.json"
    command = [sys.executable, "-m", "pager_ray", "run", "--trace", str(trace)]
    command += settings_of(folder, checkpoint, f"run-{number}")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "RAY_ADDRESS": "local"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines: list[tuple[float, bytes]] = []
    readers = [threading.Thread(target=_read, args=(stream, lines)) for stream in (process.stdout, process.stderr)]
    for reader in readers:
        reader.start()
    code = process.wait()
    seconds = time.perf_counter() - began
    for reader in readers:
        reader.join()
    if code:
        raise RuntimeError(f"pager-ray run ended with exit code {code}: {lines[-1][1].decode(errors='replace')}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "first_line": min(at for at, _ in lines) - began,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "parts": parts_of(trace),
    }


def on_terminal(folder: Path, checkpoint: str, number: int) -> dict[str, float]:
    """One ``pager-ray run`` on a pseudo-terminal: when it says something new."""
    command = [sys.executable, "-m", "pager_ray", "run", *settings_of(folder, checkpoint, f"terminal-{number}")]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "RAY_ADDRESS": "local", "TERM": "xterm", "COLUMNS": "120"}
    terminal, its_end = os.openpty()
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=its_end, stdout=its_end, stderr=its_end)
    os.close(its_end)
    news, shown = [began], ""
    with open(terminal, "rb", buffering=0) as screen:
        while content := _said(screen):
            words = " ".join(re.findall(r"\w+", CONTROLS.sub(" ", content.decode(errors="replace"))))
            if words and words != shown:
                shown = words
                news.append(time.perf_counter())
    code = process.wait()
    if code:
        raise RuntimeError(f"pager-ray run on a terminal ended with exit code {code}: {shown}")
    news.append(time.perf_counter())
    return {
        "first_words": news[1] - began,
        "longest_silence": max(after - before for before, after in pairwise(news[1:])),
        "seconds": news[-1] - began,
    }


def _said(screen: IO[bytes]) -> bytes:
    try:
        return screen.read(1 << 16) or b""
    except OSError as error:
        # How Linux tells that nobody has the other end any more.
        if error.errno != errno.EIO:
            raise
        return b""


def _read(stream: Any, lines: list[tuple[float, bytes]]) -> None:
    for line in stream:
        lines.append((time.perf_counter(), line))


def parts_of(trace: Path) -> list[tuple[str, float, float]]:
    """Name, beginning and seconds of the driver's steps and of each stage's first block, in order of time."""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    seen: dict[str, tuple[float, float]] = {}
    for one in sorted((one for one in events if one.get("ph") == "X"), key=lambda one: one["ts"]):
        if one["cat"] in ("driver", "stage", "worker"):
            seen.setdefault(f"  {one['name']}" if one["cat"] != "driver" else one["name"], (one["ts"], one["dur"]))
    return [(name, began / 1e6, seconds / 1e6) for name, (began, seconds) in seen.items()]


def here_once(folder: Path, checkpoint: str, number: int) -> dict[str, Any]:
    """One panorama without Ray, in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    parts: dict[str, float] = in_own_process("startup:here", str(folder), checkpoint, f"here-{number}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - began, "cpu_seconds": cpu, "parts": parts}


def here(folder: str, checkpoint: str, output: str) -> dict[str, float]:
    """The stages in this process; seconds by part."""
    moments = [("", time.perf_counter())]

    def passed(name: str) -> None:
        moments.append((name, time.perf_counter()))

    from pager_ray.config import load_config
    from pager_ray.here import run_here
    from pager_ray.infer import Predictor
    from pager_ray.model import load_model, resolve_checkpoint
    from pager_ray.stages.settings import inference_settings

    passed("imports")
    config = load_config(None, settings_of(Path(folder), checkpoint, output))
    resolved = resolve_checkpoint(config.checkpoint)
    predictor = Predictor(load_model(resolved.source, "cpu"), inference_settings(config))
    passed("load the model")
    run_here(config, resolved, predictor)
    passed("stages, output and run file")
    if "ray" in sys.modules:
        raise RuntimeError("the stages without Ray have loaded it")
    return {name: at - before for (_, before), (name, at) in pairwise(moments)}
