"""Columns that were asked for: where nothing says anything in one, that is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pager_ray.listing import list_inputs
from pager_ray.listing.containers import SourceOptions
from pager_ray.read.containers import IndexSettings
from pager_ray.retrying import Retry
from tests.read.packed import write_tar


def heard(caplog: pytest.LogCaptureFixture, source: Path, **asked: Any) -> list[str]:
    """The columns that are told when a source is listed."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        list_inputs([str(source)], Retry(0), options=SourceOptions(settings=IndexSettings(**asked)))
    return [message.partition(":")[0] for message in caplog.messages if "says anything in a column" in message]


@pytest.mark.parametrize("key", ["id_column", "scene_column", "sequence_column", "time_column", "keep"])
def test_what_nothing_says_anything_in_is_told(key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of a folder without a table, a zip, a tar and a listing alike; a column that one row fills is none of these."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"1")
    (tmp_path / "list.csv").write_text("uri,place,n\na.jpg,,1\n")
    member = b'{"place": "indoor", "n": 1, "when": 5}'
    tar = write_tar(tmp_path / "x.tar", [("a.jpg", b"1"), ("a.json", member), ("b.jpg", b"2")])
    wanted: Any = ("place",) if key == "keep" else "place"
    named = ["input.keep_columns" if key == "keep" else f"input.{key}"]
    assert heard(caplog, folder, **{key: wanted}) == named
    assert heard(caplog, tmp_path / "list.csv", **{key: wanted}) == named
    there: Any = {"keep": ("n", "place"), "time_column": "when"}.get(key, "place")
    assert heard(caplog, tar, **{key: there}) == []
