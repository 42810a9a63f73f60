"""Checkpoints on object stores and other fsspec URLs, copied to this node's disk once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import CheckpointError
from pager_ray.storage import client_errors, mask_uri

CACHE_VARIABLE = "PAGER_RAY_CACHE"


def cache_folder() -> Path:
    """Where this node keeps its copies: ``$PAGER_RAY_CACHE``, else ``~/.cache/pager_ray``."""
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "pager_ray"


def fetch_checkpoint(url: str, files: Sequence[str]) -> tuple[Path, str]:
    """Bring a checkpoint folder to this node.

    The copy is keyed by the URL and by what the store says of each file's state (size, ETag or time), so a replaced
    checkpoint is fetched anew. One process copies while the node's others wait; a copy appears under its final name
    only when it is complete. A ``file://`` URL is used where it lies.

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
        store, path = fsspec.core.url_to_fs(url)
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
            digest.update(f"\n{file} {store.size(where)} {store.ukey(where)}".encode())
    except FileNotFoundError:
        raise CheckpointError(
            f"{name}: holds no {file}; a checkpoint takes {' beside '.join(reversed(files))}"
        ) from None
    except client_errors() as error:
        raise CheckpointError(
            f"{name}: cannot be read ({_reason(error)}); check its store and the right to read it"
        ) from None
    checkpoints = cache_folder() / "checkpoints"
    folder = checkpoints / digest.hexdigest()[:32]
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)  # what a copy that was killed has left
                partial.mkdir()
                for file, where in remote.items():
                    store.get_file(where, str(partial / file))
                partial.rename(folder)
    except client_errors() as error:
        raise CheckpointError(
            f"{name}: cannot be copied to {checkpoints} ({_reason(error)}); check its store, or name another cache "
            f"folder in {CACHE_VARIABLE}"
        ) from None
    return folder, name


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among the processes of this node; it falls with the process that holds it."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reason(error: Exception) -> str:
    """What went wrong in a store, in words of the operating system: a store's own text may repeat a signed URL."""
    strerror = getattr(error, "strerror", None)
    return strerror if strerror and getattr(error, "errno", None) else type(error).__name__
