"""What ``input.uris`` may name.

A *source* is one entry of ``input.uris``: a file, a folder, a glob or a listing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pager_ray.errors import ConfigError, StorageError
from pager_ray.listing.asked import tell_unheard
from pager_ray.listing.braces import expand_braces, has_braces
from pager_ray.listing.columns import plain_name
from pager_ray.listing.containers import (
    FORM_OF,
    NO_FACES,
    TAKES_FACES,
    SourceOptions,
    find_containers,
    list_members,
)
from pager_ray.listing.cubemaps import gather, in_order
from pager_ray.listing.folders import (
    Facts,
    choose_images,
    find_files,
    lies_hidden,
    stamps_of,
    what_helps,
    without_results,
)
from pager_ray.listing.ids import FOUND_SCHEMA, found_table, once, settle_ids
from pager_ray.listing.image_folders import columns_of_images, files_of_card
from pager_ray.listing.listed import SIGNED, Listing, Texts
from pager_ray.listing.masks import MaskSources, with_masks
from pager_ray.listing.parts import Parts, kept_memory
from pager_ray.listing.tables import LISTING_SUFFIXES, read_listing, signatures_apart
from pager_ray.localpaths import local_path
from pager_ray.masking import carries_secret, is_signed, mask_uri, without_queries
from pager_ray.naming import namer
from pager_ray.plain import get_logger
from pager_ray.read import is_image_name
from pager_ray.read.containers import Container, form_by_content, form_by_name
from pager_ray.read.containers.parquets import has_pictures
from pager_ray.read.ranges import is_web, read_range
from pager_ray.retrying import Retry
from pager_ray.schemes import SchemeError, open_place
from pager_ray.storage import client_errors, error_reason

log = get_logger(__name__)

LISTINGS = ("auto", "listing", "cubemap")
"""Formats in which a table is one of URIs."""

# Files named by several sources that are told one by one.
_NAMED_TWICE = 10
_TAKES = (
    f"takes a folder, a glob, an image file or a listing ({', '.join(LISTING_SUFFIXES)}), or a container of images "
    "(.tar, .zip, .parquet)"
)


@kept_memory()
def list_inputs(
    uris: Sequence[str],
    retry: Retry | None = None,
    schemes: Sequence[str] = (),
    options: SourceOptions | None = None,
    masks: MaskSources | None = None,
) -> Listing:
    """List every input that the sources name, each with a unique id.

    What is named twice, by folders, globs or rows of listings, is listed once. A listing's row whose id is taken by
    another becomes a reject under an id of its own (``room~2``), and so does a file whose name is not UTF-8, with the
    bad bytes written out (``\\udcff``): every row is accounted for.

    Args:
        uris: the sources.
        retry: how long requests that fail in passing are repeated.
        schemes: those that are taken beside the usual ones; see :mod:`pager_ray.schemes`.
        options: how sources and what is in containers are understood; ``retry`` and ``schemes`` count for it, too.
        masks: where the inputs' masks lie; see :mod:`pager_ray.listing.masks`.

    Raises:
        ConfigError: a source does not exist, matches nothing, or is a listing that cannot be understood; masks cannot
            be found out.
    """
    retry = retry or Retry()
    options = options or SourceOptions()
    options = replace(options, settings=replace(options.settings, retry=retry, schemes=tuple(schemes)))
    inputs = _found(uris, "input.uris", options)
    tell_unheard(inputs, options.settings)
    if masks is not None and masks.uris:
        settings = replace(
            options.settings,
            image_column=masks.column,
            id_column=None,
            scene_column=None,
            sequence_column=None,
            time_column=None,
            keep=(),
        )
        # What is remembered of containers is what inputs are in them.
        format = options.format if options.format in ("files", "cubemap") else "auto"
        found = _found(masks.uris, "input.mask.uris", SourceOptions(format, settings, results=options.results))
        shared = found.num_rows == 1 and is_picture(masks.uris[0], schemes)
        inputs = with_masks(inputs, found, masks.missing, shared=shared)
    return settle_ids(inputs)


def _found(uris: Sequence[str], name: str, options: SourceOptions) -> Parts:
    """What sources name, each once, ``FOUND_SCHEMA``."""
    found: list[Parts] = []
    retry = options.settings.retry
    for number, source in enumerate(uris):
        key = f"{name}[{number}]"
        if carries_secret(source) and not is_signed(source):
            raise ConfigError(
                f"{key}: {mask_uri(source)} carries credentials in its URL; give them through the environment or a "
                "profile, where no manifest can store them"
            )
        (table, is_listing), _ = retry.call(partial(_expand, source, key, options), f"listing {mask_uri(source)}")
        if isinstance(table, pa.Table):
            table = signatures_apart(table)
            table = Parts.of([table if is_listing or not found else _without(table, found)], FOUND_SCHEMA)
        found.append(table)
    named = found[0] if len(found) == 1 else Parts.of((part for one in found for part in one.read()), FOUND_SCHEMA)
    inputs = once(named)
    if repeated := named.num_rows - inputs.num_rows:
        log.info("%s rows repeat an earlier one; each input is processed once", f"{repeated:,}")
    return inputs


def is_picture(source: str, schemes: Sequence[str]) -> bool:
    """Whether a source that names one picture is that picture, and no folder or pattern that happens to hold one."""
    filesystem, path = open_place(source, "input", schemes)
    return is_image_name(path) and "::" not in source and not _is_glob(filesystem, path) and not filesystem.isdir(path)


def _without(table: pa.Table, earlier: Sequence[Parts]) -> pa.Table:
    """A folder's or glob's files that no source before it named."""

    def names(files: pa.Table) -> pa.ChunkedArray:
        # A name whose bad bytes are written out is not the file that is really called so.
        uri = pc.coalesce(files.column(SIGNED.name), files.column("uri"))
        return pc.if_else(files.column("is_utf8"), uri, pc.binary_join_element_wise("\0", uri, ""))

    columns = ["uri", "is_utf8", SIGNED.name]
    named = pa.concat_tables([part for one in earlier for part in one.read(columns)])
    again = pc.is_in(names(table), value_set=names(named))
    twice = Texts(table.column("uri").filter(again))
    for uri in twice[:_NAMED_TWICE]:
        log.info("%s is named twice by input.uris; it is processed once", mask_uri(uri))
    if len(twice) > _NAMED_TWICE:
        log.info("%d more are named twice", len(twice) - _NAMED_TWICE)
    return table.filter(pc.invert(again))


def _expand(source: str, key: str, options: SourceOptions) -> tuple[pa.Table | Parts, bool]:
    """What one source names, with whether it is a listing."""
    schemes = options.settings.schemes
    try:
        filesystem, path = open_place(source, "input", schemes)
    except SchemeError as error:
        raise ConfigError(f"{key}: {mask_uri(source)}: {error}") from error
    except client_errors() as error:
        raise StorageError(
            f"{key}: {mask_uri(source)} cannot be reached ({error_reason(error)}); check its store, then run the same "
            "command again"
        ) from error
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{key}: {mask_uri(source)}: no file system serves this URI ({error}); {_TAKES}") from error
    # In a process that lives on, cached listings miss what was uploaded since.
    filesystem.invalidate_cache()
    try:
        return _named(source, filesystem, path, key, options)
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


def _named(source: str, filesystem: Any, path: str, key: str, options: SourceOptions) -> tuple[pa.Table | Parts, bool]:
    if (address := without_queries(source)) != source and ("=" in source or is_signed(source)):
        return _addressed(source, address, filesystem, path, key, options)
    if has_braces(path) and not filesystem.exists(path):
        return _braced(source, filesystem, key, options), False
    if _is_glob(filesystem, path):
        prefix = posixpath.dirname(path[: min(path.find(c) for c in "*?[" if c in path)])
        matches = filesystem.glob(path, detail=True)
        return _discover(filesystem, list(matches), matches, prefix, key, source, options), False
    if filesystem.isdir(path):
        of_card = files_of_card(filesystem, path, source)
        paths, facts = (of_card, {}) if of_card else find_files(filesystem, path)
        return _discover(filesystem, paths, facts, path, key, source, options), False
    if "::" not in source and (found := _container(source, filesystem, path, key, options)) is not None:
        return found, False
    if options.format in LISTINGS and path.lower().endswith(LISTING_SUFFIXES):
        if "::" in source:
            raise ConfigError(
                f"{key}: {mask_uri(source)} is a listing inside another file, and its rows name places beside it; "
                "copy it out and give that"
            )
        return read_listing(filesystem, path, key, source, options.settings), True
    if is_image_name(path):
        # A file that is not there becomes a reject when it is read, like any other row.
        file = _files([namer(source)(path)], [posixpath.basename(path)])
        return _gathered(file, key, source, options), False
    is_there = filesystem.exists(path)
    problem = "is neither an image nor a listing" if is_there else "does not exist"
    raise ConfigError(f"{key}: {mask_uri(source)} {problem}; {(is_there and what_helps([path])) or _TAKES}")


def _addressed(
    source: str, address: str, filesystem: Any, path: str, key: str, options: SourceOptions
) -> tuple[pa.Table | Parts, bool]:
    """What a web address with a query names: a listing, or a picture whatever it is called; signed ones, too."""
    name = posixpath.basename(address.partition("::")[0])
    may_list = options.format in LISTINGS and "::" not in source
    if may_list and name.lower().endswith(LISTING_SUFFIXES):
        return read_listing(filesystem, path, key, source, options.settings), True
    if form_by_name(name) is not None:
        raise ConfigError(
            f"{key}: {mask_uri(source)} is a container at an address with a query, where it cannot be read again in "
            "parts; copy it out, or give it by a store's own URL"
        )
    return in_order(_files([source], [name])), False


def _braced(source: str, filesystem: Any, key: str, options: SourceOptions) -> pa.Table:
    """The files that a brace pattern stands for, there or not: containers and images."""
    uris = expand_braces(source)
    path_of = local_path if isinstance(filesystem, LocalFileSystem) else filesystem._strip_protocol
    paths = [path_of(uri) for uri in uris]
    name = dict(zip(paths, map(namer(source), paths), strict=True)).__getitem__
    images = [path for path in paths if is_image_name(path)]
    containers = find_containers(paths, name, "auto" if options.format in ("files", "listing") else options.format)
    if odd := len(set(paths)) - len(set(images)) - len(containers):
        raise ConfigError(
            f"{key}: {odd} of the names of {mask_uri(source)} are neither images nor containers; {_TAKES}"
        )
    files = [_files([*map(name, images)], [*map(posixpath.basename, images)])] if images else []
    tables = [_gathered(table, key, source, options) for table in files]
    if containers:
        beside = _beside(filesystem, {posixpath.dirname(path) for path in paths}, paths)
        containers = find_containers([*paths, *beside], name_of(source, name), options.format)
        containers = [(path, container) for path, container in containers if path in set(paths)]
        tables.append(list_members([(posixpath.basename(path), one) for path, one in containers], key, source, options))
    return pa.concat_tables(tables)


def name_of(source: str, known: Callable[[str], str]) -> Callable[[str], str]:
    """A function from paths to URIs, for those of a pattern and those beside them."""
    other = namer(expand_braces(source)[0])

    def name(path: str) -> str:
        try:
            return known(path)
        except KeyError:
            return other(path)

    return name


def _beside(filesystem: Any, folders: Iterable[str], paths: Sequence[str]) -> list[str]:
    """Files in the folders of containers that may be theirs: indexes and tables; none where nobody can list them."""
    if is_web(filesystem):
        return []
    given = set(paths)
    found: list[str] = []
    for folder in folders:
        try:
            entries = filesystem.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        found += [path for path in entries if path.lower().endswith((".idx", ".parquet")) and path not in given]
    return found


def _container(source: str, filesystem: Any, path: str, key: str, options: SourceOptions) -> pa.Table | None:
    """The members of a source that is one container; None where it is none."""
    form = form_by_name(path)
    forced = FORM_OF.get(options.format)
    if options.format in ("files", "listing") or (forced is None and form is None and _is_known_name(path)):
        return None
    if forced is None and form == "parquet" and not _holds_pictures(filesystem, path):
        return None
    if forced is None and form is None:
        form = form_by_content(read_range(filesystem, path, 0, 512)) if filesystem.isfile(path) else None
        if form is None:
            return None
    container = Container(namer(source)(path), forced or form)
    if container.form == "tar":
        beside = _beside(filesystem, [posixpath.dirname(path)], [path])
        found = find_containers([path, *beside], namer(source), "webdataset")
        container = next((one for at, one in found if at == path), container)
    return list_members([(posixpath.basename(path), container)], key, source, options)


def _is_known_name(path: str) -> bool:
    return is_image_name(path) or path.lower().endswith(LISTING_SUFFIXES)


def _holds_pictures(filesystem: Any, path: str) -> bool:
    """Whether a Parquet file is no listing: it has a column of bytes, and none of URIs."""
    with filesystem.open(path, "rb") as file:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise
            # Damaged: the listing's reader says what is wrong.
            return False
    names = {plain_name(name) for name in schema.names}
    return "uri" not in names and has_pictures(schema)


def _is_glob(filesystem: Any, path: str) -> bool:
    """Whether a path is a pattern: not when a file or folder has exactly this name, such as ``[2024]``."""
    if not any(character in path for character in "*?["):
        return False
    try:
        return not filesystem.exists(path)
    except ValueError:
        # Some stores refuse to look for a name that they could not give, such as a bucket's with a wildcard.
        return True


def _discover(
    filesystem: Any,
    paths: Sequence[str],
    facts: Facts,
    root: str,
    key: str,
    source: str,
    options: SourceOptions,
) -> pa.Table:
    """The images among files; where there are none, what lies in the containers among them."""
    paths = without_results(filesystem, paths, root, options.results)
    images, left_out = choose_images(paths, root)
    if options.format in FORM_OF or (not images and options.format in ("auto", "cubemap")):
        seen = [path for path in paths if not lies_hidden(path, root)]
        containers = find_containers(seen, namer(source), options.format)
        if containers:
            _tell_others(seen, containers, root, source)
            relative = [(_relative(path, root), container) for path, container in containers]
            return list_members(relative, key, source, options)
    if not images or options.format in FORM_OF:
        helps = what_helps(paths) or _TAKES
        raise ConfigError(f"{key}: {mask_uri(source)} holds no image ({left_out or 'it is empty'}); {helps}")
    if left_out:
        log.info("%s: left out: %s", mask_uri(source), left_out)
    told = columns_of_images(filesystem, paths, images, options.settings)
    told["stamp"] = stamps_of(filesystem, images, facts)
    files = _files([*map(namer(source), images)], [_relative(path, root) for path in images], **told)
    return _gathered(files, key, source, options)


def _gathered(files: pa.Table, key: str, source: str, options: SourceOptions) -> pa.Table:
    """Files with the faces of each cubemap as one input, unless they are wanted one by one."""
    if options.format == "files":
        return files
    found, others = gather(files, alone=options.format == "cubemap")
    if others:
        log.info("%s: left out: %s %s", mask_uri(source), f"{others:,}", NO_FACES)
    if not found.num_rows:
        raise ConfigError(f"{key}: {mask_uri(source)} holds no cubemap (of {others:,} images); {TAKES_FACES}")
    return found


def _tell_others(paths: Sequence[str], containers: Sequence[tuple[str, Container]], root: str, source: str) -> None:
    """Say what of a folder lies beside its containers and is none, nor belongs to one."""
    theirs = {path for path, _ in containers}
    theirs |= {f"{path.rpartition('.')[0]}{suffix}" for path in theirs for suffix in (".parquet", ".idx")}
    images, left_out = choose_images([path for path in paths if path not in theirs], root)
    if images or left_out:
        what = ", ".join(filter(None, (f"{len(images):,} images" if images else "", left_out)))
        log.info("%s: left out beside the containers: %s", mask_uri(source), what)


def _relative(path: str, root: str) -> str:
    inside = f"{root.rstrip('/')}/"
    if path.startswith(inside):
        return path[len(inside) :]
    # Paths in an archive begin with no slash, and are relative to it, not to where this process is.
    return posixpath.relpath(f"/{path}", f"/{root}")


def _files(uris: Sequence[str], relatives: Sequence[str], **columns: pa.Array) -> pa.Table:
    """Inputs that get their ids from their paths."""
    escaped = [_escaped(uri) for uri in uris]
    return found_table(
        len(uris),
        uri=pa.array(escaped, pa.string()),
        relative=pa.array([_escaped(relative) for relative in relatives], pa.string()),
        is_utf8=pa.array([uri == text for uri, text in zip(uris, escaped, strict=True)], pa.bool_()),
        **columns,
    )


def _escaped(text: str) -> str:
    """The text with bytes that are no UTF-8 (surrogates, as Python has them in file names) written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
