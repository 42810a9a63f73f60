"""The list of files without coverage is of files that there are, and their lines are not counted."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from tests.harness.untraced import UNTRACED

TESTS = Path(__file__).parents[1]


def test_every_file_is_there() -> None:
    """A file that moved is traced again unless its name here moves with it."""
    assert [name for name in sorted(UNTRACED) if not (TESTS / name).is_file()] == []


def test_no_line_is_counted(request: pytest.FixtureRequest) -> None:
    """This file is on the list: while it runs nobody traces, in xdist's processes neither, nor in threads."""
    if request.config.pluginmanager.hasplugin("_cov"):
        assert (sys.gettrace(), threading.gettrace()) == (None, None)
