"""A job on a terminal shows what it does, step by step, in one place, and leaves its lines and no display."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
"""A terminal's cursor."""


def on_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Exit code of a command on a pseudo-terminal, and all that it wrote there."""
    terminal, its_end = os.openpty()
    process = subprocess.Popen(command, env=environment, stdin=its_end, stdout=its_end, stderr=its_end)
    os.close(its_end)
    written = b""
    with open(terminal, "rb", buffering=0) as screen:
        while True:
            try:
                content = screen.read(1 << 16)
            except OSError as error:
                # How Linux tells that nobody has the other end any more.
                if error.errno != errno.EIO:
                    raise
                break
            if not content:
                break
            written += content
    return process.wait(), written.decode()


def test_a_run_shows_its_steps(tiny_unified: Path, samples: Path, tmp_path: Path, ray_address: str) -> None:
    """From Ray's import to the last panorama; then the cursor is back, and the summary stands where it was."""
    command = [sys.executable, "-m", "pager_ray", "run", f"input.uris={samples}", f"output.uri={tmp_path / 'run'}"]
    command += [f"checkpoint={tiny_unified}", "compute.gpus_per_worker=0"]
    environment = os.environ | {"RAY_ADDRESS": ray_address, "TERM": "xterm", "COLUMNS": "120"}
    code, written = on_terminal(command, environment)
    assert code == 0, written
    assert written.count(HIDDEN) == written.count(SHOWN) == 1
    live, _, after = written.partition(SHOWN)
    words = CONTROLS.sub(" ", live)
    steps = ["load Ray", "list inputs", "pipeline", "of 8 panoramas"]
    places = [words.find(step) for step in steps if step in words]
    assert places == sorted(places)
    assert {"load Ray", "of 8 panoramas"} <= {step for step in steps if step in words}
    assert "8 of 8 panoramas predicted" in CONTROLS.sub("", after)
    assert "Traceback" not in written
