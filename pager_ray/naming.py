"""The URI of a file that was found: all of its source's that names a place, and the file's own path."""

from __future__ import annotations

from collections.abc import Callable

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pager_ray.schemes import ARCHIVES, settled


def namer(source: str) -> Callable[[str], str]:
    """A function from a path in the source's file system to a URI that opens it again.

    A file system's own ``unstrip_protocol`` knows its protocol alone: the host and login of ``sftp://``, the account of
    ``abfs://`` and the archive that a member is in would be lost.
    """
    # However somebody typed it: who reads the URI stands in another folder.
    source = settled(source)
    first, chained, rest = source.partition("::")
    scheme, separator, place = first.partition("://")
    if chained and not separator:
        # A cache around the rest.
        inner = namer(rest)
        return lambda path: f"{first}::{inner(path)}"
    if chained and scheme in ARCHIVES:
        return lambda path: f"{scheme}://{path}::{rest}"
    kind = fsspec.get_filesystem_class(scheme) if separator else LocalFileSystem
    if issubclass(kind, LocalFileSystem):
        return lambda path: path
    given, path_of_source = first.rstrip("/"), str(kind._strip_protocol(first)).rstrip("/")
    if given.endswith(path_of_source):
        before = given[: len(given) - len(path_of_source)]
        return lambda path: f"{before}{path}"
    container, at, account = place.partition("/")[0].partition("@")
    if at and path_of_source.partition("/")[0] == container:
        return lambda path: f"{scheme}://{container}@{account}{path.removeprefix(container)}"
    return lambda path: f"{scheme}://{path.lstrip('/')}"
