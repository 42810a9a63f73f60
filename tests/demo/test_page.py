"""The page: what it hands out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pager_ray.demo import page
from pager_ray.demo.page import HandedOut


def test_copies_go_when_they_are_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a demo that runs for months, copies of the last hour and of its examples are there, and none after it."""
    (tmp_path / "depth.exr").write_bytes(b"depth")
    now = [0.0]
    monkeypatch.setattr(page.time, "monotonic", lambda: now[0])
    handed_out = HandedOut()
    example = handed_out.copy(tmp_path / "depth.exr", for_good=True)
    copies = []
    for now[0] in (0.0, 3000.0, 6000.0):
        copies.append(handed_out.copy(tmp_path / "depth.exr"))
        assert copies[-1].read_bytes() == b"depth"
    assert [path.exists() for path in (example, *copies)] == [True, False, True, True]
    folder = copies[0].parents[1]
    assert len(list(folder.iterdir())) == 3
    del handed_out
    assert not folder.exists()
