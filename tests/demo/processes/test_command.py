"""The command where its extra is not installed."""

from __future__ import annotations

import subprocess
import sys

from tests.harness.ports import free_port


def test_without_gradio_the_extra_is_named() -> None:
    """Where Gradio is not installed the command ends with 2 and says what to install."""
    command = ["demo", f"--port={free_port()}"]
    code = f"import sys; sys.modules['gradio'] = None; from pager_ray.cli import main; main({command})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("pager-ray: demo: needs gradio, which is not installed")
    assert "pip install 'pager_ray[demo]'" in ended.stderr
