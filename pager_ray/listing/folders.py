"""What lies in a folder: files behind links, what tools leave behind, and what of the rest is no image that is read."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import ConfigError
from pager_ray.listing.growth import stamp_of
from pager_ray.masking import mask_uri
from pager_ray.plain import get_logger
from pager_ray.read import is_image_name
from pager_ray.read.formats import extra_for, is_hidden_folder, is_left_behind
from pager_ray.schemes import SchemeError, open_place
from pager_ray.storage import client_errors

log = get_logger(__name__)

_SHOWN_SUFFIXES = 5

Facts = Mapping[str, Mapping[str, Any]]
"""What a file system says of files, by path."""

_CONVERTIBLE = frozenset({".jp2", ".psd", ".gif", ".dng", ".cr2", ".nef", ".arw", ".insp"})
"""Suffixes of pictures that people have panoramas in, and that are not read."""

_VIDEOS = frozenset({".mkv", ".webm", ".avi", ".insv", ".360"})
"""The same of videos: those in other containers, and those that are not stitched yet."""


def find_files(filesystem: Any, folder: str) -> tuple[list[str], Facts]:
    """Paths of all files in a folder and those below, through links where the file system has them.

    Beside them what the file system says of each by itself; of local ones nothing, as each would have to be asked for.

    Raises:
        ConfigError: a linked folder leads back to one that it lies in.
        PermissionError: a folder may not be listed.
    """
    if isinstance(filesystem, LocalFileSystem):
        return list(_walk(folder, {})), {}
    facts = filesystem.find(folder, detail=True)
    return list(facts), facts


def stamps_of(filesystem: Any, paths: Sequence[str], facts: Facts) -> pa.Array:
    """Whether files are still those that they are, as numbers; null for those of which nothing is known."""
    if isinstance(filesystem, LocalFileSystem):
        return pa.array([_local_stamp(path) for path in paths], pa.int64())
    return pa.array([stamp_of(facts[path]) if path in facts else None for path in paths], pa.int64())


def _local_stamp(path: str) -> int | None:
    try:
        return file_stamp(LocalFileSystem(), path)
    except OSError:
        return None


def file_stamp(filesystem: Any, path: str) -> int:
    """Whether one file is still the one that it is, as the number that a folder's listing has of it.

    Raises:
        OSError and what the file system's client raises: nobody can say.
    """
    if isinstance(filesystem, LocalFileSystem):
        status = os.stat(path)
        return stamp_of({"size": status.st_size, "mtime": status.st_mtime_ns})
    return stamp_of(filesystem.info(path))


def _walk(folder: str, above: dict[tuple[int, int], str]) -> Iterator[str]:
    status = os.stat(folder)
    key = status.st_dev, status.st_ino
    if key in above:
        raise ConfigError(f"{folder}: is a link back to {above[key]}, in which it lies; remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                # A link to nothing too: it becomes a reject when it is read.
                yield entry.path
                continue
            try:
                yield from _walk(entry.path, above | {key: folder})
            except PermissionError:
                if not is_hidden_folder(entry.name):
                    raise


def lies_hidden(path: str, root: str) -> bool:
    """Whether a file below a folder is one that tools leave behind."""
    inside = f"{root.rstrip('/')}/" if root else ""
    below = path[len(inside) :] if path.startswith(inside) else posixpath.basename(path)
    return is_left_behind(below)


def without_results(filesystem: Any, paths: Sequence[str], root: str, results: Sequence[str]) -> Sequence[str]:
    """The files below a folder without those that a job puts there: a later start would take them for inputs.

    By whatever links folder or results are named, or are found on the way.

    Args:
        filesystem: that they lie in.
        paths: of the files.
        root: the folder.
        results: folders that results go to. One that is the folder itself, or holds it, is no reason to leave anything
            out: what lies there was named.
    """
    # Of local folders where they really lie: each is looked at once.
    is_local = isinstance(filesystem, LocalFileSystem)
    place_of = cache(os.path.realpath) if is_local else str
    unusable: tuple[type[Exception], ...] = (SchemeError, ValueError, ImportError, *client_errors())
    for folder in results:
        try:
            other, path = open_place(folder, "output")
        except unusable:
            # Whoever opens it to write there says so.
            continue
        if type(other) is not type(filesystem) or (is_local and not os.path.isdir(path)):
            continue
        results_in = f"{place_of(path).rstrip('/')}/"
        if f"{place_of(root.rstrip('/') or '/').rstrip('/')}/".startswith(results_in):
            continue
        kept = [path for path in paths if not f"{place_of(posixpath.dirname(path))}/".startswith(results_in)]
        if left := len(paths) - len(kept):
            log.info("%s: left out: %s files in %s, where results go", root, f"{left:,}", mask_uri(folder))
        paths = kept
    return paths


def choose_images(paths: Sequence[str], root: str) -> tuple[list[str], str]:
    """The images among the files below a folder, sorted, and in words what is left out (empty for nothing)."""
    images, left = [], Counter[str]()
    behind = 0
    for path in paths:
        if lies_hidden(path, root):
            behind += 1
        elif is_image_name(path):
            images.append(path)
        else:
            left[posixpath.splitext(posixpath.basename(path))[1].lower() or "without a suffix"] += 1
    told = [f"{count:,} {suffix}" for suffix, count in left.most_common(_SHOWN_SUFFIXES)]
    if rest := left.total() - sum(count for _, count in left.most_common(_SHOWN_SUFFIXES)):
        told.append(f"{rest:,} others")
    if behind:
        told.append(f"{behind:,} that tools leave behind")
    return sorted(images), ", ".join(told)


def what_helps(paths: Sequence[str]) -> str | None:
    """What to do with a folder of pictures of which none is read; None where there are none."""
    found = {posixpath.splitext(path)[1].lower() for path in paths}
    if missing := sorted(suffix for suffix in found if extra_for(suffix)):
        return f"{', '.join(missing)} files are read by an extra: {extra_for(missing[0])} here and on every node"
    if videos := found & _VIDEOS:
        return (
            f"{', '.join(sorted(videos))} files are not read: bring equirectangular video into MP4 (ffmpeg -i IN -c "
            "copy OUT.mp4), and what a camera has not stitched yet through its maker's program"
        )
    suffixes = found & _CONVERTIBLE
    if not suffixes:
        return None
    return f"{', '.join(sorted(suffixes))} files are not read: convert them to JPEG or PNG"
