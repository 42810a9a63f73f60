"""Reconciliation: every listed id is one prediction or one reject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.errors import StorageError
from pager_ray.storage import Folder, client_errors
from pager_ray.write.layout import SHARD_SUFFIX, RunLayout


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
            raise StorageError(f"{folder.uri(name)}: is no readable shard ({error})") from error
        yield table


def read_columns(folder: Folder, shards: set[str], columns: list[str]) -> pa.Table | None:
    """The named columns of the given shards in a folder, in order of shard names; None where there are no rows.

    Raises:
        StorageError: a shard cannot be read; names it.
    """
    tables = list(iterate_shards(folder, shards, columns))
    return pa.concat_tables(tables) if tables else None


def reconcile(layout: RunLayout, listed: pa.Table) -> Reconciliation:
    """Compare the manifest's ids with those of the committed shards.

    Raises:
        StorageError: a shard cannot be read.
    """
    shards = layout.committed_shards()
    predictions = read_columns(layout.results, shards, ["id"])
    rejects = read_columns(layout.rejects, shards, ["id", "error_class"])
    predicted = predictions.column("id").to_pylist() if predictions is not None else []
    rejected = rejects.column("id").to_pylist() if rejects is not None else []
    classes: dict[str, int] = {}
    if rejects is not None:
        counted = pc.value_counts(rejects.column("error_class")).to_pylist()
        classes = {item["values"]: item["counts"] for item in sorted(counted, key=lambda item: -item["counts"])}
    written = Counter(predicted)
    written.update(rejected)
    wanted = listed.column("id").to_pylist()
    known = set(wanted)
    return Reconciliation(
        inputs=len(wanted),
        predictions=len(predicted),
        rejects=len(rejected),
        missing=[name for name in wanted if name not in written],
        duplicated=sorted(name for name, count in written.items() if count > 1),
        unknown=sorted(name for name in written if name not in known),
        rejects_by_class=classes,
    )
