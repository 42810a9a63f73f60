"""A consistent scale per sequence, beside a run's predictions: one file, made of what stands and of nothing else.

Predictions stay as they are. The file has each frame's log scale as the network gave it and as its sequence has it;
whoever dies while it is made leaves the one before, or none, and the same command makes it again, the same to the last
bit. A row of it counts where its raw scale is that of the prediction that stands: one that was done again has none.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.bounded import read_parquet
from pager_ray.consistency import LEAST, consistent_scale
from pager_ray.errors import StorageError
from pager_ray.runs.layout import SCALES_FILE, SCALES_REPORT, RunLayout
from pager_ray.storage import error_reason

SEQUENCE_SCALE: Final = "log_scale_sequence"

_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata={"description": "of the prediction"}),
        pa.field("sequence", pa.string()),
        pa.field("time", pa.float64(), metadata={"unit": "second"}),
        pa.field("stretch", pa.int32(), metadata={"description": "number of the stretch between two cuts"}),
        pa.field("log_scale", pa.float32(), metadata={"description": "as the network gave it; depth in shards has it"}),
        pa.field(
            SEQUENCE_SCALE,
            pa.float32(),
            metadata={"description": "consistent over the sequence: depth × exp(log_scale_sequence − log_scale)"},
        ),
    ],
    metadata={"pager_ray.scales": "robust"},
)
COLUMNS: Final = ["id", "sequence", "time", "log_scale"]
"""Of predictions, what their scales are made of."""

_WORST: Final = 10
_MOST: Final = 100.0
_DIGEST: Final = b"pager_ray.digest"


@dataclass(frozen=True)
class SequenceScale:
    """What became of one sequence: its frames, and how much its scale jitters, as shares of it."""

    sequence: str
    frames: int
    cuts: int
    jitter_before: float
    jitter_after: float


@dataclass(frozen=True)
class ScaleReport:
    """What became of a run's sequences.

    Attributes:
        sequences, frames: that were looked at.
        left: predictions without a sequence, a time or a scale.
        jitter_before, jitter_after: over all steps from a frame to the next; see :func:`pager_ray.consistency.jitter`.
        worst: the sequences that jitter most afterwards.
    """

    sequences: int
    frames: int
    left: int
    jitter_before: float
    jitter_after: float
    worst: tuple[SequenceScale, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


Steps = Callable[[Sequence[str], np.ndarray, np.ndarray], np.ndarray]
"""Ids of all frames in order, their log scales, and which of them (n − 1) are compared with the next → by how much
depth grows from each to the next (n − 1), NaN where that is not known."""


def write_scales(layout: RunLayout, table: pa.Table, report: ScaleReport) -> None:
    """Put a run's scales, and what became of its sequences beside them.

    Raises:
        StorageError: they cannot be written.
    """
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    layout.scales.make()
    layout.scales.write(SCALES_FILE, sink.getvalue())
    layout.scales.write(SCALES_REPORT, json.dumps(report.to_json(), indent=1, ensure_ascii=False).encode())


def consistent_rows(rows: pa.Table, steps_of: Steps | None = None) -> tuple[pa.Table, ScaleReport]:
    """The rows that are of a sequence, with its scales.

    Args:
        rows: ``id``, ``sequence``, ``time`` and ``log_scale``.
        steps_of: compares the depths of neighbours; None goes by scales alone.
    """
    known = pc.is_finite(pc.add(rows.column("time"), pc.cast(rows.column("log_scale"), pa.float64())))
    known = pc.and_(pc.fill_null(known, False), pc.is_valid(rows.column("sequence")))
    # By id where times are equal: whatever order shards come in, the file is the same.
    frames = rows.filter(known).sort_by([("sequence", "ascending"), ("time", "ascending"), ("id", "ascending")])
    names, ids = frames.column("sequence"), frames.column("id")
    codes = names.combine_chunks().dictionary_encode().indices.to_numpy() if frames.num_rows else np.zeros(0, np.int32)
    edges = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), frames.num_rows]
    time, raw = frames.column("time").to_numpy(), frames.column("log_scale").to_numpy().astype(np.float64)
    scaled, stretches = raw.copy(), np.zeros(len(raw), np.int32)
    told: list[SequenceScale] = []
    steps = np.full(max(len(raw) - 1, 0), np.nan)
    if steps_of is not None and len(steps):
        # Of shorter sequences nothing is corrected.
        is_long = np.repeat(np.diff(edges) >= LEAST, np.diff(edges))
        steps = steps_of(ids.to_pylist(), raw, (np.diff(codes) == 0) & is_long[1:])
    for first, end in itertools.pairwise(edges):
        found = consistent_scale(raw[first:end], time[first:end], steps[first : end - 1])
        scaled[first:end], stretches[first:end] = found.log_scale, found.stretches
        cuts = int(found.stretches[-1])
        told.append(SequenceScale(names[first].as_py(), end - first, cuts, found.jitter_before, found.jitter_after))
    columns = {"stretch": stretches, SEQUENCE_SCALE: scaled.astype(np.float32)}
    arrays = [
        columns.get(field.name, frames.column(field.name) if field.name in COLUMNS else None) for field in _SCHEMA
    ]
    table = pa.table([_cast(one, field) for one, field in zip(arrays, _SCHEMA, strict=True)], schema=_SCHEMA)
    before, after = (_overall([getattr(one, name) for one in told], told) for name in ("jitter_before", "jitter_after"))
    worst = tuple(sorted(told, key=lambda one: (-one.jitter_after, one.sequence))[:_WORST])
    return table, ScaleReport(len(told), frames.num_rows, rows.num_rows - frames.num_rows, before, after, worst)


def _cast(column: Any, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    return column.cast(field.type) if isinstance(column, pa.ChunkedArray) else pa.array(column, field.type)


def _overall(jitters: list[float], told: list[SequenceScale]) -> float:
    """The root of the mean squared step over all sequences."""
    steps = np.array([one.frames - 1 - one.cuts for one in told], np.float64)
    if not steps.sum():
        return 0.0
    return float(np.expm1(np.sqrt(np.sum(steps * np.log1p(jitters) ** 2) / steps.sum())))


def read_scales(layout: RunLayout) -> pa.Table | None:
    """A run's scales, ``id``, ``log_scale`` and ``log_scale_sequence``; None where it has none.

    Raises:
        StorageError: they are there and cannot be read.
    """
    if not layout.scales.exists(SCALES_FILE):
        return None
    content = layout.scales.read(SCALES_FILE)
    names = ["id", "log_scale", SEQUENCE_SCALE]
    try:
        table = read_parquet(pa.BufferReader(content), len(content), names).select(names)
        table.validate(full=True)
        scales = table.column(SEQUENCE_SCALE).cast(pa.float64())
        if scales.null_count or (table.num_rows and not pc.max(pc.abs(scales)).as_py() <= _MOST):
            raise ValueError("it has scales that no network gives")
        schema = pa.schema([_SCHEMA.field(name) for name in names])
        return table.cast(schema).replace_schema_metadata({_DIGEST: f"sha256:{hashlib.sha256(content).hexdigest()}"})
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        where = layout.scales.uri(SCALES_FILE)
        raise StorageError(
            f"{where}: cannot be read as scales of sequences ({error_reason(error)}); make it again with `pager-ray "
            "scale`, or read the run with scale='raw'"
        ) from error


def drop_scales(layout: RunLayout) -> None:
    """Delete a run's scales."""
    layout.scales.delete([SCALES_FILE, SCALES_REPORT])


