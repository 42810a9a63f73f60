"""What all benchmarks share: arguments, the machine, tables while they run, figures with bounds, the file of results.

A benchmark is a module with ``add_options(parser)`` and ``measure(options, report)``. It tells its report figures; a
figure with a bound that it misses makes the exit code 1. Nothing but the standard library is imported here, so that a
machine which has little else can measure, too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ANSWER = "benchmarks answer: "
NAMES = (
    "array_codecs",
    "checkpoint_memory",
    "choices",
    "containers",
    "cpu_stages",
    "embedded",
    "export_formats",
    "gpu",
    "level",
    "low_precision",
    "metrics",
    "model",
    "output_size",
    "pipeline",
    "plan",
    "resume",
    "rounding",
    "scale",
    "scoring",
    "sequences",
    "spherical_padding",
    "startup",
    "tracer",
    "validity",
)
LIBRARIES = ("numpy", "torch", "opencv-python-headless", "pyarrow", "ray", "pillow", "pytorch360convert")


class Benchmark(Protocol):
    """What a module has to have."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add options of its own."""

    def measure(self, options: argparse.Namespace, report: Report) -> None:
        """Measure, and tell the report."""


@dataclass(frozen=True)
class Figure:
    """One number that a run is remembered by.

    Attributes:
        name: what was measured; unique in its benchmark.
        value: the number, in ``unit``; None where it could not be measured.
        least: smallest value that holds.
        most: largest value that holds.
        baseline: what ours is compared with, where ``value`` is a ratio to it, and ``theirs`` and ``ours`` as text.
        note: what else a reader needs.
    """

    name: str
    value: float | None
    unit: str
    least: float | None = None
    most: float | None = None
    baseline: str | None = None
    theirs: str | None = None
    ours: str | None = None
    note: str | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value is inside its bounds; None without bounds."""
        if self.least is None and self.most is None:
            return None
        if self.value is None or math.isnan(self.value):
            return False
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def bound(self) -> str:
        """The bounds as text."""
        parts = [f"≥ {self.least:.3g}"] if self.least is not None else []
        parts += [f"≤ {self.most:.3g}"] if self.most is not None else []
        return ", ".join(parts) + (f" {self.unit}" if parts and self.unit != "×" else "×" if parts else "")

    def shown(self) -> str:
        """Value and unit."""
        value = "not measured" if self.value is None else number(self.value)
        return value + ("×" if self.unit == "×" else f" {self.unit}")


def number(value: float) -> str:
    """A number with three significant digits, as people write it."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if abs(value) >= 1e-3 else f"{value:.2e}"


class Table:
    """Rows that appear as they are measured.

    Args:
        title: printed above.
        columns: name of each column after the first, with the format of its numbers; empty for a column of text.
        first: heading of the first column.
        width: of the first column.
    """

    def __init__(self, title: str, columns: Mapping[str, str], first: str = "", width: int = 24) -> None:
        self.title, self.columns, self.first, self.width = title, dict(columns), first, width
        self.rows: list[list[Any]] = []
        heads = "".join(self._cell(name, name) for name in self.columns)
        print(f"\n{title}\n{first:{width}}{heads}", flush=True)

    def _cell(self, column: str, text: str) -> str:
        if not self.columns[column]:
            return f"  {text:24}"
        return f"  {text:>{max(len(column), 8)}}"

    def row(self, name: str, *values: float | str | None) -> None:
        """Print one row; text stands as it is, None as a dash."""
        self.rows.append([name, *values])
        cells = [f"{name:{self.width}}"]
        for (column, form), value in zip(self.columns.items(), values, strict=False):
            text = "-" if value is None else value if isinstance(value, str) else format(value, form)
            cells.append(self._cell(column, text))
        print("".join(cells).rstrip(), flush=True)

    def to_json(self) -> dict[str, Any]:
        """Title, columns and rows."""
        return {"title": self.title, "columns": [self.first, *self.columns], "rows": self.rows}


