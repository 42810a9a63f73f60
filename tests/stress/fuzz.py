"""Hostile files and names through the real job: python -m tests.stress.fuzz [--count 1000] [--seed 0].

Writes mutated files (tests/harness/mutations.py) with a listing that gives them hostile ids, and a folder of good
files with hostile names; runs `pager-ray run` on both with a tiny untrained checkpoint on CPUs, then `pager-ray
verify`. Looks after every byte: each input must end as one prediction or one reject, and no file outside of the output
may appear, vanish or change. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pager_ray.errors import InputError
from pager_ray.listing import list_inputs
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.read import decode_panorama
from pager_ray.reader import open_run
from tests.harness import mutations
from tests.harness.forking import WORKERS

BOMB_PIXELS = 2**28  # the default of input.max_pixels
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "RAY_ADDRESS": "local"}


@dataclass
class Fuzzed:
    """What a fuzzed job did; ``problems`` is empty when nothing was lost, outside or unverified."""

    inputs: int
    predictions: int
    rejects: dict[str, int]
    verified: str
    seconds: float
    slowest: tuple[float, str]
    peak_mb: dict[str, int]
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What to show a person."""
        rejects = ", ".join(f"{name} {count}" for name, count in self.rejects.items())
        lines = [
            f"inputs          {self.inputs}",
            f"predictions     {self.predictions}",
            f"rejects         {sum(self.rejects.values())}: {rejects}",
            f"worker deaths   {self.rejects.get('worker_death', 0)}",
            f"verify          {self.verified}",
            f"wall time       {self.seconds:.1f} s",
            f"slowest decode  {self.slowest[0]:.2f} s, {self.slowest[1]}",
        ]
        lines += [f"peak memory     {peak:6} MB  {name}" for name, peak in sorted(self.peak_mb.items())]
        return lines + [f"PROBLEM         {problem}" for problem in self.problems]


