"""Stage *write*: Ray Data's two-phase commit around :func:`pager_ray.write.write_shard`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import ray
from ray.data.block import BlockAccessor
from ray.data.datasource import BlockBasedFileDatasink, FilenameProvider

from pager_ray.errors import ErrorBudgetExceeded, OutputInUseError
from pager_ray.write import RunLayout, write_shard

# Ray keeps the write operation's id among the task's arguments under this name.
_WRITE_ID = "write_uuid"


class ShardNames(FilenameProvider):
    """Names that are the same when a task is repeated, and of which none is the start of another."""

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        """``<start of the run>-<task>.parquet``; eight digits, since commit records match shards by prefix."""
        return f"{write_uuid[:12]}-{task_index:08}.parquet"


class ShardSink(BlockBasedFileDatasink):
    """Writes each block as one shard: predictions, rejects, and their npz files and previews.

    Being a file sink, Ray wraps every write in a commit record with the block's ids; see :mod:`pager_ray.write.layout`.
    """

    def __init__(self, layout: RunLayout, schema: pa.Schema, rows_per_shard: int, progress: Any) -> None:
        filesystem, path = layout.results.arrow()
        super().__init__(
            path,
            filesystem=filesystem,
            filename_provider=ShardNames(file_format="parquet"),
            min_rows_per_file=rows_per_shard,
        )
        self.layout = layout
        self.schema = schema
        self.progress = progress

    def write_block(self, block: BlockAccessor, block_index: int, ctx: Any) -> None:
        """Write one block under the name that its commit record carries.

        Raises:
            ErrorBudgetExceeded: the run has more rejects than it may have; the block is not committed.
            OutputInUseError: another job writes to the output by now.
        """
        reason = ray.get(self.progress.why_stop.remote())
        if reason == "lost":
            raise OutputInUseError(f"output.uri: another job has taken over {self.layout.root}; it goes on there")
        if reason == "budget":
            raise ErrorBudgetExceeded("more inputs were rejected than errors.max_rejects allows")
        name = self.filename_provider.get_filename_for_task(ctx.kwargs[_WRITE_ID], ctx.task_idx)
        counts = write_shard(self.layout, name.removesuffix(".parquet"), block.to_arrow(), self.schema)
        self.progress.add.remote(*counts)

    def on_write_complete(self, write_result: Any) -> None:
        """Keep the folder: the parent class would delete an empty one that it made."""
