"""Ids and conditions select predictions of a run, in the order in which it stores them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pager_ray import open_run
from pager_ray.errors import ConfigError, StorageError
from pager_ray.export.selection import read_ids, select_ids
from tests.export.runs import scene_run


def test_ids_come_repeated_separated_and_from_files(tmp_path: Path) -> None:
    """Each id once, in the order given; blank lines and spaces count for nothing."""
    listed = tmp_path / "ids.txt"
    listed.write_text("c\n\n d, e \n", encoding="utf-8")
    assert read_ids(["a,b", "b", f"@{listed}"]) == ["a", "b", "c", "d, e"]
    assert read_ids([]) == []
    with pytest.raises(ConfigError, match=r"--ids: got ',', which names none; takes ID,ID,… or @FILE"):
        read_ids([","])
    with pytest.raises(StorageError, match="absent"):
        read_ids([f"@{tmp_path / 'absent'}"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_ids_may_come_from_windows(tmp_path: Path, encoding: str) -> None:
    """What PowerShell's ``>`` writes is read by its byte order mark; what is no text is told in one line."""
    listed = tmp_path / "ids.txt"
    listed.write_bytes("küche\r\nbad\r\n".encode(encoding))
    assert read_ids([f"@{listed}"]) == ["küche", "bad"]
    listed.write_bytes("küche".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^--ids: .*ids\.txt is no text \(.*\); takes UTF-8, or UTF-16 with a byte"):
        read_ids([f"@{listed}"])


def test_an_id_may_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    """As names of files may."""
    (tmp_path / "ids.txt").write_text("a\u2028b\n  c\x85\t\n\n", encoding="utf-8")
    assert read_ids([f"@{tmp_path / 'ids.txt'}"]) == ["a\u2028b", "c\x85"]


def test_selections_are_what_both_options_leave(tmp_path: Path) -> None:
    """All, those named, those that pass, and those named that pass."""
    ids = ("a", "b", "c", "d")
    run = open_run(scene_run(tmp_path, ids).folder)
    assert select_ids(run, None, None) == list(ids)
    assert select_ids(run, ["d", "a"], None) == ["a", "d"]
    assert select_ids(run, None, "sky_fraction < 0.15 or id = 'd'") == ["a", "b", "d"]
    assert select_ids(run, ["d", "c"], "sky_fraction > 0.25") == ["d"]


def test_unknown_ids_are_refused(tmp_path: Path) -> None:
    """What has no prediction is named before any work."""
    run = open_run(scene_run(tmp_path).folder)
    with pytest.raises(ConfigError, match=r"--ids: 2 of 3 have no prediction in Run.*'x', 'y'\); take ids"):
        select_ids(run, ["x", "y", "a"], None)
