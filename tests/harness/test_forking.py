"""A worker that nobody forks starts by itself."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.harness.forking import PATHS, SITE, WORKERS


def started(folder: Path, socket_path: Path) -> str:
    """What a program says that is called as Ray's workers are, with a server at a path."""
    program = folder / "default_worker.py"
    program.write_text("print('started by itself')\n")
    paths = {"PYTHONPATH": str(SITE), PATHS: json.dumps([str(SITE)])}
    environment = os.environ | paths | {WORKERS: str(socket_path)}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_where_nobody_listens(tmp_path: Path) -> None:
    """The server has ended with its tests."""
    assert started(tmp_path, tmp_path / "nobody") == "started by itself"


def test_where_the_server_ends(tmp_path: Path) -> None:
    """The server ends while somebody waits for a worker."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        hanging_up = threading.Thread(target=lambda: server.accept()[0].close())
        hanging_up.start()
        assert started(tmp_path, tmp_path / "s") == "started by itself"
        hanging_up.join()
