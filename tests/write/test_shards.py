"""Shards: a block's rows land once each, again under the same name, with columns that explain themselves."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.encode import codec_from_metadata, get_codec
from pager_ray.pipeline.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder
from pager_ray.write import RunLayout, predictions_schema, reconcile, write_shard


@pytest.fixture
def layout(tmp_path):
    layout = RunLayout(Folder(str(tmp_path / "run")))
    layout.make()
    return layout


def schema_of(codec):
    return predictions_schema(ENCODE_SCHEMA, ("depth", "sky"), codec=codec, projection="erp", face_size=56, fov=90.0)


def rows_of(*rows):
    return to_table(list(rows), ENCODE_SCHEMA, len(rows), "test")


def good(name):
    depth = np.linspace(1, 9, 32, dtype=np.float32).reshape(4, 8)
    data = get_codec("depth", "default").encode(depth)
    sky = get_codec("sky", "default").encode(depth / 10)
    return {"id": name, "uri": f"/in/{name}.jpg", "width": 8, "height": 4, "map_height": 4, "map_width": 8,
            "depth": data, "sky": sky, "preview": b"jpeg"}  # fmt: skip


def bad(name):
    return {"id": name, "uri": f"/in/{name}.jpg", "stage": "read", "error_class": "missing", "message": "gone",
            "attempts": 1}  # fmt: skip


def test_rows_are_split_by_outcome(layout):
    """Predictions and rejects land in their folders; previews are named by id."""
    assert write_shard(layout, "s0", rows_of(good("a/b"), bad("c"), good("d")), schema_of("default")) == (2, 1)
    predictions = pq.read_table(layout.results.join("s0.parquet"))
    assert predictions.column("id").to_pylist() == ["a/b", "d"]
    assert pq.read_table(layout.rejects.join("s0.parquet")).column("error_class").to_pylist() == ["missing"]
    assert layout.previews.names() == ["a%2Fb.jpg", "d.jpg"]


def test_a_repeated_write_replaces_the_first(layout):
    """Outcomes that change between two attempts of a task leave no trace of the first."""
    write_shard(layout, "s0", rows_of(good("a"), bad("b")), schema_of("default"))
    write_shard(layout, "s0", rows_of(bad("a"), bad("b")), schema_of("default"))
    assert layout.results.names() == []
    write_shard(layout, "s0", rows_of(good("a"), good("b")), schema_of("default"))
    assert layout.rejects.names() == []
    layout.committed.write("s0.parquet", b"ids")
    result = reconcile(layout, pa.table({"id": ["a", "b"]}))
    assert result.is_whole
    assert (result.predictions, result.rejects) == (2, 0)


def test_columns_explain_themselves(layout):
    """Unit, ray type, shape, codec and error bound travel in the file; the codec named there decodes the bytes."""
    write_shard(layout, "s0", rows_of(good("a")), schema_of("default"))
    file = pq.ParquetFile(layout.results.join("s0.parquet"))
    metadata = {key.decode(): value.decode() for key, value in file.schema_arrow.field("depth").metadata.items()}
    assert metadata["unit"] == "metre"
    assert metadata["ray_type"] == "euclidean"
    assert metadata["shape"] == "[map_height, map_width]"
    assert metadata["max_error"]
    assert metadata["decode"]
    row = file.read_row_group(0)
    decoded = codec_from_metadata("depth", metadata).decode(row.column("depth")[0].as_buffer(), (4, 8))
    np.testing.assert_allclose(decoded, np.linspace(1, 9, 32).reshape(4, 8), rtol=1e-3)
    for field in file.schema_arrow:
        assert b"description" in field.metadata, field.name


def test_arrays_are_stored_once_and_read_alone(layout):
    """Arrays are not compressed twice, every row is a group of its own, ids have statistics."""
    write_shard(layout, "s0", rows_of(good("a"), good("b"), good("c")), schema_of("default"))
    metadata = pq.ParquetFile(layout.results.join("s0.parquet")).metadata
    assert metadata.num_row_groups == 3
    columns = {
        metadata.row_group(1).column(i).path_in_schema: metadata.row_group(1).column(i)
        for i in range(metadata.num_columns)
    }
    assert columns["depth"].compression == "UNCOMPRESSED"
    assert columns["uri"].compression == "ZSTD"
    assert columns["id"].statistics.min == columns["id"].statistics.max == "b"
    assert columns["depth"].statistics is None


def test_npz_format_keeps_arrays_out_of_the_shards(layout):
    """With npz files the shard holds the scalar columns only."""
    row = good("a") | {"depth": b"npz bytes", "sky": b"more"}
    write_shard(layout, "s0", rows_of(row), schema_of(None))
    assert "depth" not in pq.read_schema(layout.results.join("s0.parquet")).names
    assert layout.npz("depth").read("a.npz") == b"npz bytes"
    assert layout.npz("sky").read("a.npz") == b"more"


def test_reconciliation_finds_every_difference(layout):
    """Missing, duplicated and unknown ids are told apart; shards without a commit record do not count."""
    write_shard(layout, "s0", rows_of(good("a"), bad("b")), schema_of("default"))
    write_shard(layout, "s1", rows_of(good("b"), good("x")), schema_of("default"))
    write_shard(layout, "s2", rows_of(good("c")), schema_of("default"))
    for name in ("s0", "s1"):
        layout.committed.write(f"{name}.parquet", b"ids")
    result = reconcile(layout, pa.table({"id": ["a", "b", "c"]}))
    assert (result.missing, result.duplicated, result.unknown) == (["c"], ["b"], ["x"])
    assert not result.is_whole
    assert result.rejects_by_class == {"missing": 1}
