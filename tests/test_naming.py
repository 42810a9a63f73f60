"""What is listed is what was given: no part of a URI that names a place is lost on the way to the manifest."""

from __future__ import annotations

import zipfile
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.ftp import FTPFileSystem

from pager_ray.listing import list_inputs
from pager_ray.naming import namer
from pager_ray.read.fetch import fetch
from pager_ray.retrying import Retry


@pytest.mark.parametrize(
    ("source", "path", "uri"),
    [
        ("s3://bucket/in", "bucket/in/a.jpg", "s3://bucket/in/a.jpg"),
        ("s3a://bucket/in/", "bucket/in/a.jpg", "s3a://bucket/in/a.jpg"),
        ("s3://bucket/*.jpg", "bucket/a.jpg", "s3://bucket/a.jpg"),
        ("ftp://me@host:2121/data", "/data/a.jpg", "ftp://me@host:2121/data/a.jpg"),
        ("ftp://host/", "/a.jpg", "ftp://host/a.jpg"),
        ("webhdfs://node:50070/user/x", "/user/x/a.jpg", "webhdfs://node:50070/user/x/a.jpg"),
        ("http://host/in/a.jpg", "http://host/in/a.jpg", "http://host/in/a.jpg"),
        ("memory://in", "/in/a.jpg", "memory://in/a.jpg"),
        ("hf://datasets/o/n@main/x", "datasets/o/n@main/x/a.jpg", "hf://datasets/o/n@main/x/a.jpg"),
        ("zip://in::s3://bucket/x.zip", "in/a.jpg", "zip://in/a.jpg::s3://bucket/x.zip"),
        ("tar://::ftp://me@host/x.tar", "a.jpg", "tar://a.jpg::ftp://me@host/x.tar"),
        ("simplecache::s3://bucket/in", "bucket/in/a.jpg", "simplecache::s3://bucket/in/a.jpg"),
        ("/data/in", "/data/in/a.jpg", "/data/in/a.jpg"),
        ("file:///data/in", "/data/in/a.jpg", "/data/in/a.jpg"),
    ],
)
def test_every_part_that_names_a_place_stays(source: str, path: str, uri: str) -> None:
    """Host, port, login, bucket, scheme, archive and cache of the source stand in each file's URI."""
    assert namer(source)(path) == uri


def test_an_account_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's client names containers alone: the account of the URL is put back."""
    kind = type("Azure", (FTPFileSystem,), {"_strip_protocol": staticmethod(lambda _: "tours/in")})
    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda _: kind)
    named = namer("abfss://tours@account.dfs.core.windows.net/in")("tours/in/a.jpg")
    assert named == "abfss://tours@account.dfs.core.windows.net/in/a.jpg"


def test_members_of_an_archive_are_listed_and_read(tmp_path: Path) -> None:
    """One member, a folder or a pattern of an archive: each row's URI gives that member's bytes."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("in/a.jpg", "in/b.jpg", "c.jpg"):
            archive.writestr(name, name)
    outside = f"::file://{tmp_path}/x.zip"
    assert [item.uri for item in list_inputs([f"zip://in/a.jpg{outside}"])] == [f"zip://in/a.jpg{outside}"]
    listed = list_inputs([f"zip://in{outside}"])
    assert [item.uri for item in listed] == [f"zip://in/{name}.jpg{outside}" for name in "ab"]
    assert [fetch(item.uri, Retry(0)) for item in listed] == [b"in/a.jpg", b"in/b.jpg"]
    assert [item.id for item in list_inputs([f"zip://in/*.jpg{outside}"])] == ["a", "b"]