class Report:
    """What one run of a benchmark found.

    Args:
        name: the benchmark.
        arguments: as given on the command line.
        file: written at the end, and wherever :meth:`save` is called before it.
    """

    def __init__(self, name: str, arguments: Sequence[str], file: Path | None) -> None:
        self.name = name
        self.file = file
        self.figures: list[Figure] = []
        self.tables: list[Table] = []
        self.details: dict[str, Any] = {}
        self.failures: dict[str, str] = {}
        self._head = {
            "benchmark": name,
            "command": " ".join(["python -m benchmarks", name, *arguments]),
            "commit": commit(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "load_before": _load(),
        }
        self._began = time.perf_counter()
        self._machine = _busy_seconds()

    def line(self, text: str = "") -> None:
        """Print a line that is in no table."""
        print(text, flush=True)

    def table(self, title: str, columns: Mapping[str, str], first: str = "", width: int = 24) -> Table:
        """Begin a table."""
        self.tables.append(Table(title, columns, first, width))
        return self.tables[-1]

    def figure(self, name: str, value: float | None, unit: str, **more: Any) -> Figure:
        """Keep a figure; see :class:`Figure`."""
        if any(figure.name == name for figure in self.figures):
            raise ValueError(f"{self.name} has two figures called {name!r}")
        self.figures.append(Figure(name, value, unit, **more))
        return self.figures[-1]

    def ratio(
        self, name: str, baseline: str, theirs: float, ours: float, form: str = "{:.0f} ms", **more: Any
    ) -> Figure:
        """Keep how many times less ours takes than the baseline."""
        shown = {"baseline": baseline, "theirs": form.format(theirs), "ours": form.format(ours)}
        return self.figure(name, theirs / ours, "×", **shown, **more)

    def failed(self, part: str, error: BaseException | str) -> None:
        """Keep that a part could not be measured; the exit code will be 1."""
        told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.failures[part] = (told.strip().splitlines() or [""])[0][:300]
        print(f"FAILED  {part}: {self.failures[part]}", flush=True)

    @property
    def missed(self) -> list[Figure]:
        """Figures outside of their bounds."""
        return [figure for figure in self.figures if figure.holds is False]

    def to_json(self, *, complete: bool) -> dict[str, Any]:
        """Everything, as the file of results has it."""
        seconds = time.perf_counter() - self._began
        before, after = self._machine, _busy_seconds()
        own = sum(os.times()[:4])
        busy = None if before is None or after is None else (after - before) / seconds
        return self._head | {
            "complete": complete,
            "seconds": round(seconds, 2),
            "processor_seconds": round(own, 2),
            "busy_cores": None if busy is None else round(busy, 2),
            "load_after": _load(),
            "machine": machine(),
            "figures": [
                {key: value for key, value in asdict(figure).items() if value is not None}
                | ({} if figure.holds is None else {"holds": figure.holds})
                for figure in self.figures
            ],
            "failures": self.failures,
            "tables": [table.to_json() for table in self.tables],
            "details": self.details,
        }

    def save(self, *, complete: bool = False) -> None:
        """Write the file, where one was asked for: whole, or not at all."""
        if self.file is None:
            return
        text = json.dumps(_plain(self.to_json(complete=complete)), indent=1, ensure_ascii=False, allow_nan=False)
        partial = self.file.with_name(self.file.name + ".partial")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.file)

    def conclude(self) -> int:
        """Print what must hold, write the file, and give the exit code."""
        bounded = [figure for figure in self.figures if figure.holds is not None]
        if bounded:
            print()
        for figure in bounded:
            verdict = "holds" if figure.holds else "MISSED"
            print(f"{verdict:8}{figure.name}: {figure.shown()}, must be {figure.bound()}")
        for part, why in self.failures.items():
            print(f"FAILED  {part}: {why}")
        self.save(complete=True)
        return 1 if self.missed or self.failures else 0


def run(name: str, benchmark: Benchmark, arguments: Sequence[str]) -> int:
    """Parse a benchmark's options, measure, conclude."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=sys.modules[f"benchmarks.{name}"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    benchmark.add_options(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
    where.add_argument("--save", action="store_true", help="also keep it in benchmarks/results, for the documents")
    options = parser.parse_args(arguments)
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")
    shown = _without_json(arguments)
    report = Report(name, shown, kept_as(name, shown) if options.save else options.json)
    benchmark.measure(options, report)
    return report.conclude()


def _without_json(arguments: Sequence[str]) -> list[str]:
    shown = list(arguments)
    while "--json" in shown:
        place = shown.index("--json")
        del shown[place : place + 2]
    return [argument for argument in shown if argument != "--save" and not argument.startswith("--json=")]


def kept_as(name: str, arguments: Sequence[str]) -> Path:
    """File of a result, by benchmark, options, machine and commit."""
    facts = machine()
    chips = facts["accelerators"] or [facts["processor"] or "processor"]
    parts = [name, *arguments, chips[0], f"{len(chips)}x" if facts["accelerators"] else f"{facts['cores']}c"]
    slugs = [re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in (*parts, commit() or "unknown")]
    return RESULTS / ("-".join(filter(None, slugs)) + ".json")


def in_own_process(
    target: str, *arguments: Any, environment: Mapping[str, str] | None = None, timeout: float | None = None
) -> Any:
    """Call ``module:function`` of this folder in a fresh process; arguments and result are JSON.

    Raises:
        RuntimeError: it failed, or took longer than ``timeout`` seconds; what it wrote to stderr is seen as it comes.
    """
    command = [sys.executable, "-m", "benchmarks", "--call", target, json.dumps(arguments)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    try:
        done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{target} did not end within {timeout:.0f} s") from error
    answers = [line for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    if done.returncode or not answers:
        raise RuntimeError(f"{target} in a process of its own ended with exit code {done.returncode}")
    return json.loads(answers[-1].removeprefix(ANSWER))


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median processor time of a call on one thread, after one that warms up.

    Processor time is what the clock shows on an idle machine, and stays that where others take turns on the core.
    """
    call()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return statistics.median(times)


def machine() -> dict[str, Any]:
    """What figures depend on, without naming whose machine it is."""
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    if torch is not None:
        libraries["torch"] = str(torch.__version__)
    accelerators = []
    if torch is not None and torch.cuda.is_available():
        accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "accelerators": accelerators,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": libraries,
    }


def commit() -> str | None:
    """The commit that is measured, with ``+`` where files differ from it; None outside of a repository."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!*.md", ":!benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _load() -> float | None:
    """Processes that ran or waited in the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _busy_seconds() -> float | None:
    """Processor seconds of the whole machine since it started."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError):
        return None


def _plain(value: Any) -> Any:
    """JSON has no NaN: what is no number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        return _plain(value.item())
    return value
