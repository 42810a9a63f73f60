"""The gallery's files on any storage: data as scripts, content types for browsers, one gallery at a time.

A page that is opened from a file may not fetch, but it may load scripts: every data file is one that calls
``pagerGallery(key, value)``, its key being its own path.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pager_ray.errors import ConfigError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.owned import check_unclaimed, delete, mark, standing
from pager_ray.runs.layout import GALLERY_MARKER, GALLERY_PAGE
from pager_ray.storage import Folder, client_errors, error_reason

INDEX = GALLERY_PAGE
MAX_DETAILS = 999_999_999
STATIC = Path(__file__).parent / "static"
STATIC_FILES = ("static/style.css", "static/viewer.js", "static/LICENSE.three.txt")
OPTION = "--to"

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


def _details_of(count: int) -> Iterator[str]:
    """Files of the first so many panoramas."""
    for row in range(count):
        yield f"panoramas/{detail_path(row)}.js"
        yield f"thumbs/{detail_path(row)}.jpg"


def _files_of(marker: Mapping[str, Any]) -> Iterator[str]:
    """What a marker says that a gallery has written."""
    files, details = marker.get("files"), marker.get("details")
    yield from (name for name in (files if isinstance(files, list) else []) if isinstance(name, str))
    if isinstance(details, int) and 0 <= details <= MAX_DETAILS:
        yield from _details_of(details)


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

    def claim(self, files: Collection[str], details: int, *, overwrite: bool) -> None:
        """Make the folder this gallery's own, before anything of it is written.

        An earlier gallery is deleted, as far as it was written by us: its page first, so that no half of one is shown.

        Args:
            files: those to write beside the pages of panoramas.
            details: how many of these.
            overwrite: a whole gallery may be replaced.

        Raises:
            ConfigError: a gallery stands there already, the folder holds something else, or a name is taken.
            StorageError: it cannot be used.
        """
        before = standing(self.folder, GALLERY_MARKER, "gallery", option=OPTION)
        if before is not None:
            if self.holds_gallery() and not overwrite:
                raise ConfigError(
                    f"{self.index}: is there already; replace it with --overwrite, or choose another --to"
                )
            self.folder.delete([INDEX])
            delete(self.folder, _files_of(before))
        wanted = {*files, *STATIC_FILES, INDEX, *_details_of(details)}
        check_unclaimed(self.folder, wanted, (), option=OPTION)
        mark(self.folder, GALLERY_MARKER, {*files, *STATIC_FILES, INDEX}, details=details)

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
