"""Whether the file that something was made of is still there: by its stamp, and where that differs by its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pager_ray.bounded import parse_json
from pager_ray.cubemaps import faces_of
from pager_ray.errors import InputError
from pager_ray.listing.folders import file_stamp
from pager_ray.listing.growth import joined_stamps
from pager_ray.listing.listed import SIGNED
from pager_ray.listing.masks import place_of
from pager_ray.read import Content
from pager_ray.read.content import digest_of
from pager_ray.schemes import SchemeError, open_place, split_member
from pager_ray.stages.read import ReadSettings, fetch_row, is_strangers
from pager_ray.stages.rows import Row
from pager_ray.storage import client_errors

_PLACES = ("offset", "size", "row_group", "row", "face_places")


def stamp_of_row(row: Row, settings: ReadSettings) -> int | None:
    """A number that is another one once a row's picture, or its mask, was replaced; None where nobody can tell.

    Where the listing does not say it the store is asked, and nothing is read.
    """
    told = [_stamp(row, settings)]
    if row.get("mask") is not None:
        told.append(_stamp(_mask_row(row), settings))
    return None if None in told else joined_stamps(told)


def source_of(stamp: int | None, content: Content, mask: Content | None) -> str:
    """What is remembered of the bytes that something was made of.

    Args:
        stamp: of :func:`stamp_of_row`, taken before they were read.
        content: the picture's.
        mask: those of its mask, where it has one.
    """
    return json.dumps({"stamp": stamp, "digest": _digest(content, mask)})


def was_replaced(row: Row, source: str | None, settings: ReadSettings) -> bool:
    """Whether other bytes are there now than :func:`source_of` remembers; they are read where stamps differ alone.

    Args:
        row: of the listing.
        source: as it was; None where that is not known.
        settings: of the stage that reads.

    Raises:
        StorageError: a store cannot be used at all.
    """
    before = _parsed(source)
    known = before.get("stamp")
    if known is None or (now := stamp_of_row(row, settings)) is None or now == known:
        return False
    try:
        # Not as a mask: one of all may be in memory as it was.
        mask = fetch_row(_mask_row(row), settings) if row.get("mask") is not None else None
        return _digest(fetch_row(row, settings), mask) != before.get("digest")
    except InputError:
        # Whatever it was made of, it was no file that cannot be read.
        return True


def _mask_row(row: Row) -> Row:
    mask = place_of(row["mask"])
    return {**mask.others, "uri": mask.uri}


def _parsed(source: str | None) -> Mapping[str, Any]:
    try:
        told = parse_json(source or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _digest(content: Content, mask: Content | None) -> str:
    return digest_of(content) if mask is None else f"{digest_of(content)} {digest_of(mask)}"


def _stamp(row: Row, settings: ReadSettings) -> int | None:
    stamp = row.get("stamp")
    if stamp is None:
        uri = row.get(SIGNED.name) or row["uri"]
        found = [_file_stamp(file, row, settings) for file in faces_of(uri) or (uri,)]
        stamp = joined_stamps(found) if len(found) > 1 and None not in found else found[0]
    return None if stamp is None else joined_stamps([stamp, *(row.get(name) for name in _PLACES)])


def _file_stamp(uri: str, row: Row, settings: ReadSettings) -> int | None:
    member = split_member(uri)
    unknown: tuple[type[Exception], ...] = (*client_errors(), ValueError, ImportError, SchemeError)
    try:
        place = member[2] if member is not None else uri
        filesystem, path = open_place(place, "input", settings.schemes, strangers=is_strangers(row, settings))
        return file_stamp(filesystem, path)
    except unknown:
        # Who reads it says what is wrong.
        return None
