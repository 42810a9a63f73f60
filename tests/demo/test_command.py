"""The command before the page: what is missing is said in one line."""

from __future__ import annotations

from pathlib import Path

from pager_ray.cli import exit_code


def test_a_checkpoint_that_is_not_there_is_one_line(tmp_path: Path, capsys) -> None:
    """The demo does not begin without its model."""
    assert exit_code(["demo", f"--checkpoint={tmp_path / 'none'}", f"--cache={tmp_path / 'cache'}"]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err.splitlines()[-1]


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path, capsys) -> None:
    """A file where the cache should be is named."""
    (tmp_path / "file").write_text("")
    assert exit_code(["demo", f"--cache={tmp_path / 'file'}"]) == 1
    assert "--cache: " in capsys.readouterr().err.splitlines()[-1]
