"""SFTP and FTP: requests of one login, whose connection may break, and whose clients raise what others do not.

What a file system takes for a no when it is asked for a file, these and web servers, is looked at here, too.

fsspec's file systems of SFTP and FTP keep one connection for good, and their clients can have one request at a time on
it: an answer that another thread reads is lost to the one that waits for it.
"""

from __future__ import annotations

import contextlib
import errno
import ftplib
import re
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

_SFTP: Final = frozenset({"sftp", "ssh"})
_FTP: Final = "ftp"
_HTTP: Final = frozenset({"http", "https"})
_PASSING: Final = (408, 425, 429)
_DENIED: Final = re.compile(r"(?i)privilege|permission|denied|not allowed|forbidden")

# Two may make a lock for one file system at once.
_MAKING = threading.Lock()


def is_sftp(filesystem: Any) -> bool:
    """Whether a file system is one of SFTP."""
    return bool(_SFTP & _protocols(filesystem))


def is_ftp(filesystem: Any) -> bool:
    """Whether a file system is one of FTP."""
    return _FTP in _protocols(filesystem)


def asked(filesystem: Any, call: Callable[[], Result]) -> Result:
    """What a call to a file system gives, one at a time for SFTP and FTP, connected anew where their connection broke.

    The call that met it fails, in a way that passes by itself, and is for the caller to repeat.

    Raises:
        ConnectionResetError: the connection broke, and there is a new one.
        FileNotFoundError, PermissionError: FTP's words for it.
        Exception: what the file system raised, or what kept it from being connected.
    """
    ftp = is_ftp(filesystem)
    if not ftp and not is_sftp(filesystem):
        return call()
    with _MAKING:
        lock = filesystem.__dict__.setdefault("_pager_ray_lock", threading.RLock())
    with lock:
        try:
            return call()
        except Exception as error:
            if (_broke_ftp if ftp else _broke_sftp)(filesystem, error):
                filesystem._connect()
                raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection") from error
            if isinstance(error, ftplib.error_perm) and str(error).startswith("550"):
                kind = PermissionError if _DENIED.search(str(error)) else FileNotFoundError
                raise kind(errno.EACCES if kind is PermissionError else errno.ENOENT, str(error)) from error
            raise


def exists(filesystem: Any, path: str) -> bool:
    """Whether there is a file or folder; what keeps one from looking is raised.

    fsspec's own takes whatever goes wrong with web servers, SFTP and FTP, a connection that broke included, for a no.
    """
    if is_http(filesystem):
        return _is_served(filesystem, path)
    if not is_sftp(filesystem) and not is_ftp(filesystem):
        return bool(filesystem.exists(path))
    try:
        filesystem.info(path)
    except FileNotFoundError as error:
        if isinstance(error.__cause__, ftplib.error_temp):
            raise
        return False
    return True


def is_http(filesystem: Any) -> bool:
    """Whether a file system is a web server's."""
    return bool(_protocols(filesystem) & _HTTP)


def whole_without_ranges(filesystem: Any, url: str) -> bytes | None:
    """A web server's file as a whole, where the server gives no parts of it; None where it does.

    Servers say so or do not; what they do is asked with the first byte, which those without parts answer with all.
    """
    found = filesystem.info(url)
    if found.get("partial"):
        return None
    if found.get("size") is None:
        # Nor could its end be looked for.
        whole: bytes = filesystem.cat_file(url)
        return whole
    content: bytes = filesystem.cat_file(url, start=0, end=1)
    return content if len(content) > 1 else None


def _is_served(filesystem: Any, url: str) -> bool:
    """Whether a web server has a file: what it answers says so, and no answer, or one of a server in trouble, does not.

    Stores that may be read and not listed answer 403 where there is nothing.
    """
    try:
        filesystem.info(url)
    except FileNotFoundError as error:
        why = error.__cause__
        status = getattr(why, "status", None)
        if why is None or (isinstance(status, int) and 400 <= status < 500 and status not in _PASSING):
            return False
        raise why from None
    return True


def _broke_sftp(filesystem: Any, error: Exception) -> bool:
    transport, channel = filesystem.client.get_transport(), filesystem.ftp.get_channel()
    is_whole = transport is not None and transport.is_active() and channel is not None and not channel.closed
    if is_whole and not isinstance(error, EOFError | ConnectionError):
        return False
    filesystem.client.close()
    return True


def _broke_ftp(filesystem: Any, error: Exception) -> bool:
    chain = (error, error.__cause__, error.__context__)
    if any(isinstance(one, EOFError | ftplib.error_reply | ftplib.error_proto | ConnectionError) for one in chain):
        broke = True
    else:
        # 421: too many connections, or one that was idle for too long.
        broke = isinstance(error, TimeoutError) or any(str(one).startswith("421") for one in chain)
    if broke:
        with contextlib.suppress(OSError):
            filesystem.ftp.close()
    return broke


def _protocols(filesystem: Any) -> set[str]:
    protocol = getattr(filesystem, "protocol", ())
    return {protocol} if isinstance(protocol, str) else set(protocol)
