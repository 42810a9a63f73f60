"""Tests of pager_ray.datasets.root."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pager_ray.datasets.root import Root, naming, store_errors
from pager_ray.errors import ConfigError, InputError, StorageError
from tests.datasets.folders import write_tree, write_zip

FILES = {"a.txt": b"1", "b/c.txt": b"2", "b/d/e.txt": b"3"}
HIDDEN = {"._a.txt": b"", "b/.x": b"", "b/.d/f.txt": b""}


@pytest.fixture(params=["path", "file", "memory", "zip"])
def root(request: pytest.FixtureRequest, tmp_path: Path, memory_url: str) -> Root:
    """The same files on a local path, behind file://, in a memory store and in a zip archive."""
    if request.param == "zip":
        write_zip(f"{tmp_path}/x.zip", "top", FILES | HIDDEN)
        return Root(f"zip://top::{tmp_path}/x.zip")
    urls = {"path": f"{tmp_path}/top", "file": (tmp_path / "top").as_uri(), "memory": f"{memory_url}/top"}
    write_tree(urls[request.param], FILES | HIDDEN)
    return Root(urls[request.param])


def test_names_and_find(root: Root) -> None:
    """Names are relative and sorted, folders end in a slash, hidden ones do not show, what is missing is empty."""
    assert root.names() == ["a.txt", "b/"]
    assert root.names("b") == ["c.txt", "d/"]
    assert root.find() == ["a.txt", "b/c.txt", "b/d/e.txt"]
    assert root.find("b") == ["b/c.txt", "b/d/e.txt"]
    assert (root / "b").names() == ["c.txt", "d/"]
    for missing in ("nothing", "b/nothing"):
        assert root.names(missing) == []
        assert root.find(missing) == []


def test_read(root: Root) -> None:
    """What a listing names can be read, and what is missing is an error of the input with its URI."""
    assert [root.read(name) for name in root.find()] == [b"1", b"2", b"3"]
    assert (root / "b").read("c.txt") == b"2"
    with pytest.raises(InputError, match="nothing") as caught:
        root.read("nothing.txt")
    assert caught.value.error_class == "missing"


@pytest.mark.parametrize("root", ["path", "file", "memory"], indirect=True)
def test_new_files_are_listed(root: Root) -> None:
    """In a process that lives on, listings show what was added since."""
    assert root.names("b") == ["c.txt", "d/"]
    write_tree(root.url, {"b/new.txt": b""})
    assert root.names("b") == ["c.txt", "d/", "new.txt"]
    assert "b/new.txt" in root.find()


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the same folder after a change of directory."""
    write_tree(str(tmp_path), FILES)
    monkeypatch.chdir(tmp_path)
    root = Root("b")
    monkeypatch.chdir("/")
    assert root.names() == ["c.txt", "d/"]
    assert root.url == f"{tmp_path}/b"


def test_secrets_are_not_shown() -> None:
    """People see URIs without credentials; reading keeps them."""
    root = Root("memory://user:hunter2@host/x")
    assert "hunter2" in root.uri("a")
    assert "hunter2" not in root.shown("a") + str(root)


def test_a_store_that_cannot_be_listed(memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing listing is a StorageError that names the folder, and a protocol without a store a ConfigError."""
    root = Root(memory_url)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    for method in ("ls", "find"):
        monkeypatch.setattr(type(fsspec.filesystem("memory")), method, refuse)
    for listing in (root.names, root.find):
        with pytest.raises(
            StorageError, match=r"memory:.*/sub: cannot be listed .*Input/output error\); check its store, then run"
        ):
            listing("sub")
    with pytest.raises(ConfigError, match="no file system serves"):
        Root("nowhere://x")


def test_the_hubs_transport_is_known() -> None:
    """Cut connections of the Hub's client count as failures of a store."""
    from huggingface_hub import HfApi

    assert HfApi
    names = {f"{kind.__module__}.{kind.__name__}" for kind in store_errors()}
    assert any(name.startswith("httpx") and name.endswith("TransportError") for name in names)
    assert OSError in store_errors()


def test_naming() -> None:
    """Errors get their file's name, and another class where one is given."""
    with pytest.raises(InputError, match=r"^file: why$") as caught, naming("file"):
        raise InputError("old", "why")
    assert caught.value.error_class == "old"
    with pytest.raises(InputError, match=r"^file: why$") as caught, naming("file", "new"):
        raise InputError("old", "why", 7)
    assert (caught.value.error_class, caught.value.attempts) == ("new", 7)
