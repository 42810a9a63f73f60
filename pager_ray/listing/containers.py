"""Containers among the sources: which files are some, and their members as inputs.

A container that cannot be read is a reject of its own, and its neighbours are listed; where nothing of a source can be
read, the source is the mistake.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.errors import ConfigError, InputError, StorageError
from pager_ray.listing.cubemaps import gather
from pager_ray.listing.ids import FOUND_SCHEMA, found_table
from pager_ray.masking import mask_uri
from pager_ray.plain import get_logger
from pager_ray.read.containers import Container, IndexSettings, Members, form_by_name, index_container
from pager_ray.read.containers.index import SUFFIXES
from pager_ray.read.containers.places import Form, members_of
from pager_ray.read.fetch import input_error

log = get_logger(__name__)

Format = Literal["auto", "files", "listing", "webdataset", "zip", "parquet", "cubemap", "video"]

FORM_OF: Final[dict[str, Form]] = {"webdataset": "tar", "zip": "zip", "parquet": "parquet", "video": "video"}

FEW: Final = 64
"""Containers that are listed anew by every start, by threads of its own."""

INDEX_THREADS: Final = 16
"""Containers that are listed at a time in one process; nearly all of it is waiting for the store."""

NO_FACES: Final = "images that are no cubemap's faces"

TAKES_FACES: Final = (
    "takes six squares of one name, but for front, right, back, left, up and down (or f, r, b, l, u, d; pz, px, nz, "
    "nx, py, ny; _skybox0 to _skybox5)"
)

_SHOWN: Final = 5

Indexer = Callable[[Sequence[Container], IndexSettings], Iterable[Members]]
"""Lists containers, in order: threads of this process, or tasks of a cluster."""


def index_one(container: Container, settings: IndexSettings) -> Members:
    """What lies in one container; one that cannot be read has a problem.

    Raises:
        StorageError: its store cannot be used at all.
    """
    shown = mask_uri(container.uri)
    try:
        outside(container.uri)
        return index_container(container, settings)
    except Exception as error:
        # A file system may raise anything: it is this container's trouble, or that of its whole store.
        known = input_error(error, shown)
        if isinstance(known, StorageError):
            raise known from error
        text = str(known).removeprefix(f"{shown}: ")
        return Members(members_of([]), problem=text, problem_class=known.error_class)


def index_here(containers: Sequence[Container], settings: IndexSettings) -> Iterator[Members]:
    """List containers by threads of this process."""
    with ThreadPoolExecutor(min(INDEX_THREADS, max(len(containers), 1))) as pool:
        yield from pool.map(lambda container: index_one(container, settings), containers)


@dataclass(frozen=True)
class SourceOptions:
    """How sources are understood.

    Attributes:
        format: ``auto`` tells it from names and content; see the documentation of ``input.format``.
        settings: how containers are.
        index: who lists them.
        results: folders that results go to; what lies there is in no folder or pattern around them.
    """

    format: Format = "auto"
    settings: IndexSettings = field(default_factory=IndexSettings)
    index: Indexer = index_here
    results: Sequence[str] = ()


def find_containers(paths: Sequence[str], name: Callable[[str], str], format: Format) -> list[tuple[str, Container]]:
    """The containers among files, with their paths, in order.

    Args:
        paths: of all files.
        name: makes a URI of a path.
        format: which kinds are wanted; ``auto`` for all.
    """
    there = set(paths)
    wanted = FORM_OF.get(format)
    found = []
    for path in sorted(there):
        form = form_by_name(path)
        base = posixpath.basename(path)
        if form is None or (wanted is not None and form != wanted) or base.startswith("."):
            continue
        stem = path.rpartition(".")[0]
        if form == "parquet" and format == "auto" and (f"{stem}.tar" in there or base == "metadata.parquet"):
            # The table beside a tar, or beside images.
            continue
        if form == "tar":
            dali = next((one for one in (f"{stem}.idx", f"{path}.idx") if one in there), None)
            table = f"{stem}.parquet" if f"{stem}.parquet" in there else None
            container = Container(name(path), form, dali and name(dali), table and name(table))
        else:
            container = Container(name(path), form)
        found.append((path, container))
    return found


def list_members(
    containers: Sequence[tuple[str, Container]], key: str, source: str, options: SourceOptions
) -> pa.Table:
    """The members of containers as inputs, ``FOUND_SCHEMA``.

    Args:
        containers: with the path that each one's ids begin with.
        key: the source's key in the configuration, for messages.
        source: the source as it was given.
        options: how containers are understood.

    Raises:
        ConfigError: not one picture is found.
        StorageError: a store cannot be used at all.
    """
    tables: list[pa.Table] = []
    left_out = Counter[str]()
    problems: list[str] = []
    empty = 0
    indexed = options.index([container for _, container in containers], options.settings)
    for (relative, container), members in zip(containers, indexed, strict=True):
        left_out.update(members.left_out)
        stem = _stem(relative)
        if members.table.num_rows:
            found, others = _inputs(members, container, stem), 0
            if members.form != "video":
                found, others = gather(found, alone=options.format == "cubemap")
            tables.append(found)
            left_out.update({NO_FACES: others} if others else {})
        elif members.problem is None:
            empty += 1
        if members.problem is not None:
            shown = mask_uri(container.uri)
            problems.append(f"{shown} {members.problem}")
            tables.append(_reject(container, stem, members, f"{shown}: {members.problem}"))
    told = _told(left_out)
    tables = [table for table in tables if table.num_rows]
    if not any(pc.any(pc.is_null(table.column("error_class"))).as_py() for table in tables):
        if problems:
            more = f" (and {len(problems) - 1:,} more like it)" if len(problems) > 1 else ""
            raise ConfigError(f"{key}: {problems[0]}{more}")
        if not tables and options.format == "cubemap":
            raise ConfigError(f"{key}: {mask_uri(source)} holds no cubemap ({told or 'it is empty'}); {TAKES_FACES}")
        if not tables:
            raise ConfigError(
                f"{key}: {mask_uri(source)} holds no image ({told or 'it is empty'}); takes containers of JPEG, PNG, "
                "WebP, TIFF, BMP or AVIF files, and 360° videos"
            )
    for problem in problems[:_SHOWN]:
        log.warning("%s: %s; it is a reject, the others are read", key, problem)
    if told or empty:
        nothing = f"{empty:,} containers without an image" if empty else ""
        log.info("%s: left out: %s", mask_uri(source), ", ".join(filter(None, (told, nothing))))
    return pa.concat_tables(tables) if tables else FOUND_SCHEMA.empty_table()


def _told(left_out: Counter[str]) -> str:
    parts = [f"{count:,} {what}" for what, count in left_out.most_common(_SHOWN)]
    if rest := left_out.total() - sum(count for _, count in left_out.most_common(_SHOWN)):
        parts.append(f"{rest:,} others")
    return ", ".join(parts)


def _stem(path: str) -> str:
    folder, _, base = path.rpartition("/")
    for suffix in SUFFIXES:
        base = base[: -len(suffix)] if base.lower().endswith(suffix) else base
    return f"{folder}/{base}" if folder else base


def outside(uri: str) -> str:
    """A container's URI as the end of its members': plain paths as ``file://``.

    Raises:
        InputError: its name cannot be part of one.
    """
    if "::" in uri:
        raise InputError("bad_name", f"{mask_uri(uri)}: has '::' in its name, which parts a URI; rename the file")
    return uri if "://" in uri else f"file://{uri}"


def _inputs(members: Members, container: Container, stem: str) -> pa.Table:
    table = members.table
    rows, names, is_table = table.num_rows, table.column("name"), members.form == "parquet"
    scheme, place = f"{members.form}://", outside(container.uri)
    uri = pc.binary_join_element_wise(scheme, names, f"::{place}", "")
    shown = pc.binary_join_element_wise(scheme, names, f"::{mask_uri(place)}", "")
    inner = pc.replace_substring_regex(names, "^(?s:.*)/", "") if is_table else names
    same = (
        *("key", "given", "scene", "sequence", "time", "is_utf8"),
        *("offset", "size", "row_group", "row", "error_class", "kept", "pose", "stamp"),
    )
    return found_table(
        rows,
        uri=uri,
        relative=pc.binary_join_element_wise(stem, inner, "/"),
        message=pc.binary_join_element_wise(shown, table.column("message"), ": "),
        **{name: table.column(name) for name in same},
    )


def _reject(container: Container, stem: str, members: Members, message: str) -> pa.Table:
    """The row that stands for what could not be read of a container."""
    return found_table(
        1,
        uri=pa.array([container.uri]),
        relative=pa.array([stem]),
        is_utf8=pa.array([True]),
        error_class=pa.array([members.problem_class]),
        message=pa.array([message]),
    )
