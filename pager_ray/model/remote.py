"""Checkpoints on object stores and other fsspec URLs, copied to this node's disk once."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import CheckpointError
from pager_ray.masking import mask_uri
from pager_ray.model.node_cache import CACHE_VARIABLE, cache_folder, locked
from pager_ray.retrying import Retry, is_transient
from pager_ray.schemes import SchemeError, open_place
from pager_ray.storage import client_errors

# A file of gigabytes may take longer to come than a store is waited for to answer.
_COPYING: Final = Retry(1800.0)


def fetch_checkpoint(url: str, files: Sequence[str]) -> tuple[Path, str]:
    """Bring a checkpoint folder to this node.

    The copy is keyed by the URL and by what the store says of each file's state (size, ETag or time), so a replaced
    checkpoint is fetched anew. One process copies while the node's others wait; where it dies, the next one starts
    over. Failures that pass by themselves are waited out. A copy appears under its final name only when it is complete.
    A ``file://`` URL is used where it lies.

    Args:
        url: folder on any file system that fsspec serves.
        files: names inside the folder.

    Returns:
        The local folder, and the URL without secrets.

    Raises:
        CheckpointError: a file is missing, or the store or the cache cannot be used.
    """
    name = mask_uri(url).rstrip("/")
    try:
        store, path = open_place(url, "checkpoint")
    except SchemeError as error:
        raise SchemeError(f"checkpoint: {name}: {error}") from error
    except (ValueError, ImportError) as error:
        raise CheckpointError(
            f"{name}: no file system serves this URL ({error}); takes one that fsspec knows"
        ) from error
    if isinstance(store, LocalFileSystem):
        return Path(path), name
    remote = {file: f"{path.rstrip('/')}/{file}" for file in files}
    digest = hashlib.sha256(name.encode())
    try:
        store.invalidate_cache(path)
        for file, where in remote.items():
            state, _ = Retry().call(partial(_state, store, where), f"{name}/{file}")
            digest.update(f"\n{file} {state}".encode())
    except client_errors() as error:
        # An HTTP client calls a file that it could not ask for not found.
        if isinstance(error, FileNotFoundError) and not is_transient(error):
            raise CheckpointError(
                f"{name}: holds no {file}; a checkpoint takes {' beside '.join(reversed(files))}"
            ) from None
        raise CheckpointError(
            f"{name}: cannot be read ({_reason(error)}); check its store and the right to read it"
        ) from None
    try:
        checkpoints = cache_folder() / "checkpoints"
    except OSError as error:
        raise CheckpointError(
            f"{name}: cannot be copied to this node ({_reason(error)}); name a cache folder in {CACHE_VARIABLE}"
        ) from None
    folder = checkpoints / digest.hexdigest()[:32]
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                unfinished = folder.with_suffix(".partial")
                shutil.rmtree(unfinished, ignore_errors=True)  # what a copy that was killed has left
                unfinished.mkdir()
                for file, where in remote.items():
                    _copy(store, where, unfinished / file, f"{name}/{file}")
                unfinished.rename(folder)
    except client_errors() as error:
        raise CheckpointError(
            f"{name}: cannot be copied to {checkpoints} ({_reason(error)}); check its store, or name another cache "
            f"folder in {CACHE_VARIABLE}"
        ) from None
    return folder, name


def _state(store: Any, where: str) -> str:
    """What changes when a file does."""
    found = store.info(where)
    # A web server's files have no key of their own in fsspec.
    marks = [str(found.get(header)) for header in ("ETag", "Last-Modified")]
    return " ".join([str(store.size(where)), str(store.ukey(where)), *marks])


def _copy(store: Any, where: str, target: Path, what: str) -> None:
    """Copy one file whole, again where a connection breaks off.

    Raises:
        OSError: it cannot be read or written, like the clients' own errors; or what came is not of the store's size.
    """
    size = store.size(where)

    def attempt() -> None:
        store.get_file(where, str(target))
        came = target.stat().st_size
        if size is not None and came != size:
            raise ConnectionResetError(errno.ECONNRESET, f"the copy has {came} of {size} bytes")

    _COPYING.call(attempt, what)


def _reason(error: Exception) -> str:
    """What went wrong in a store, in words of the operating system: a store's own text may repeat a signed URL."""
    strerror = getattr(error, "strerror", None)
    return strerror if strerror and getattr(error, "errno", None) else type(error.__cause__ or error).__name__
