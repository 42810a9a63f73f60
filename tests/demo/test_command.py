"""The command before the page: what is missing is said in one line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pager_ray.cli import exit_code
from tests.harness.ports import free_port


def test_a_checkpoint_that_is_not_there_is_one_line(tmp_path: Path, capsys) -> None:
    """The demo does not begin without its model."""
    assert (
        exit_code(
            ["demo", f"--checkpoint={tmp_path / 'none'}", f"--cache={tmp_path / 'cache'}", f"--port={free_port()}"]
        )
        == 1
    )
    assert str(tmp_path / "none") in capsys.readouterr().err.splitlines()[-1]


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path, capsys) -> None:
    """A file where the cache should be is named."""
    (tmp_path / "file").write_text("")
    assert exit_code(["demo", f"--cache={tmp_path / 'file'}", f"--port={free_port()}"]) == 1
    assert "--cache: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_an_address_that_cannot_be_used_is_told_before_anything_is_loaded(host: str, tmp_path: Path, capsys) -> None:
    """A port that is taken, or no host of this machine: not even the checkpoint is looked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        asked = ["demo", f"--host={host}", f"--port={port}", f"--checkpoint={tmp_path / 'none'}"]
        assert exit_code(asked) == 1
    assert f"--port: {host}:{port} cannot be used" in capsys.readouterr().err.splitlines()[-1]
