"""Reconciliation: every listed id is one prediction or one reject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.bounded import as_texts, read_parquet, size_of
from pager_ray.errors import StorageError
from pager_ray.listing import MANIFEST_SCHEMA, ChosenIds, Listing
from pager_ray.runs.columnar import SHARD, in_order_of_shards
from pager_ray.runs.layout import RUN_FILE, SHARD_SUFFIX, RunLayout
from pager_ray.runs.ledger import gather, rows_by_shard
from pager_ray.runs.shards import LATER_COLUMNS, MAX_SHARD_ROWS, put_rejects
from pager_ray.runs.standing import Standing
from pager_ray.runs.tally import Written, match
from pager_ray.storage import Folder, client_errors, error_reason

# Shards that are read at a time: their columns are small, opening them is waiting for the store.
_READERS = 16
_TEXTS = ("id", "uri", "scene", "digest", "suspect", "remarks", "stage", "error_class", "message", "labels", "sample")


@dataclass(frozen=True)
class Reconciliation:
    """How the listed ids and the written ones compare; they come in order of the manifest or the alphabet."""

    inputs: int
    predictions: int
    rejects: int
    missing: ChosenIds
    duplicated: list[str]
    unknown: list[str]
    rejects_by_class: dict[str, int]

    @property
    def is_whole(self) -> bool:
        """Whether every listed id was written exactly once and nothing else was."""
        return not (self.missing or self.duplicated or self.unknown)

    def counts(self) -> dict[str, int]:
        """The numbers for ``run.json``."""
        return {
            "inputs": self.inputs,
            "predictions": self.predictions,
            "rejects": self.rejects,
            "missing": len(self.missing),
            "duplicated": len(self.duplicated),
        }


def iterate_shards(folder: Folder, shards: set[str], columns: list[str] | None) -> Iterator[pa.Table]:
    """The named columns (None: all) of each of the given shards in a folder, in order of shard names.

    Raises:
        StorageError: a shard cannot be read; names it.
    """
    for _, table in iterate_named_shards(folder, shards, columns):
        yield table


def iterate_named_shards(folder: Folder, shards: set[str], columns: list[str] | None) -> Iterator[tuple[str, pa.Table]]:
    """As :func:`iterate_shards`, each with its name."""
    names = (name.removesuffix(SHARD_SUFFIX) for name in folder.names(SHARD_SUFFIX)) if shards else ()
    wanted = [name for name in names if name in shards]
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(wanted), _READERS):
            some = wanted[start : start + _READERS]
            yield from zip(some, pool.map(lambda shard: _read(folder, shard, columns), some), strict=True)


def read_shard(folder: Folder, shard: str, columns: list[str] | None) -> pa.Table | None:
    """The named columns (None: all) of one shard; None where the folder does not have it.

    Raises:
        StorageError: it cannot be read; names it.
    """
    try:
        return _read(folder, shard, columns)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _read(folder: Folder, shard: str, columns: list[str] | None) -> pa.Table:
    name = f"{shard}{SHARD_SUFFIX}"
    try:
        with folder.open(name) as file:
            table = as_texts(
                read_parquet(file, size_of(file), columns, LATER_COLUMNS, most_rows=MAX_SHARD_ROWS), _TEXTS
            )
        table.validate(full=True)
        return table
    except (*client_errors(), pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(
            f"{folder.uri(name)}: is no readable shard ({error_reason(error)}); restore it from a copy, or start "
            "anew with --overwrite"
        ) from error


def read_scalars(layout: RunLayout, results: pa.Table, columns: list[str]) -> pa.Table | None:
    """The named columns of all results, in order of shard names; from the columnar copy as far as that goes.

    Args:
        results: the ledger's rows of results.
        columns: those without maps.

    Returns:
        None where there are no rows.

    Raises:
        StorageError: a shard that the copy lacks cannot be read; names it.
    """
    copied, lacking = layout.copy.read(results, columns, LATER_COLUMNS)
    if copied is None:
        # They come in order: nothing stands beside a table that may be as large as memory allows.
        return gather(iterate_shards(layout.results, lacking, columns))
    others = gather(
        table.append_column(SHARD, pa.repeat(pa.scalar(shard, pa.string()), table.num_rows))
        for shard, table in iterate_named_shards(layout.results, lacking, columns)
    )
    tables = [table.select([*columns, SHARD]) for table in (copied, others) if table is not None]
    if not tables:
        return None
    return in_order_of_shards(pa.concat_tables(tables, promote_options="default")).select(columns)


def read_standing(layout: RunLayout, manifest: Mapping[str, Any], *, compact: bool = False) -> pa.Table:
    """What stands, as the ledger has it, for a run file that tells how much there must be at least.

    Outcomes are added and replaced, never taken away: a ledger with fewer than the run file counts did not come along
    when the output was copied.

    Args:
        manifest: content of ``run.json``.
        compact: as :meth:`pager_ray.runs.ledger.Ledger.read` takes it.

    Raises:
        StorageError: the ledger cannot be read, or is not all there.
    """
    standing = layout.ledger.read(compact=compact)
    _check_is_all_there(layout, manifest, standing.num_rows)
    return standing


def check_ledger_is_whole(layout: RunLayout, manifest: Mapping[str, Any]) -> None:
    """As :func:`read_standing`, of which nothing is wanted.

    Raises:
        StorageError: the ledger cannot be read, or is not all there.
    """
    _check_is_all_there(layout, manifest, layout.ledger.standing().count())


def check_ledger_came_along(layout: RunLayout, manifest: Mapping[str, Any]) -> None:
    """As :func:`read_standing`, of a ledger that is not read: only that there is one.

    Raises:
        StorageError: there is none, and the run file tells of outcomes.
    """
    if not layout.ledger.is_there():
        _check_is_all_there(layout, manifest, 0)


def _check_is_all_there(layout: RunLayout, manifest: Mapping[str, Any], outcomes: int) -> None:
    counts = manifest.get("counts") or {}
    told = int(counts.get("predictions", 0)) + int(counts.get("rejects", 0))
    if outcomes < told:
        raise StorageError(
            f"{layout.root}: its {RUN_FILE} tells of {told:,} outcomes, its state/ledger of {outcomes:,}: the proof of "
            "what counts did not come along; copy the whole output again, state/ included"
        )


def reconcile(
    layout: RunLayout, listed: Listing | pa.Table, standing: Standing | pa.Table | None = None
) -> Reconciliation:
    """Compare the manifest's ids with those in the ledger.

    Args:
        layout: the job's output.
        listed: the manifest; of a table its ids.
        standing: what the ledger says, where it was read already.

    Raises:
        StorageError: the ledger cannot be read.
    """
    standing = layout.ledger.standing() if standing is None else Standing.of(standing)
    if isinstance(listed, pa.Table):
        listed = Listing(_of_ids(listed.column("id")))
    tally = standing.tally()
    matched = match(listed, Written(tally, standing.ids))
    rejects = tally.classes.total()
    return Reconciliation(
        inputs=len(listed),
        predictions=tally.rows - rejects,
        rejects=rejects,
        missing=ChosenIds(listed, matched.missing),
        duplicated=matched.duplicated,
        unknown=matched.unknown,
        rejects_by_class=dict(tally.classes.most_common()),
    )


def _of_ids(ids: pa.ChunkedArray) -> pa.Table:
    columns = [ids if field.name in ("id", "uri") else pa.nulls(len(ids), field.type) for field in MANIFEST_SCHEMA]
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def standing_rejects(layout: RunLayout, standing: pa.Table, columns: list[str]) -> pa.Table | None:
    """The reject rows that stand, without those that were done again later; None where there are none.

    Args:
        standing: the ledger's rows, or those of rejects.

    Raises:
        StorageError: a shard cannot be read; names it.
    """
    rejected = standing.filter(pc.is_valid(standing.column("error_class")))

    def rejects_of(shard: str, rows: pa.Table) -> pa.Table | None:
        table = read_shard(layout.rejects, shard, columns)
        return None if table is None else table.filter(pc.is_in(table.column("id"), value_set=rows.column("id")))

    shards = rows_by_shard(rejected)
    with ThreadPoolExecutor(_READERS) as pool:
        return gather(table for table in pool.map(rejects_of, shards, shards.values()) if table is not None)


def drop_superseded(layout: RunLayout, standing: pa.Table) -> None:
    """Take rejects that were done again out of their files, for readers that know no ledger; safe to repeat.

    Raises:
        StorageError: a shard cannot be read or written.
    """
    rejected = rows_by_shard(standing.filter(pc.is_valid(standing.column("error_class"))))
    nothing = standing.slice(0, 0)
    for name in layout.rejects.names(SHARD_SUFFIX):
        shard = name.removesuffix(SHARD_SUFFIX)
        ids = rejected.get(shard, nothing).column("id")
        table = read_shard(layout.rejects, shard, None)
        if table is None:
            continue
        kept = table.filter(pc.is_in(table.column("id"), value_set=ids))
        if kept.num_rows < table.num_rows:
            put_rejects(layout, shard, kept)
