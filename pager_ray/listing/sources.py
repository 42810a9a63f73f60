"""What ``input.uris`` may name, and the ids that inputs get.

A *source* is one entry of ``input.uris``: a file, a folder, a glob or a listing. Ids are given by a listing or derived
from the URI: the path inside the folder (or glob, or listing) without its extension. Where that is ambiguous the
extension stays, and where that is ambiguous too the id is the whole path.
"""

from __future__ import annotations

import logging
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import ConfigError, StorageError
from pager_ray.read import is_image_name
from pager_ray.retrying import Retry
from pager_ray.storage import carries_secret, client_errors, error_reason, mask_uri

log = logging.getLogger(__name__)

LISTING_SUFFIXES = (".parquet", ".csv", ".txt")
SCENES = ("indoor", "outdoor")
MAX_ID_LENGTH = 1024
_COLUMNS = ("uri", "id", "scene")
_TAKES = f"takes a folder, a glob, an image file or a listing ({', '.join(LISTING_SUFFIXES)})"


@dataclass(frozen=True, slots=True)
class Listed:
    """One input as listed: where it is, what to call it and what is known of it.

    ``error_class`` and ``message`` are set on rows that are rejected before anything is read. ``sample`` says, as JSON,
    what a dataset needs to find the ground truth; None for inputs without one.
    """

    uri: str
    id: str
    scene: str | None = None
    error_class: str | None = None
    message: str | None = None
    sample: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """An input before ids are settled; ``candidates`` are its possible ids, shortest first."""

    uri: str
    candidates: tuple[str, ...]
    given: bool = False
    scene: str | None = None


def list_inputs(uris: Sequence[str], retry: Retry | None = None) -> list[Listed]:
    """List every input that the sources name, each with a unique id.

    Files that folders or globs name twice are listed once. A listing's row whose id is taken becomes a reject under
    an id of its own (``room~2``), and so does a file whose name is not UTF-8, with the bad bytes written out
    (``\\udcff``): every row is accounted for.

    Raises:
        ConfigError: a source does not exist, matches nothing, or is a listing that cannot be understood.
    """
    found: list[_Found] = []
    discovered: set[str] = set()
    retry = retry or Retry()
    for number, source in enumerate(uris):
        key = f"input.uris[{number}]"
        if carries_secret(source):
            raise ConfigError(
                f"{key}: {mask_uri(source)} carries credentials in its URL; give them through the environment or a "
                "profile, where no manifest can store them"
            )
        expanded, _ = retry.call(partial(_expand_whole, source, key), f"listing {mask_uri(source)}")
        for item, is_listed_row in expanded:
            if not is_listed_row and item.uri in discovered:
                log.info("%s is named twice by input.uris; it is processed once", mask_uri(item.uri))
                continue
            discovered.add(item.uri)
            found.append(item)
    return _settle_ids(found)


def _expand_whole(source: str, key: str) -> list[tuple[_Found, bool]]:
    return list(_expand(source, key))


def _expand(source: str, key: str) -> Iterator[tuple[_Found, bool]]:
    """Yield what one source names, with whether it is a listing's row."""
    try:
        filesystem, path = fsspec.core.url_to_fs(source)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{key}: {mask_uri(source)}: no file system serves this URI ({error}); {_TAKES}") from error
    # In a process that lives on, cached listings miss what was uploaded since.
    filesystem.invalidate_cache()
    try:
        if _is_glob(filesystem, path):
            prefix = posixpath.dirname(path[: min(path.find(c) for c in "*?[" if c in path)])
            yield from ((item, False) for item in _discover(filesystem, filesystem.glob(path), prefix, key, source))
        elif filesystem.isdir(path):
            yield from ((item, False) for item in _discover(filesystem, filesystem.find(path), path, key, source))
        elif path.lower().endswith(LISTING_SUFFIXES):
            yield from ((item, True) for item in _read_listing(filesystem, path, key, source))
        elif is_image_name(path):
            # A file that is not there becomes a reject when it is read, like any other row.
            yield _derive(_uri(filesystem, path), posixpath.basename(path)), False
        else:
            problem = "is neither an image nor a listing" if filesystem.exists(path) else "does not exist"
            raise ConfigError(f"{key}: {mask_uri(source)} {problem}; {_TAKES}")
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


def _is_glob(filesystem: Any, path: str) -> bool:
    """Whether a path is a pattern: not when a file or folder has exactly this name, such as ``[2024]``."""
    if not any(character in path for character in "*?["):
        return False
    try:
        return not filesystem.exists(path)
    except ValueError:
        # Some stores refuse to look for a name that they could not give, such as a bucket's with a wildcard.
        return True


def _discover(filesystem: Any, paths: Sequence[str], root: str, key: str, source: str) -> Iterator[_Found]:
    images = [path for path in sorted(paths) if is_image_name(path)]
    if not images:
        raise ConfigError(f"{key}: {mask_uri(source)} holds no image ({len(paths)} other files); {_TAKES}")
    if len(images) < len(paths):
        log.info("%s: %d files that are no images are left out", mask_uri(source), len(paths) - len(images))
    for path in images:
        yield _derive(_uri(filesystem, path), posixpath.relpath(path, root or "/"))


