"""Every notebook runs from top to bottom, offline and by itself, shows pictures, and stops where a cell fails."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError

from pager_ray.cli import cli
from tests.notebooks.running import NOTEBOOKS, code_cells, execute, pictures_of, read, text_of

# What tells that the notebook did what it is about, beside its own assertions.
SAYS = {
    "quickstart.ipynb": ["6 of 6 panoramas predicted", "verified: nothing lost, nothing twice"],
    "reading_results.ipynb": ["(2, 1, 256, 512)", "ufloat16"],
    "evaluation.ipynb": ["8 of 8 panoramas scored", "exit code 5", "exit code 0"],
    # Whether the stop comes before the end of the first job is the machine's affair.
    "laptop_to_cluster.ipynb": ["predicted in each start", "verified: nothing lost, nothing twice"],
}
EACH = pytest.mark.parametrize("name", SAYS)


def test_every_notebook_is_tested() -> None:
    """The notebooks of the folder are those that run here."""
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == set(SAYS)


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


@EACH
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    """Every cell succeeds; pictures are drawn; nothing is written beside the notebook, and nothing lives on."""
    notebook = read(name)
    left = execute(notebook, tmp_path)
    assert left == []
    assert list((tmp_path / "cwd").iterdir()) == []
    text = text_of(notebook)
    assert [words for words in SAYS[name] if words not in text] == []
    pictures = pictures_of(notebook)
    assert pictures
    for picture in pictures:
        assert min(picture.size) > 100
        assert np.asarray(picture).std() > 5


@pytest.mark.parametrize("broken", ["assert 1 > 2", "%%bash -e\npager-ray run output.formt=npz\necho went on"])
def test_a_broken_cell_fails(broken: str, tmp_path: Path) -> None:
    """A cell that raises, or a command in it that fails, ends the run there."""
    notebook = read("quickstart.ipynb")
    setup = next(k for k, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    after = [nbformat.v4.new_code_cell(broken, id="broken"), nbformat.v4.new_code_cell("print('past it')", id="after")]
    notebook.cells = [*notebook.cells[: setup + 1], *after]
    with pytest.raises(CellExecutionError):
        execute(notebook, tmp_path)
    kinds = {cell.id: [output.output_type for output in cell.outputs] for cell in code_cells(notebook)}
    assert "error" in kinds.pop("broken")
    assert "went on" not in text_of(notebook)
    assert kinds == {"setup": [], "after": []}
