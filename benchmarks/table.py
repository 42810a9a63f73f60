"""The documents' tables of figures, made from benchmarks/results: ``python -m benchmarks table [--write]``.

Without ``--write`` nothing changes: exit code 1 says that a document does not say what the results say, or that the
newest result of a benchmark misses a bound.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.frame import NAMES, RESULTS, ROOT, Figure, number

UNMEASURED = "not measured"

# What is shown in short: its words, the benchmark, the figure's name.
ROWS_IN_SHORT = (
    ("decode JPEG", "cpu_stages", "decode, 4096×2048"),
    ("ERP → six faces", "cpu_stages", "project, 4096×2048"),
    ("decode and project", "cpu_stages", "decode + project, 4096×2048"),
    ("six faces → ERP: depth, normals, sky", "cpu_stages", "stitch all five, 4096×2048"),
    ("the same, against one call for five channels", "cpu_stages", "library's in one, 4096×2048"),
    ("encode depth, normals and sky", "cpu_stages", "encode all three, 4096×2048"),
    ("stored, ERP of 2048×4096", "output_size", "stored as erp, codec default"),
    ("stored, `projection: cubemap`", "output_size", "stored as cubemap, codec default"),
    ("network, preset `mid`, two threads", "model", "network, mid"),
    ("depth metrics of a panorama, three alignments", "metrics", "metrics: depth, all three"),
    ("score a panorama, one alignment, from faces and files", "scoring", "score a panorama"),
    ("spherical padding in a dense head", "spherical_padding", "padding"),
)
GPU_IN_SHORT = (
    "network on the device",
    "share of the measured matrix rate",
    "predictor, two batches in flight",
    "job over predictor",
)
MARK, END = "<!-- made by `python -m benchmarks table --write`: {} -->", "<!-- end of what was made -->"


@dataclass(frozen=True)
class Result:
    """One file of results."""

    name: str
    content: dict[str, Any]

    @property
    def figures(self) -> list[Figure]:
        """Its figures."""
        known = {field.name for field in fields(Figure)}
        return [
            Figure(**{"value": None} | {key: value for key, value in one.items() if key in known})
            for one in self.content["figures"]
        ]

    @property
    def key(self) -> tuple[str, str, str]:
        """Results that replace each other: of one command on one machine."""
        machine = self.content["machine"]
        return self.content["benchmark"], self.content["command"], machine_text(machine)


def read_results(folder: Path = RESULTS) -> list[Result]:
    """The newest complete result of each command and machine, oldest first.

    Raises:
        SystemExit: a file is no result.
    """
    newest: dict[tuple[str, str, str], Result] = {}
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = Result(path.name, json.loads(path.read_text(encoding="utf-8")))
            found.append((result.content["date"], result.key, result))
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{path}: is no result of a benchmark ({type(error).__name__}: {error})") from error
    for _, key, result in sorted(found, key=lambda one: one[0]):
        newest[key] = result
    return list(newest.values())


def machine_text(machine: dict[str, Any]) -> str:
    """A machine in words."""
    accelerators = machine.get("accelerators") or []
    parts = [f"{len(accelerators)} × {accelerators[0]}"] if accelerators else []
    parts += [f"{machine['processor']}, {machine['cores']} cores", f"{machine['memory_gb']:.0f} GB"]
    return ", ".join(parts)


def short_table(results: Sequence[Result]) -> Iterator[str]:
    """A few figures, one row each."""
    yield "| what | baseline | pager_ray | ratio | command |"
    yield "| --- | --- | --- | --- | --- |"
    before = None
    for text, benchmark, name in ROWS_IN_SHORT:
        figure = newest_figure(results, benchmark, name)
        command = "the same" if benchmark == before else f"`python -m benchmarks {benchmark}`"
        before = benchmark
        if figure is None or figure.value is None:
            yield f"| {text} | | {UNMEASURED} | | {command} |"
        else:
            yield f"| {text} | {figure.baseline}, {figure.theirs} | {figure.ours} | {figure.shown()} | {command} |"


def newest_figure(results: Sequence[Result], benchmark: str, name: str) -> Figure | None:
    """A figure of the newest result that has it."""
    for result in reversed(results):
        if result.content["benchmark"] == benchmark:
            for figure in result.figures:
                if figure.name == name:
                    return figure
    return None


def gpu_line(results: Sequence[Result]) -> Iterator[str]:
    """What is known of GPUs."""
    found = [result for result in results if result.content["machine"].get("accelerators")]
    if not found:
        yield "**On a GPU: not measured.** No figure of this project is of an accelerator yet."
    for result in found:
        machine = machine_text(result.content["machine"])
        shown = [f"{figure.name} {figure.shown()}" for figure in result.figures if figure.name in GPU_IN_SHORT]
        yield f"On {machine}: {'; '.join(shown)} (`{result.content['command']}`, {result.content['commit']})."


def tilt_table(results: Sequence[Result]) -> Iterator[str]:
    """What a tilt costs, without and with levelling, as the newest run of its benchmark found."""
    found = [result for result in results if result.content["benchmark"] == "level"]
    tables = [
        table for result in found[-1:] for table in result.content["tables"] if table["title"].startswith("errors")
    ]
    if not tables:
        yield f"What a tilt costs: {UNMEASURED} (`python -m benchmarks level`)."
    for table in tables:
        title, content = table["title"], found[-1].content
        yield f"{title[0].upper()}{title[1:]}; `{content['command']}`, {content['commit']}:"
        yield ""
        yield "| " + " | ".join(table["columns"]) + " |"
        yield "| --- " * len(table["columns"]) + "|"
        for name, *values in table["rows"]:
            yield "| " + " | ".join([name, *map(number, values)]) + " |"


def full_tables(results: Sequence[Result]) -> Iterator[str]:
    """Every figure of every result, with its bound."""
    measured = {result.content["benchmark"] for result in results}
    for name in NAMES:
        for result in results:
            if result.content["benchmark"] == name:
                yield from result_table(result)
    if missing := [name for name in NAMES if name not in measured]:
        yield "## Not measured"
        yield ""
        yield "No result is kept of: " + ", ".join(f"`python -m benchmarks {name}`" for name in missing) + "."


def result_table(result: Result) -> Iterator[str]:
    """One result."""
    content = result.content
    yield f"## `{content['command'].removeprefix('python -m benchmarks ')}`"
    yield ""
    libraries = ", ".join(f"{name} {version}" for name, version in content["machine"]["libraries"].items())
    load = f"load {content['load_before']:g} before and {content['load_after']:g} after"
    where = f"{machine_text(content['machine'])}; {load}; commit {content['commit']}, {content['date'][:10]}"
    yield f"{where}; {libraries}."
    yield ""
    yield "| figure | value | bound | baseline | pager_ray |"
    yield "| --- | --- | --- | --- | --- |"
    for figure in result.figures:
        baseline = f"{figure.baseline}, {figure.theirs}" if figure.baseline else ""
        bound = figure.bound() + ("" if figure.holds is not False else " **missed**")
        name = figure.name + (f" ({figure.note})" if figure.note else "")
        yield f"| {name} | {figure.shown()} | {bound} | {baseline} | {figure.ours or ''} |"
    for part, why in content["failures"].items():
        yield f"| {part} | failed: {why} | | | |"
    yield ""


PARTS = {"figures": short_table, "gpu": gpu_line, "results": full_tables, "tilts": tilt_table}
DOCUMENTS = {"docs/performance.md": ("figures", "gpu", "results"), "docs/inputs.md": ("tilts",)}


def rewritten(text: str, parts: Sequence[str], results: Sequence[Result], name: str) -> str:
    """A document with its parts made anew.

    Raises:
        SystemExit: a part has no place in it.
    """
    for part in parts:
        mark = MARK.format(part)
        head, found, rest = text.partition(mark)
        _, ended, tail = rest.partition(END)
        if not found or not ended:
            raise SystemExit(f"{name}: has no place for {part}: a line {mark} and a line {END}")
        made = "\n".join(PARTS[part](results)).rstrip()
        text = f"{head}{mark}\n{made}\n{END}{tail}"
    return text


def main(arguments: Sequence[str]) -> int:
    """Compare the documents with the results, or write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks table", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the documents")
    options = parser.parse_args(arguments)
    results, differ = read_results(), []
    for name, parts in DOCUMENTS.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        made = rewritten(text, parts, results, name)
        if made != text and options.write:
            path.write_text(made, encoding="utf-8")
            print(f"{name}: written")
        elif made != text:
            differ.append(name)
    for name in differ:
        print(f"{name}: does not say what benchmarks/results say; python -m benchmarks table --write", file=sys.stderr)
    for result in results:
        for figure in result.figures:
            if figure.holds is False:
                print(f"{result.name}: {figure.name} is {figure.shown()}, must be {figure.bound()}", file=sys.stderr)
    return 1 if differ else 0
