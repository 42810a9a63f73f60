"""Image folders as the Hugging Face Hub keeps them: a table beside the pictures, a card that says which files count."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pager_ray.bounded import Unreasonable, parse_json, parse_yaml, read_parquet, size_of, text_of
from pager_ray.errors import ConfigError
from pager_ray.listing.csvs import header_of, in_utf8, read_texts, typed
from pager_ray.masking import mask_uri
from pager_ray.plain import get_logger
from pager_ray.read.containers import IndexSettings
from pager_ray.read.containers.columns import described, rows_of
from pager_ray.read.containers.sequences import flat
from pager_ray.read.ranges import read_range

log = get_logger(__name__)

METADATA: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
EXPORTS: Final = ("mapillary_image_description.json", "items.json", "items.geojson")
"""What exports of street-level pictures leave beside them: Mapillary's descriptions; items of STAC (Panoramax)."""
MAX_METADATA: Final = 1 << 30
MAX_CARD: Final = 1 << 22

_REPOSITORY: Final = re.compile(r"hf://datasets/[^/]+/[^/]+/?")
_CARD: Final = "README.md"


def columns_of_images(
    filesystem: Any, paths: Sequence[str], images: Sequence[str], settings: IndexSettings
) -> dict[str, pa.Array]:
    """What the tables beside images say of each: ``given``, ``scene``, ``sequence``, ``time``, ``kept`` and ``pose``.

    Nothing where there is no table.

    Args:
        filesystem: where they lie.
        paths: of all files.
        images: those that are inputs.
        settings: which columns hold what, and which are kept.

    Raises:
        ConfigError: a table cannot be read, or a value is none that its column may have.
    """
    tables = [path for path in paths if posixpath.basename(path) in METADATA]
    exports = [path for path in paths if posixpath.basename(path) in EXPORTS]
    if not tables and not exports:
        return {}
    rows: dict[str, dict[str, Any]] = {}
    there = {*images}
    for path in exports:
        rows |= _exported(filesystem, path, images)
    for path in tables:
        told = _rows(filesystem, path, settings)
        named = {place: row for row in told if (place := _place_of(row, path)) in there}
        if not named:
            log.info("%s names no image beside it, and counts for nothing; a row takes the column file_name", path)
        elif rest := sum(_place_of(row, path) not in there for row in told):
            log.info("%s: %s of %s rows name no image beside it", path, f"{rest:,}", f"{len(told):,}")
        rows |= named
    _check_asked(tables, rows.values(), settings)
    found = []
    for image in images:
        try:
            found.append(described(rows[image], settings) if image in rows else {})
        except ValueError as error:
            raise ConfigError(f"{image} in the metadata beside it: {error}") from error
    types = {**dict.fromkeys(("given", "scene", "sequence", "kept", "pose"), pa.string()), "time": pa.float64()}
    return {name: pa.array([row.get(name) for row in found], kind) for name, kind in types.items()}


def _place_of(row: dict[str, Any], path: str) -> str | None:
    """The path of the image that a table's row names; None where it names none."""
    name = row.get("file_name") or row.get("image")
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if isinstance(name, str) else None


def _check_asked(tables: Sequence[str], rows: Collection[dict[str, Any]], settings: IndexSettings) -> None:
    """Refuse tables of which no row that counts has a column that was asked for.

    Raises:
        ConfigError: says which.
    """
    keys = ("id_column", "scene_column", "sequence_column", "time_column")
    asked = {key: name for key in keys if (name := getattr(settings, key)) is not None}
    there = {name for row in rows for name in flat(row)} if asked else set()
    for key, name in asked.items():
        if rows and name not in there:
            where = ", ".join(tables[:3]) or "what lies beside the images"
            raise ConfigError(f"{where}: has no column {name} (input.{key}); name one that it has, or none")


