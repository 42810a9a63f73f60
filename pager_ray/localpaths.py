"""Paths of this machine: one spelling of each, and which lies below which."""

from __future__ import annotations

import os
import posixpath
import re
from typing import Final

from fsspec.implementations.local import LocalFileSystem

# What a path can do without, or what it climbs by.
_ODD: Final = re.compile(r"(^|/)\.{1,2}(/|$)|//")


def local_path(text: str) -> str:
    """The path of a place on this machine's disks, in the one spelling that is stored and compared.

    Absolute, without ``.``, ``..``, doubled slashes and one at the end, and with the home folder for ``~``. Links stay
    as they are named: what is called so may lie elsewhere tomorrow. Behind a link ``..`` is the folder above what it
    leads to, as for whoever opens the path.

    Args:
        text: a path, or a ``file://`` URL of one.
    """
    path = str(LocalFileSystem._strip_protocol(text))
    if not path.startswith("/"):
        # A home folder of nobody.
        path = f"{os.getcwd()}/{path}"
    if not _ODD.search(path):
        return path
    at = ""
    for part in path.split("/"):
        if part == "..":
            at = posixpath.dirname(os.path.realpath(at) if os.path.islink(at) else at).rstrip("/")
        elif part not in ("", "."):
            at = f"{at}/{part}"
    return at or "/"


def is_same_or_below(path: str, folder: str) -> bool:
    """Whether a path of this machine is a folder or leads through it, by whatever links either is named.

    Args:
        path, folder: as of :func:`local_path`.
    """
    inside = os.path.realpath(folder).rstrip("/") + "/"
    while not f"{os.path.realpath(path)}/".startswith(inside):
        above = posixpath.dirname(path)
        if above == path:
            return False
        path = above
    return True
