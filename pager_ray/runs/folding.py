"""Folding: copies of many records in one file, made while a part of a job runs.

A start after a death would read tens of thousands of records, a request each. So the driver reads them as they come
and puts each thousand into one file beside them. A fold proves nothing: what it has of a task counts where the task's
record is there, which never changes; a fold that cannot be read costs the requests that it would have spared.
"""

from __future__ import annotations

import io
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pager_ray.errors import PagerError
from pager_ray.plain import get_logger

log = get_logger(__name__)

TASK: Final = "task"
"""Column of a fold: the file name of the record that a row is of; the rows of a record are together."""

RECORDS: Final = 1024
"""Records of one fold."""

_FOLD: Final = re.compile(r"folded-[0-9a-f]{12}\.parquet")
# Between two looks at what was committed, seconds: as many as a few folds' records take, within bounds.
_SOONEST, _LATEST = 15.0, 600.0
_FOLDS_PER_LOOK: Final = 2


def new_fold() -> str:
    """A name for a fold, which nobody else has."""
    return f"folded-{uuid.uuid4().hex[:12]}.parquet"


def is_fold(name: str) -> bool:
    """Whether a file beside records is a fold."""
    return _FOLD.fullmatch(name) is not None


def encoded(records: dict[str, pa.Table]) -> bytes:
    """The content of a fold.

    Args:
        records: by their file names, with what they have for the columnar copy.
    """
    rows = [
        record.add_column(0, TASK, pa.repeat(pa.scalar(name, pa.string()), record.num_rows))
        for name, record in records.items()
    ]
    sink = io.BytesIO()
    table = pa.concat_tables(rows).combine_chunks()
    pq.write_table(table, sink, compression="lz4", use_dictionary=[TASK, "shard", "sha256"], write_statistics=False)
    return sink.getvalue()


def by_record(fold: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """A fold's records, each with its file name."""
    runs = pc.run_end_encode(fold.column(TASK).combine_chunks())
    start = 0
    for name, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield name, fold.slice(start, end - start).drop_columns([TASK])
        start = end


class Folding:
    """Folds in the background, while it is entered.

    Args:
        fold: folds what was committed since it was called last, and returns how many records that were.
    """

    def __init__(self, fold: Callable[[], int]) -> None:
        self._fold = fold
        self._busy = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="folding", daemon=True)

    def __enter__(self) -> Folding:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End, once the fold that is being made is put."""
        self._over.set()
        self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No fold is made meanwhile, so that whoever deletes records leaves none behind."""
        with self._busy:
            yield

    def _go_on(self) -> None:
        wait, began = _SOONEST, time.monotonic()
        while not self._over.wait(wait):
            try:
                with self._busy:
                    folded = self._fold()
            except PagerError as error:
                # It spares requests, no more.
                log.debug("records are not folded this time: %s", error)
                folded = 0
            now = time.monotonic()
            wait = next_look(folded, now - began, wait)
            began = now


def next_look(folded: int, seconds: float, waited: float) -> float:
    """Seconds until the next look: in which a few folds' records come, at the rate of those that just came."""
    wanted = seconds * _FOLDS_PER_LOOK * RECORDS / folded if folded else 2 * waited
    return min(max(wanted, _SOONEST), _LATEST)