class Corrections:
    """What the log scales of a run's predictions become in their sequences: twelve bytes a frame beside the ids.

    Args:
        layout: of the run.
        wanted: whether anything is corrected.

    Attributes:
        digest: SHA-256 of the run's scales, by which others know that they are the same; None where there are none.
        change: whether any of them is another one than the network gave.

    Raises:
        StorageError: there are scales that cannot be read.
    """

    def __init__(self, layout: RunLayout, *, wanted: bool = True) -> None:
        self.digest: str | None = None
        self.change = False
        table = read_scales(layout) if wanted else None
        if table is not None:
            table = table.sort_by("id")
            self.digest = (table.schema.metadata or {}).get(_DIGEST, b"").decode()
            self.change = bool(pc.any(pc.not_equal(table.column("log_scale"), table.column(SEQUENCE_SCALE))).as_py())
        self._table = table

    def of(self, id: str, log_scale: float | None) -> float | None:
        """The log scale of a prediction's sequence; None where there is none for what it has now."""
        if self._table is None or log_scale is None:
            return None
        ids = self._table.column("id")
        place = bisect.bisect_left(range(len(ids)), id, key=lambda row: ids[row].as_py())
        if place == len(ids) or ids[place].as_py() != id:
            return None
        raw, scale = (self._table.column(name)[place].as_py() for name in ("log_scale", SEQUENCE_SCALE))
        return scale if raw == log_scale else None

    def added_to(self, table: pa.Table) -> pa.Table:
        """A table of ``id`` and ``log_scale`` with the scales of sequences behind its columns."""
        assert self._table is not None
        places = pc.index_in(table.column("id"), value_set=self._table.column("id").combine_chunks())
        raw, scale = (self._table.column(name).take(places) for name in ("log_scale", SEQUENCE_SCALE))
        is_same = pc.fill_null(pc.equal(raw, table.column("log_scale")), False)
        return table.append_column(SEQUENCE_SCALE, pc.if_else(is_same, scale, pa.scalar(None, pa.float32())))
