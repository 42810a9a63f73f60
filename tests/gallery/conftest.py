"""A run to make a gallery of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reader.runs import SmallRun


@pytest.fixture
def run(tmp_path: Path) -> SmallRun:
    """Five small rows, without sources."""
    made = SmallRun(tmp_path / "run")
    made.write("aaaaaaaaaaaa-00000000-000000", *(made.prediction(f"p{k}") for k in range(5)))
    made.complete()
    return made
