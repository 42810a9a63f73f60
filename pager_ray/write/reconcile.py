"""Reconciliation: every listed id is one prediction or one reject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.errors import StorageError
from pager_ray.storage import Folder, client_errors, error_reason
from pager_ray.write.layout import SHARD_SUFFIX, RunLayout
from pager_ray.write.ledger import rows_by_shard
from pager_ray.write.shards import put_rejects


@dataclass(frozen=True)
class Reconciliation:
    """How the listed ids and the written ones compare; lists hold ids in order of the manifest or the alphabet."""

    inputs: int
    predictions: int
    rejects: int
    missing: list[str]
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
    for name in folder.names(SHARD_SUFFIX):
        if name.removesuffix(SHARD_SUFFIX) not in shards:
            continue
        try:
            with folder.filesystem.open(folder.join(name), "rb") as file:
                table = pq.ParquetFile(file).read(columns=columns)
        except (*client_errors(), pa.ArrowException) as error:
            raise StorageError(
                f"{folder.uri(name)}: is no readable shard ({error_reason(error)}); restore it from a copy, or start "
                "anew with --overwrite"
            ) from error
        yield table


def read_columns(folder: Folder, shards: set[str], columns: list[str]) -> pa.Table | None:
    """The named columns of the given shards in a folder, in order of shard names; None where there are no rows.

    Raises:
        StorageError: a shard cannot be read; names it.
    """
    tables = list(iterate_shards(folder, shards, columns))
    return pa.concat_tables(tables) if tables else None


def reconcile(layout: RunLayout, listed: pa.Table, standing: pa.Table | None = None) -> Reconciliation:
    """Compare the manifest's ids with those in the ledger.

    Args:
        layout: the job's output.
        listed: the manifest.
        standing: what the ledger says, where it was read already.

    Raises:
        StorageError: the ledger cannot be read.
    """
    standing = layout.ledger.read() if standing is None else standing
    classes = standing.column("error_class")
    counted = pc.value_counts(classes.drop_null()).to_pylist()
    written = Counter(standing.column("id").to_pylist())
    wanted = listed.column("id").to_pylist()
    known = set(wanted)
    return Reconciliation(
        inputs=len(wanted),
        predictions=classes.null_count,
        rejects=len(classes) - classes.null_count,
        missing=[name for name in wanted if name not in written],
        duplicated=sorted(name for name, count in written.items() if count > 1),
        unknown=sorted(name for name in written if name not in known),
        rejects_by_class={item["values"]: item["counts"] for item in sorted(counted, key=lambda one: -one["counts"])},
    )


def standing_rejects(layout: RunLayout, standing: pa.Table, columns: list[str]) -> pa.Table | None:
    """The reject rows that stand, without those that were done again later; None where there are none.

    Raises:
        StorageError: a shard cannot be read; names it.
    """
    rejected = standing.filter(pc.is_valid(standing.column("error_class")))
    tables = []
    for shard, rows in rows_by_shard(rejected).items():
        ids = rows.column("id").combine_chunks()
        for table in iterate_shards(layout.rejects, {shard}, columns):
            tables.append(table.filter(pc.is_in(table.column("id"), value_set=ids)))
    return pa.concat_tables(tables) if tables else None


def drop_superseded(layout: RunLayout, standing: pa.Table) -> None:
    """Take rejects that were done again out of their files, for readers that know no ledger; safe to repeat.

    Raises:
        StorageError: a shard cannot be read or written.
    """
    rejected = rows_by_shard(standing.filter(pc.is_valid(standing.column("error_class"))))
    nothing = standing.slice(0, 0)
    for name in layout.rejects.names(SHARD_SUFFIX):
        shard = name.removesuffix(SHARD_SUFFIX)
        ids = rejected.get(shard, nothing).column("id").combine_chunks()
        for table in iterate_shards(layout.rejects, {shard}, None):
            kept = table.filter(pc.is_in(table.column("id"), value_set=ids))
            if kept.num_rows < table.num_rows:
                put_rejects(layout, shard, kept)