def write_inputs(folder: Path, count: int, seed: int, bomb_pixels: int) -> tuple[list[str], list[mutations.Case]]:
    """Write ``count`` inputs: hostile files, listed with hostile ids, and a folder of good files with hostile names."""
    names = mutations.hostile_names(count // 4)
    (folder / "names").mkdir(parents=True)
    for name in names:
        (folder / "names" / name).write_bytes(mutations.bases()[0].data)
    cases = list(mutations.cases(seed, count - len(names), bomb_pixels))
    listing = folder / "listing.csv"
    with listing.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(("uri", "id"))
        for number, (case, identity) in enumerate(zip(cases, mutations.hostile_ids(seed, len(cases)), strict=True)):
            name = f"{number:05}{case.suffix}"
            (folder / name).write_bytes(case.data)
            writer.writerow((name, identity))
    return [str(listing), str(folder / "names")], cases


def snapshot(folder: Path, without: Path) -> dict[str, str]:
    """Digest of every file under a folder, except those in ``without``; folders and links count too."""
    found = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) != without]
        for name in folders:
            found[str(Path(parent, name))] = "folder"
        for name in files:
            path = Path(parent, name)
            found[str(path)] = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class MemoryWatch:
    """Peak resident memory of the Ray workers that descend from one process, by the name Ray gives them."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.peak_mb: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            for name, peak in _workers(self.root):
                self.peak_mb[name] = max(self.peak_mb.get(name, 0), peak)


def _workers(root: int) -> list[tuple[str, int]]:
    """Name and VmHWM in MB of every ``ray::`` process below ``root`` that is at work."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it ended in between
    found = []
    for process in parents:
        ancestor = process
        while ancestor not in (root, 0, 1):
            ancestor = parents.get(ancestor, 0)
        if ancestor != root:
            continue
        try:
            title = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
        except OSError:
            continue
        # Without an actor's method and a stage's arguments; an idle worker's peak was counted while it worked.
        if peak and title.startswith("ray::") and title.strip() != "ray::IDLE":
            found.append((re.sub(r"(\)\)|\w)(\.\w+|\[.*)$", r"\1", title.strip()), int(peak[1]) // 1024))
    return found


def slowest_decode(cases: list[mutations.Case]) -> tuple[float, str]:
    """The case that takes longest to decode or to refuse, alone in this process."""
    worst = (0.0, "")
    for data, name in {case.data: case.name for case in cases}.items():
        start = time.perf_counter()
        with suppress(InputError):
            decode_panorama(data)
        worst = max(worst, (time.perf_counter() - start, name))
    return worst


def run_fuzz(parent: Path, count: int, seed: int, bomb_pixels: int = BOMB_PIXELS) -> Fuzzed:
    """Run the job on ``count`` hostile inputs inside ``parent``, which is empty; see the module's text."""
    output = parent / "job" / "output"
    output.parent.mkdir()
    sources, cases = write_inputs(parent / "inputs", count, seed, bomb_pixels)
    write_random_checkpoint(parent / "checkpoint", "tiny")
    before = snapshot(parent, output)

    settings = [f"input.uris={json.dumps(sources)}", f"output.uri={output}", f"checkpoint={parent}/checkpoint"]
    settings += ["compute.gpus_per_worker=0", "output.format=npz", "output.previews=true", "output.size=64x128"]
    settings += ["scene_mode=outdoor", "output.rows_per_shard=16"]
    # Most inputs are bad, and the first of some seeds all of one kind.
    settings += ["errors.stop_when_all_fail=false"]
    environment = os.environ | ENVIRONMENT
    # A forked worker's memory is partly that of others, and it is no process of the job's.
    environment.pop(WORKERS, None)
    start = time.monotonic()
    command = [sys.executable, "-m", "pager_ray", "run", *settings]
    job = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with MemoryWatch(job.pid) as watch:
        _, stderr = job.communicate()
    seconds = time.monotonic() - start

    problems = []
    if job.returncode != 3:
        problems.append(f"exit code {job.returncode} instead of 3; {stderr[-2000:]}")
    after = snapshot(parent, output)
    problems += [f"appeared outside: {path}" for path in after.keys() - before.keys()]
    problems += [f"vanished: {path}" for path in before.keys() - after.keys()]
    problems += [f"changed outside: {path}" for path in before.keys() & after.keys() if before[path] != after[path]]
    problems += [f"escaped: {path}" for path in Path("/tmp").glob("pager_fuzz_*")]

    verify = subprocess.run(
        [sys.executable, "-m", "pager_ray", "verify", str(output)], env=environment, capture_output=True, text=True
    )
    told = (verify.stdout or verify.stderr).strip().splitlines()
    if verify.returncode:
        problems += [f"verify: {line}" for line in told]
    predictions, rejects = 0, Counter[str]()
    if (output / "run.json").exists():
        run = open_run(output)
        predictions = len(run.ids())
        table = run.rejects()
        rejects.update(table.column("error_class").to_pylist())
        ids = [*run.ids(), *table.column("id").to_pylist()]
        if sorted(ids) != sorted(row.id for row in list_inputs(sources)) or len(set(ids)) != count:
            problems.append(f"{len(ids)} outcomes of {count} inputs, {len(set(ids))} of them different")
        for folder in (
            output / "depth" / "preds",
            output / "normals" / "preds",
            output / "sky" / "preds",
            output / "previews",
        ):
            if folder.exists() and (files := len(list(folder.iterdir()))) != predictions:
                problems.append(f"{folder.relative_to(output)} has {files} files for {predictions} predictions")
        problems += [
            f"message of {name!r} is no short line: {message[:80]!r}"
            for name, message in zip(table.column("id").to_pylist(), table.column("message").to_pylist(), strict=True)
            if not message.isprintable() or len(message) > 1000
        ]
    return Fuzzed(
        count,
        predictions,
        dict(rejects.most_common()),
        told[-1] if told else "said nothing",
        seconds,
        slowest_decode(cases),
        watch.peak_mb,
        problems,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="hostile inputs")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files")
    parser.add_argument(
        "--bomb-pixels", type=int, default=BOMB_PIXELS, help="pixels that bombs promise, up to the job's limit of 2^28"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz_") as temporary:
        result = run_fuzz(Path(temporary), options.count, options.seed, options.bomb_pixels)
    print("\n".join(result.lines()))
    sys.exit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
