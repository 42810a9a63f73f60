"""Notebooks with what they show: ``python -m tests.notebooks.showing [NAME …]`` runs them and keeps their outputs.

Kept are what cells print, pictures as small JPEGs, and results as text. Nothing of the machine stays: places of
temporary folders, colours of terminals, what went to the standard error.
"""

from __future__ import annotations

import base64
import io
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from tests.notebooks.running import NOTEBOOKS, code_cells, execute, read

WIDEST = 800
MOST_LINES = 40
QUALITY = 75

_TEMPORARY = re.compile(r"/tmp/(?:pytest-[^\s'\",:;)]*/|tmp|pager[\w-]*?)[\w-]*")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def joined(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Outputs with what was printed in pieces, one after the other, put together; the standard error left away."""
    found: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and output.name != "stdout":
            continue
        if output.output_type == "stream" and found and found[-1].output_type == "stream":
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def cleaned(output: NotebookNode) -> NotebookNode | None:
    """What is kept of an output; None of what is not."""
    if output.output_type == "stream":
        text = plain(output.text)
        return nbformat.v4.new_output("stream", name="stdout", text=text) if text.strip() else None
    if output.output_type not in ("display_data", "execute_result"):
        return None
    data = {}
    for kind in ("image/png", "image/jpeg"):
        if kind in output.data:
            data["image/jpeg"] = small(base64.b64decode(output.data[kind]))
    text = output.data.get("text/plain", "")
    data["text/plain"] = "picture" if "image/jpeg" in data else plain("".join(text))
    count = {"execution_count": output.execution_count} if output.output_type == "execute_result" else {}
    return nbformat.v4.new_output(output.output_type, data=data, **count)


def plain(text: str) -> str:
    """Text without a machine's own words, and with its first and last lines where it is long."""
    lines = [line.rsplit("\r", 1)[-1] for line in _COLOUR.sub("", text).split("\n")]
    lines = [_TEMPORARY.sub("/tmp/demo", line).replace(str(NOTEBOOKS.parent), "pager_ray").rstrip() for line in lines]
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
    return "\n".join(lines)


def small(picture: bytes) -> str:
    """A picture as a JPEG no wider than a page."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def show(name: str) -> None:
    """Run a notebook and write it with its outputs."""
    notebook = read(name)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    for number, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = number
        cell.metadata = {}
        cell.outputs = [kept for output in joined(cell.outputs) if (kept := cleaned(output)) is not None]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    nbformat.write(notebook, NOTEBOOKS / name)


def main(names: Sequence[str]) -> int:
    """Run those that are named, or all."""
    for name in names or sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")):
        show(name)
        sys.stdout.write(f"{name}: {(NOTEBOOKS / name).stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
