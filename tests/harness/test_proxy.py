"""The network that fails on demand: it does each fault when told to, and otherwise nothing at all."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.harness.proxy import KINDS, FaultProxy, Faults

BODY = os.urandom(6 << 20)
PATHS = [
    "/bucket/plain",
    "/bucket/with%20space/and+plus/and%2Bescaped",
    "/bucket/%C3%A9%20%E6%97%A5%E6%9C%AC.jpg",
    "/bucket//double/../dots/%2E%2E/%7Etilde",
    "/bucket/?list-type=2&prefix=a%2Fb+c&delimiter=%2F&marker=&flag",
    "/bucket/key?partNumber=2&uploadId=2~abc%3D",
]
# From 6 MB to 200 KB.
BODIES = {path: BODY[: len(BODY) >> number] for number, path in enumerate(PATHS)}


@dataclass
class Origin:
    """A small HTTP server that keeps what it is given.

    Attributes:
        url: its URL.
        objects: raw path → body, as put.
        heard: method, raw path, Host header and the body's digest of every request.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    heard: list[tuple[str, str, str, str]] = field(default_factory=list)


@pytest.fixture
def origin() -> Iterator[Origin]:
    state = Origin()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            digest = hashlib.sha256(sent).hexdigest()
            state.heard.append((self.command, self.path, self.headers["Host"], digest))
            status, body = 200, b""
            if self.command == "PUT":
                state.objects[self.path] = sent
            elif self.command == "DELETE":
                state.objects.pop(self.path, None)
                status = 204
            elif self.path not in state.objects:
                status, body = 404, b"<Error><Code>NoSuchKey</Code></Error>"
            else:
                body = state.objects[self.path]
                if "Range" in self.headers:
                    start, stop = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
                    status, body = 206, body[start : stop + 1]
            self.send_response(status)
            self.send_header("ETag", f'"{digest}"')
            self.send_header("x-amz-meta-name", "caf=C3=A9")
            if status != 204:
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def ask(
    url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request on its own connection."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=900)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {name: value for name, value in answer.getheaders() if name != "Date"}, answer.read()
    finally:
        connection.close()


def test_without_faults_messages_pass_unchanged(origin: Origin) -> None:
    """Raw paths, the Host header, bodies, ranges and statuses are at the other end what they were at this one, and what
    was got is counted."""
    host = {"Host": "s3.example.com"}
    with FaultProxy(origin.url) as proxy:
        for path, body in BODIES.items():
            assert ask(proxy.url, "PUT", path, body, host | {"Expect": "100-continue"})[0] == 200
            assert origin.objects[path] == body
            before = proxy.sent.total()
            assert ask(proxy.url, "GET", path)[2] == body
            # Whoever has an answer finds its bytes counted.
            assert proxy.sent.total() - before == len(body)
            for method in ("GET", "HEAD", "DELETE", "GET"):
                headers = host | {"Range": "bytes=1000-1999"}
                proxied = ask(proxy.url, method, path, None, headers)
                if method == "DELETE":
                    # For the direct one; after both there is nothing to get.
                    origin.objects[path] = body
                assert proxied == ask(origin.url, method, path, None, headers)
        assert proxy.counts == {"requests": len(PATHS) * 6, "error": 0, "slow": 0, "reset": 0, "truncate": 0}
    puts = [("PUT", path, host["Host"], hashlib.sha256(body).hexdigest()) for path, body in BODIES.items()]
    assert [heard for heard in origin.heard if heard[0] == "PUT"] == puts


def test_errors_are_those_of_s3(origin: Origin) -> None:
    """At probability 1 every request gets 500 or 503 with S3's body, both occur, and the store hears of none."""
    seen = set()
    with FaultProxy(origin.url, Faults(error=1), seed=1) as proxy:
        for method in ("GET", "PUT", "HEAD", "DELETE") * 4:
            status, headers, body = ask(proxy.url, method, "/bucket/key", BODY if method == "PUT" else None)
            code = {500: "InternalError", 503: "SlowDown"}[status]
            seen.add(code)
            assert headers["Content-Type"] == "application/xml"
            assert (f"<Code>{code}</Code>" in body.decode()) == (method != "HEAD")
        assert proxy.counts["error"] == 16
    assert seen == {"InternalError", "SlowDown"}
    assert origin.heard == []


def test_slow_answers_pause_in_the_middle(origin: Origin) -> None:
    """The first half of a body comes at once, the second not before ``slow_seconds`` have passed, and nothing lacks."""
    origin.objects["/bucket/key"] = BODY
    with FaultProxy(origin.url, Faults(slow=1, slow_seconds=600)) as proxy:
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=900)
        connection.request("GET", "/bucket/key")
        answer = connection.getresponse()
        assert answer.read(len(BODY) // 2) == BODY[: len(BODY) // 2]
        assert connection.sock is not None
        connection.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            answer.read(1)
        connection.close()

        proxy.faults = Faults(slow=1, slow_seconds=0.3)
        for method, body in (("GET", BODY), ("PUT", b"")):
            began = time.monotonic()
            assert ask(proxy.url, method, "/bucket/key")[2] == body
            assert time.monotonic() - began > 0.3
        assert proxy.counts["slow"] == 3


def test_resets_come_before_and_after_the_store_did_it(origin: Origin) -> None:
    """Every request ends in a reset without an answer; some puts are done all the same, and some are not."""
    with FaultProxy(origin.url, Faults(reset=1), seed=1) as proxy:
        for number in range(12):
            with pytest.raises(ConnectionResetError):
                ask(proxy.url, "PUT", f"/bucket/{number}", BODY[:100_000])
        assert proxy.counts["reset"] == 12
    assert 2 < len(origin.objects) < 10
    assert set(origin.objects.values()) == {BODY[:100_000]}


def test_truncated_answers_promise_more_than_they_hold(origin: Origin) -> None:
    """The head announces the whole body, and the connection closes after its first half; no body, no fault."""
    origin.objects["/bucket/key"] = BODY
    with FaultProxy(origin.url, Faults(truncate=1)) as proxy:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(proxy.url, "GET", "/bucket/key")
        assert caught.value.partial == BODY[: len(BODY) // 2]
        assert caught.value.expected == len(BODY) - len(BODY) // 2
        assert ask(proxy.url, "HEAD", "/bucket/key")[1]["Content-Length"] == str(len(BODY))
        assert ask(proxy.url, "PUT", "/bucket/other", b"x")[0] == 200
        assert proxy.counts["truncate"] == 1


def test_a_store_that_is_away_looks_like_a_reset(origin: Origin) -> None:
    """Without a store behind the proxy connections are reset, and requests pass again once there is one."""
    origin.objects["/bucket/key"] = BODY
    with FaultProxy("http://127.0.0.1:1") as proxy:
        with pytest.raises(ConnectionResetError):
            ask(proxy.url, "GET", "/bucket/key")
        proxy.target = origin.url
        assert ask(proxy.url, "GET", "/bucket/key")[2] == BODY
        proxy.faults = Faults(error=1)
        assert ask(proxy.url, "GET", "/bucket/key")[0] in (500, 503)


def outcomes(origin: Origin, seed: int, count: int = 60) -> list[str]:
    """What a client makes of the same requests, one after the other."""
    seen = []
    with FaultProxy(origin.url, Faults(0.2, 0.2, 0.2, 0.2, slow_seconds=0), seed=seed) as proxy:
        for _ in range(count):
            before = dict(proxy.counts)
            try:
                told = str(ask(proxy.url, "GET", "/bucket/key")[0])
            except (ConnectionResetError, http.client.IncompleteRead) as error:
                told = type(error).__name__
            seen.append(" ".join([*(kind for kind in KINDS if proxy.counts[kind] > before[kind]), told]))
    return seen


def test_the_same_seed_gives_the_same_faults(origin: Origin) -> None:
    """A sequence of requests meets the same faults every time with one seed, others with another, and of all kinds."""
    origin.objects["/bucket/key"] = BODY[:1000]
    seen = outcomes(origin, seed=5)
    assert outcomes(origin, seed=5) == seen
    assert outcomes(origin, seed=6) != seen
    expected = {"200", "error 500", "error 503", "slow 200", "reset ConnectionResetError", "truncate IncompleteRead"}
    assert set(seen) == expected


@pytest.mark.parametrize("chances", [{"error": -0.1}, {"error": 0.6, "reset": 0.6}])
def test_impossible_probabilities_are_refused(chances: dict[str, float]) -> None:
    """A request has at most one fault: chances that do not add up are an error at once."""
    with pytest.raises(ValueError, match="at most 1 together"):
        Faults(**chances)


def test_the_command_serves_until_it_is_told_to_end(origin: Origin) -> None:
    """``python -m`` tells its URL first, serves, and after SIGTERM tells the counts and ends with 0."""
    command = [sys.executable, "-m", "tests.harness.proxy", "--target", origin.url, "--seed", "1", "--error", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert ask(url, "GET", "/bucket/key")[0] in (500, 503)
        process.send_signal(signal.SIGTERM)
        assert json.loads(process.stdout.read())["error"] == 1
    assert process.returncode == 0