def _exported(filesystem: Any, path: str, images: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What an export's file says of the images below it, by their paths.

    Its names are of the machine that it was made on, or of a server: where no path fits, the name alone has to, and
    nobody else's.
    """
    folder = posixpath.dirname(path)
    below = [image for image in images if not folder or image.startswith(f"{folder}/")]
    by_name: dict[str, list[str]] = {}
    for image in below:
        by_name.setdefault(posixpath.basename(image), []).append(image)
    there, found = {*below}, {}
    for row in map(flat, _items(filesystem, path)):
        for name in _names_of(row):
            full = posixpath.normpath(posixpath.join(folder, name))
            fitting = [full] if full in there else by_name.get(posixpath.basename(name.replace("\\", "/")), [])
            if len(fitting) == 1:
                found[fitting[0]] = row
                break
    return found


def _items(filesystem: Any, path: str) -> list[dict[str, Any]]:
    """The descriptions of an export: a list, or a collection of STAC's items.

    Raises:
        ConfigError: it is neither.
    """
    try:
        with filesystem.open(path, "rb") as file:
            if size_of(file) > MAX_METADATA:
                raise Unreasonable(f"has more than {MAX_METADATA} bytes")
            value = parse_json(file.read(), MAX_METADATA, nan=True)
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())}); correct it") from error
    values = value.get("features", [value]) if isinstance(value, dict) else value
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _names_of(row: dict[str, Any]) -> Iterator[str]:
    """What the picture of a description may be called."""
    names = [row.get("filename"), row.get("original_file:name")]
    assets = row.get("assets")
    for asset in assets.values() if isinstance(assets, dict) else ():
        names.append(asset.get("href") if isinstance(asset, dict) else None)
    if isinstance(row.get("id"), str):
        names += [f"{row['id']}{suffix}" for suffix in (".jpg", ".jpeg", ".webp", ".png")]
    return (name for name in names if isinstance(name, str) and name and "\0" not in name)


def _rows(filesystem: Any, path: str, settings: IndexSettings) -> list[dict[str, Any]]:
    wanted = ("file_name", *settings.columns)
    try:
        with filesystem.open(path, "rb") as file:
            if size_of(file) > MAX_METADATA:
                raise Unreasonable(f"has more than {MAX_METADATA} bytes")
            if path.endswith((".parquet", ".csv")):
                return rows_of(_table(file, path, wanted, settings))
            # A line of bytes: one of text would also end at U+2028, which a JSON text may hold.
            lines = text_of(file.read()).encode().splitlines()
            values = [parse_json(line, 1 << 20, nan=True) for line in lines if line.strip()]
    except (pa.ArrowException, ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as a table ({' '.join(str(error).split())}); correct it") from error
    return [value for value in values if isinstance(value, dict)]


def _table(file: Any, path: str, wanted: Sequence[str], settings: IndexSettings) -> pa.Table:
    """Those of some columns that a table beside images has.

    Raises:
        ValueError: it has one twice, or more than such a file does.
        pyarrow.ArrowException, csv.Error: it is damaged.
    """
    is_csv = path.endswith(".csv")
    file = in_utf8(file, MAX_METADATA) if is_csv else file
    there = header_of(file) if is_csv else pq.read_schema(file).names
    names = [name for name in dict.fromkeys(there) if name in wanted]
    if doubled := [name for name in names if there.count(name) > 1]:
        raise ValueError(f"it has more than one column {doubled[0]}")
    if not is_csv:
        return read_parquet(file, size_of(file), names)
    if not names:
        return pa.table({})
    table = read_texts(file, names)
    for name in settings.keep:
        # Ids, scenes, sequences and times are texts, whatever else their columns may be.
        if name in names and name not in (settings.id_column, settings.scene_column, settings.sequence_column):
            table = table.set_column(names.index(name), name, typed(table.select([name])).column(0))
    return table


def files_of_card(filesystem: Any, path: str, source: str) -> list[str] | None:
    """The files that a dataset's card on the Hub gives its default configuration; None where it names none.

    Raises:
        ConfigError: the card has several configurations and no default, or names nothing that is there.
    """
    if not _REPOSITORY.fullmatch(source):
        return None
    import yaml

    try:
        text = read_range(filesystem, f"{path}/{_CARD}", 0, MAX_CARD).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    _, marker, rest = text.partition("---\n")
    front, end, _ = rest.partition("\n---")
    if not (marker and end):
        return None
    try:
        card = parse_yaml(front)
    except (yaml.YAMLError, Unreasonable):
        return None
    configs = card.get("configs") if isinstance(card, dict) else None
    if not isinstance(configs, list) or not configs:
        return None
    named = {str(one["config_name"]): one for one in configs if isinstance(one, dict) and "config_name" in one}
    default = next((name for name, one in named.items() if one.get("default") is True), None)
    chosen = named.get(default or "default") or (next(iter(named.values())) if len(named) == 1 else None)
    if chosen is None:
        there = "; ".join(f"{name}: {', '.join(_patterns(one))}" for name, one in named.items())
        raise ConfigError(
            f"{mask_uri(source)} has several configurations and none is the default; give the folder or the pattern "
            f"of one ({there[:500]})"
        )
    patterns = _patterns(chosen)
    if not patterns:
        return None
    found: dict[str, None] = {}
    for pattern in patterns:
        for name in filesystem.glob(f"{path.rstrip('/')}/{pattern}"):
            found.update(dict.fromkeys([name] if filesystem.isfile(name) else filesystem.find(name)))
    if not found:
        raise ConfigError(f"{mask_uri(source)}: its card names {', '.join(patterns)[:200]}, of which nothing is there")
    return list(found)


def _patterns(config: dict[str, Any]) -> list[str]:
    """The files of a configuration, as its card names them: a pattern, several, or some per split."""
    files = config.get("data_files", config.get("data_dir"))
    parts = files if isinstance(files, list) else [files]
    inner = [part.get("path") if isinstance(part, dict) else part for part in parts]
    flat = [one for part in inner for one in (part if isinstance(part, list) else [part])]
    return [one for one in flat if isinstance(one, str) and ".." not in one.split("/")]
