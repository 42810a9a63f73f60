"""The writer's part in the commit: names that match one shard each, counts, and the error budget."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.data.block import BlockAccessor

from pager_ray.errors import ErrorBudgetExceeded, OutputInUseError
from pager_ray.pipeline.rows import ENCODE_SCHEMA, to_table
from pager_ray.pipeline.sink import ShardNames, ShardSink
from pager_ray.storage import Folder
from pager_ray.write import RunLayout, predictions_schema
from pager_ray.write.layout import SHARD_NAME

WRITE = "0123456789abcdef0123456789abcdef"
TASKS = [*range(2_000), *(10**power + offset for power in range(4, 8) for offset in (-1, 0, 1)), 99_999_999]


def test_no_shard_name_is_the_start_of_another() -> None:
    """Commit records match shards by prefix, so no name of a run's up to 10⁸ tasks may start another's."""
    names = sorted(ShardNames().get_filename_for_task(WRITE, task).removesuffix(".parquet") for task in set(TASKS))
    assert len(names) == len(set(TASKS))
    # In sorted order a prefix stands right before the first name that it starts.
    assert [pair for pair in pairwise(names) if pair[1].startswith(pair[0])] == []


def test_shard_names_are_the_same_for_a_repeated_task() -> None:
    """A repeated task writes over its first attempt; another start of the run writes beside it."""
    names = ShardNames(file_format="parquet")
    assert (
        names.get_filename_for_task(WRITE, 7)
        == names.get_filename_for_task(WRITE, 7)
        == "0123456789ab-00000007.parquet"
    )
    assert names.get_filename_for_task(WRITE[::-1], 7) != names.get_filename_for_task(WRITE, 7)


class Progress:
    """A board without Ray: a method's ``remote`` answers at once."""

    def __init__(self, stop: str | None) -> None:
        self.added: list[tuple[int, int]] = []
        self.why_stop = SimpleNamespace(remote=lambda: stop)
        self.add = SimpleNamespace(remote=lambda *counts: self.added.append(counts))


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(Folder(str(tmp_path / "run")))
    layout.make()
    return layout


def sink_of(layout: RunLayout, progress: Progress) -> ShardSink:
    schema = predictions_schema(ENCODE_SCHEMA, (), codec="default", projection="erp", face_size=8, fov=90.0)
    return ShardSink(layout, schema, 4, progress)


def block() -> pa.Table:
    good = [{"id": name, "uri": f"/in/{name}.jpg", "map_height": 8, "map_width": 16} for name in ("a", "b")]
    bad = {"id": "c", "uri": "/in/c.jpg", "stage": "read", "error_class": "missing", "message": "gone", "attempts": 1}
    return to_table([*good, bad], ENCODE_SCHEMA, 3, "test")


def write(sink: ShardSink, monkeypatch: pytest.MonkeyPatch, task: int = 3) -> None:
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    context: Any = SimpleNamespace(kwargs={"write_uuid": WRITE}, task_idx=task)
    sink.write_block(BlockAccessor.for_block(block()), 0, context)


def test_a_block_becomes_the_shard_of_its_commit_record(layout: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's predictions and rejects land under the name that its commit record carries, and are counted."""
    progress = Progress(stop=None)
    write(sink_of(layout, progress), monkeypatch)
    name = ShardNames().get_filename_for_task(WRITE, 3)
    assert pq.read_table(layout.results.join(name)).column("id").to_pylist() == ["a", "b"]
    assert pq.read_table(layout.rejects.join(name)).column("id").to_pylist() == ["c"]
    assert progress.added == [(2, 1)]


def test_beyond_the_budget_nothing_is_written(layout: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a run has more rejects than it may, the next block fails before it is written or counted."""
    progress = Progress(stop="budget")
    with pytest.raises(ErrorBudgetExceeded, match=r"errors\.max_rejects"):
        write(sink_of(layout, progress), monkeypatch)
    assert layout.results.names() == layout.rejects.names() == []
    assert progress.added == []


def test_a_lost_output_is_not_written_to(layout: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once another job has the output, a writer of this one fails before it writes or counts anything."""
    progress = Progress(stop="lost")
    with pytest.raises(OutputInUseError, match="another job has taken over"):
        write(sink_of(layout, progress), monkeypatch)
    assert layout.results.names() == layout.rejects.names() == []
    assert progress.added == []


def test_the_folder_stays_when_all_is_rejected(layout: RunLayout) -> None:
    """A run that ends without predictions keeps the empty folder: it is part of every run."""
    sink = sink_of(layout, Progress(stop=None))
    sink.has_created_dir = True
    sink.on_write_complete(SimpleNamespace(num_rows=0))
    assert layout.results.filesystem.isdir(layout.results.path)


def test_the_writer_asks_for_whole_shards(layout: RunLayout) -> None:
    """Blocks reach the writer with as many rows as a shard is to have."""
    assert sink_of(layout, Progress(stop=None)).min_rows_per_write == 4


def test_shard_names_are_those_that_cleaning_up_knows() -> None:
    """What the writer calls its shards is what a later start may delete when it was not committed."""
    for task in (0, 12, 99_999_999):
        name = ShardNames().get_filename_for_task(WRITE, task)
        assert SHARD_NAME.fullmatch(name.removesuffix(".parquet"))
