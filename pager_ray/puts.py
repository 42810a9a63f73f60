"""A whole file put in its place: over what is there, or only where nothing is, on every kind of file system.

Local disks rename and link; object stores put objects as a whole, and most of them decide by themselves who was first
(``If-None-Match``, ``ifGenerationMatch``). Some S3-compatible ones answer 501 to that, some do not heed it, and several
file systems of fsspec have no such put: there one can only look before one writes.
"""

from __future__ import annotations

import contextlib
import errno
import ftplib
import os
import uuid
from dataclasses import dataclass
from typing import Any, Final

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pager_ray.hosts import exists, is_ftp, is_sftp
from pager_ray.retrying import http_status

TEMPORARY_SUFFIX: Final = ".tmp"
"""Of files that are not whole yet, and of probes; a process that was killed may leave one."""


@dataclass
class Store:
    """What has been found out of a file system, shared by all folders of a tree.

    Attributes:
        decides: whether it says itself which of several exclusive puts was first; None while nobody has tried.
    """

    decides: bool | None = None


def known_to_decide(filesystem: Any) -> bool | None:
    """Whether exclusive puts of a file system are decided by what stores; None where only a trial tells."""
    if isinstance(filesystem, LocalFileSystem):
        return True
    if is_sftp(filesystem):
        # A rename onto what is there is refused by the protocol's own word, and by most servers.
        return None
    # fsspec's own way: it looks, then writes. Clients of stores have theirs below another name.
    looks = not filesystem.async_impl and type(filesystem).pipe_file is AbstractFileSystem.pipe_file
    return False if looks else None


def put(filesystem: Any, path: str, data: bytes | bytearray) -> None:
    """Put a whole file, over one that is there: readers see the old content or the new, never a part."""
    if isinstance(filesystem, LocalFileSystem):
        os.replace(_write_temporary(path, data), path)
    elif is_sftp(filesystem) or is_ftp(filesystem):
        filesystem.mv(_write_beside(filesystem, path, data), path)
    else:
        # Clients of object stores take nothing but bytes; Arrow's buffers fail there.
        filesystem.pipe_file(path, data if isinstance(data, bytes) else memoryview(data).tobytes())


def create(filesystem: Any, path: str, data: bytes | bytearray, store: Store) -> bool:
    """Put a whole file unless there is one; returns whether there was none.

    Args:
        store: what is known of the file system; that it refuses conditions is noted there.
    """
    if isinstance(filesystem, LocalFileSystem):
        return _create_local(path, data)
    if store.decides is not False:
        try:
            if is_sftp(filesystem):
                return _create_by_rename(filesystem, path, data)
            filesystem.pipe_file(path, data, mode="create")
            return True
        except FileExistsError:
            return False
        except OSError as error:
            # What s3fs makes of HTTP 412 where it does not know the code.
            if "PreconditionFailed" in f"{error!r} {error.__cause__!r}":
                return False
            if not _takes_no_conditions(error):
                raise
            store.decides = False
    return _look_and_put(filesystem, path, data)


def _takes_no_conditions(error: OSError) -> bool:
    """Whether a store says that it does not know what an exclusive put is (HTTP 501, ``NotImplemented``)."""
    return error.errno == errno.ENOSYS or 501 in (http_status(error), http_status(error.__cause__ or error))


def _look_and_put(filesystem: Any, path: str, data: bytes | bytearray) -> bool:
    """Put a file where none is seen. Of several at the same moment the last one's stays, and is what all read then."""
    filesystem.invalidate_cache(os.path.dirname(path))
    if exists(filesystem, path):
        return False
    put(filesystem, path, data)
    return bool(filesystem.cat_file(path) == data)


def _write_beside(filesystem: Any, path: str, data: bytes | bytearray) -> str:
    """Write a file beside ``path`` on a host with folders; returns its name."""
    temporary = f"{path}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}"
    data = data if isinstance(data, bytes) else memoryview(data).tobytes()
    try:
        filesystem.pipe_file(temporary, data)
    except (FileNotFoundError, ftplib.error_perm):
        # Others may make the same folders at once; what is wrong with them shows when the file is written.
        with contextlib.suppress(OSError, ftplib.error_perm):
            filesystem.makedirs(os.path.dirname(path), exist_ok=True)
        filesystem.pipe_file(temporary, data)
    return temporary


def _create_by_rename(filesystem: Any, path: str, data: bytes | bytearray) -> bool:
    temporary = _write_beside(filesystem, path, data)
    try:
        # Not fsspec's, which writes over what is there.
        filesystem.ftp.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            filesystem.rm_file(temporary)
        if exists(filesystem, path):
            return False
        raise
    return True


def _write_temporary(path: str, data: bytes | bytearray) -> str:
    """Write and flush a file beside ``path``; returns its name. Nothing is left of it where the disk is full."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return temporary


def _create_local(path: str, data: bytes | bytearray) -> bool:
    """Linked when it is written, so that nobody reads a part."""
    temporary = _write_temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # Mounted buckets and some network file systems have no links; there a reader may see the start of the file.
        try:
            with open(path, "xb") as file:
                file.write(data)
        except FileExistsError:
            return False
    finally:
        os.unlink(temporary)
    return True
