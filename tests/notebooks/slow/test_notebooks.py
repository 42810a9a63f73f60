"""Every notebook runs from top to bottom, offline and by itself, shows pictures, and stops where a cell fails."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tests.notebooks.running import NOTEBOOKS, code_cells, execute, pictures_of, read, text_of
from tests.notebooks.showing import joined

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
def test_a_notebook_runs(name: str, tmp_path: Path, ray_address: str) -> None:
    """Every cell succeeds; pictures are drawn; nothing is written beside the notebook, and nothing lives on."""
    notebook = read(name)
    committed = [[kinds_of(output) for output in cell.outputs] for cell in code_cells(notebook)]
    left = execute(notebook, tmp_path, ray_address)
    assert left == []
    assert list((tmp_path / "cwd").iterdir()) == []
    text = text_of(notebook)
    assert [words for words in SAYS[name] if words not in text] == []
    shown = [[kinds_of(output) for output in joined(cell.outputs)] for cell in code_cells(notebook)]
    # What readers see was made by the cells above it.
    assert [kinds.count("picture") for kinds in shown] == [kinds.count("picture") for kinds in committed]
    pictures = pictures_of(notebook)
    assert pictures
    for picture in pictures:
        assert min(picture.size) > 100
        assert np.asarray(picture).std() > 5


def kinds_of(output: NotebookNode) -> str:
    return "picture" if {"image/png", "image/jpeg"} & set(output.get("data", {})) else output.output_type


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
