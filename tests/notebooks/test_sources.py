"""Notebooks are committed with what they show, name what exists, and hide no failure."""

from __future__ import annotations

import re

import nbformat
import pytest

from pager_ray.cli import cli
from tests.notebooks.running import NOTEBOOKS, code_cells, read, text_of

EACH = pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))


@EACH
def test_what_is_committed_shows_something_and_tells_nothing_of_its_machine(name: str) -> None:
    """A notebook is valid and small, as ``tests.notebooks.showing`` leaves it: pictures and text of one whole run."""
    notebook = read(name)
    nbformat.validate(notebook)
    assert (NOTEBOOKS / name).stat().st_size < 400_000
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.metadata == {}
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {kind for output in outputs for kind in output.get("data", {})} <= {"image/jpeg", "text/plain"}
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    text = text_of(notebook)
    assert str(NOTEBOOKS.parent) not in text
    assert not re.search(r"/tmp/(?!demo)|/root|/home|\x1b|Traceback", text)


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
