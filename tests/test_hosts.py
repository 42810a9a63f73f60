"""Whether a file is there: a server that is in trouble, or does not answer, has not said that it is not."""

from __future__ import annotations

import http.server
import io
from collections.abc import Iterator
from typing import Any

import aiohttp
import fsspec
import pytest

from pager_ray.errors import StorageError
from pager_ray.hosts import exists
from pager_ray.storage import Folder
from tests.harness.web import serving


class _Whole(http.server.BaseHTTPRequestHandler):
    """Gives the whole content, whatever part is asked for, but below ``parts``; below ``endless`` without its size."""

    content = bytes(range(200))

    def do_GET(self) -> None:
        asked = self.headers.get("Range") if self.path.startswith("/parts") else None
        first, last = map(int, asked.removeprefix("bytes=").split("-")) if asked else (0, len(self.content) - 1)
        part = self.content[first : last + 1]
        self.send_response(206 if asked else 200)
        if not self.path.startswith("/endless"):
            self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names, or has the file where it names none."""

    def do_GET(self) -> None:
        status = int(self.path.split("/")[1]) if self.path[1:2].isdigit() else 200
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"{}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(_Answers) as address:
        yield f"http://{address}"


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with serving(_Whole) as address:
        yield f"http://{address}"


@pytest.mark.parametrize("folder", ["whole", "parts", "endless"])
def test_parts_are_had_of_a_server_that_gives_none(plain: str, folder: str) -> None:
    """As Python's own server is: its shards are read, in place of being called damaged."""
    with Folder(f"{plain}/{folder}").open("shard.parquet") as file:
        assert file.seek(0, 2) == len(_Whole.content)
        file.seek(150)
        assert file.read(20) == _Whole.content[150:170]
        assert isinstance(file, io.BytesIO) == (folder != "parts")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_web_server_says_what_it_has(server: str, status: int) -> None:
    """Also where it says no more than that one may not have it, as stores do that may not be listed."""
    web = fsspec.filesystem("http")
    assert exists(web, f"{server}/run/run.json")
    assert not exists(web, f"{server}/{status}/run.json")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_in_trouble_says_nothing(server: str, status: int) -> None:
    """What it cannot answer now is raised as it came, so that it is asked again."""
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        exists(fsspec.filesystem("http"), f"{server}/{status}/run.json")
    assert caught.value.status == status


def test_a_server_that_does_not_answer_is_no_empty_folder() -> None:
    """Who opens a run there learns that it cannot be reached, in place of that there is none."""
    with pytest.raises(
        StorageError, match=r"^http://127\.0\.0\.1:9/run/run\.json: cannot be read \(.*\); check its store"
    ):
        Folder("http://127.0.0.1:9/run").once().exists("run.json")
