"""Parts of a file on any file system: one request per part, bounded whatever a server answers."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from typing import Any, Final

from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from pager_ray.errors import InputError
from pager_ray.retrying import Retry, http_status

WINDOW: Final = 1 << 16
"""How much is fetched at a time by a reader that goes through a file in small steps."""

_MOST: Final = 1 << 30

_STEP: Final = 1 << 26
"""How much is asked for at once where nobody says how large a file is."""

_NO_RANGES: Final = "its server sends whole files where a part is asked for; put the container on one that takes ranges"


def read_range(filesystem: Any, path: str, start: int, end: int) -> bytes:
    """The bytes of a file from ``start`` up to ``end``, exclusive, or as many as there are: one request.

    Raises:
        InputError: ``no_ranges``: a web server does not serve parts.
        OSError and what the file system's client raises.
    """
    if end <= start:
        return b""
    try:
        if is_web(filesystem):
            return sync(filesystem.loop, _read_web, filesystem, path, start, end)
        if getattr(filesystem.cat_file, "__func__", None) is not AbstractFileSystem.cat_file:
            return bytes(filesystem.cat_file(path, start=start, end=end))
        # Without a request of its own for a range it goes through a file object, which would read ahead.
        with filesystem.open(path, "rb", cache_type="none") as file:
            file.seek(start)
            return _read_on(file, end - start)
    except OSError as error:
        if any(http_status(one) == 416 for one in (error, error.__cause__) if one is not None):
            # No byte of an empty object can be in a range.
            return b""
        raise


def _read_on(file: Any, most: int) -> bytes:
    """The next bytes of an open file: who reads sets aside what is asked for, which a file need not have."""
    told = getattr(file, "size", None)
    step = max(told if isinstance(told, int) else 0, _STEP)
    content = b""
    while len(content) < most and (part := file.read(min(step, most - len(content)))):
        content = content + part if content else bytes(part)
    return content


def is_web(filesystem: Any) -> bool:
    """Whether it asks a web server, found without loading the client that such a one needs."""
    module = sys.modules.get("fsspec.implementations.http")
    return module is not None and isinstance(filesystem, module.HTTPFileSystem)


async def _read_web(filesystem: Any, url: str, start: int, end: int) -> bytes:
    """As ``cat_file``, but a server that sends more than it was asked for is not listened to any longer."""
    session = await filesystem.set_session()
    content = bytearray()
    headers = {"Range": f"bytes={start}-{end - 1}"}
    async with session.get(filesystem.encode_url(url), headers=headers, **filesystem.kwargs) as response:
        if response.status == 404:
            raise FileNotFoundError(url)
        if response.status == 416:
            return b""
        response.raise_for_status()
        if start and response.status != 206:
            raise InputError("no_ranges", _NO_RANGES)
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) >= end - start:
                break
    return bytes(content[: end - start])


STATE_KEYS = ("ETag", "etag", "blob_id", "mtime", "LastModified", "updated")
"""What stores call that which changes when a file is replaced, most telling first."""


@dataclass(frozen=True)
class FileFacts:
    """What a store says of a file: its size, and what changes when it is replaced (an etag, or the time of writing)."""

    size: int
    stamp: str


def look_at(filesystem: Any, path: str) -> FileFacts:
    """Ask for a file's size and stamp.

    Raises:
        InputError: ``no_ranges``: nobody says how large it is.
        OSError and what the file system's client raises.
    """
    facts = filesystem.info(path)
    if facts.get("type") == "directory":
        raise IsADirectoryError(path)
    size = facts.get("size")
    if size is None:
        raise InputError("no_ranges", f"nobody says how large it is; {_NO_RANGES}")
    stamp = next((facts[key] for key in STATE_KEYS if facts.get(key)), "")
    return FileFacts(int(size), str(stamp))


class Ranged(io.RawIOBase):
    """A file that others read in steps: what lies in the window that was fetched last costs no request.

    Args:
        filesystem, path: where it is.
        size: of the file.
        retry: for how long a troubled store is asked.
        window: how much is fetched at least; may be changed at any time.

    Attributes:
        most: more is not read at once: who asks for it believes a damaged file.
    """

    def __init__(self, filesystem: Any, path: str, size: int, retry: Retry, window: int = WINDOW) -> None:
        super().__init__()
        self.filesystem, self.path, self.size, self.retry, self.window = filesystem, path, size, retry, window
        self.fetched, self.most = 0, _MOST
        self._place = 0
        self._start, self._held = 0, b""

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def seekable(self) -> bool:
        """Any place can be gone to."""
        return True

    def tell(self) -> int:
        """The place that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Read on; up to the end without a size."""
        left = max(0, self.size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        content = self.at(self._place, wanted)
        self._place += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        """Read on into a buffer."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def at(self, start: int, length: int) -> bytes:
        """The bytes at a place, from the window or into a new one; fewer at the file's end."""
        length = max(0, min(length, self.size - start))
        if length > self.most:
            raise ValueError(f"it says that {length} bytes are to be read at byte {start}")
        first = start - self._start
        if first < 0 or first + length > len(self._held):
            end = min(self.size, start + max(length, self.window))
            self._held = self._fetch(start, end)
            self._start, first = start, 0
        return self._held[first : first + length]

    def hold(self, start: int) -> None:
        """Fetch from a place up to the file's end into the window."""
        self._start, self._held = start, self._fetch(start, self.size)

    def _fetch(self, start: int, end: int) -> bytes:
        content, _ = self.retry.call(lambda: read_range(self.filesystem, self.path, start, end), "reading a container")
        self.fetched += len(content)
        return content