def _derive(uri: str, relative: str, scene: str | None = None) -> _Found:
    whole = mask_uri(uri).split("://", 1)[-1].lstrip("/")
    candidates = (posixpath.splitext(relative)[0], relative, whole)
    return _Found(uri, tuple(_escaped(candidate) for candidate in candidates), scene=scene)


def _escaped(text: str) -> str:
    """The text with bytes that are no UTF-8 (surrogates, as Python has them in file names) written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _uri(filesystem: Any, path: str) -> str:
    return path if isinstance(filesystem, LocalFileSystem) else filesystem.unstrip_protocol(path)


def _read_listing(filesystem: Any, path: str, key: str, source: str) -> Iterator[_Found]:
    columns = _listing_columns(filesystem, path, key, source)
    scheme, separator, place = _uri(filesystem, path).rpartition("://")
    folder = posixpath.dirname(place)
    for number, (uri, given, scene) in enumerate(zip(*columns, strict=True), start=1):
        where = f"{key}: {mask_uri(source)} row {number}"
        if not uri:
            raise ConfigError(f"{where} has no uri; give every row one")
        if scene not in (None, "", *SCENES):
            raise ConfigError(f"{where}: scene is {scene!r}; takes indoor, outdoor or nothing")
        if carries_secret(uri):
            raise ConfigError(
                f"{where}: the URI carries credentials; give them through the environment or a profile, where no "
                "manifest can store them"
            )
        is_absolute = "://" in uri or uri.startswith("/")
        full = uri if is_absolute else scheme + separator + posixpath.normpath(posixpath.join(folder, uri))
        scene = scene or None
        if given:
            if len(given) > MAX_ID_LENGTH or not given.isprintable():
                raise ConfigError(f"{where}: id takes up to {MAX_ID_LENGTH} printable characters, got {given[:40]!r}")
            yield _Found(full, (given,), given=True, scene=scene)
        else:
            yield _derive(full, posixpath.basename(uri) if is_absolute else posixpath.normpath(uri), scene)


def _listing_columns(filesystem: Any, path: str, key: str, source: str) -> list[list[str | None]]:
    """The uri, id and scene columns of a listing, as text."""

    def unreadable(error: Exception) -> ConfigError:
        return ConfigError(
            f"{key}: {mask_uri(source)} cannot be read as a listing ({error_reason(error)}); takes .parquet or .csv "
            "with a `uri` column of texts, or .txt with a URI per line"
        )

    try:
        with filesystem.open(path, "rb") as file:
            if path.lower().endswith(".txt"):
                lines = (line.strip() for line in file.read().decode("utf-8-sig").splitlines())
                table = pa.table({"uri": [line for line in lines if line and not line.startswith("#")]})
                names = table.column_names
            elif path.lower().endswith(".csv"):
                # A name may be NA or null; only an empty cell says nothing.
                options = pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(_COLUMNS, pa.string()), strings_can_be_null=True, null_values=[""]
                )
                table = pyarrow.csv.read_csv(file, convert_options=options)
                names = table.column_names
            else:
                parquet = pq.ParquetFile(file)
                names = parquet.schema_arrow.names
                table = parquet.read(columns=[name for name in _COLUMNS if name in names])
        if "uri" not in names:
            raise ConfigError(
                f"{key}: {mask_uri(source)} has no `uri` column; it has {', '.join(names)}; name the one of paths `uri`"
            )
        if doubled := [name for name in _COLUMNS if names.count(name) > 1]:
            raise ConfigError(f"{key}: {mask_uri(source)} has more than one `{doubled[0]}` column; keep one")
        if table.num_rows == 0:
            raise ConfigError(f"{key}: {mask_uri(source)} lists nothing; give it a row per image")
        return [
            table.column(name).cast(pa.string()).to_pylist() if name in names else [None] * table.num_rows
            for name in _COLUMNS
        ]
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise unreadable(error) from error
    except OSError as error:
        # Arrow tells of a damaged file with a bare OSError; a file system's own has a number or a class.
        if type(error) is OSError and error.errno is None:
            raise unreadable(error) from error
        raise


def _settle_ids(found: list[_Found]) -> list[Listed]:
    """Give every input a unique id; see the module's text for the rule."""
    given = Counter(item.candidates[0] for item in found if item.given)
    levels = [Counter(item.candidates[level] for item in found if not item.given) for level in range(3)]

    def choose(item: _Found) -> str:
        if item.given:
            return item.candidates[0]
        for candidate, counts in zip(item.candidates, levels, strict=True):
            if counts[candidate] == 1 and candidate not in given:
                return candidate
        return item.candidates[-1]

    chosen = [choose(item) for item in found]
    reserved = set(chosen)
    owners: dict[str, str] = {}
    listed = []
    for item, name in zip(found, chosen, strict=True):
        row = Listed(_escaped(item.uri), name, item.scene)
        if name in owners:
            copy = 2
            while (spare := f"{name}~{copy}") in reserved:
                copy += 1
            reserved.add(spare)
            message = f"id {name!r} is already taken by {mask_uri(owners[name])}; give every row an id of its own"
            row = replace(row, id=spare, error_class="duplicate_id", message=message)
        else:
            owners[name] = row.uri
        if row.uri != item.uri:
            message = f"{mask_uri(row.uri)}: the name is not UTF-8 and cannot be stored; rename the file"
            row = replace(row, error_class="bad_name", message=message)
        listed.append(row)
    return listed
