"""A network that fails on demand: an HTTP proxy between a job and an object store, with seeded faults.

It is a reverse proxy: the job takes the proxy's URL for the store's. Requests and answers pass byte for byte, the Host
header and the raw path included, because AWS signatures cover both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

KINDS = ("error", "slow", "reset", "truncate")

# What belongs to one connection and not to the message; Expect is answered here, since what follows is streamed.
_HOP_BY_HOP = (
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
)

Refusal = Callable[[web.BaseRequest], tuple[int, str] | None]
"""Status and S3's code for a request that the store shall not hear of; None for one that is passed on."""

_ERRORS = {
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}


@dataclass(frozen=True)
class Faults:
    """How likely each fault is for a request; a request has at most one.

    Attributes:
        error: the proxy answers 500 InternalError or 503 SlowDown, and the store never hears of the request.
        slow: the second half of the answer's body comes ``slow_seconds`` after the first; an answer without a body
            comes late as a whole.
        reset: the connection is reset before any answer: for half of these requests after the store has done what was
            asked, for the others before it has heard of it.
        truncate: the connection is closed in the middle of the answer's body. An answer without a body passes.
        slow_seconds: how long a slow answer pauses.
    """

    error: float = 0.0
    slow: float = 0.0
    reset: float = 0.0
    truncate: float = 0.0
    slow_seconds: float = 1.0

    def __post_init__(self) -> None:
        chances = [getattr(self, kind) for kind in KINDS]
        if min(chances) < 0 or sum(chances) > 1:
            raise ValueError(f"probabilities are at least 0 and at most 1 together, not {chances}")

    def draw(self, chance: random.Random) -> tuple[str | None, bool]:
        """The next request's fault, if any, and which of its two variants."""
        # Always two draws: the second request's fault does not depend on what the first one's was.
        position, variant = chance.random(), chance.random() < 0.5
        for kind in KINDS:
            position -= getattr(self, kind)
            if position < 0:
                return kind, variant
        return None, variant


