"""What ``input.uris`` may name.

A *source* is one entry of ``input.uris``: a file, a folder, a glob or a listing.
"""

from __future__ import annotations

import csv
import posixpath
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pager_ray.bounded import Unreasonable, read_parquet, size_of
from pager_ray.errors import ConfigError, StorageError
from pager_ray.listing.folders import choose_images, find_files, what_helps
from pager_ray.listing.ids import FOUND_SCHEMA, MAY_BE_SECRET, settle_ids
from pager_ray.listing.listed import NETWORK, Listing, Texts
from pager_ray.listing.naming import namer
from pager_ray.masking import carries_secret, mask_uri
from pager_ray.plain import get_logger
from pager_ray.read import is_image_name
from pager_ray.retrying import Retry
from pager_ray.schemes import SchemeError, is_remote, open_place
from pager_ray.storage import client_errors, error_reason

log = get_logger(__name__)

LISTING_SUFFIXES = (".parquet", ".csv", ".txt")
SCENES = ("indoor", "outdoor")
MAX_ID_LENGTH = 1024
MAX_URI_LENGTH = 8192
MAX_LISTING_BYTES = 1 << 31
# Files named by several sources that are told one by one.
_NAMED_TWICE = 10
_COLUMNS = ("uri", "id", "scene")
_TAKES = f"takes a folder, a glob, an image file or a listing ({', '.join(LISTING_SUFFIXES)})"


def list_inputs(uris: Sequence[str], retry: Retry | None = None, schemes: Sequence[str] = ()) -> Listing:
    """List every input that the sources name, each with a unique id.

    Files that folders or globs name twice are listed once. A listing's row whose id is taken becomes a reject under
    an id of its own (``room~2``), and so does a file whose name is not UTF-8, with the bad bytes written out
    (``\\udcff``): every row is accounted for.

    Args:
        uris: the sources.
        retry: how long requests that fail in passing are repeated.
        schemes: those that are taken beside the usual ones; see :mod:`pager_ray.schemes`.

    Raises:
        ConfigError: a source does not exist, matches nothing, or is a listing that cannot be understood.
    """
    found: list[pa.Table] = []
    retry = retry or Retry()
    for number, source in enumerate(uris):
        key = f"input.uris[{number}]"
        if carries_secret(source):
            raise ConfigError(
                f"{key}: {mask_uri(source)} carries credentials in its URL; give them through the environment or a "
                "profile, where no manifest can store them"
            )
        (table, is_listing), _ = retry.call(partial(_expand, source, key, schemes), f"listing {mask_uri(source)}")
        found.append(table if is_listing or not found else _without(table, found))
    return settle_ids(pa.concat_tables(found) if found else FOUND_SCHEMA.empty_table())


def _without(table: pa.Table, earlier: Sequence[pa.Table]) -> pa.Table:
    """A folder's or glob's files that no source before it named."""

    def names(files: pa.Table) -> pa.ChunkedArray:
        # A name whose bad bytes are written out is not the file that is really called so.
        uri = files.column("uri")
        return pc.if_else(files.column("is_utf8"), uri, pc.binary_join_element_wise("\0", uri, ""))

    again = pc.is_in(names(table), value_set=names(pa.concat_tables(earlier)))
    twice = Texts(table.column("uri").filter(again))
    for uri in twice[:_NAMED_TWICE]:
        log.info("%s is named twice by input.uris; it is processed once", mask_uri(uri))
    if len(twice) > _NAMED_TWICE:
        log.info("%d more are named twice", len(twice) - _NAMED_TWICE)
    return table.filter(pc.invert(again))


