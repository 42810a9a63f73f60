"""Listings: tables of URIs, with an id and a scene per row where they have them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pager_ray.errors import ConfigError
from pager_ray.listing.columns import listing_columns
from pager_ray.listing.cubemaps import in_order
from pager_ray.listing.ids import FOUND_SCHEMA, found_table
from pager_ray.listing.listed import NETWORK, SIGNED, Texts
from pager_ray.listing.parts import Parts
from pager_ray.masking import MAY_CARRY, carries_secret, is_signed, mask_uri, without_queries
from pager_ray.naming import namer
from pager_ray.read.containers import IndexSettings
from pager_ray.read.containers.sequences import (
    MAX_SEQUENCE_LENGTH,
    times_of,
)
from pager_ray.schemes import LOCAL, is_remote

LISTING_SUFFIXES = (".parquet", ".csv", ".txt")
SCENES = ("indoor", "outdoor")
MAX_ID_LENGTH = 1024
MAX_URI_LENGTH = 8192

_WEB = ("http", "https")
# A member's URI whose container is neither an address nor an absolute path.
_RELATIVE_MEMBER = r"^(zip|tar|parquet|video)://(?s:.+)::[^/:][^:]*$"


def read_listing(filesystem: Any, path: str, key: str, source: str, settings: IndexSettings) -> Parts:
    """The rows of a listing as inputs, ``FOUND_SCHEMA``; read part by part.

    Args:
        filesystem, path: where it is.
        key: the source's key in the configuration, for messages.
        source: as it was given.
        settings: which columns hold ids, scenes, sequences and times, and which are kept.

    Raises:
        ConfigError: it cannot be understood.
    """
    where = f"{key}: {mask_uri(source)}"
    place = namer(without_queries(source))(without_queries(path))
    parts = Parts(FOUND_SCHEMA)
    for (uri, given, scene, sequence, time), same, stamp in listing_columns(filesystem, path, where, settings):
        _check_rows(uri, given, scene, where, parts.num_rows)
        others = _in_sequences(sequence, time, settings, where, parts.num_rows) | same | {"stamp": stamp}
        found = _inputs(uri, given, scene, others, place, is_remote(source))
        _check_secrets(found, where, parts.num_rows)
        parts.add(signatures_apart(in_order(found)))
    if not parts.num_rows:
        raise ConfigError(f"{where} lists nothing; give it a row per image")
    return parts


def _inputs(
    uri: pa.ChunkedArray,
    given: pa.ChunkedArray,
    scene: pa.ChunkedArray,
    others: Mapping[str, Any],
    listing: str,
    is_remote: bool,
) -> pa.Table:
    """Rows of a listing that lies at a URI, as inputs, with other columns as they are."""
    scheme, separator, place = listing.rpartition("://")
    given, scene = (pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column) for column in (given, scene))
    is_absolute = pc.or_(pc.match_substring(uri, "://"), pc.starts_with(uri, "/"))
    inside = _normal_paths(uri, is_absolute)
    folder = posixpath.normpath(posixpath.dirname(place)) if posixpath.dirname(place) else ""
    prefix = scheme + separator + (folder if not folder or folder.endswith("/") else f"{folder}/")
    full = pc.if_else(is_absolute, uri, pc.binary_join_element_wise(prefix, inside, ""))
    is_inside = pc.match_substring_regex(uri, _RELATIVE_MEMBER)
    if pc.any(is_inside).as_py():
        # A member of a container that lies where the listing does.
        joined = [_in_folder(text, scheme + separator, folder) for text in Texts(uri.filter(is_inside))]
        full = pc.replace_with_mask(full.combine_chunks(), is_inside.combine_chunks(), pa.array(joined, pa.string()))
        full = pa.chunked_array([full])
    # Only these still have to be joined with the folder's own name: ".", ".." and what begins with it.
    climbs = pc.and_(pc.invert(is_absolute), pc.match_substring_regex(inside, r"^\.(\.(/|$)|$)"))
    if pc.any(climbs).as_py():
        joined = [
            scheme + separator + _joined(scheme, folder, inner) if climbs_out else whole
            for inner, climbs_out, whole in zip(Texts(inside), climbs.to_pylist(), Texts(full), strict=True)
        ]
        full = pa.chunked_array([pa.array(joined, pa.string())])
    # A web address's name is what comes before its query, wherever its host is written.
    inside = pc.replace_substring_regex(inside, r"\?(?s:.*)$", "") if scheme.lower().endswith(_WEB) else inside
    relative = pc.if_else(is_absolute, pc.replace_substring_regex(_addresses(uri), "^(?s:.*)/", ""), inside)
    # Who ends with a slash has no name, and nobody is called nothing.
    is_called = pc.and_(pc.is_null(given), pc.not_equal(relative, ""))
    relative = pc.if_else(is_called, relative, pa.scalar(None, pa.string()))
    return found_table(
        len(uri),
        uri=full,
        given=given,
        relative=relative,
        scene=scene,
        is_utf8=pa.array(np.ones(len(uri), dtype=bool)),
        origin=pa.repeat(pa.scalar(NETWORK if is_remote else None, pa.string()), len(uri)),
        **others,
    )


def _joined(scheme: str, folder: str, inner: str) -> str:
    """A relative path from a folder, normal; of a URL it stays on its host, or in its bucket, however far it climbs."""
    if scheme.removesuffix("://") in {"", *LOCAL}:
        return posixpath.normpath(posixpath.join(folder, inner))
    host, _, path = folder.partition("/")
    return host + posixpath.normpath(posixpath.join("/", path, inner))


def _in_folder(uri: str, scheme: str, folder: str) -> str:
    """The URI of a member whose container is named relative to a folder."""
    member, _, container = uri.rpartition("::")
    path = _joined(scheme, folder, container)
    return f"{member}::{scheme or 'file://'}{path if scheme else posixpath.abspath(path)}"


def _in_sequences(
    sequence: pa.ChunkedArray, time: pa.ChunkedArray, settings: IndexSettings, where: str, before: int
) -> dict[str, pa.ChunkedArray]:
    """The columns ``sequence`` and ``time``; what is neither is nothing, or a mistake where its column was asked for.

    Raises:
        ConfigError: names the first such row, behind so many others.
    """
    if sequence.null_count == len(sequence) and time.null_count == len(time):
        return {"sequence": sequence, "time": pa.nulls(len(time), pa.float64())}
    trimmed = pc.utf8_trim_whitespace(sequence)
    is_name = pc.and_(pc.utf8_is_printable(trimmed), pc.less_equal(pc.utf8_length(trimmed), MAX_SEQUENCE_LENGTH))
    is_name = pc.and_(is_name, pc.greater(pc.binary_length(trimmed), 0))
    names = pc.if_else(pc.fill_null(is_name, False), trimmed, pa.scalar(None, pa.string()))
    seconds = times_of(time)
    for asked, given, taken, what in (
        (settings.sequence_column, sequence, names, f"up to {MAX_SEQUENCE_LENGTH} printable characters"),
        (settings.time_column, time, seconds, "seconds or ISO 8601"),
    ):
        there = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(given), ""), False)
        wrong = _first(pc.and_(there, pc.is_null(taken)), lambda _: True, given) if asked is not None else None
        if wrong is not None:
            text = str(wrong[1])[:40]
            raise ConfigError(f"{where} row {before + wrong[0] + 1}: {asked} is {text!r}; takes {what}, or nothing")
    return {"sequence": names, "time": seconds}


def signatures_apart(table: pa.Table) -> pa.Table:
    """The inputs with their URIs as they may be stored, beside those that are signed as they were given."""
    uri = table.column("uri")
    may_be = pc.match_substring(uri, "?").to_numpy()
    if not may_be.any():
        return table
    texts = uri.to_pylist()
    signed = [text if it_may and is_signed(text) else None for text, it_may in zip(texts, may_be, strict=True)]
    shown = [mask_uri(text) if is_one else text for text, is_one in zip(texts, signed, strict=True)]
    for field, column in ((table.schema.field("uri"), shown), (SIGNED, signed)):
        place = table.schema.get_field_index(field.name)
        table = table.set_column(place, field, pa.array(column, field.type))
    return table


def _addresses(uri: pa.ChunkedArray) -> pa.ChunkedArray:
    """URIs of which web addresses end where their queries begin, for names that are made of them."""
    may_have = pc.match_substring_regex(uri, r"(?i)https?://.*\?").to_numpy()
    if not may_have.any():
        return uri
    texts = [without_queries(text) if it_may else text for text, it_may in zip(Texts(uri), may_have, strict=True)]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _normal_paths(uri: pa.ChunkedArray, is_absolute: pa.ChunkedArray) -> pa.ChunkedArray:
    """The relative paths of a listing without ``.``, ``..`` and doubled slashes."""
    odd = pc.and_(pc.invert(is_absolute), pc.match_substring_regex(uri, r"(^|/)\.{1,2}(/|$)|//|/$"))
    if not pc.any(odd).as_py():
        return uri
    paths = [
        posixpath.normpath(path) if is_odd else path for path, is_odd in zip(Texts(uri), odd.to_pylist(), strict=True)
    ]
    return pa.chunked_array([pa.array(paths, pa.string())])


def _check_rows(uri: pa.ChunkedArray, given: pa.ChunkedArray, scene: pa.ChunkedArray, where: str, before: int) -> None:
    """Refuse a listing for its first row that cannot be understood, behind so many others.

    Columns are looked at as a whole; what Python alone can judge is asked of the few rows that may be odd.
    """
    has_no_uri = pc.fill_null(pc.equal(uri, ""), True)
    has_no_scene = pc.invert(pc.is_in(scene, value_set=pa.array([None, "", *SCENES])))
    may_be_odd = pc.or_(pc.invert(pc.string_is_ascii(given)), pc.invert(pc.utf8_is_printable(given)))
    is_odd = pc.fill_null(pc.or_(may_be_odd, pc.greater(pc.utf8_length(given), MAX_ID_LENGTH)), False)
    wrong = [
        _first(has_no_uri, lambda _: True, uri),
        _first(has_no_scene, lambda _: True, scene),
        _first(is_odd, lambda id: len(id) > MAX_ID_LENGTH or not id.isprintable(), given),
        _first(pc.greater(pc.binary_length(uri), MAX_URI_LENGTH), lambda _: True, uri),
    ]
    places = [(found[0], check) for check, found in enumerate(wrong) if found is not None]
    if not places:
        return
    row, check = min(places)
    _, value = wrong[check]  # type: ignore[misc]
    row_name = f"{where} row {before + row + 1}"
    raise ConfigError(
        (
            f"{row_name} has no uri; give every row one",
            f"{row_name}: scene is {value!r}; takes indoor, outdoor or nothing",
            f"{row_name}: id takes up to {MAX_ID_LENGTH} printable characters, got {str(value)[:40]!r}",
            f"{row_name}: the URI has more than {MAX_URI_LENGTH} bytes: {str(value)[:40]!r}…; no store has such names",
        )[check]
    )


def _check_secrets(found: pa.Table, where: str, before: int) -> None:
    """Refuse a listing for its first row, behind so many others, of which a manifest would store what is secret.

    Looked at is what is stored: the row's URI joined with the listing's place, and the id that it gives.
    """
    for name, is_wrong, what in (
        ("uri", lambda text: carries_secret(text) and not is_signed(text), "URI"),
        ("given", carries_secret, "id"),
    ):
        column = found.column(name)
        wrong = _first(pc.fill_null(pc.match_substring_regex(column, MAY_CARRY), False), is_wrong, column)
        if wrong is not None:
            raise ConfigError(
                f"{where} row {before + wrong[0] + 1}: the {what} carries credentials; give them through the "
                "environment or a profile, where no manifest can store them"
            )


def _first(
    may_be: pa.ChunkedArray, is_wrong: Callable[[str], bool], column: pa.ChunkedArray
) -> tuple[int, str | None] | None:
    """Place and value of the first row that is wrong among those that may be; None where none is."""
    for place in np.flatnonzero(may_be.to_numpy()).tolist():
        value = column[place].as_py()
        if is_wrong(value):
            return place, value
    return None
