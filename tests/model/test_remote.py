from __future__ import annotations

import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from pager_ray.errors import CheckpointError
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.model.checkpoint import CONFIG, WEIGHTS
from pager_ray.retrying import Retry
from tests.model.conftest import GOLDEN, random_faces

URL = "memory://bucket/checkpoints/normals"


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """An in-memory store with one checkpoint."""
    memory = fsspec.filesystem("memory")
    for file in (WEIGHTS, CONFIG):
        memory.pipe_file(f"/bucket/checkpoints/normals/{file}", (GOLDEN / "tiny_normals" / file).read_bytes())
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAGER_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_checkpoint_on_a_store_is_copied_once(store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch):
    """A URL gives the model of its files, and a second load copies nothing."""
    faces = random_faces(1)
    expected = load_model(GOLDEN / "tiny_normals", device="cpu")(faces)["normals"]
    assert torch.equal(load_model(URL, device="cpu")(faces)["normals"], expected)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("copied again")

    monkeypatch.setattr(type(store), "get_file", refuse)
    found = resolve_checkpoint(URL + "/")
    assert found.weights.read_bytes() == (GOLDEN / "tiny_normals" / WEIGHTS).read_bytes()
    assert (found.source, found.name) == (URL + "/", URL)


def test_replaced_checkpoint_is_copied_anew(store: fsspec.AbstractFileSystem):
    """When the files behind a URL change, the old copy is not taken for the new."""
    before = resolve_checkpoint(URL)
    changed = (GOLDEN / "tiny_normals" / CONFIG).read_bytes() + b"note: new\n"
    store.pipe_file(f"/bucket/checkpoints/normals/{CONFIG}", changed)
    after = resolve_checkpoint(URL)
    assert after.config != before.config
    assert after.config.read_bytes() == changed


