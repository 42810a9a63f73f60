"""The end of an evaluation: what cannot be read is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pager_ray.errors import StorageError
from pager_ray.report.evaluation_files import report_evaluation
from pager_ray.runs import EvaluationLayout, write_shard
from pager_ray.storage import Folder
from tests.report.scores import SCHEMA, SCORING, facts, score_rows, score_table

SHARD = "0123456789ab-00000000"


def test_error_maps_that_are_damaged_are_named(tmp_path: Path) -> None:
    """A shard whose scores read and whose pictures do not is named when the report is drawn, with what to do."""
    layout = EvaluationLayout(Folder(str(tmp_path)))
    layout.make()
    table = score_table(score_rows(3))
    for name in ("stage", "error_class", "message", "attempts"):
        table = table.append_column(name, [[None] * table.num_rows])
    layout.ledger.begin(1)
    layout.ledger.commit(1, SHARD, write_shard(layout, SHARD, table, SCHEMA))
    (path,) = (tmp_path / "metrics" / "samples").glob("*.parquet")
    content = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(0)
    (column,) = (item for item in map(group.column, range(group.num_columns)) if item.path_in_schema == "picture")
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    known = {name: value for name, value in vars(facts()).items() if name not in ("families", "alignments", "excluded")}
    with pytest.raises(StorageError) as caught:
        report_evaluation(layout, SCORING, known)
    message = str(caught.value)
    assert message.startswith(f"{path}: is no readable shard (")
    assert "\n" not in message
    assert message.endswith("); restore it from a copy, or evaluate anew with --overwrite")