def _expand(source: str, key: str, schemes: Sequence[str]) -> tuple[pa.Table, bool]:
    """What one source names, with whether it is a listing."""
    try:
        filesystem, path = open_place(source, "input", schemes)
    except SchemeError as error:
        raise ConfigError(f"{key}: {mask_uri(source)}: {error}") from error
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{key}: {mask_uri(source)}: no file system serves this URI ({error}); {_TAKES}") from error
    # In a process that lives on, cached listings miss what was uploaded since.
    filesystem.invalidate_cache()
    try:
        if _is_glob(filesystem, path):
            prefix = posixpath.dirname(path[: min(path.find(c) for c in "*?[" if c in path)])
            return _discover(filesystem, filesystem.glob(path), prefix, key, source), False
        if filesystem.isdir(path):
            return _discover(filesystem, find_files(filesystem, path), path, key, source), False
        if path.lower().endswith(".zip") and "::" not in source:
            return _zip_members(source, filesystem, path, key, schemes), False
        if path.lower().endswith(LISTING_SUFFIXES):
            if "::" in source:
                raise ConfigError(
                    f"{key}: {mask_uri(source)} is a listing inside another file, and its rows name places beside it; "
                    "copy it out and give that"
                )
            return _read_listing(filesystem, path, key, source), True
        if is_image_name(path):
            # A file that is not there becomes a reject when it is read, like any other row.
            return _files([namer(source)(path)], [posixpath.basename(path)]), False
        problem = "is neither an image nor a listing" if filesystem.exists(path) else "does not exist"
        raise ConfigError(f"{key}: {mask_uri(source)} {problem}; {_TAKES}")
    except ConfigError as error:
        raise error if str(error).startswith(key) else ConfigError(f"{key}: {error}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: {mask_uri(source)} does not exist; {_TAKES}") from error
    except PermissionError as error:
        raise ConfigError(
            f"{key}: {mask_uri(source)} may not be listed ({error_reason(error)}); ask for the right to"
        ) from error
    except ValueError as error:
        # A client's or fsspec's word on a URL or a pattern that is none.
        raise ConfigError(
            f"{key}: {mask_uri(source)} is no URI or glob that can be listed ({error}); {_TAKES}"
        ) from error
    except client_errors() as error:
        raise StorageError(
            f"{key}: {mask_uri(source)} cannot be listed ({error_reason(error)}); check its store, then run the same "
            "command again"
        ) from error
    finally:
        # What a client remembers of every object is many times what is kept of it here.
        filesystem.invalidate_cache()


def _zip_members(source: str, filesystem: Any, path: str, key: str, schemes: Sequence[str]) -> pa.Table:
    """The images in a zip, each an input of its own; their ids begin with the zip's name."""
    whole = namer(source)(path)
    archive_uri = f"zip://::{whole if '://' in whole else f'file://{whole}'}"
    try:
        inside, _ = open_place(archive_uri, "input", schemes)
    except zipfile.BadZipFile as error:
        raise ConfigError(
            f"{key}: {mask_uri(source)} is no zip that can be read ({error_reason(error)}); fetch it again"
        ) from error
    images, left_out = choose_images(inside.find(""), "")
    if not images:
        raise ConfigError(f"{key}: {mask_uri(source)} holds no image ({left_out or 'it is empty'}); {_TAKES}")
    if left_out:
        log.info("%s: left out: %s", mask_uri(source), left_out)
    archive = posixpath.basename(path).rpartition(".")[0]
    return _files([*map(namer(archive_uri), images)], [f"{archive}/{member}" for member in images])


def _is_glob(filesystem: Any, path: str) -> bool:
    """Whether a path is a pattern: not when a file or folder has exactly this name, such as ``[2024]``."""
    if not any(character in path for character in "*?["):
        return False
    try:
        return not filesystem.exists(path)
    except ValueError:
        # Some stores refuse to look for a name that they could not give, such as a bucket's with a wildcard.
        return True


def _discover(filesystem: Any, paths: Sequence[str], root: str, key: str, source: str) -> pa.Table:
    images, left_out = choose_images(paths, root)
    if not images:
        helps = what_helps(paths) or _TAKES
        raise ConfigError(f"{key}: {mask_uri(source)} holds no image ({left_out or 'it is empty'}); {helps}")
    if left_out:
        log.info("%s: left out: %s", mask_uri(source), left_out)
    inside = f"{root.rstrip('/')}/"
    relatives = [
        path[len(inside) :] if path.startswith(inside) else posixpath.relpath(path, root or "/") for path in images
    ]
    return _files([*map(namer(source), images)], relatives)


