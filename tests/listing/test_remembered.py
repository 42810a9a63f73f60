"""Containers of a run are listed once: a later start takes what it knows of those that are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pager_ray.listing import list_inputs
from pager_ray.listing.containers import FEW, SourceOptions, index_here
from pager_ray.listing.remembered import INDEX_NAME, Remembering, read_index, write_index
from pager_ray.read.containers import Container, IndexSettings, Members
from pager_ray.retrying import Retry
from pager_ray.storage import Folder
from tests.read.packed import write_tar

SETTINGS = IndexSettings(retry=Retry(0))


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    """The second listing equals the first, reads one container that changed, and other settings read all."""
    (tmp_path / "in").mkdir()
    for number in range(FEW + 1):
        write_tar(tmp_path / "in" / f"{number:03}.tar", [(f"{number}.jpg", b"1" * 900), ("notes.txt", b"n")])
    (tmp_path / "in" / "broken.tar").write_bytes(b"no tar" * 100)
    folder = Folder(str(tmp_path / "state"))
    folder.make()
    read: list[int] = []

    def index(containers: Sequence[Container], settings: IndexSettings) -> Iterator[Members]:
        found = list(index_here(containers, settings))
        read.append(sum(not members.is_same for members in found))
        return iter(found)

    def listing(known: dict[str, Members]) -> tuple[Remembering, list[object]]:
        remembering = Remembering(index, known)
        options = SourceOptions(settings=SETTINGS, index=remembering)
        return remembering, list(list_inputs([str(tmp_path / "in")], Retry(0), options=options))

    first, rows = listing({})
    write_index(folder, first.found, SETTINGS)
    assert listing(read_index(folder, SETTINGS))[1] == rows
    write_tar(tmp_path / "in" / "003.tar", [("new.jpg", b"2" * 5000)])
    _, again = listing(read_index(folder, SETTINGS))
    assert [row.id for row in again if row not in rows] == ["new"]  # type: ignore[attr-defined]
    assert read == [FEW + 2, 0, 1]
    assert not read_index(folder, IndexSettings(keep=("n",)))


def test_few_containers_are_not_remembered(tmp_path: Path) -> None:
    """They are listed faster than an index is read."""
    write_tar(tmp_path / "a.tar", [("a.jpg", b"1")])
    remembering = Remembering(index_here, {})
    list_inputs([str(tmp_path / "a.tar")], Retry(0), options=SourceOptions(index=remembering))
    write_index(Folder(str(tmp_path)), remembering.found, SETTINGS)
    assert not (tmp_path / INDEX_NAME).exists()


@pytest.mark.parametrize("content", [b"", b"PAR1 no PAR1", b"x" * 100])
def test_a_damaged_index_is_no_index(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, and everything is listed again."""
    (tmp_path / INDEX_NAME).write_bytes(content)
    assert read_index(Folder(str(tmp_path)), SETTINGS) == {}
    assert "they are listed again" in caplog.text
