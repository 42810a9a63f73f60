"""What the processes of a node keep together: where it lies, and how they take turns."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "PAGER_RAY_CACHE"


def cache_folder() -> Path:
    """Where this node keeps copies and digests: ``$PAGER_RAY_CACHE``, else ``~/.cache/pager_ray``.

    Raises:
        OSError: it is in the home folder, and this user has none.
        ConfigError: the variable names no folder of this machine.
    """
    configured = os.environ.get(CACHE_VARIABLE)
    if configured and "://" in configured:
        # Weights alone are loaded where no file system but the machine's own is known.
        from pager_ray.schemes import own_path

        return own_path(configured, CACHE_VARIABLE)
    try:
        return Path(configured or "~/.cache/pager_ray").expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "this user has no home folder") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among the processes of this node; it falls with the process that holds it.

    Raises:
        OSError: the lock's file cannot be written, or its file system has no locks.
    """
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
