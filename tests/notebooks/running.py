"""Run a notebook as a user does: a kernel of its own, in an empty folder, and no Ray around but one that is named."""

from __future__ import annotations

import base64
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MARK = "PAGER_RAY_NOTEBOOK_TEST"
CELL_SECONDS = 1800
END_SECONDS = 300


def read(name: str) -> NotebookNode:
    """A notebook of the project, as it is committed."""
    return nbformat.read(NOTEBOOKS / name, as_version=nbformat.NO_CONVERT)


def execute(notebook: NotebookNode, folder: Path, ray_address: str = "local") -> list[str]:
    """Run every cell in place; returns what lives on when the kernel has ended, which is killed.

    Args:
        folder: an empty one.
        ray_address: of a Ray that it uses; one of its own on this machine otherwise.

    Raises:
        CellExecutionError: a cell failed.
    """
    cwd, home = folder / "cwd", folder / "home"
    cwd.mkdir()
    home.mkdir()
    mark = uuid.uuid4().hex
    ours = {name for name in os.environ if name.startswith("RAY_") and not name.startswith("RAY_AUTH")}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {
        "RAY_ADDRESS": ray_address,
        MARK: mark,
        "IPYTHONDIR": str(home / "ipython"),
        "HF_HOME": str(home / "hf"),
    }
    # Without folders of kernels there is one, that of the running interpreter.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(
        notebook, km=manager, timeout=CELL_SECONDS, record_timing=False, resources={"metadata": {"path": str(cwd)}}
    )
    try:
        client.execute(env=environment, cleanup_kc=True)
    finally:
        left = _end_all(mark)
    return left


def _end_all(mark: str) -> list[str]:
    _, alive = psutil.wait_procs(list(_marked(mark)), timeout=END_SECONDS)
    left = []
    for process in alive:
        try:
            left.append(" ".join(process.cmdline()))
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return left


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(notebook: NotebookNode) -> str:
    """All that its cells wrote."""
    parts: list[str] = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            parts.append(
                output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
            )
    return "".join(parts)


def pictures_of(notebook: NotebookNode) -> list[Image.Image]:
    """All that its cells drew, decoded."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            for kind, content in output.get("data", {}).items():
                if kind in ("image/png", "image/jpeg"):
                    found.append(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
    return found
