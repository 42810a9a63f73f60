"""The benchmarks' runner as its users call it: documents say what results say, bounds decide exit codes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=900)


def imports(path: Path) -> set[str]:
    """First parts of the names of modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


def test_documents_say_what_the_results_say() -> None:
    """docs/performance.md is what `table --write` makes of benchmarks/results."""
    compared = run("table")
    assert compared.returncode == 0, compared.stderr


@pytest.mark.parametrize(("folder", "foreign"), [("tests", "benchmarks"), ("benchmarks", "tests")])
def test_tests_and_benchmarks_do_not_import_each_other(folder: str, foreign: str) -> None:
    """A test that needs a benchmark runs it, and doubles that a benchmark needs are its own."""
    users = [path for path in (ROOT / folder).rglob("*.py") if foreign in imports(path)]
    assert users == []


def test_every_benchmark_is_listed_with_what_it_measures() -> None:
    """Each module of the folder that measures something is named, with one line of text."""
    parts = {"__init__", "__main__", "frame", "table", "released_model"}
    parts |= {"gpu_context", "gpu_golden", "gpu_kernels", "gpu_parts"}
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - parts
    lines = run("--list").stdout.splitlines()
    assert {line.split()[0] for line in lines} == modules
    assert all(len(line.split()) > 4 for line in lines)


def test_a_benchmark_writes_what_it_found_and_a_missed_bound_is_exit_code_1(tmp_path: Path) -> None:
    """Loading needs buffers, which are more than a few small weights; the file says so, where, and of what commit."""
    arguments = ["--preset=tiny", "--precisions", "float16"]
    done = run("checkpoint_memory", *arguments, "--json", "found.json", cwd=tmp_path)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["complete"]
    figure = found["figures"][0]
    assert figure["holds"] is False
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"MISSED  {figure['name']}: " in done.stdout
    assert found["command"] == "python -m benchmarks checkpoint_memory --preset=tiny --precisions float16"
    assert found["machine"]["cores"] >= 1
    assert found["load_before"] >= 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "usage:"), (["nosuch"], "invalid choice: 'nosuch'"), (["startup", "--json", "/no/such/x"], "no such folder")],
)
def test_a_wrong_command_is_exit_code_2(arguments: list[str], says: str) -> None:
    """A name that is no benchmark, and a file that cannot be written, are told before anything is measured."""
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "containers --rows=16 --height=64 --face-size=56 --store={folder}",
        "cpu_stages --brief --widths 256 --repeats=1 --processes=1",
        "embedded --count=1 --prior=1",
        "model --preset=tiny --baseline=none --repeats=1",
        "rounding --preset=tiny --count=1",
        "sequences --seeds 0 --frames=2",
        "spherical_padding --face-size=56 --features=32 --repeats=1",
        "validity --repeats=1",
    ],
    ids=lambda arguments: arguments.partition(" ")[0],
)
def test_a_benchmark_goes_through_on_small_numbers(tmp_path: Path, arguments: str) -> None:
    """It measures what it says, however the package's inside has moved; whether bounds hold is no question here."""
    file = tmp_path / "found.json"
    done = run(*arguments.format(folder=tmp_path).split(), "--json", str(file))
    assert file.exists(), done.stderr[-2000:]
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["complete"]
    assert found["failures"] == {}
    assert found["tables"]
