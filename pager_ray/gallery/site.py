"""The gallery's files on any storage: data as scripts, content types for browsers, one gallery at a time.

A page that is opened from a file may not fetch, but it may load scripts: every data file is one that calls
``pagerGallery(key, value)``, its key being its own path.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any

import numpy as np

from pager_ray.errors import StorageError
from pager_ray.runs.layout import GALLERY_PAGE
from pager_ray.storage import Folder, client_errors, error_reason, mask_uri

INDEX = GALLERY_PAGE
STATIC = Path(__file__).parent / "static"
STATIC_FILES = ("static/style.css", "static/viewer.js", "static/LICENSE.three.txt")
DATA_FOLDERS = ("data", "panoramas", "thumbs", "static")

# Stores that keep a content type with each object, and their clients' words for it. Without one a browser offers a
# page for download.
_CONTENT_TYPE = {"s3": "ContentType", "s3a": "ContentType", "gs": "content_type", "gcs": "content_type"}

# What JSON leaves as it is and HTML, or JavaScript before 2019, understands otherwise. Everything beyond ASCII is
# escaped by json itself.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def script(key: str, value: Any) -> bytes:
    """A data file: ASCII alone, and nothing in it that could end a script or begin another."""
    arguments = (json.dumps(part, allow_nan=False, separators=(",", ":")).translate(_ESCAPES) for part in (key, value))
    return f"pagerGallery({','.join(arguments)});\n".encode("ascii")


def base64_of(array: np.ndarray) -> str:
    """An array's bytes, little-endian, as text."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")


def detail_path(row: int) -> str:
    """Folder and name of the files of one row: its number, so that no id can choose a path."""
    name = f"{row:06d}"
    return f"{name[:-3]}/{name}"


class Site:
    """A folder that holds one gallery.

    Args:
        uri: path or fsspec URL.
    """

    def __init__(self, uri: str) -> None:
        self.folder = Folder(uri)
        protocol = self.folder.filesystem.protocol
        names = (protocol,) if isinstance(protocol, str) else protocol
        self._option = next((_CONTENT_TYPE[name] for name in names if name in _CONTENT_TYPE), None)

    @property
    def index(self) -> str:
        """What a person opens."""
        return mask_uri(self.folder.uri(INDEX))

    def holds_gallery(self) -> bool:
        """Whether a whole gallery is there; its page is written last."""
        return self.folder.exists(INDEX)

    def clear(self) -> None:
        """Delete a gallery's files, and nothing else; its page first, so that no half of one is shown."""
        self.folder.delete([INDEX])
        for name in DATA_FOLDERS:
            (self.folder / name).remove()

    def write(self, name: str, content: bytes) -> None:
        """Put a file, with its content type where the store keeps one.

        Raises:
            StorageError: it cannot be written.
        """
        if self._option is None:
            self.folder.write(name, content)
            return
        options = {self._option: mimetypes.guess_type(name)[0] or "application/octet-stream"}
        shown, path = mask_uri(self.folder.uri(name)), self.folder.join(name)
        try:
            self.folder.retry.call(lambda: self.folder.filesystem.pipe_file(path, content, **options), shown)
        except client_errors() as error:
            raise StorageError(
                f"{shown}: cannot be written ({error_reason(error)}); check its store and the right to it, then run "
                "the same command again"
            ) from error

    def write_data(self, key: str, value: Any) -> None:
        """Put a data file; ``key`` is its path without suffix."""
        self.write(f"{key}.js", script(key, value))

    def write_page(self) -> None:
        """Put style, script and licence, and last of all the page itself."""
        for name in STATIC_FILES:
            self.write(name, (STATIC / Path(name).name).read_bytes())
        self.write(INDEX, (STATIC / INDEX).read_bytes())
