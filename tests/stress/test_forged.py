"""As tests/safety/test_forged.py, with more forged files, of another seed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.safety.forge import forge_all

COUNT = 600
"""`python -m tests.safety.forge` forges 5,000."""


def test_more_forged_files_are_typed_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No other exception, no message that is not plain, ten seconds for one, a gigabyte in all."""
    found = forge_all(tmp_path, COUNT, seed=1)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(found.lines()) + "\n")
    assert found.problems == []
    assert found.count == COUNT