def _files(uris: Sequence[str], relatives: Sequence[str]) -> pa.Table:
    """Inputs that get their ids from their paths."""
    escaped = [_escaped(uri) for uri in uris]
    columns = {
        "uri": escaped,
        "given": pa.nulls(len(uris), pa.string()),
        "relative": [_escaped(relative) for relative in relatives],
        "scene": pa.nulls(len(uris), pa.string()),
        "is_utf8": [uri == text for uri, text in zip(uris, escaped, strict=True)],
        "origin": pa.nulls(len(uris), pa.string()),
    }
    return pa.table(columns, schema=FOUND_SCHEMA)


def _escaped(text: str) -> str:
    """The text with bytes that are no UTF-8 (surrogates, as Python has them in file names) written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_listing(filesystem: Any, path: str, key: str, source: str) -> pa.Table:
    uri, given, scene = _listing_columns(filesystem, path, key, source)
    scheme, separator, place = namer(source)(path).rpartition("://")
    _check_rows(uri, given, scene, f"{key}: {mask_uri(source)}")
    given, scene = (pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column) for column in (given, scene))
    is_absolute = pc.or_(pc.match_substring(uri, "://"), pc.starts_with(uri, "/"))
    inside = _normal_paths(uri, is_absolute)
    folder = posixpath.normpath(posixpath.dirname(place)) if posixpath.dirname(place) else ""
    prefix = scheme + separator + (folder if not folder or folder.endswith("/") else f"{folder}/")
    full = pc.if_else(is_absolute, uri, pc.binary_join_element_wise(prefix, inside, ""))
    # Only these still have to be joined with the folder's own name: ".", ".." and what begins with it.
    climbs = pc.and_(pc.invert(is_absolute), pc.match_substring_regex(inside, r"^\.(\.(/|$)|$)"))
    if pc.any(climbs).as_py():
        joined = [
            scheme + separator + posixpath.normpath(posixpath.join(folder, inner)) if climbs_out else whole
            for inner, climbs_out, whole in zip(Texts(inside), climbs.to_pylist(), Texts(full), strict=True)
        ]
        full = pa.chunked_array([pa.array(joined, pa.string())])
    relative = pc.if_else(is_absolute, pc.replace_substring_regex(uri, "^(?s:.*)/", ""), inside)
    relative = pc.if_else(pc.is_valid(given), pa.scalar(None, pa.string()), relative)
    is_utf8 = pa.chunked_array([pa.array(np.ones(len(uri), dtype=bool))])
    origin = pa.repeat(pa.scalar(NETWORK if is_remote(source) else None, pa.string()), len(uri))
    return pa.table([full, given, relative, scene, is_utf8, pa.chunked_array([origin])], schema=FOUND_SCHEMA)


def _normal_paths(uri: pa.ChunkedArray, is_absolute: pa.ChunkedArray) -> pa.ChunkedArray:
    """The relative paths of a listing without ``.``, ``..`` and doubled slashes."""
    odd = pc.and_(pc.invert(is_absolute), pc.match_substring_regex(uri, r"(^|/)\.{1,2}(/|$)|//|/$"))
    if not pc.any(odd).as_py():
        return uri
    paths = [
        posixpath.normpath(path) if is_odd else path for path, is_odd in zip(Texts(uri), odd.to_pylist(), strict=True)
    ]
    return pa.chunked_array([pa.array(paths, pa.string())])


def _check_rows(uri: pa.ChunkedArray, given: pa.ChunkedArray, scene: pa.ChunkedArray, where: str) -> None:
    """Refuse a listing for its first row that cannot be understood.

    Columns are looked at as a whole; what Python alone can judge is asked of the few rows that may be odd.
    """
    has_no_uri = pc.fill_null(pc.equal(uri, ""), True)
    has_no_scene = pc.invert(pc.is_in(scene, value_set=pa.array([None, "", *SCENES])))
    may_be_secret = pc.fill_null(pc.match_substring_regex(uri, MAY_BE_SECRET), False)
    may_be_odd = pc.or_(pc.invert(pc.string_is_ascii(given)), pc.invert(pc.utf8_is_printable(given)))
    is_odd = pc.fill_null(pc.or_(may_be_odd, pc.greater(pc.utf8_length(given), MAX_ID_LENGTH)), False)
    wrong = [
        _first(has_no_uri, lambda _: True, uri),
        _first(has_no_scene, lambda _: True, scene),
        _first(may_be_secret, carries_secret, uri),
        _first(is_odd, lambda id: len(id) > MAX_ID_LENGTH or not id.isprintable(), given),
        _first(pc.greater(pc.binary_length(uri), MAX_URI_LENGTH), lambda _: True, uri),
    ]
    places = [(found[0], check) for check, found in enumerate(wrong) if found is not None]
    if not places:
        return
    row, check = min(places)
    _, value = wrong[check]  # type: ignore[misc]
    row_name = f"{where} row {row + 1}"
    raise ConfigError(
        (
            f"{row_name} has no uri; give every row one",
            f"{row_name}: scene is {value!r}; takes indoor, outdoor or nothing",
            f"{row_name}: the URI carries credentials; give them through the environment or a profile, where no "
            "manifest can store them",
            f"{row_name}: id takes up to {MAX_ID_LENGTH} printable characters, got {str(value)[:40]!r}",
            f"{row_name}: the URI has more than {MAX_URI_LENGTH} bytes: {str(value)[:40]!r}…; no store has such names",
        )[check]
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


def _plain_name(header: str) -> str:
    """A column's name as it is compared: spreadsheets leave blanks around names and capitals in them."""
    return header.strip().casefold()


