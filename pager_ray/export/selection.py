"""Which predictions of a run are exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pager_ray.bounded import lines_of, text_of
from pager_ray.errors import ConfigError
from pager_ray.export.formats import ExportSettings
from pager_ray.export.where import parse_where
from pager_ray.masking import mask_uri
from pager_ray.modalities import is_metric
from pager_ray.storage import Folder

if TYPE_CHECKING:
    from pager_ray.reader.run import Run


def read_ids(options: Sequence[str]) -> list[str]:
    """Ids as given on the command line: several times, separated by commas, or as ``@FILE`` with one per line.

    Raises:
        ConfigError: there is none, or a file is no text.
        StorageError: a file cannot be read.
    """
    ids: list[str] = []
    for option in options:
        if option.startswith("@"):
            folder, _, name = option[1:].rpartition("/")
            content = Folder(folder or ("/" if option[1:].startswith("/") else ".")).read(name)
            try:
                lines = lines_of(text_of(content))
            except UnicodeDecodeError as error:
                raise ConfigError(
                    f"--ids: {mask_uri(option[1:])} is no text ({error}); takes UTF-8, or UTF-16 with a byte order "
                    "mark, and an id per line"
                ) from error
            ids += [id for line in lines if (id := line.strip(" \t"))]
        else:
            ids += [part.strip() for part in option.split(",") if part.strip()]
    if options and not ids:
        raise ConfigError(f"--ids: got {', '.join(options)!r}, which names none; takes ID,ID,… or @FILE")
    return list(dict.fromkeys(ids))


def select_ids(run: Run, ids: Sequence[str] | None, where: str | None) -> list[str]:
    """Ids to export, shard by shard as the run stores them.

    Without a condition no shard is opened: the run's ledger knows the ids.

    Args:
        run: the run.
        ids: those asked for; None for all.
        where: see :mod:`pager_ray.export.where`.

    Raises:
        ConfigError: an id has no prediction, or the condition cannot be understood.
    """
    condition = parse_where(where) if where is not None else None
    wanted = None if ids is None else {*ids}
    if wanted is not None and (unknown := sorted(id for id in wanted if id not in run)):
        raise ConfigError(
            f"--ids: {len(unknown)} of {len(wanted)} have no prediction in {run} (first: "
            f"{', '.join(map(repr, unknown[:3]))}); take ids of open_run(…).ids(), or look into its rejects"
        )
    if condition is None:
        return run.ids() if wanted is None else [id for id in run.ids() if id in wanted]
    table = run.table(["id", *(name for name in condition.columns if name != "id")]).filter(condition.expression)
    passing = {*table.column("id").to_pylist()}
    return [id for id in run.ids() if id in passing and (wanted is None or id in wanted)]


def with_unit(settings: ExportSettings, run: Run) -> ExportSettings:
    """The settings with the run's unit."""
    metric = is_metric(run.manifest["checkpoint"]["modalities"])
    return replace(settings, unit="metre" if metric else "relative")
