"""A run's output → the files of its gallery.

```
index.html                  the page, the same for every run
static/                     its style and script
data/run.js                 name, counts, columns, colours
data/rows-NNNNN.js          ids, sources and depth limits of 200 rows each
data/rejects.js             ids and reasons of inputs without a result, the first 1,000
data/column-NAME.js         one quality column of all rows, float32; loaded when the list is sorted or filtered by it
panoramas/NNN/NNNNNN.js     a panorama's page: pictures, sampled depth and sky
thumbs/NNN/NNNNNN.jpg       its card: rgb, depth, normals, sky side by side
```
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import cv2
import pyarrow as pa

from pager_ray.errors import PagerError, StorageError
from pager_ray.gallery.columns import CARD_COLUMNS, Rows, rows_of
from pager_ray.gallery.panorama import depth_palette, show_panorama
from pager_ray.gallery.site import Site, base64_of, detail_path
from pager_ray.plain import get_logger, plain_text
from pager_ray.pools import ProcessPool
from pager_ray.reader.run import Run, open_run
from pager_ray.runs.layout import GALLERY_FOLDER
from pager_ray.schemes import settled_prefix, short_name
from pager_ray.storage import Folder, safe_name
from pager_ray.tracing import watcher

log = get_logger(__name__)

CHUNK = 200
"""Rows of one data file of the list."""

REJECTS = 1000
"""Rejects that are listed, by id."""

DETAILS = 1000
"""Panoramas that get a page of their own where nobody says how many."""

UNREADABLE = "Its result cannot be read."
"""What a card says where the reason, which names a file, is not to be told."""

_PROGRESS_SECONDS = 10.0


class Detail(NamedTuple):
    """What became of one panorama's page: limits of its card's depths, or why there is none; and why it has no source
    picture, where it was to have one."""

    row: int
    limits: tuple[float, float] | None
    problem: str | None
    unread: str | None = None


@dataclass(frozen=True)
class Gallery:
    """What was built.

    Attributes:
        index: the page to open.
        count: panoramas listed.
        rejects: inputs without a result, which the page tells the reasons of.
        details: panoramas with a page of their own.
        problems: id and reason of those that should have one and could not be read.
        unread: why source pictures that were to be read were not, and how many pages lack theirs for it.
    """

    index: str
    count: int
    rejects: int
    details: int
    problems: tuple[tuple[str, str], ...]
    unread: tuple[tuple[str, int], ...] = ()

    def lines(self) -> list[str]:
        """What a person is told; the last line is the page to open."""
        lines = [f"{self.count} panoramas, {self.details} with a page of their own"]
        if self.details + len(self.problems) < self.count:
            lines[0] += " (--details all makes one for each)"
        if self.rejects:
            lines[0] += f"; {self.rejects:,} rejected, with their reasons"
        lines += [plain_text(f"no page for {id}: {problem}") for id, problem in self.problems[:10]]
        if len(self.problems) > 10:
            lines.append(f"and {len(self.problems) - 10} more without a page")
        lines += [f"{count:,} of {self.details:,} without their source picture: {why}" for why, count in self.unread]
        return [*lines, self.index]


def build_gallery(
    output: str,
    to: str | None = None,
    *,
    details: int | None = DETAILS,
    overwrite: bool = False,
    workers: int = 0,
    images_from: str | None = None,
    places: bool = True,
) -> Gallery:
    """Write the gallery of a run.

    Args:
        output: the run's output.
        to: folder to write to; ``gallery`` inside the output by default.
        details: how many panoramas, by id, get a page of their own; None for all.
        overwrite: replace a gallery that stands there.
        workers: processes that make pages; 0 for one per CPU.
        images_from: folder, or web host, that source pictures are read from, where the run says that they lie below
            it; None reads none: previews stand in.
        places: tell where the run and its sources lie; otherwise names of files alone are told.

    Raises:
        RunNotFoundError: there is no run.
        ConfigError: a gallery stands there already, or something else; ``images_from`` is no folder or host.
        StorageError: the run or the folder cannot be used.
    """
    images_from = None if images_from is None else settled_prefix(images_from, "--images-from")
    run = open_run(output)
    folder = to or Folder(output).uri(GALLERY_FOLDER)
    site = Site(folder)
    rows, rejects = rows_of(run.table()), run.rejects()
    count = len(rows.ids) if details is None else min(details, len(rows.ids))
    site.claim(_data_files(rows, rejects), count, overwrite=overwrite)
    source = _Source(output, folder, _previews(run), images_from)
    made = _make_details(source, rows, count, workers)
    _write_rejects(site, rejects, places=places)
    _write_list(site, run, rows, made, len(rejects), linked=to is None and _previews(run), places=places)
    site.write_page()
    problems = tuple((rows.ids[detail.row], detail.problem) for detail in made.values() if detail.problem is not None)
    unread = Counter(one.unread for one in made.values() if one.unread is not None)
    details_made = len(made) - len(problems)
    return Gallery(site.index, len(rows.ids), len(rejects), details_made, problems, (*unread.most_common(),))


def _data_files(rows: Rows, rejects: pa.Table) -> set[str]:
    """Names of the list's data files."""
    chunks = range(-(-len(rows.ids) // CHUNK))
    names = ["run", "column-scene", *(f"column-{name}" for name in rows.values), *(f"rows-{k:05d}" for k in chunks)]
    names += ["rejects"] if len(rejects) else []
    return {f"data/{name}.js" for name in names}


def _previews(run: Run) -> bool:
    return bool(run.manifest["config"]["output"].get("previews"))


class _Source(NamedTuple):
    """What pages are made of, and where they go."""

    output: str
    folder: str
    previews: bool
    images_from: str | None


def _make_details(source: _Source, rows: Rows, count: int, workers: int) -> dict[int, Detail]:
    """Pages and cards of the first ``count`` rows."""
    tasks = [(row, rows.ids[row], rows.numbers_of(row)) for row in range(count)]
    processes = min(workers or os.cpu_count() or 1, count)
    made: dict[int, Detail] = {}
    told = time.monotonic()
    for detail in _results(source, tasks, processes):
        made[detail.row] = detail
        if (shown := watcher()) is not None:
            shown.look({"total": count, "predicted": len(made), "rejected": 0})
        elif time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            log.info("%d of %d pages", len(made), count)
    return made


def _results(
    source: _Source, tasks: list[tuple[int, str, dict[str, float | None]]], processes: int
) -> Iterator[Detail]:
    if processes <= 1:
        maker = _Maker(source)
        yield from (maker.make(*task) for task in tasks)
        return
    with ProcessPool(processes, _start, (source,)) as pool:
        yield from pool.map(_make, *zip(*tasks, strict=True), chunksize=4)


class _Maker:
    """Makes pages; one per process."""

    def __init__(self, source: _Source) -> None:
        cv2.setNumThreads(1)
        self._run, self._site = open_run(source.output), Site(source.folder)
        self._previews = Folder(source.output) / "previews" if source.previews else None
        self._images_from = source.images_from

    def make(self, row: int, id: str, values: dict[str, float | None]) -> Detail:
        """Page and card of one row; a panorama that cannot be read costs its own alone."""
        try:
            shown = show_panorama(row, self._run[id], values, self._preview(id), self._images_from)
        except PagerError as error:
            return Detail(row, None, " ".join(str(error).split()))
        self._site.write(f"thumbs/{detail_path(row)}.jpg", shown.thumbnail)
        self._site.write_data(f"panoramas/{detail_path(row)}", shown.page)
        return Detail(row, shown.limits, None, shown.unread)

    def _preview(self, id: str) -> bytes | None:
        if self._previews is None:
            return None
        try:
            return self._previews.read(f"{safe_name(id)}.jpg")
        except StorageError:
            return None


_maker: _Maker | None = None


def _start(source: _Source) -> None:
    global _maker
    _maker = _Maker(source)


def _make(row: int, id: str, values: dict[str, float | None]) -> Detail:
    assert _maker is not None
    return _maker.make(row, id, values)


def _write_rejects(site: Site, rejects: pa.Table, *, places: bool) -> None:
    """Ids and reasons; messages name files and stores, and are left away where places are."""
    if not len(rejects):
        return
    first = rejects.sort_by("id").slice(0, REJECTS).to_pylist()
    listed = [
        [plain_text(str(one["id"])), one["error_class"], one["stage"], plain_text(one["message"]) if places else ""]
        for one in first
    ]
    site.write_data("data/rejects", {"rows": listed})


def _write_list(
    site: Site, run: Run, rows: Rows, made: dict[int, Detail], rejects: int, *, linked: bool, places: bool
) -> None:
    """The list's data; ``linked``: rows without a page show the run's preview, which lies beside the gallery."""
    uris = rows.uris if places else [short_name(uri) for uri in rows.uris]
    problems = {row: one.problem if places else UNREADABLE for row, one in made.items() if one.problem}
    for number, start in enumerate(range(0, len(rows.ids), CHUNK)):
        here = range(start, min(start + CHUNK, len(rows.ids)))
        details = [made.get(row) for row in here]
        site.write_data(
            f"data/rows-{number:05d}",
            {
                "ids": [rows.ids[row] for row in here],
                "uris": [uris[row] for row in here],
                "has": [int(detail is not None and detail.problem is None) for detail in details],
                "limits": [detail.limits if detail else None for detail in details],
                "problems": {k: problems[row] for k, row in enumerate(here) if row in problems},
                "previews": [_preview_link(rows.ids[row]) for row in here] if linked else None,
            },
        )
    site.write_data("data/column-scene", base64_of(rows.scenes))
    for name, values in rows.values.items():
        site.write_data(f"data/column-{name}", base64_of(values))
    count = sum(detail.problem is None for detail in made.values())
    site.write_data("data/run", _about(run, rows, count, rejects, places=places))


def _preview_link(id: str) -> str:
    # A file name may hold per cent signs, which a URL escapes once more.
    return f"../previews/{quote(safe_name(id), safe='')}.jpg"


def _about(run: Run, rows: Rows, details: int, rejects: int, *, places: bool) -> dict[str, Any]:
    checkpoint = run.manifest["checkpoint"]
    name = str(checkpoint.get("name", "")) if places else str(checkpoint.get("name", "")).rpartition("/")[2]
    note = f" ({checkpoint['note']})" if checkpoint.get("note") else ""
    named = f"checkpoint {name}{note}" if name else ""
    state = str(run.manifest["state"]) + (f", {rejects:,} rejected" if rejects else "")
    facts = [run.uri if places else "", named, state]
    if not rows.metric:
        facts.append("relative depth: the checkpoint gives no metric scale")
    if details < len(rows.ids):
        facts.append(f"{details:,} with a page of their own, by id (--details all makes one for each)")
    return {
        "name": (run.uri.rstrip("/").rsplit("/", 1)[-1] or "run") if places else "panorama",
        "facts": [fact for fact in facts if fact],
        "build": f"{time.time_ns():x}",
        "count": len(rows.ids),
        "details": details,
        "rejects": rejects,
        "chunk": CHUNK,
        "unit": rows.unit,
        "modalities": [str(name) for name in checkpoint["modalities"]],
        "columns": rows.described(),
        "card_columns": [name for name in CARD_COLUMNS if name in rows.values],
        "palette": base64_of(depth_palette()),
    }
