"""The house is as ARCHITECTURE.md draws it: folders import only downwards, and Ray is in pipeline/ alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pager_ray"
ROW = re.compile(r"^\| (`[\w`, ]+`) \|[^|]*\|([^|]*)\|$", re.MULTILINE)


def ladder() -> dict[str, tuple[int, frozenset[str]]]:
    """By folder, its floor (0 is the top row of the table) and what it must not import."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text[text.index("## Who owns what") : text.index("Outside the package")]
    rows = ROW.findall(table)
    return {
        name: (floor, frozenset(re.findall(r"`([\w.]+)`", banned)))
        for floor, (names, banned) in enumerate(rows)
        for name in re.findall(r"`(\w+)`", names)
    }


LADDER = ladder()


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module that a file names in an import, wherever in the file: late imports and types count too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def folder_of(module: str) -> str | None:
    """The folder or top-level file of the package that a module belongs to; None outside the package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "pager_ray" and len(parts) > 1 and parts[1] in LADDER else None


def test_the_table_has_every_folder() -> None:
    """Each folder and file at the top of the package stands in the table, and nothing that is not there."""
    # A folder without code, such as that of checkpoints, imports nothing.
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parts[-2] for path in PACKAGE.glob("*/*.py")}
    there -= {"__init__", "__main__", "__pycache__", "py.typed", "py"}
    assert {name for name in there if not name.startswith(".")} == set(LADDER)


@pytest.mark.parametrize("folder", sorted(LADDER))
def test_folders_import_only_downwards(folder: str) -> None:
    """Whatever a folder imports stands in a lower row of the table, so no two folders reach each other."""
    floor, banned = LADDER[folder]
    wrong = []
    for module, path in modules():
        if folder_of(module) != folder:
            continue
        for name in imports_of(path):
            other = folder_of(name)
            if other is not None and other != folder and LADDER[other][0] <= floor:
                wrong.append(f"{module} imports {name}, which is not below it")
            if name.split(".")[0] in banned:
                wrong.append(f"{module} imports {name}, which the table forbids")
    assert not wrong, "\n".join(sorted(wrong))


def test_only_the_pipeline_knows_ray() -> None:
    """Outside pipeline/ no file imports Ray, not even late."""
    users = {folder_of(module) for module, path in modules() if any(n.split(".")[0] == "ray" for n in imports_of(path))}
    assert users == {"pipeline"}


def reached(start: str) -> set[str]:
    """Modules of the package that a module loads or may load later, with all that those load."""
    # The package's own module names all that users may ask for, and loads what is asked for.
    files = {name: path for name, path in modules() if name != "pager_ray"}
    seen, todo = set(), [start]
    while todo:
        module = todo.pop()
        if module in seen or module not in files:
            continue
        seen.add(module)
        todo += [name for name in imports_of(files[module]) if name in files]
    return seen


@pytest.mark.parametrize("folder", ["here", "plan", "blocks", "export", "report", "runs", "stages"])
def test_these_reach_no_ray(folder: str) -> None:
    """No chain of imports leads from the folder to a module of the pipeline."""
    for module, _ in modules():
        if folder_of(module) == folder:
            assert not [name for name in reached(module) if folder_of(name) == "pipeline"], module


def test_here_and_plan_load_no_ray() -> None:
    """Importing them, and all of export and report, leaves Ray unloaded."""
    wanted = [name for name, _ in modules() if folder_of(name) in ("here", "plan", "blocks", "export", "report")]
    code = (
        f"import importlib, sys\nfor name in {wanted!r}: importlib.import_module(name)\nassert 'ray' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr


def test_a_job_is_started_without_torch() -> None:
    """The process that lists, claims and tells needs no network; only those that hold one import torch."""
    jobs = ["pager_ray.pipeline.job", "pager_ray.pipeline.evaluation"]
    code = (
        f"import importlib, sys\nfor name in {jobs!r}: importlib.import_module(name)\nassert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