class FaultProxy:
    """The proxy, in a thread of its own from entering the context to leaving it.

    Where the store itself is away, clients find their connections reset.

    Args:
        target: URL of the store, without a path. May be assigned while the proxy runs.
        faults: may be assigned while the proxy runs, to begin and to end a storm.
        seed: the same seed gives the same faults to the same sequence of requests.
        port: where to listen on loopback; 0 takes a free one.
        refuse: which requests are answered here, and how. May be assigned while the proxy runs.

    Attributes:
        url: the proxy's own URL.
        counts: ``requests``, and under each fault's name how many requests met it.
        sent: bytes of answers' bodies that were passed on as they came, by the request's path; counted before a client
            can have them.
    """

    def __init__(
        self,
        target: str,
        faults: Faults | None = None,
        seed: int = 0,
        port: int = 0,
        refuse: Refusal | None = None,
    ) -> None:
        self.target = target
        self.refuse = refuse
        self.faults = faults or Faults()
        self.seed = seed
        self.url = ""
        self.counts = dict.fromkeys(("requests", *KINDS), 0)
        self.sent: Counter[str] = Counter()
        self._port = port
        self._chance = random.Random(seed)

    def __enter__(self) -> FaultProxy:
        started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="faults", daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{started.result()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._leaving.set)
        self._thread.join()

    async def _serve(self, started: Future[int]) -> None:
        self._loop, self._leaving = asyncio.get_running_loop(), asyncio.Event()
        # A connection per request: one that a dead store left behind would be a fault that nobody asked for.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            self._session = session
            runner = web.ServerRunner(
                web.Server(self._answer, auto_decompress=False, access_log=None), shutdown_timeout=0.1
            )
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", self._port)
                try:
                    await site.start()
                except (OSError, OverflowError) as error:
                    started.set_exception(error)
                    return
                started.set_result(runner.addresses[0][1])
                await self._leaving.wait()
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.counts["requests"] += 1
        kind, variant = self.faults.draw(self._chance)
        try:
            if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
                request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self.refuse is not None and (refusal := self.refuse(request)) is not None:
                return await self._say(request, *refusal, "refused by the proxy")
            if kind == "error":
                status = 500 if variant else 503
                return await self._say(request, status, *_ERRORS[status])
            if kind == "reset" and variant:
                self.counts["reset"] += 1
                return _cut(request)
            async with self._session.request(
                request.method,
                URL(self.target.rstrip("/") + request.raw_path, encoded=True),
                headers=_end_to_end(request.raw_headers),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                data=_body(request) if request.can_read_body else None,
                allow_redirects=False,
            ) as answer:
                if kind is None:
                    return await self._pass_on(request, answer)
                body = await answer.read()
                if kind == "reset":
                    self.counts["reset"] += 1
                    return _cut(request)
                if kind == "slow":
                    self.counts["slow"] += 1
                    return await _pass_slowly(request, answer, body, self.faults.slow_seconds)
                if body:
                    self.counts["truncate"] += 1
                    return await _pass_half(request, answer, body)
                return await _pass_slowly(request, answer, body, 0)
        except (aiohttp.ClientError, ConnectionError):
            # The store is away or the client has left: nothing that could be answered.
            return _cut(request)

    async def _pass_on(self, request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """The answer as it comes."""
        headers = _end_to_end(answer.raw_headers)
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        if "Content-Length" not in answer.headers and "Transfer-Encoding" in answer.headers:
            response.enable_chunked_encoding()
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            self.sent[request.path] += len(chunk)
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _say(self, request: web.BaseRequest, status: int, code: str, message: str) -> web.Response:
        self.counts["error"] += 1
        async for _ in _body(request):
            pass  # A client that is still sending would see a cut connection instead of the answer.
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        return web.Response(status=status, body=text.encode(), content_type="application/xml")


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    """The headers that travel on, from raw ones: aiohttp changes the case of those that it knows."""
    texts = ((name.decode(), value.decode("utf-8", "surrogateescape")) for name, value in headers)
    return CIMultiDict((name, value) for name, value in texts if name.lower() not in _HOP_BY_HOP)


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk


def _cut(request: web.BaseRequest) -> web.Response:
    """Reset the client's connection, unless it is gone already."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        # Lingering for 0 s turns the close into a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    # The server wants something to send; it finds the connection closed.
    return web.Response()


async def _pass_slowly(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, body: bytes, seconds: float
) -> web.StreamResponse:
    half = len(body) // 2
    if not half:
        await asyncio.sleep(seconds)
    response = await _begin(request, answer, body)
    if half:
        await response.write(body[:half])
        await asyncio.sleep(seconds)
    await response.write(body[half:])
    await response.write_eof()
    return response


async def _pass_half(request: web.BaseRequest, answer: aiohttp.ClientResponse, body: bytes) -> web.StreamResponse:
    response = await _begin(request, answer, body)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        # Not an abort: what was written still goes out.
        request.transport.close()
    return response


async def _begin(request: web.BaseRequest, answer: aiohttp.ClientResponse, body: bytes) -> web.StreamResponse:
    """The head of an answer whose whole body is known, and so its length."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=_end_to_end(answer.raw_headers))
    if body:
        response.content_length = len(body)
    await response.prepare(request)
    return response


def main() -> None:
    """Run until SIGINT or SIGTERM: the URL is the first line of the output, the counts as JSON are the last."""
    parser = argparse.ArgumentParser(description="An HTTP proxy with seeded faults.")
    parser.add_argument("--target", required=True, help="URL of the object store")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=float, default=0.0, metavar="PROBABILITY")
    parser.add_argument("--slow-seconds", type=float, default=Faults.slow_seconds)
    options = parser.parse_args()
    faults = Faults(options.error, options.slow, options.reset, options.truncate, options.slow_seconds)
    ends = {signal.SIGINT, signal.SIGTERM}
    # Before the thread is there, which inherits it.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with FaultProxy(options.target, faults, options.seed, options.port) as proxy:
        sys.stdout.write(f"{proxy.url}\n")
        sys.stdout.flush()
        signal.sigwait(ends)
    sys.stdout.write(f"{json.dumps(proxy.counts)}\n")


if __name__ == "__main__":
    main()
