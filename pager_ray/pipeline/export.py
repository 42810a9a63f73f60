"""An export from what was asked for to its records: :func:`run_export`, on this process or on a Ray cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from pager_ray.export.claiming import claim_export
from pager_ray.export.course import done_ids, finish, left_of
from pager_ray.export.exporter import export_ids
from pager_ray.export.formats import ExportSettings, check_possible, find_format, project_files
from pager_ray.export.poses import read_poses
from pager_ray.export.records import Records
from pager_ray.export.selection import select_ids, with_unit
from pager_ray.plain import get_logger
from pager_ray.reader.run import Run, open_run
from pager_ray.report.outcomes import ExportOutcome
from pager_ray.schemes import settled_prefix
from pager_ray.storage import Folder
from pager_ray.tracing import watcher

log = get_logger(__name__)

LOCAL_ROWS = 16
"""So many panoramas are exported by the calling process itself: starting Ray would take longer."""


@dataclass(frozen=True)
class ExportRequest:
    """What is wanted.

    Attributes:
        run: URI of the run.
        settings: format, colours, cleaning.
        ids: those to export; None for all.
        where: a condition on columns; see :mod:`pager_ray.export.where`.
        output: folder on any fsspec URL; by default ``exports/<format>`` inside the run.
        overwrite: forget what an earlier export left in the folder.
        local: use this process alone, however many there are.
        address: of the Ray cluster; by default ``RAY_ADDRESS``, or this machine.
    """

    run: str
    settings: ExportSettings
    ids: tuple[str, ...] | None = None
    where: str | None = None
    output: str | None = None
    overwrite: bool = False
    local: bool = False
    address: str | None = None


def run_export(request: ExportRequest) -> ExportOutcome:
    """Export, or go on with an export that was stopped. Rejects of earlier starts are tried again.

    Raises:
        ConfigError: the request cannot be met, or another export stands at the output.
        RunNotFoundError: there is no run.
        StorageError: run or output cannot be read or written.
        PagerError: the job failed; the same request goes on.
    """
    began = time.monotonic()
    run = open_run(request.run)
    check_possible(request.settings, tuple(run.manifest["checkpoint"]["modalities"]))
    settings = with_unit(request.settings, run)
    if settings.images_from is not None:
        # Workers run in other folders.
        settings = replace(settings, images_from=settled_prefix(settings.images_from, "--images-from"))
    selected = select_ids(run, request.ids, request.where)
    is_project = find_format(settings.format).is_project
    if is_project:
        # Before any work: what is missing is missing from the listing.
        read_poses(run, selected, settings.frame)
    output = Folder(request.output or f"{request.run.rstrip('/')}/exports/{settings.format}")
    records = Records(output)
    identity = claim_export(records, run, settings, overwrite=request.overwrite)
    todo = left_of(records, selected)
    if is_project:
        read_poses(run, sorted({*selected, *done_ids(records)}), settings.frame)
    log.info("%s of %s panoramas to export as %s", f"{len(todo):,}", f"{len(selected):,}", settings.format)
    if todo and (request.local or len(todo) <= LOCAL_ROWS):
        for number, id in enumerate(todo):
            if (shown := watcher()) is not None:
                shown.look({"total": len(todo), "predicted": number, "rejected": 0})
            records.commit(export_ids(run, [id], output, settings))
    elif todo:
        # Ray takes seconds to import, and more to start.
        from pager_ray.pipeline.export_chain import run_export_job

        run_export_job(run.uri, todo, records, settings, already=len(selected) - len(todo), address=request.address)
    if is_project:
        _complete(run, records, settings)
    ended = finish(records, identity, selected, len(todo))
    return ExportOutcome(
        str(output),
        len(selected),
        ended.exported,
        ended.fresh,
        ended.bytes,
        time.monotonic() - began,
        ended.rejects_by_class,
    )


def _complete(run: Run, records: Records, settings: ExportSettings) -> None:
    """Put what all panoramas together need, those of earlier starts included."""
    if done := done_ids(records):
        files = project_files(records.output, read_poses(run, done, settings.frame), settings)
        for name, content in files.items():
            folder, _, file = name.rpartition("/")
            (records.output / folder).write(file, content)
