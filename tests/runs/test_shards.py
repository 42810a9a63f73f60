"""Shards: a block's rows land once each, again under the same name, with columns that explain themselves."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.encode import codec_from_metadata, get_codec
from pager_ray.errors import StorageError
from pager_ray.listing import parts
from pager_ray.prediction import QUALITY_COLUMNS
from pager_ray.runs import RunLayout, predictions_schema, reconcile, write_shard
from pager_ray.runs.ledger import LEDGER_SCHEMA
from pager_ray.runs.reconcile import drop_superseded, iterate_shards, standing_rejects
from pager_ray.stages.rows import ENCODE_SCHEMA, to_table
from pager_ray.storage import Folder


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
    """Predictions and rejects land in their folders, the record names them all; previews are named by id."""
    record = write_shard(layout, "s0", rows_of(good("a/b"), bad("c"), good("d")), schema_of("default"))
    digest = hashlib.sha256(layout.results.read("s0.parquet")).hexdigest()
    assert record.select(LEDGER_SCHEMA.names).to_pylist() == [
        {"id": "a/b", "shard": "s0", "error_class": None, "sha256": digest},
        {"id": "d", "shard": "s0", "error_class": None, "sha256": digest},
        {"id": "c", "shard": "s0", "error_class": "missing", "sha256": None},
    ]
    predictions = pq.read_table(layout.results.join("s0.parquet"))
    assert predictions.column("id").to_pylist() == ["a/b", "d"]
    assert pq.read_table(layout.rejects.join("s0.parquet")).column("error_class").to_pylist() == ["missing"]
    assert layout.previews.names() == ["a%2Fb.jpg", "d.jpg"]


def test_what_a_run_is_filtered_by_is_stored(layout):
    """Every number of a panorama's quality, and nothing where there is none."""
    numbers = {name: number / 8 for number, name in enumerate(QUALITY_COLUMNS)}
    write_shard(layout, "s0", rows_of(good("a") | numbers, good("b")), schema_of("default"))
    first, second = pq.read_table(layout.results.join("s0.parquet")).select(QUALITY_COLUMNS).to_pylist()
    assert first == numbers
    assert {*second.values()} == {None}


def test_rejects_that_were_done_again_leave_their_files(layout):
    """A reject that a later generation did again is no reject any more, and its row goes when the job ends."""
    layout.ledger.begin(1)
    rows = rows_of(good("a"), bad("b"), bad("c"))
    layout.ledger.commit(1, "t0", write_shard(layout, "s0", rows, schema_of("default")))
    layout.ledger.begin(2)
    layout.ledger.commit(2, "t1", write_shard(layout, "s1", rows_of(good("b")), schema_of("default")))
    standing = layout.ledger.read()
    result = reconcile(layout, pa.table({"id": ["a", "b", "c"]}), standing)
    assert result.is_whole
    assert (result.predictions, result.rejects) == (2, 1)
    assert standing_rejects(layout, standing, ["id"]).column("id").to_pylist() == ["c"]
    assert pq.read_table(layout.rejects.join("s0.parquet")).column("id").to_pylist() == ["b", "c"]
    drop_superseded(layout, standing)
    assert pq.read_table(layout.rejects.join("s0.parquet")).column("id").to_pylist() == ["c"]
    layout.ledger.commit(2, "t2", write_shard(layout, "s2", rows_of(good("c")), schema_of("default")))
    drop_superseded(layout, layout.ledger.read())
    assert layout.rejects.names() == []


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


@pytest.mark.parametrize("content", [b"", b"PAR1 no PAR1", b"words, not columns"])
def test_damaged_shards_are_named(layout, content):
    """A shard that is no Parquet file is one line with its path, the cause and what to do."""
    layout.rejects.write("s0.parquet", content)
    with pytest.raises(StorageError) as caught:
        list(iterate_shards(layout.rejects, {"s0"}, ["id"]))
    message = str(caught.value)
    assert message.startswith(f"{layout.rejects}/s0.parquet: is no readable shard (")
    assert message.endswith("); restore it from a copy, or start anew with --overwrite")
    assert "\n" not in message


@pytest.mark.parametrize("part_rows", [1, 100])
def test_reconciliation_finds_every_difference(layout, part_rows, monkeypatch):
    """Missing, duplicated and unknown ids are told apart, by parts; shards that are not committed do not count."""
    monkeypatch.setattr(parts, "PART_ROWS", part_rows)
    s0 = write_shard(layout, "s0", rows_of(good("a"), bad("b")), schema_of("default"))
    s1 = write_shard(layout, "s1", rows_of(good("b"), good("x")), schema_of("default"))
    write_shard(layout, "s2", rows_of(good("c")), schema_of("default"))
    layout.ledger.begin(1)
    for name, record in (("s0", s0), ("s1", s1)):
        layout.ledger.commit(1, name, record)
    result = reconcile(layout, pa.table({"id": ["c", "a", "b"]}))
    assert (result.missing, result.duplicated, result.unknown) == (["c"], ["b"], ["x"])
    assert not result.is_whole
    assert result.rejects_by_class == {"missing": 1}
