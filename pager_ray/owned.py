"""Folders that a command writes: which are its own, and what in them it may delete.

A command marks a folder before it writes into it: with a JSON object, the *marker*, that lists the files it is going to
write, or from which they follow. A folder without the marker has to be empty. What is deleted later is what the marker
lists; whatever else lies there stays, and where one of its names is wanted, the command refuses. Links below a folder
are never followed, neither to write nor to delete (:class:`pager_ray.storage.Folder`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable
from typing import Any, Final

from pager_ray.errors import RunMismatchError
from pager_ray.storage import Folder

MARK: Final = "made_by"
MAKER: Final = "pager_ray"

LEFT_BY_SYSTEMS: Final = frozenset({"lost+found", "$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle"})
"""What may lie in a folder that is empty to its owner, beside hidden names."""

_SHOWN = 3


def standing(
    folder: Folder, marker: str, what: str, *, begun: Collection[str] = (), option: str
) -> dict[str, Any] | None:
    """What this command's marker says of a folder; None for one that is free.

    Args:
        folder: the folder.
        marker: name of its marker.
        what: what such a folder is called, such as ``gallery``.
        begun: sub-folders that a start may have made before its marker.
        option: what named the folder, for the message.

    Raises:
        RunMismatchError: it holds something else, or a marker of somebody else.
        StorageError: it cannot be read.
    """
    if folder.exists(marker):
        mark = folder.read_json(marker)
        if mark.get(MARK) == MAKER:
            return mark
    if others := foreign_entries(folder, begun):
        shown = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
        raise RunMismatchError(
            f"{option}: {folder} holds {len(others)} files or folders that no {what} of pager_ray is known to have "
            f"written ({shown}); choose another folder, or move them away"
        )
    return None


def foreign_entries(folder: Folder, begun: Collection[str] = ()) -> list[str]:
    """Names directly inside a folder that are neither in ``begun`` nor a system's."""
    return [
        name
        for name in folder.entries()
        if name not in begun and not name.startswith(".") and name not in LEFT_BY_SYSTEMS
    ]


def mark(folder: Folder, marker: str, files: Iterable[str], **content: Any) -> None:
    """Put the marker; the first thing that is written."""
    folder.write_json(marker, {MARK: MAKER, **content, "files": sorted(files)})


def check_unclaimed(folder: Folder, wanted: Collection[str], own: Collection[str], *, option: str) -> None:
    """Refuse where a name that is wanted is a file of somebody else.

    Args:
        folder: the folder.
        wanted: names of files below it that are going to be written.
        own: those that an earlier start of this command wrote.

    Raises:
        RunMismatchError: names the first of them.
    """
    by_folder: dict[str, set[str]] = {}
    for name in {*wanted} - {*own}:
        by_folder.setdefault(posixpath.dirname(name), set()).add(posixpath.basename(name))
    taken = [
        posixpath.join(path, name)
        for path, names in sorted(by_folder.items())
        for name in (folder / path if path else folder).entries()
        if name in names
    ]
    if taken:
        raise RunMismatchError(
            f"{option}: {folder}/{taken[0]} is there already and was not written by this command "
            f"({len(taken)} such files); choose another folder, or move them away"
        )


def delete(folder: Folder, files: Iterable[str]) -> None:
    """Delete files of ours below a folder, and folders that are empty then."""
    by_folder: dict[str, set[str]] = {}
    for name in files:
        if not _is_inside(name):
            continue
        by_folder.setdefault(posixpath.dirname(name), set()).add(posixpath.basename(name))
    # The deepest first: a folder is empty when those in it are.
    for path, names in sorted(by_folder.items(), reverse=True):
        (folder / path if path else folder).delete_where(names.__contains__, keep_folder=not path)
    parents = {parent for path in by_folder for parent in _parents(path)} - {*by_folder}
    for path in sorted(parents, reverse=True):
        (folder / path).delete_where(lambda name: False)


def _is_inside(name: Any) -> bool:
    """Whether a marker's name stays below its folder."""
    return isinstance(name, str) and bool(name) and not name.startswith("/") and ".." not in name.split("/")


def _parents(path: str) -> list[str]:
    parents = []
    while path := posixpath.dirname(path):
        parents.append(path)
    return parents
