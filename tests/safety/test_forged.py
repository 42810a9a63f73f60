"""Forged shards, run files, ledgers, checkpoints and listings: each is a typed error, or harmless, within bounds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.safety.forge import forge_all

COUNT = 250
"""tests/stress has more than twice as many."""


def test_forged_files_are_typed_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No other exception, no message that is not plain, ten seconds for one, a gigabyte in all."""
    found = forge_all(tmp_path, COUNT)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(found.lines()) + "\n")
    assert found.problems == []
    assert found.count == COUNT
    assert sum(found.errors.values()) > found.errors["a result"] > 0
