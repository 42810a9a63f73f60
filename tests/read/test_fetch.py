"""Fetching: the bytes, or one input error with a stable class, the masked URI and no secret."""

from __future__ import annotations

import http.server
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import fsspec
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ParamValidationError
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import InputError, StorageError
from pager_ray.plain import plain_text
from pager_ray.read.fetch import fetch, fetch_content
from pager_ray.retrying import Retry
from tests.harness.web import serving

SECRET = "hunter2"
AT_ONCE = Retry(0)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An HTTP server that answers with the status that the path begins with; gives its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = int(self.path[1:4])
            self.send_response(status)
            self.send_header("Content-Length", "5" if status == 200 else "0")
            self.end_headers()
            if status == 200:
                self.wfile.write(b"bytes")

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with serving(Answer) as address:
        yield address


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def refused(uri: str) -> InputError:
    with pytest.raises(InputError) as caught:
        fetch(uri, AT_ONCE)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_bytes_come_from_every_file_system(tmp_path: Path, server: str) -> None:
    """Paths, file URLs, objects and web addresses with a signature give their bytes."""
    (tmp_path / "[a]*.jpg").write_bytes(b"bytes")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/a.jpg", b"bytes")
    try:
        for uri in (
            f"{tmp_path}/[a]*.jpg",
            f"file://{tmp_path}/[a]*.jpg",
            "memory://bucket/a.jpg",
            f"http://{server}/200?sig={SECRET}",
        ):
            assert fetch(uri) == b"bytes"
    finally:
        memory.store.clear()


@pytest.mark.parametrize(
    ("name", "error_class", "reason"),
    [
        ("gone.jpg", "missing", "does not exist; correct the URI or bring the file there$"),
        (".", "not_a_file", "is a folder; give a file$"),
        (
            "x" * 300,
            "read_failed",
            r"cannot be read \(File name too long\); check its store, then --retry-rejects read_failed$",
        ),
        ("a\0b", "unsupported_uri", "no file system serves this URI; takes a path or a URL that fsspec knows$"),
    ],
)
def test_local_failures_say_why(tmp_path: Path, name: str, error_class: str, reason: str) -> None:
    """What a local file system refuses has its own class, and the message begins with the path."""
    error = refused(f"{tmp_path}/{name}")
    assert error.error_class == error_class
    assert str(error).startswith(plain_text(f"{tmp_path}/{name}: "))
    with pytest.raises(InputError, match=reason):
        fetch(f"{tmp_path}/{name}")


def test_a_file_without_rights_is_denied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The right to read that is missing is told from a file that is."""

    def refuse(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "cat_file", refuse)
    path = tmp_path / "a.jpg"
    path.touch()
    error = refused(str(path))
    assert error.error_class == "permission_denied"
    assert str(error).startswith(f"{path}: may not be read (Permission denied); ")


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (401, "permission_denied"),
        (403, "permission_denied"),
        (404, "missing"),
        (429, "transient"),
        (500, "transient"),
        (418, "read_failed"),
    ],
)
def test_http_statuses_have_classes(server: str, status: int, error_class: str) -> None:
    """Every HTTP status is an input error that keeps the signature to itself."""
    error = refused(f"http://user:{SECRET}@{server}/{status}/a.jpg?sig={SECRET}")
    assert error.error_class == error_class
    assert str(error).startswith(f"http://{server}/{status}/a.jpg: ")
    assert error_class == "missing" or str(status) in str(error).removeprefix(f"http://{server}/{status}")


@pytest.mark.parametrize(
    ("uri", "error_class"),
    [
        (f"http://user:{SECRET}@127.0.0.1:9/a.jpg?sig={SECRET}", "transient"),
        (f"http://user:{SECRET}@no-such-host.invalid/a.jpg?sig={SECRET}", "read_failed"),
        (f"http://127.0.0.1:{SECRET}@9:x/a.jpg?sig={SECRET}", "unsupported_uri"),
        (f"http://[bad/a.jpg?sig={SECRET}", "unsupported_uri"),
        (f"nosuch://user:{SECRET}@host/a.jpg", "unsupported_uri"),
    ],
)
def test_unusable_addresses_are_input_errors(uri: str, error_class: str) -> None:
    """An unknown protocol, a URL that is none and a host that refuses are input errors without secrets."""
    assert refused(uri).error_class == error_class


@pytest.mark.parametrize(
    ("raised", "stops"),
    [
        (NoCredentialsError(), True),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), True),
        (caused_by(EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), ConnectionResetError()), False),
        (ParamValidationError(report="bucket name"), False),
    ],
)
def test_an_unusable_store_is_no_fault_of_one_input(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, stops: bool
) -> None:
    """Without credentials or endpoint the job stops, instead of rejecting every input; a bad name is a reject."""

    class Store:
        def cat_file(self, path: str, start: int, end: int) -> bytes:
            raise raised

    monkeypatch.setattr("fsspec.core.url_to_fs", lambda uri: (Store(), uri))
    with pytest.raises(StorageError if stops else InputError, match=r"s3://bucket/a\.jpg"):
        fetch("s3://bucket/a.jpg", AT_ONCE)


@pytest.mark.parametrize(
    ("raised", "error_class", "message"),
    [
        # The HTTP file system itself makes a FileNotFoundError of it; other clients hand it on.
        (
            aiohttp.ClientResponseError(Mock(), (), status=404),
            "missing",
            "does not exist; correct the URI or bring the file there",
        ),
        (
            ImportError("Install s3fs to access S3"),
            "unsupported_uri",
            "no file system serves this URI (Install s3fs to access S3); takes a path or a URL that fsspec knows",
        ),
        (
            OSError(5, "What the store said:\n  not now"),
            "read_failed",
            "cannot be read (What the store said: not now); check its store, then --retry-rejects read_failed",
        ),
        (
            TimeoutError(),
            "transient",
            "could not be read in 1 attempt (TimeoutError); try it again with --retry-rejects",
        ),
    ],
)
def test_what_clients_say_becomes_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, error_class: str, message: str
) -> None:
    """An error of a store's client is an input error with the URI, the cause and the remedy in one line."""

    def fail(_: str) -> None:
        raise raised

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    error = refused("s3://bucket/a.jpg")
    assert (error.error_class, str(error)) == (error_class, f"s3://bucket/a.jpg: {message}")