def test_interrupted_copy_is_not_taken_for_a_checkpoint(
    store: fsspec.AbstractFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """A copy that broke off leaves nothing that a later load takes for complete; the next load starts over."""
    original = type(store).get_file

    def broken(self: fsspec.AbstractFileSystem, source: str, target: str, **options: object) -> None:
        if source.endswith(WEIGHTS):
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(self, source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "get_file", broken)
        with pytest.raises(
            CheckpointError, match=r"^memory://bucket/.*copied to .*cache/checkpoints \(No space .*PAGER_RAY_CACHE$"
        ):
            resolve_checkpoint(URL)
    assert not list(cache.glob("checkpoints/*/" + WEIGHTS)) or list(cache.glob("checkpoints/*.partial"))
    assert resolve_checkpoint(URL).weights.stat().st_size > 1000
    assert not list(cache.glob("checkpoints/*.partial"))


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_missing_file_on_a_store_is_named(store: fsspec.AbstractFileSystem, missing: str):
    """A URL that lacks a file is an error that names it."""
    store.rm(f"/bucket/checkpoints/normals/{missing}")
    with pytest.raises(
        CheckpointError, match=rf"^{URL}: holds no {missing}; a checkpoint takes {WEIGHTS} beside {CONFIG}"
    ):
        resolve_checkpoint(URL)


def test_unknown_protocol_is_an_error():
    """A URL that no file system serves is an error that names it."""
    with pytest.raises(
        CheckpointError, match=r"^nowhere://bucket/x: no file system serves this URL .*; takes one that"
    ):
        resolve_checkpoint("nowhere://bucket/x")


def test_file_url_is_used_where_it_lies(cache: Path):
    """A file:// URL is the folder itself; nothing is copied."""
    found = resolve_checkpoint((GOLDEN / "tiny_normals").as_uri())
    assert found.weights == GOLDEN / "tiny_normals" / WEIGHTS
    assert not cache.exists()


def test_secrets_of_a_url_reach_no_error_and_no_name(store: fsspec.AbstractFileSystem):
    """Credentials in a URL appear in no message and no name."""
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint("nowhere://user:hunter2@bucket/x?X-Amz-Signature=deadbeef")
    assert "bucket/x" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "deadbeef" not in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint("memory://bucket/x?token=deadbeef")
    assert "deadbeef" not in str(caught.value)


def test_stores_that_cannot_be_read_are_named(store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch):
    """A store that answers nothing is one line with the URL, the system's reason and what to check."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(store), "size", fail)
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint(URL)
    assert str(caught.value) == f"{URL}: cannot be read (Input/output error); check its store and the right to read it"


class CountingServer(http.server.ThreadingHTTPServer):
    """Serves a folder and notes which files are asked for; ``fault`` may answer in the server's place."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.asked: list[str] = []
        self.fault: Callable[[Handler, int], bool] = lambda *_: False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/tiny_normals"


class Handler(http.server.SimpleHTTPRequestHandler):
    server: CountingServer

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        if not self.server.fault(self, self.server.asked.count(name)):
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[CountingServer]:
    server = CountingServer(GOLDEN)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


# Processes that import once and then resolve a URL at the same time, the last one after a line of input.
RESOLVE = """
    import os, sys
    from pager_ray.model import resolve_checkpoint
    import pager_ray.model.remote
    import fsspec.implementations.http

    children = []
    for _ in range(int(sys.argv[2])):
        child = os.fork()
        if not child:
            resolve_checkpoint(sys.argv[1])
            os._exit(0)
        children.append(child)
    print(children[0], flush=True)
    sys.stdin.readline()
    resolve_checkpoint(sys.argv[1])
    print([os.waitpid(child, 0)[1] for child in children])
"""


def resolving(url: str, others: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(RESOLVE), url, str(others)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def test_many_processes_ask_the_server_once(web: CountingServer, cache: Path):
    """Four processes resolve the same URL at once: each file crosses the network once."""

    def slowly(handler: Handler, _: int) -> bool:
        if handler.path.endswith(WEIGHTS):
            time.sleep(1)
        return False

    web.fault = slowly
    output, _ = resolving(web.url, 3).communicate("\n", timeout=900)
    assert output.splitlines()[1:] == ["[0, 0, 0]"]
    assert sorted(web.asked) == sorted([CONFIG, WEIGHTS])
    assert len(list(cache.glob(f"checkpoints/*/{WEIGHTS}"))) == 1


def cut(handler: Handler, _: int) -> bool:
    """Say what a whole answer says, and send a part of it."""
    size = (GOLDEN / "tiny_normals" / WEIGHTS).stat().st_size
    handler.send_response(200)
    handler.send_header("Content-Length", str(size))
    handler.end_headers()
    handler.wfile.write(b"x" * 1000)
    handler.close_connection = True
    return True


def unavailable(handler: Handler, _: int) -> bool:
    handler.send_error(503)
    return True


def short(handler: Handler, _: int) -> bool:
    """Send a part as if it were the whole."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 1000)
    return True


@pytest.mark.parametrize("fault", [cut, unavailable, short])
def test_copy_is_repeated_when_it_breaks_off(
    web: CountingServer, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Handler, int], bool]
):
    """A connection that breaks, a busy server or a part of a file: the copy is made again, whole."""
    monkeypatch.setattr("pager_ray.retrying.FIRST_WAIT", 0.01)

    def once(handler: Handler, number: int) -> bool:
        return handler.path.endswith(WEIGHTS) and number == 1 and fault(handler, number)

    web.fault = once
    found = resolve_checkpoint(web.url)
    assert found.weights.read_bytes() == (GOLDEN / "tiny_normals" / WEIGHTS).read_bytes()
    assert web.asked.count(WEIGHTS) == 2


def test_copy_of_a_killed_process_is_replaced(web: CountingServer, cache: Path):
    """A process that is killed in the middle of a copy leaves its lock free and its part to be made anew."""
    half, go_on = threading.Event(), threading.Event()

    def stall(handler: Handler, number: int) -> bool:
        if not handler.path.endswith(WEIGHTS) or number > 1:
            return False
        cut(handler, number)
        half.set()
        go_on.wait(300)
        return True

    web.fault = stall
    processes = resolving(web.url, 1)
    first = int(processes.stdout.readline())
    assert half.wait(300)
    processes.stdin.write("\n")  # the second one starts, and waits for the first
    processes.stdin.flush()
    time.sleep(0.5)
    os.kill(first, signal.SIGKILL)
    go_on.set()
    output, _ = processes.communicate(timeout=900)
    assert output.strip() == f"[{signal.SIGKILL.value}]"
    (weights,) = cache.glob(f"checkpoints/*/{WEIGHTS}")
    assert weights.read_bytes() == (GOLDEN / "tiny_normals" / WEIGHTS).read_bytes()
    assert not list(cache.glob("checkpoints/*.partial"))


def test_file_replaced_on_a_web_server_is_copied_anew(tmp_path: Path):
    """A web server's times tell that a file of the same size is another one."""
    folder = shutil.copytree(GOLDEN / "tiny_normals", tmp_path / "site" / "tiny_normals")
    server = CountingServer(tmp_path / "site")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = resolve_checkpoint(server.url)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(folder / WEIGHTS, (1e9, 1e9))
    after = resolve_checkpoint(server.url)
    server.shutdown()
    server.server_close()
    assert after.weights != before.weights
    assert after.weights.read_bytes() == (folder / WEIGHTS).read_bytes()


def test_user_without_a_home_is_told_of_the_cache_variable(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
):
    """Where no cache folder can be named, the line says which variable names one."""

    def homeless(*_: object) -> Path:
        raise FileNotFoundError(2, "this user has no home folder")

    monkeypatch.setattr("pager_ray.model.remote.cache_folder", homeless)
    with pytest.raises(
        CheckpointError,
        match=rf"^{URL}: cannot be copied to this node \(this user .*; name a cache folder in PAGER",
    ):
        resolve_checkpoint(URL)


def test_server_that_cannot_be_reached_is_not_said_to_lack_a_file(monkeypatch: pytest.MonkeyPatch):
    """Where nobody answers, the line speaks of the connection, after a while of trying."""
    monkeypatch.setattr("pager_ray.model.remote.Retry", lambda: Retry(0))
    server = CountingServer(GOLDEN)
    server.server_close()
    with pytest.raises(CheckpointError, match=rf"^{server.url}: cannot be read \(.*\); check its store"):
        resolve_checkpoint(server.url)