def _ours(header: Sequence[str]) -> list[str]:
    """Those of a listing's columns that are read, named as they are there."""
    return [name for name in header if _plain_name(name) in _COLUMNS]


def _all_of(file: Any) -> bytes:
    """The content of a file whose size nobody may have told.

    Raises:
        Unreasonable: it is larger than any listing.
    """
    content = bytearray()
    while part := file.read(1 << 20):
        content += part
        if len(content) > MAX_LISTING_BYTES:
            raise Unreasonable(f"has more than {MAX_LISTING_BYTES} bytes")
    return bytes(content)


def _listing_columns(filesystem: Any, path: str, key: str, source: str) -> list[pa.ChunkedArray]:
    """The uri, id and scene columns of a listing, as text."""

    def unreadable(error: Exception) -> ConfigError:
        return ConfigError(
            f"{key}: {mask_uri(source)} cannot be read as a listing ({error_reason(error)}); takes .parquet or .csv "
            "with a `uri` column of texts, or .txt with a URI per line"
        )

    try:
        with filesystem.open(path, "rb") as file:
            if path.lower().endswith(".txt"):
                lines = (line.strip() for line in _all_of(file).decode("utf-8-sig").splitlines())
                table = pa.table({"uri": [line for line in lines if line and not line.startswith("#")]})
                names = table.column_names
            elif path.lower().endswith(".csv"):
                # A name may be NA or null; only an empty cell says nothing.
                header = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
                file.seek(0)
                options = pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(_ours(header), pa.string()), strings_can_be_null=True, null_values=[""]
                )
                table = pyarrow.csv.read_csv(file, convert_options=options)
                names = [_plain_name(name) for name in table.column_names]
                table = table.rename_columns(names)
            else:
                header = pq.ParquetFile(file).schema_arrow.names
                names = [_plain_name(name) for name in header]
                table = read_parquet(file, size_of(file), _ours(header))
                table = table.rename_columns([_plain_name(name) for name in table.column_names])
        if "uri" not in names:
            raise ConfigError(
                f"{key}: {mask_uri(source)} has no `uri` column; it has {', '.join(names)}; name the one of paths `uri`"
            )
        if doubled := [name for name in _COLUMNS if names.count(name) > 1]:
            raise ConfigError(f"{key}: {mask_uri(source)} has more than one `{doubled[0]}` column; keep one")
        if table.num_rows == 0:
            raise ConfigError(f"{key}: {mask_uri(source)} lists nothing; give it a row per image")
        columns = [
            table.column(name).cast(pa.string())
            if name in names
            else pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
            for name in _COLUMNS
        ]
        for column in columns:
            # Parquet files may hold bytes that are no UTF-8 in columns of text.
            column.validate(full=True)
        return columns
    except (pa.ArrowException, UnicodeDecodeError, Unreasonable, csv.Error) as error:
        raise unreadable(error) from error
    except OSError as error:
        # Arrow tells of a damaged file with a bare OSError; a file system's own has a number or a class.
        if type(error) is OSError and error.errno is None:
            raise unreadable(error) from error
        raise
