"""Digests of large files, computed once per node and remembered while the file stays as it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
import uuid
from io import BufferedReader
from pathlib import Path
from typing import Final

from pager_ray.errors import CheckpointError
from pager_ray.model.node_cache import cache_folder, locked
from pager_ray.plain import get_logger

log = get_logger(__name__)

# A smaller file is hashed before its remembered digest would be found.
_SMALLEST_REMEMBERED: Final = 16 << 20

# A file written so lately could be written again without a change of its time: some file systems count seconds.
_SETTLED_NANOSECONDS: Final = 2_000_000_000

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file in hexadecimal.

    The digest of a large file is remembered in the node's cache folder under the file's absolute path and state (size,
    times, inode), so that a changed file is hashed anew. One process hashes while the node's others wait for it. Where
    the cache folder cannot be written, each process hashes by itself.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < _SMALLEST_REMEMBERED:
                return _hash(file)
            return _remembered(Path(path).resolve(), file)
    except OSError as error:
        raise CheckpointError(
            f"{os.fspath(path)}: cannot be read ({error.strerror or error}); check the file and the right to read it"
        ) from error


def _remembered(path: Path, file: BufferedReader) -> str:
    state = _state(path, file)
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]
    try:
        note = cache_folder() / "digests" / f"{key}.json"
    except OSError as error:
        log.debug("%s: its digest is not remembered: there is no cache folder (%s)", path, error)
        return _hash(file)
    if (known := _read_note(note)) is not None:
        return known
    with contextlib.ExitStack() as lock:
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            lock.enter_context(locked(note.with_suffix(".lock")))
        except OSError as error:
            log.debug("%s: hashed without a lock: %s cannot be used (%s)", path, note.parent, error)
        if (known := _read_note(note)) is not None:
            return known
        digest = _hash(file)
        settled = time.time_ns() - os.fstat(file.fileno()).st_mtime_ns > _SETTLED_NANOSECONDS
        if settled and _state(path, file) == state:
            _write_note(note, {**state, "sha256": digest})
    return digest


def _hash(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path, file: BufferedReader) -> dict[str, str | int]:
    found = os.fstat(file.fileno())
    return {
        "path": str(path),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "inode": found.st_ino,
    }


def _read_note(note: Path) -> str | None:
    try:
        digest = json.loads(note.read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) and _SHA256.fullmatch(digest) else None


def _write_note(note: Path, content: dict[str, str | int]) -> None:
    temporary = note.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(note)
    except OSError as error:
        log.debug("%s: its digest is not remembered: %s cannot be written (%s)", content["path"], note, error)
        with contextlib.suppress(OSError):
            temporary.unlink()
