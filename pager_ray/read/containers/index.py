"""What lies in a container, told by its content: one pure function, for threads here and tasks on a cluster."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pager_ray.read.boxes import media_format
from pager_ray.read.containers.parquets import index_parquet, read_rows
from pager_ray.read.containers.places import MEMBER_SCHEMA, Form, IndexSettings, Members, members_of
from pager_ray.read.containers.tars import COMPRESSED, index_tar, tar_places
from pager_ray.read.containers.videos import index_video
from pager_ray.read.containers.zips import index_zip, zip_places
from pager_ray.read.ranges import Ranged, look_at, read_range
from pager_ray.retrying import Retry
from pager_ray.schemes import open_place

_MAX_DALI: Final = 256 << 20

SUFFIXES: Final[dict[str, Form]] = {
    **{".tar": "tar", ".zip": "zip", ".parquet": "parquet"},
    **dict.fromkeys((".mp4", ".mov", ".m4v"), "video"),
}

COMPRESSED_TARS: Final = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Names of tars without random access; listed as tars, which says what to do."""


@dataclass(frozen=True)
class Container:
    """A container to list.

    Attributes:
        uri: path or fsspec URL.
        form: what it is read as; None tells it by its first bytes.
        dali: URI of an index beside a tar, where there is one.
        table: URI of img2dataset's Parquet file beside a tar, where there may be one.
        stamp: of the container when it was listed before; the same one is not read again.
    """

    uri: str
    form: Form | None = None
    dali: str | None = None
    table: str | None = None
    stamp: str | None = None


def form_by_name(name: str) -> Form | None:
    """What a file is by its name; None for what is no container."""
    name = name.lower()
    if name.endswith(COMPRESSED_TARS):
        return "tar"
    return next((form for suffix, form in SUFFIXES.items() if name.endswith(suffix)), None)


def form_by_content(start: bytes) -> Form | None:
    """What a file is by its first 512 bytes; None for what is no container."""
    if start[:4] == b"PAR1":
        return "parquet"
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if start[257:262] == b"ustar" or any(start.startswith(magic) for magic in COMPRESSED):
        return "tar"
    if start[4:8] in (b"moov", b"mdat") or (start[4:8] == b"ftyp" and media_format(start) == "ISO media"):
        return "video"
    return None


def index_container(container: Container, settings: IndexSettings) -> Members:
    """List the pictures of a container.

    Args:
        container: where it is.
        settings: how it is understood.

    Returns:
        Its members; with a ``problem`` where it cannot be read, or not to its end.

    Raises:
        InputError: as of :func:`pager_ray.read.ranges.read_range`.
        OSError and what the file system's client raises: it cannot be reached.
    """
    filesystem, path = open_place(container.uri, "input", settings.schemes)
    facts, _ = settings.retry.call(lambda: look_at(filesystem, path), "looking at a container")
    stamp = f"{facts.size} {facts.stamp}"
    if stamp == container.stamp:
        return Members(members_of([]), stamp=stamp, is_same=True)
    file = Ranged(filesystem, path, facts.size, settings.retry)
    form = container.form or form_by_content(file.at(0, 512))
    if form == "tar":
        known, without = _beside(container, settings)
        found = index_tar(file, settings, _dali(container, settings), known)
        found.left_out.update(without)
    elif form == "zip":
        found = index_zip(file, settings)
    elif form in ("parquet", "video"):
        found = index_parquet(file, settings) if form == "parquet" else index_video(file, settings)
        # Such a file is only ever written as a whole.
        number = int.from_bytes(blake2b(stamp.encode(), digest_size=8).digest(), "little", signed=True)
        stamps = pa.array(np.full(found.table.num_rows, number))
        found.table = found.table.set_column(
            MEMBER_SCHEMA.get_field_index("stamp"), MEMBER_SCHEMA.field("stamp"), stamps
        )
    else:
        found = Members(
            members_of([]),
            problem="is neither a tar, a zip, a Parquet file nor a video",
            problem_class="not_a_container",
        )
    found.form, found.stamp = form, stamp
    return found


def _dali(container: Container, settings: IndexSettings) -> bytes | None:
    if container.dali is None:
        return None
    filesystem, path = open_place(container.dali, "input", settings.schemes)
    content = settings.retry.call(lambda: read_range(filesystem, path, 0, _MAX_DALI + 1), "reading an index")[0]
    return content if len(content) <= _MAX_DALI else None


def _beside(container: Container, settings: IndexSettings) -> tuple[dict[str, dict[str, Any]], Counter[str]]:
    """Columns of a tar's samples from img2dataset's table beside it, and how many of its rows have no picture."""
    if container.table is None:
        return {}, Counter()
    filesystem, path = open_place(container.table, "input", settings.schemes)
    facts, _ = settings.retry.call(lambda: look_at(filesystem, path), "looking at a table")
    rows = read_rows(Ranged(filesystem, path, facts.size, settings.retry), settings, ("key", "status"))
    without = Counter(f"rows without a picture ({row['status']})" for row in rows if row["status"] != "success")
    return {str(row["key"]): row for row in rows if row["status"] == "success"}, without


class Directories:
    """What lies in the archives that this process was asked for by URI alone: the last few, found once each."""

    MOST: Final = 8

    def __init__(self) -> None:
        # Of several threads that ask for members of one archive the first lists it.
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[str, dict[str, tuple[int, int]]]] = {}

    def find(self, kind: str, uri: str, name: str, filesystem: Any, path: str) -> tuple[int, int]:
        """Offset and size of a member.

        Raises:
            InputError: why the archive cannot be read.
            FileNotFoundError: there is no such member.
            OSError and what the file system's client raises.
        """
        with self._lock:
            return self._find(kind, uri, name, filesystem, path)

    def _find(self, kind: str, uri: str, name: str, filesystem: Any, path: str) -> tuple[int, int]:
        facts = look_at(filesystem, path)
        stamp = f"{facts.size} {facts.stamp}"
        known = self._known.get((kind, uri))
        if known is None or known[0] != stamp:
            # Who asks retries.
            file = Ranged(filesystem, path, facts.size, Retry(0))
            known = stamp, zip_places(file) if kind == "zip" else tar_places(file)
            while len(self._known) >= self.MOST:
                self._known.pop(next(iter(self._known)), None)
            self._known[kind, uri] = known
        if name not in known[1]:
            raise FileNotFoundError(name)
        return known[1][name]


DIRECTORIES: Final = Directories()
