"""What leaves this process: connections, look-ups of names and programs that are started."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_EVENTS = {
    "socket.connect",
    "socket.sendto",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
}
_watchers: list[list[str]] = []
_installed = False


def _hook(event: str, arguments: tuple) -> None:
    if event in _EVENTS:
        for watcher in _watchers:
            watcher.append(f"{event}{arguments!r}")


@contextmanager
def leaving() -> Iterator[list[str]]:
    """What Python's own audit events tell while the block runs, whichever library does it."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)  # for the life of the process: hooks cannot be taken out
        _installed = True
    events: list[str] = []
    _watchers.append(events)
    try:
        yield events
    finally:
        _watchers.remove(events)


@contextmanager
def listening(body: bytes = b"{}") -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine that answers every request with the body; its address, and the requests' lines."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.requestline)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
