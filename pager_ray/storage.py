"""Files and objects on any fsspec URL. Knows nothing of panoramas.

Every path of a run goes through :class:`Folder`, so that a local folder and a bucket behave the same: small files are
replaced as a whole, listings are sorted, and what is shown to people carries no secret.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import fsspec
import pyarrow.fs
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import StorageError

SAFE_NAME_BYTES = 200
"""Most file systems take names of 255 bytes; the rest is left for suffixes."""


class Folder:
    """A folder on a local disk or an object store.

    Args:
        uri: path or fsspec URL; a relative path is resolved against the working directory.

    Raises:
        StorageError: no file system serves the URL's protocol.
    """

    def __init__(self, uri: str) -> None:
        try:
            self.filesystem, path = fsspec.core.url_to_fs(os.fspath(uri))
        except (ValueError, ImportError) as error:
            raise StorageError(f"{mask_uri(uri)}: no file system serves this URL ({error})") from error
        self.path = path.rstrip("/") or "/"

    def __truediv__(self, name: str) -> Folder:
        """The sub-folder ``name``."""
        child = object.__new__(Folder)
        child.filesystem, child.path = self.filesystem, self.join(name)
        return child

    def __str__(self) -> str:
        """The folder as a URI that a person can use again, without secrets."""
        return mask_uri(self.uri())

    def join(self, name: str) -> str:
        """Path of ``name`` inside the folder, in the file system's own form."""
        return f"{self.path.rstrip('/')}/{name}"

    def uri(self, name: str = "") -> str:
        """URI of the folder, or of ``name`` inside it; a plain path for local files."""
        path = self.join(name) if name else self.path
        return path if self.is_local else self.filesystem.unstrip_protocol(path)

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

        Raises:
            StorageError: it cannot be created.
        """
        try:
            self.filesystem.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self}: cannot be created ({error.strerror or error})") from error

    def exists(self, name: str) -> bool:
        """Whether ``name`` is there now."""
        self.filesystem.invalidate_cache(self.path)
        return bool(self.filesystem.exists(self.join(name)))

    def names(self, suffix: str = "") -> list[str]:
        """Sorted names of the files directly inside that end in ``suffix``; empty when the folder does not exist."""
        self.filesystem.invalidate_cache(self.path)
        try:
            entries = self.filesystem.ls(self.path, detail=True)
        except FileNotFoundError:
            return []
        files = (PurePosixPath(entry["name"]).name for entry in entries if entry["type"] == "file")
        return sorted(name for name in files if name.endswith(suffix))

    def read(self, name: str) -> bytes:
        """Whole content of a file.

        Raises:
            StorageError: it is missing or cannot be read.
        """
        try:
            return self.filesystem.cat_file(self.join(name))
        except OSError as error:
            raise StorageError(f"{mask_uri(self.uri(name))}: cannot be read ({error})") from error

    def write(self, name: str, data: bytes) -> None:
        """Put a file as a whole: readers see the old content or the new, never a part.

        Raises:
            StorageError: it cannot be written.
        """
        path = self.join(name)
        try:
            if self.is_local:
                self.filesystem.makedirs(os.path.dirname(path), exist_ok=True)
                temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
                with open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            else:
                self.filesystem.pipe_file(path, data)
        except OSError as error:
            raise StorageError(f"{mask_uri(self.uri(name))}: cannot be written ({error})") from error

    def delete(self, names: Iterable[str]) -> int:
        """Delete the named files that exist; returns how many did."""
        deleted = 0
        for name in names:
            try:
                self.filesystem.rm_file(self.join(name))
                deleted += 1
            except FileNotFoundError:
                continue
        return deleted

    def remove(self) -> None:
        """Delete the folder with everything in it; a no-op when it does not exist."""
        if self.filesystem.exists(self.path):
            self.filesystem.rm(self.path, recursive=True)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object.

        Raises:
            StorageError: missing, unreadable or no JSON object.
        """
        try:
            value = json.loads(self.read(name))
        except ValueError as error:
            raise StorageError(f"{mask_uri(self.uri(name))}: is not JSON ({error})") from error
        if not isinstance(value, dict):
            raise StorageError(f"{mask_uri(self.uri(name))}: holds no JSON object")
        return value

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Put a JSON object as a whole file."""
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def safe_name(name: str) -> str:
    """A file name for an id: no separators, no leading dot, one name per id.

    Everything outside ``A-Z a-z 0-9 _ - . ~`` is percent-encoded, so that no id leaves the output folder and two ids
    never share a file. Names too long for a file system keep their start and end in a digest.
    """
    encoded = quote(name, safe="")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) > SAFE_NAME_BYTES:
        encoded = f"{encoded[: SAFE_NAME_BYTES - 33]}-{uuid.uuid5(uuid.NAMESPACE_URL, name).hex}"
    return encoded


def mask_uri(uri: str) -> str:
    """The URI without password, query and fragment: safe for logs and files."""
    text = os.fspath(uri)
    parts = urlsplit(text) if re.match(r"^[A-Za-z][A-Za-z0-9+.-]*://", text) else None
    if parts is None or parts.scheme == "file":
        return text
    host = parts.netloc.rsplit("@", 1)[-1]
    # A "?" without "=" is a glob's wildcard, not a query.
    query = "" if "=" in parts.query else parts.query
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def carries_secret(uri: str) -> bool:
    """Whether a URI holds credentials: user info, or a query such as a signed URL's."""
    return mask_uri(uri) != os.fspath(uri)
