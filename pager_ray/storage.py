"""Files and objects on any fsspec URL. Knows nothing of panoramas.

Every path of a run goes through :class:`Folder`, so that a local folder and a bucket behave the same: small files are
replaced as a whole, listings are sorted, and what is shown to people carries no secret.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import inspect
import io
import json
import os
import re
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, TypeVar
from urllib.parse import quote

import pyarrow.fs
from fsspec.implementations.local import LocalFileSystem

from pager_ray.bounded import parse_json
from pager_ray.errors import StorageError
from pager_ray.hosts import asked, exists, is_ftp, is_http, is_sftp, whole_without_ranges
from pager_ray.masking import mask_uri
from pager_ray.naming import namer
from pager_ray.puts import TEMPORARY_SUFFIX, Store, create, known_to_decide, put
from pager_ray.retrying import Retry, attempts_of
from pager_ray.schemes import Role, SchemeError, open_place

Result = TypeVar("Result")

# Bases of what clients of remote stores raise beside OSError, such as a cut connection or missing credentials.
_CLIENT_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    # The Hugging Face Hub's client uses one of these, depending on its version.
    ("httpx", "HTTPError"),
    ("httpx2", "HTTPError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
    ("paramiko.ssh_exception", "SSHException"),
    ("ftplib", "Error"),
)

# A disk without room, or a quota that is used up.
_FULL = (errno.ENOSPC, errno.EDQUOT)

_RESTORE = "restore it from a copy, or start anew with --overwrite"

_TEMPORARY = re.compile(r".*\.[0-9a-f]{8}\.tmp", re.DOTALL)

# Names that are there at a time, of folders that may have millions.
_PAGE = 65_536

SAFE_NAME_BYTES = 200
"""Most file systems take names of 255 bytes; the rest is left for suffixes."""


class Folder:
    """A folder on a local disk or an object store.

    Args:
        uri: path or fsspec URL; a relative path is resolved against the working directory.
        retry: how long requests that fail in passing are repeated.
        role: what the folder is for, which decides the file systems that are taken.

    Raises:
        SchemeError: the URL's file system is not taken.
        StorageError: no file system serves the URL's protocol.
    """

    def __init__(self, uri: str, retry: Retry | None = None, role: Role = "output") -> None:
        self.retry = retry or Retry()
        try:
            self.filesystem, path = self.retry.call(lambda: open_place(os.fspath(uri), role), mask_uri(uri))[0]
        except SchemeError as error:
            raise SchemeError(f"{mask_uri(uri)}: {error}") from error
        except client_errors() as error:
            raise StorageError(
                f"{mask_uri(uri)}: cannot be reached ({error_reason(error)}); check its store and the right to it, "
                "then run the same command again"
            ) from error
        except (ValueError, ImportError) as error:
            raise StorageError(
                f"{mask_uri(uri)}: no file system serves this URL ({error_reason(error)}); takes a path or a URL that "
                "fsspec knows"
            ) from error
        self.path = self.base = path.rstrip("/") or "/"
        self._store, self._given = Store(), os.fspath(uri)

    def __truediv__(self, name: str) -> Folder:
        """The sub-folder ``name``."""
        child = object.__new__(Folder)
        child.filesystem, child.path, child.retry = self.filesystem, self.join(name), self.retry
        child.base, child._store, child._given = self.base, self._store, self._given
        return child

    def once(self) -> Folder:
        """The same folder, with every request made once."""
        twin = object.__new__(Folder)
        twin.filesystem, twin.path, twin.retry = self.filesystem, self.path, Retry(0)
        twin.base, twin._store, twin._given = self.base, self._store, self._given
        return twin

    def __str__(self) -> str:
        """The folder as a URI that a person can use again, without secrets."""
        return mask_uri(self.uri())

    def join(self, name: str) -> str:
        """Path of ``name`` inside the folder, in the file system's own form."""
        return f"{self.path.rstrip('/')}/{name}"

    def uri(self, name: str = "") -> str:
        """URI of the folder, or of ``name`` inside it; a plain path for local files."""
        path = self.join(name) if name else self.path
        return path if self.is_local else namer(self._given)(path)

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on a file system of this machine."""
        return isinstance(self.filesystem, LocalFileSystem)

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """The folder for pyarrow and Ray: a file system and a path in it."""
        if self.is_local:
            return pyarrow.fs.LocalFileSystem(), self.path
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(self.filesystem)), self.path

    def make(self) -> None:
        """Create the folder and its parents; a no-op on object stores.

        As everything that changes a folder, it goes through no link below the folder that was named.

        Raises:
            StorageError: it cannot be created.
        """
        if not self.path.startswith("/"):
            return  # bucket/key: there are no folders, and makedirs would create a bucket that was mistyped
        self._check_links(self.path)
        self._do("", "created", lambda: self.filesystem.makedirs(self.path, exist_ok=True))

    def exists(self, name: str) -> bool:
        """Whether ``name`` is there now."""
        self.filesystem.invalidate_cache(self.path)
        return bool(self._do(name, "read", lambda: exists(self.filesystem, self.join(name))))

    def names(self, suffix: str = "") -> list[str]:
        """Sorted names of the files directly inside that end in ``suffix``; empty when the folder does not exist."""
        return [*self.facts(suffix)]

    def facts(self, suffix: str = "") -> dict[str, dict[str, Any]]:
        """What the store says of each of :meth:`names`: its size, and an etag or a time."""

        def entries_of() -> list[dict[str, Any]]:
            self.filesystem.invalidate_cache(self.path)
            try:
                return self.filesystem.ls(self.path, detail=True)
            except FileNotFoundError:
                return []

        entries = self._do("", "listed", entries_of)
        names = ((PurePosixPath(entry["name"]).name, entry) for entry in entries)
        return dict(sorted((name, entry) for name, entry in names if name.endswith(suffix) and self._is_file(entry)))

    def pages(self, suffix: str = "", starts: Sequence[str] = ("",)) -> Iterator[list[str]]:
        """As :meth:`names`, some tens of thousands at a time and in no order; nothing is to be deleted meanwhile.

        Args:
            starts: what names begin with, none of them the beginning of another. A store that lists by it is asked for
                one after the other: what a client holds of each object at a time would be gigabytes of millions.
        """
        page: list[str] = []
        for name in self._each_name(tuple(starts)):
            if name.endswith(suffix) and name.startswith(tuple(starts)):
                page.append(name)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    def _each_name(self, starts: tuple[str, ...]) -> Iterator[str]:
        if self.is_local:
            yield from self._scanned()
        elif len(starts) > 1 and _lists_by_prefix(self.filesystem):
            for start in starts:
                paths = self._do("", "listed", partial(self._find, start))
                inside = (path.rpartition("/") for path in paths)
                yield from (name for folder, _, name in inside if folder == self.path)
        else:
            yield from self.names()

    def _find(self, start: str) -> list[str]:
        self.filesystem.invalidate_cache(self.path)
        try:
            found: list[str] = self.filesystem.find(self.path, prefix=start)
        except FileNotFoundError:
            return []
        return found

    def _scanned(self) -> Iterator[str]:
        """Names of the files directly inside a local folder."""
        try:
            with os.scandir(self.path) as entries:
                yield from (entry.name for entry in entries if entry.is_file())
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(
                f"{self}: cannot be listed ({error_reason(error)}); check its store and the right to it, then run the "
                "same command again"
            ) from error

    def _is_file(self, entry: dict[str, Any]) -> bool:
        """Whether an entry of a listing is a file; a link is what it leads to (caches keep links)."""
        if entry.get("islink"):
            return bool(self.filesystem.isfile(entry["name"]))
        return entry["type"] == "file"

    def entries(self) -> list[str]:
        """Sorted names of all that is directly inside: files, folders and links; empty where there is no folder."""

        def entries_of() -> list[dict[str, Any]]:
            self.filesystem.invalidate_cache(self.path)
            try:
                return self.filesystem.ls(self.path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []

        if self.is_local:
            # fsspec leaves out what it cannot look at, such as links to nowhere.
            return sorted(os.listdir(self.path)) if os.path.isdir(self.path) else []
        found = self._do("", "listed", entries_of)
        paths = {entry["name"].rstrip("/") for entry in found} - {self.path}
        return sorted(PurePosixPath(path).name for path in paths)

    def read(self, name: str) -> bytes:
        """Whole content of a file.

        Raises:
            StorageError: it is missing or cannot be read.
        """
        return self._do(name, "read", lambda: self.filesystem.cat_file(self.join(name)))

    def open(self, name: str) -> IO[bytes]:
        """A file to read parts of; fetched is what is asked for.

        Clients of object stores would otherwise read tens of megabytes ahead: several panoramas beside the one.
        """
        if is_sftp(self.filesystem) or is_ftp(self.filesystem):
            # One request at a time: parts cannot be asked for while others ask, too.
            return io.BytesIO(self.read(name))
        if is_http(self.filesystem) and (whole := whole_without_ranges(self.filesystem, self.join(name))) is not None:
            return io.BytesIO(whole)
        return self.filesystem.open(self.join(name), "rb", cache_type="none")

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Put a file as a whole: readers see the old content or the new, never a part.

        Raises:
            StorageError: it cannot be written.
        """
        path = self.join(name)
        self._check_links(os.path.dirname(path))

        self._do(name, "written", lambda: put(self.filesystem, path, data))

    def create(self, name: str, data: bytes) -> bool:
        """Put a file unless it exists; returns whether it did not. Of several that try at once, one succeeds.

        After an answer that was lost on its way, the repeated request finds its own file there: who needs to know looks
        whose content it is.

        Where the store does not decide who was first (:meth:`decides`) it is looked for before it is written: of
        several at the same moment each may believe that it was, and the content of one of them is what stays.

        Raises:
            StorageError: it cannot be written.
        """
        path = self.join(name)
        self._check_links(os.path.dirname(path))
        return self._do(name, "written", lambda: create(self.filesystem, path, data, self._store))

    def decides(self) -> bool:
        """Whether the store says itself which of several exclusive puts was first; tried once, with a file of no use.

        Raises:
            StorageError: it cannot be written.
        """
        if self._store.decides is None:
            self._store.decides = known_to_decide(self.filesystem)
        if self._store.decides is None:
            name = f"probe.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}"
            try:
                self.create(name, b"first")
                # Some take a condition, and do not heed it.
                self._store.decides = self._store.decides is None and not self.create(name, b"second")
            finally:
                self.delete([name])
        return self._store.decides

    def delete(self, names: Iterable[str]) -> int:
        """Delete the named files that exist; returns how many did. Of a link it is the link that goes."""
        deleted = 0
        self._check_links(self.path)

        def remove(path: str) -> int:
            try:
                asked(self.filesystem, lambda: self.filesystem.rm_file(path))
            except FileNotFoundError:
                return 0
            return 1

        for name in names:
            deleted += self._do(name, "deleted", partial(remove, self.join(name)))
        return deleted

    def delete_where(self, is_ours: Callable[[str], bool], *, keep_folder: bool = False) -> int:
        """Delete the files directly inside that are ours, and the folder where it is empty then; others stay.

        Behind a link nothing is ours.

        Args:
            is_ours: tells it by a file's name.
            keep_folder: also where it is empty.

        Returns:
            How many were deleted.
        """
        if self._link_to(self.path) is not None:
            return 0
        names = [name for name in self.names() if is_ours(name)]
        if self.is_local:
            self.delete(names)
            if not keep_folder:
                # Not empty, or not there: it stays as it is.
                with contextlib.suppress(OSError):
                    os.rmdir(self.path)
        elif names:
            # As many at once as the store takes.
            self._do("", "deleted", partial(self._remove_all, [self.join(name) for name in names]))
        return len(names)

    def _remove_all(self, paths: list[str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.rm(paths)

    def _link_to(self, path: str) -> str | None:
        """The first link on the way from the folder that was named to a path below it."""
        if not self.is_local:
            return None
        at = self.base.rstrip("/")
        for part in path[len(at) :].strip("/").split("/"):
            at = f"{at}/{part}"
            if part and os.path.islink(at):
                return at
        return None

    def _check_links(self, path: str) -> None:
        """Refuse to change anything behind a link.

        Raises:
            StorageError: names the link.
        """
        link = self._link_to(path)
        if link is not None:
            raise StorageError(
                f"{link}: is a link, and nothing below {self.base} is changed through links; remove it, or choose "
                "another folder"
            )

    def _do(self, name: str, done: str, call: Callable[[], Result]) -> Result:
        """Make one request, again while it fails in passing.

        Raises:
            StorageError: it failed for good, or for too long.
        """
        shown = mask_uri(self.uri(name))
        try:
            return self.retry.call(partial(asked, self.filesystem, call), shown)[0]
        except client_errors() as error:
            attempts = attempts_of(error)
            tries = f" in {attempts} attempts" if attempts > 1 else ""
            is_full = isinstance(error, OSError) and error.errno in _FULL
            remedy = "make room there" if is_full else "check its store and the right to it"
            raise StorageError(
                f"{shown}: cannot be {done}{tries} ({error_reason(error)}); {remedy}, then run the same command again"
            ) from error

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object.

        Raises:
            StorageError: missing, unreadable or no JSON object.
        """
        try:
            value = parse_json(self.read(name))
        except ValueError as error:
            raise StorageError(f"{mask_uri(self.uri(name))}: is not JSON ({error}); {_RESTORE}") from error
        if not isinstance(value, dict):
            raise StorageError(f"{mask_uri(self.uri(name))}: holds no JSON object; {_RESTORE}")
        return value

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Put a JSON object as a whole file."""
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _lists_by_prefix(filesystem: Any) -> bool:
    """Whether a file system's client lists the names that begin with something without listing the others."""
    ways = [getattr(type(filesystem), name, None) for name in ("find", "_find")]
    return any(way is not None and "prefix" in inspect.signature(way).parameters for way in ways)


def client_errors() -> tuple[type[Exception], ...]:
    """What a file system may raise when it cannot be used: OSError, and the loaded clients' own families."""
    loaded = ((sys.modules.get(module), name) for module, name in _CLIENT_ERRORS)
    return (OSError, *(getattr(module, name) for module, name in loaded if module is not None))


def error_reason(error: Exception) -> str:
    """What went wrong, in one line; s3fs's errors may have neither text nor errno."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) if text and text != "None" else type(error).__name__


def is_temporary(name: str) -> bool:
    """Whether a file is what a writer here left when it died, by its name."""
    return _TEMPORARY.fullmatch(name) is not None


def safe_name(name: str) -> str:
    """A file name for an id: no separators, no leading dot, one name per id.

    Letters and digits of every script and a little punctuation stay, so that ids taken from file names are found under
    them again; everything else is percent-encoded. No id leaves the output folder and two ids never share a file. Names
    too long for a file system keep their start and end in a digest.
    """
    encoded = "".join(character if _is_plain(character) else quote(character, safe="") for character in name)
    if len(encoded.encode()) > SAFE_NAME_BYTES:
        # Cut where it is ASCII: a letter of several bytes cannot be halved. No encoded id has "%-" in it, so a cut name
        # is never another id's own.
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        encoded = f"{quote(name, safe='')[: SAFE_NAME_BYTES - 36]}%-{digest}"
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _is_plain(character: str) -> bool:
    """Whether a character may stand in a file name; those that file systems compose or decompose may not."""
    if character.isascii():
        return character.isalnum() or character in "_-.~()+,=@"
    return character.isalnum() and unicodedata.is_normalized("NFC", character)
