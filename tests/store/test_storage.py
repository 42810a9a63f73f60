"""Folders on real servers of every kind: read, written, created once, listed, deleted, named by all that names them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pager_ray.errors import OutputInUseError
from pager_ray.runs.lease import Lease
from pager_ray.storage import Folder
from tests.harness import stores

KINDS = ["sftp", "ftp", "gs", "az"]


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a place on a server of its kind."""
    with stores.served(request.param, tmp_path_factory.mktemp(request.param)) as url:
        yield url


def test_files_come_back(place: str) -> None:
    """What is written is read, listed in order, written over and deleted; a second one of a name is not created."""
    folder = Folder(f"{place}/files")
    folder.make()
    assert not folder.exists("a.json")
    folder.write("b é.txt", b"2")
    folder.write_json("a.json", {"x": [1, "ü"]})
    assert list(folder.pages("", ["b", "z"])) == [["b é.txt"]]
    (folder / "sub").write("c.txt", b"3" * 100_000)
    assert folder.names() == ["a.json", "b é.txt"]
    assert folder.entries() == ["a.json", "b é.txt", "sub"]
    assert folder.read_json("a.json") == {"x": [1, "ü"]}
    folder.write("b é.txt", b"22")
    assert folder.read("b é.txt") == b"22"
    # Google's emulator takes a condition, and does not heed it.
    assert folder.decides() == (place[:2] not in ("ft", "gs"))
    assert folder.create("new", b"first")
    assert not folder.create("new", b"second")
    assert folder.read("new") == b"first"
    with (folder / "sub").open("c.txt") as file:
        assert file.read(3) == b"333"
    assert folder.delete(["new", "b é.txt", "absent"]) == 2
    assert (folder / "sub").delete_where(lambda name: True) == 1
    assert (folder / "sub").names() == []
    assert folder.names() == ["a.json"]
    assert (folder / "none").names() == []


def test_places_keep_their_names(place: str) -> None:
    """Host, port, user and account are in every name that is shown or stored."""
    folder = Folder(f"{place}/run")
    assert folder.uri() == str(folder) == f"{place}/run"
    assert (folder / "state").uri("a.json") == f"{place}/run/state/a.json"


def test_one_job_at_a_time(place: str) -> None:
    """A place is held by one job, whether its store decides who was first or not."""
    folder = Folder(f"{place}/state/lease")
    with Lease(folder).take() as first:
        assert first.announced == (place[:2] in ("ft", "gs"))
        with pytest.raises(OutputInUseError, match="is running"):
            Lease(folder).take()
    with Lease(folder).take() as second:
        assert second.generation == 2
    assert folder.names() == ["00000002.json"]


def test_a_bucket_is_listed_by_what_names_begin_with(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each beginning is a listing of its own, and together they are the folder's own files, each once."""
    folder = Folder(f"{s3_bucket}/many")
    for name in ("0a.txt", "0b.txt", "1a.txt", "fa.txt", "x.txt"):
        folder.write(name, b"")
    (folder / "0sub").write("0c.txt", b"")
    asked, find = [], type(folder.filesystem).find

    def noting(self: object, path: str, **options: object) -> object:
        asked.append(options)
        return find(self, path, **options)

    monkeypatch.setattr(type(folder.filesystem), "find", noting)
    starts = ["0", "1", "f"]
    found = [name for names in folder.pages(".txt", starts) for name in names]
    assert sorted(found) == ["0a.txt", "0b.txt", "1a.txt", "fa.txt"]
    assert asked == [{"prefix": start} for start in starts]
    assert list((folder / "absent").pages(".txt", starts)) == []
