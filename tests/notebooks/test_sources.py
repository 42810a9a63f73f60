"""Notebooks are committed as sources, name what exists, and hide no failure."""

from __future__ import annotations

import re

import nbformat
import pytest

from pager_ray.cli import cli
from tests.notebooks.running import NOTEBOOKS, code_cells, read

EACH = pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))


@EACH
def test_what_is_committed_is_source_alone(name: str) -> None:
    """A notebook is valid, small, and free of outputs, counts and times of its last run."""
    notebook = read(name)
    nbformat.validate(notebook)
    assert (NOTEBOOKS / name).stat().st_size < 40_000
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.metadata == {}
    for cell in code_cells(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None)


@EACH
def test_no_command_can_fail_unseen(name: str) -> None:
    """Shell commands stand in cells that stop at the first one that fails: no `!` lines, and bash only with -e."""
    for cell in code_cells(read(name)):
        first, *_ = cell.source.splitlines()
        assert first == "%%bash -e" or not first.startswith("%%"), cell.source
        assert not re.search(r"^\s*(\w+\s*=\s*)?!", cell.source, re.MULTILINE), cell.source


@EACH
def test_links_and_commands_exist(name: str) -> None:
    """Relative links, files of the project that are named, commands and their long options are there."""
    text = "\n".join(cell.source for cell in read(name).cells)
    for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        assert (NOTEBOOKS / link).exists(), link
    for path in re.findall(r"`((?:docs|cluster|jobs|configs)/[\w./-]*|\w+\.ipynb)`", text):
        assert (NOTEBOOKS / path).exists() or (NOTEBOOKS.parent / path).exists(), path
    joined = text.replace("\\\n", " ")
    for command, rest in re.findall(r"(?:^\s*|`)pager-ray ([a-z]+)([^`|#\n]*)", joined, re.MULTILINE):
        assert command in cli.commands, command
        known = {option for parameter in cli.commands[command].params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", rest.split(" -- ")[0])) <= known, rest
