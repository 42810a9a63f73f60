"""Reconciliation: every listed id is one prediction or one reject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pager_ray.bounded import as_texts, read_parquet, size_of
from pager_ray.errors import StorageError
from pager_ray.listing import MANIFEST_SCHEMA, ChosenIds, Listing
from pager_ray.listing.repeats import hashes_of
from pager_ray.runs.columnar import SHARD, in_order_of_shards
from pager_ray.runs.layout import RUN_FILE, SHARD_SUFFIX, RunLayout
from pager_ray.runs.ledger import gather, rows_by_shard
from pager_ray.runs.shards import LATER_COLUMNS, put_rejects
from pager_ray.storage import Folder, client_errors, error_reason

# Shards that are read at a time: their columns are small, opening them is waiting for the store.
_READERS = 16
# Ids that are Python objects at a time.
_HASHED_ROWS = 262_144
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
            table = as_texts(read_parquet(file, size_of(file), columns, LATER_COLUMNS), _TEXTS)
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
    copied, lacking = layout.copy.read(results, columns)
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


def read_standing(layout: RunLayout, manifest: Mapping[str, Any]) -> pa.Table:
    """What stands, as the ledger has it, for a run file that tells how much there must be at least.

    Outcomes are added and replaced, never taken away: a ledger with fewer than the run file counts did not come along
    when the output was copied.

    Args:
        manifest: content of ``run.json``.

    Raises:
        StorageError: the ledger cannot be read, or is not all there.
    """
    standing = layout.ledger.read()
    _check_is_all_there(layout, manifest, standing.num_rows)
    return standing


def check_ledger_is_whole(layout: RunLayout, manifest: Mapping[str, Any]) -> None:
    """As :func:`read_standing`, of which nothing is wanted.

    Raises:
        StorageError: the ledger cannot be read, or is not all there.
    """
    _check_is_all_there(layout, manifest, layout.ledger.read(compact=True).num_rows)


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


def reconcile(layout: RunLayout, listed: Listing | pa.Table, standing: pa.Table | None = None) -> Reconciliation:
    """Compare the manifest's ids with those in the ledger.

    Args:
        layout: the job's output.
        listed: the manifest; of a table its ids.
        standing: what the ledger says, where it was read already.

    Raises:
        StorageError: the ledger cannot be read.
    """
    standing = layout.ledger.read(compact=True) if standing is None else standing
    if isinstance(listed, pa.Table):
        listed = Listing(_of_ids(listed.column("id")))
    classes = standing.column("error_class")
    counted = pc.value_counts(classes.drop_null()).to_pylist()
    matched = _matched(listed, standing.column("id"))
    return Reconciliation(
        inputs=len(listed),
        predictions=classes.null_count,
        rejects=len(classes) - classes.null_count,
        missing=ChosenIds(listed, matched.missing),
        duplicated=matched.duplicated,
        unknown=matched.unknown,
        rejects_by_class={item["values"]: item["counts"] for item in sorted(counted, key=lambda one: -one["counts"])},
    )


class _Matched(NamedTuple):
    """Which listed rows were not written, (rows,) bool, and the ids that were written several times or never listed."""

    missing: np.ndarray
    duplicated: list[str]
    unknown: list[str]


def _matched(listed: Listing, written: pa.ChunkedArray) -> _Matched:
    """Compare ids: by their hashes, in the memory of a few numbers for each, and then by what they are."""
    missing = np.ones(len(listed), dtype=bool)
    known = np.zeros(len(written), dtype=bool)
    if not len(written):
        return _Matched(missing, [], [])
    starts = range(0, len(written), _HASHED_ROWS)
    hashes = np.concatenate([hashes_of(written.slice(start, _HASHED_ROWS)) for start in starts])
    order = np.argsort(hashes)
    ranked = hashes[order]
    del hashes
    again = ranked[1:] == ranked[:-1]
    first = 0
    for part in listed.parts(["id"]):
        ids = part.column("id")
        hashed = hashes_of(ids)
        # In their order the search stays where it is.
        asked = np.argsort(hashed)
        at = np.searchsorted(ranked, hashed[asked])
        at[at == len(ranked)] = 0
        found = ranked[at] == hashed[asked]
        asked, at = asked[found], at[found]
        rows = order[at]
        same = pc.equal(ids.take(pa.array(asked)), written.take(pa.array(rows))).to_numpy()
        missing[first + asked[same]] = False
        known[rows[same]] = True
        if again.any():
            # Ids that were written several times, or whose hashes are the same by chance.
            for place, start in zip(asked.tolist(), at.tolist(), strict=True):
                end = start
                while end < len(again) and again[end]:
                    end += 1
                    if written[int(order[end])].as_py() == ids[place].as_py():
                        missing[first + place] = False
                        known[order[end]] = True
        first += part.num_rows
    doubtful = np.unique(np.concatenate([order[:-1][again], order[1:][again]]))
    unknown = written.filter(pa.array(~known)).to_pylist() if not known.all() else []
    return _Matched(missing, _repeated(written.take(pa.array(doubtful))), sorted(set(unknown)))


def _of_ids(ids: pa.ChunkedArray) -> pa.Table:
    columns = [ids if field.name in ("id", "uri") else pa.nulls(len(ids), field.type) for field in MANIFEST_SCHEMA]
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def _repeated(ids: pa.ChunkedArray) -> list[str]:
    """The ids that are there more than once, in order of the alphabet."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return []
    counts = pc.value_counts(ids)
    return sorted(counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist())


def standing_rejects(layout: RunLayout, standing: pa.Table, columns: list[str]) -> pa.Table | None:
    """The reject rows that stand, without those that were done again later; None where there are none.

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