def test_what_passes_by_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A read that fails twice in passing gives its bytes; one that goes on failing is a transient reject."""
    failures = [TimeoutError(), ConnectionResetError(104, "Connection reset by peer")]

    class Store:
        def cat_file(self, path: str, start: int, end: int) -> bytes:
            if failures:
                raise failures.pop()
            return b"bytes"

    monkeypatch.setattr("fsspec.core.url_to_fs", lambda uri: (Store(), uri))
    assert fetch("s3://bucket/a.jpg", Retry(60)) == b"bytes"
    failures += [TimeoutError()] * 1000
    with pytest.raises(
        InputError, match=r"^s3://bucket/a\.jpg: could not be read in \d+ attempts \(TimeoutError\); "
    ) as caught:
        fetch("s3://bucket/a.jpg", Retry(0.2))
    assert "--retry-rejects" in str(caught.value)
    assert caught.value.error_class == "transient"
    assert caught.value.attempts == 1000 - len(failures)


def test_pipes_devices_and_endless_files_are_refused(tmp_path: Path) -> None:
    """What would never end is refused before it is read, and so is a file of more than the limit."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"is a pipe, a socket or a device; give a file") as caught:
            fetch(str(path), AT_ONCE)
        assert caught.value.error_class == "not_a_file"
    (tmp_path / "large.jpg").write_bytes(bytes(1001))
    assert len(fetch(str(tmp_path / "large.jpg"), AT_ONCE, max_bytes=1001)) == 1001
    with pytest.raises(InputError, match=r"large\.jpg: has more than 1000 bytes; takes at most") as caught:
        fetch(str(tmp_path / "large.jpg"), AT_ONCE, max_bytes=1000)
    assert caught.value.error_class == "too_large"


@pytest.mark.parametrize("told", [True, False])
def test_a_limit_without_bound_asks_for_no_memory(told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read whole under a limit that no memory holds, whether or not its file system says how large it is."""
    content = bytes(range(256)) * 4000
    (tmp_path / "a.jpg").write_bytes(content)
    monkeypatch.setattr("pager_ray.read.ranges._STEP", 1000)
    if not told:
        opened = LocalFileSystem.open

        def untold(self: LocalFileSystem, *args: Any, **kwargs: Any) -> Any:
            file = opened(self, *args, **kwargs)
            file.size = None
            return file

        monkeypatch.setattr(LocalFileSystem, "open", untold)
    assert fetch(str(tmp_path / "a.jpg"), AT_ONCE, max_bytes=2**53 - 1) == content
    assert fetch(str(tmp_path / "a.jpg"), AT_ONCE, max_bytes=len(content)) == content


def test_names_that_look_like_chains_are_names(tmp_path: Path) -> None:
    """A path with ``::`` in it is that file, and not another one."""
    (tmp_path / "a").write_bytes(b"another")
    (tmp_path / "a::b.jpg").write_bytes(b"this")
    assert fetch(f"{tmp_path}/a::b.jpg", AT_ONCE) == b"this"


@pytest.mark.parametrize("places", ["", "x", "[]", "[[1,2]]", "[1]", '{"a":1}', "[[null,1]]", f"[[{'9' * 5000},1]]"])
def test_places_of_faces_that_are_none(places: str) -> None:
    """A manifest's word on where the six members lie is no more than that."""
    with pytest.raises(InputError, match="face") as caught:
        fetch_content("zip://x_{f,r,b,l,u,d}.png::/in/x.zip", Retry(0), face_places=places)
    assert caught.value.error_class == "changed"


def test_a_cache_takes_no_more_than_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fetch a file as a whole, to disk: how large it is, is asked first, and a stranger may name none."""
    (tmp_path / "large.bin").write_bytes(bytes(1 << 20))
    (tmp_path / "small.bin").write_bytes(b"small")
    taken = []
    monkeypatch.setattr(LocalFileSystem, "get_file", lambda *args, **_: taken.append(args) or shutil.copy(*args[1:3]))
    for cache in ("simplecache", "filecache", "blockcache"):
        with pytest.raises(InputError, match="has 1048576 bytes; takes at most 1000") as caught:
            fetch(f"{cache}::file://{tmp_path}/large.bin", Retry(0), max_bytes=1000)
        assert caught.value.error_class == "too_large"
    assert taken == []
    assert fetch(f"simplecache::file://{tmp_path}/small.bin", Retry(0), max_bytes=1000) == b"small"
    for uri in ("simplecache::https://example.com/a.jpg", "zip://a.jpg::filecache::s3://bucket/x.zip"):
        with pytest.raises(InputError, match=r"may not name caches; .*input\.private=allow") as caught:
            fetch(uri, Retry(0), strangers=True)
        assert caught.value.error_class == "forbidden_uri"
