"""A dataset's folder on any fsspec URL: what is in it, and the bytes of a file.

Names are relative to the folder, with ``/``; hidden ones (``.git``, macOS's ``._picture.png``) are left out. A listing
is one request per folder or page, never one per sample.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from pager_ray.errors import ConfigError, InputError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.read.fetch import fetch
from pager_ray.storage import Folder, client_errors, error_reason


class Root:
    """A folder of a dataset.

    Args:
        url: path or fsspec URL, chained ones (``zip://::…``) included; a local path is made absolute.

    Raises:
        ConfigError: no file system serves the URL.
    """

    def __init__(self, url: str) -> None:
        try:
            folder = Folder(url, role="dataset")
        except StorageError as error:
            raise ConfigError(str(error)) from error
        self.url = folder.path if folder.is_local else os.fspath(url)
        self.filesystem: fsspec.AbstractFileSystem = folder.filesystem
        self.path = folder.path

    def __truediv__(self, name: str) -> Root:
        """The sub-folder ``name``."""
        return Root(self.uri(name))

    def __str__(self) -> str:
        """The folder as people are shown it."""
        return mask_uri(self.url)

    def uri(self, name: str) -> str:
        """URI of ``name`` inside the folder, as :func:`pager_ray.read.fetch.fetch` takes it."""
        first, chained, rest = self.url.partition("::")
        separator = "" if first.endswith("/") else "/"
        return f"{first}{separator}{name}{chained}{rest}"

    def shown(self, name: str) -> str:
        """The same without secrets."""
        return mask_uri(self.uri(name))

    def names(self, folder: str = "") -> list[str]:
        """Sorted names directly inside the root or a folder of it; folders end in ``/``. Empty where there is none."""
        path = posixpath.join(self.path, folder) if folder else self.path
        with self._telling(folder):
            self.filesystem.invalidate_cache(path)
            try:
                entries = self.filesystem.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = []
        for entry in entries:
            name = posixpath.basename(entry["name"].rstrip("/"))
            # Object stores may list the folder itself, and a file is listed as itself.
            if entry["name"].rstrip("/") != path.rstrip("/") and name and not name.startswith("."):
                names.append(name if entry["type"] == "file" else f"{name}/")
        return sorted(names)

    def find(self, folder: str = "") -> list[str]:
        """Sorted names, relative to the root, of every file below the root or a folder of it: one recursive listing."""
        path = posixpath.join(self.path, folder) if folder else self.path
        with self._telling(folder):
            self.filesystem.invalidate_cache(path)
            try:
                found = self.filesystem.find(path)
            except (FileNotFoundError, NotADirectoryError):
                return []
        start = len(self.path.rstrip("/")) + 1
        names = (name[start:] for name in found)
        return sorted(name for name in names if name and not any(part.startswith(".") for part in name.split("/")))

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            InputError, StorageError: as :func:`pager_ray.read.fetch.fetch`.
        """
        return fetch(self.uri(name), role="dataset")

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        try:
            yield
        except store_errors() as error:
            shown = self.shown(name) if name else str(self)
            raise StorageError(
                f"{shown}: cannot be listed ({error_reason(error)}); check its store, then run the same command again"
            ) from error


def store_errors() -> tuple[type[Exception], ...]:
    """What a file system may raise when it cannot be used, the Hugging Face Hub's cut connections included.

    Its client's transport errors are no OSError; which of the two HTTP libraries it uses depends on its version.
    """
    loaded: list[Any] = [sys.modules.get(name) for name in ("httpx", "httpx2")]
    return (*client_errors(), *(module.TransportError for module in loaded if module is not None))


@contextmanager
def naming(uri: str, error_class: str | None = None) -> Iterator[None]:
    """Put a file's name before the message of what is wrong with it, and change its class where one is given.

    Args:
        uri: the file, as people are shown it.
        error_class: replaces the class of every :class:`InputError`; None keeps it.
    """
    try:
        yield
    except InputError as error:
        raise InputError(error_class or error.error_class, f"{uri}: {error}", error.attempts) from error
