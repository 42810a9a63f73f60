"""Columns that were asked for by name, and that nothing has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pyarrow.compute as pc

from pager_ray.listing.parts import Parts
from pager_ray.plain import get_logger
from pager_ray.read.containers import IndexSettings

log = get_logger(__name__)

_FOUND_AS: Final = {"id_column": "given", "scene_column": "scene", "sequence_column": "sequence", "time_column": "time"}


def tell_unheard(found: Parts, settings: IndexSettings) -> None:
    """Say which columns nothing says anything in: a name that was mistyped looks like a column that is empty.

    Args:
        found: all inputs.
        settings: which columns were asked for.
    """
    for name, key in _unheard(found, settings):
        log.warning("input.%s: no row of input.uris says anything in a column %s", key, name)


def _unheard(found: Parts, settings: IndexSettings) -> Iterator[tuple[str, str]]:
    """Names of columns, with their keys of the configuration."""
    for key, column in _FOUND_AS.items():
        name = getattr(settings, key)
        if name is not None and not found.has(column):
            yield name, key
    waiting = {name: f"{json.dumps(name, ensure_ascii=False)}:" for name in settings.keep}
    for part in found.read(["kept"]) if waiting else ():
        texts = part.column("kept")
        waiting = {name: key for name, key in waiting.items() if not pc.any(pc.match_substring(texts, key)).as_py()}
        if not waiting:
            return
    yield from ((name, "keep_columns") for name in waiting)
