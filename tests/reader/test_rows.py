"""Rows of prediction shards, read by other libraries, get their maps back as arrays."""

from __future__ import annotations

import pickle
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pager_ray
from pager_ray.errors import ConfigError, RunNotFoundError, StorageError
from pager_ray.geometry import cubemap_to_erp, level_rotation, stitch_maps
from tests.reader.runs import HEIGHT, WIDTH, SmallRun, maps_of

MAPS = ("depth", "normals", "sky")


@pytest.fixture(params=["erp", "cubemap"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> SmallRun:
    """Three predictions in two shards, and one that does not count."""
    small = SmallRun(tmp_path / "run", projection=request.param, codec="default")
    small.write("s1", small.prediction("a"), small.prediction("b/1"))
    small.write("s2", small.prediction("c"), small.reject("bad"))
    small.write("s3", small.prediction("lost"), committed=False)
    return small


def same(row: dict, run: pager_ray.Run, maps: tuple[str, ...] = MAPS) -> None:
    """A decoded row is what the reader gives under its id, to the bit."""
    for name in maps:
        assert row[name].dtype == np.float32
        np.testing.assert_array_equal(row[name], getattr(run[row["id"]], name))


def test_rows_decode_to_what_the_reader_gives(small: SmallRun) -> None:
    """Every row of Arrow's own reader decodes to the prediction of its id; other columns pass through."""
    run = pager_ray.open_run(small.folder)
    decode = pager_ray.row_decoder(small.folder)
    rows = [row for file in run.files() for row in pq.read_table(file).to_pylist()]
    assert [row["id"] for row in rows] == run.ids()
    for row in rows:
        decoded = decode(row)
        same(decoded, run)
        assert decoded["valid"].all()
        others = row.keys() - {*MAPS, "valid"}
        assert {k: decoded[k] for k in others} == {k: row[k] for k in others}
        assert decoded.keys() == row.keys()


def test_some_maps_need_their_columns_alone(small: SmallRun) -> None:
    """Asked for depth, a row needs depth and the size; asked for more than it has, it is refused by name."""
    run = pager_ray.open_run(small.folder)
    (file, *_) = run.files()
    row = pq.read_table(file, columns=["id", "map_height", "map_width", "depth"]).to_pylist()[0]
    same(pager_ray.row_decoder(small.folder, ["depth"])(row), run, ("depth",))
    with pytest.raises(ConfigError, match=r"row 'a': lacks normals, sky; read these columns too"):
        pager_ray.row_decoder(small.folder)(row)
    with pytest.raises(ConfigError, match=r"maps: got pictures; .* takes depth, normals, sky"):
        pager_ray.row_decoder(small.folder, ["depth", "pictures"])
    with pytest.raises(ConfigError, match="maps: got none"):
        pager_ray.row_decoder(small.folder, [])


def test_hugging_face_datasets_decode_on_access(small: SmallRun, tmp_path: Path) -> None:
    """``load_dataset("parquet")`` reads the shards, and ``with_transform`` decodes what is looked at."""
    import datasets

    run = pager_ray.open_run(small.folder)
    dataset = datasets.load_dataset("parquet", data_files=run.files(), split="train", cache_dir=str(tmp_path / "hf"))
    assert dataset["id"][:] == run.ids()
    shown = dataset.with_transform(pager_ray.row_decoder(run.uri).batch)
    same(shown[1], run)
    for row in shown:
        same(row, run)


def test_duckdb_and_pandas_rows(small: SmallRun) -> None:
    """A row that a query chose by its numbers decodes too."""
    run = pager_ray.open_run(small.folder)
    frame = duckdb.sql(f"select * from read_parquet({run.files()!r}) where depth_p50 > 1 order by id desc").df()
    assert frame["id"].tolist() == ["c", "b/1", "a"]
    decode = pager_ray.row_decoder(run.uri)
    for row in frame.to_dict("records"):
        same(decode(row), run)


def test_a_decoder_crosses_process_borders(small: SmallRun) -> None:
    """Pickled, as every framework sends it to workers, it decodes alike and does not need the run."""
    run = pager_ray.open_run(small.folder)
    row = pq.read_table(run.files()[0]).to_pylist()[0]
    expected = pager_ray.row_decoder(small.folder)(row)
    blob = pickle.dumps(pager_ray.row_decoder(small.folder))
    assert len(blob) < 10_000
    (Path(small.folder) / "run.json").unlink()
    decoded = pickle.loads(blob)(row)  # noqa: S301 - our own object
    for name in MAPS:
        np.testing.assert_array_equal(decoded[name], expected[name])


def test_damaged_bytes_name_map_and_row(small: SmallRun) -> None:
    """Bytes that are no map are a storage error with the row's id, never an array."""
    row = pq.read_table(pager_ray.open_run(small.folder).files()[0]).to_pylist()[0]
    with pytest.raises(StorageError, match=r"depth of 'a': "):
        pager_ray.row_decoder(small.folder)(row | {"depth": row["depth"][:-5]})


def test_runs_whose_rows_hold_no_maps_are_refused(tmp_path: Path) -> None:
    """Maps in npz files and runs without a prediction are errors that say where maps are, or that none are."""
    npz = SmallRun(tmp_path / "npz", "npz")
    npz.write("s1", npz.prediction("x"))
    with pytest.raises(ConfigError, match="stores its maps as npz files"):
        pager_ray.row_decoder(npz.folder)
    SmallRun(tmp_path / "empty")
    with pytest.raises(RunNotFoundError, match="has no prediction yet"):
        pager_ray.row_decoder(tmp_path / "empty")


def test_batches_keep_their_columns(small: SmallRun) -> None:
    """Columns in, the same columns out, row by row; no rows give no rows."""
    run = pager_ray.open_run(small.folder)
    decode = pager_ray.row_decoder(run.uri)
    table = pq.read_table(run.files()[0])
    batch = decode.batch(table.to_pydict())
    assert list(batch) == table.column_names
    for k, id in enumerate(batch["id"]):
        same({name: batch[name][k] for name in MAPS} | {"id": id}, run)
    assert decode.batch(pa.table({name: table[name][:0] for name in table.column_names}).to_pydict())["id"] == []


def test_levelled_faces_are_turned_back(tmp_path: Path) -> None:
    """Panoramas of every reader are the picture's where a run stores faces of the levelled sphere."""
    small = SmallRun(tmp_path / "run", projection="cubemap", upright="gpano")
    small.write("s1", small.prediction("a", level_pitch=30.0, level_roll=-40.0), small.prediction("b"))
    run, decode = pager_ray.open_run(small.folder), pager_ray.row_decoder(small.folder)
    faces = maps_of("a", "cubemap")
    expected = dict(zip(MAPS, stitch_maps(*faces.values(), HEIGHT, WIDTH, 90.0, level_rotation(30, -40)), strict=True))
    frame = duckdb.sql(f"select * from read_parquet({run.files()!r}) order by id").df()
    for rows in (frame.to_dict("records"), pq.read_table(run.files()).sort_by("id").to_pylist()):
        for name in MAPS:
            np.testing.assert_allclose(decode(rows[0])[name], expected[name], atol=1e-5)
        same(decode(rows[0]), run)
        same(decode(rows[1]), run)
    assert (run["a"].level, run["b"].level) == ((30, -40), None)
    np.testing.assert_array_equal(run["a"].faces("normals"), faces["normals"])
    np.testing.assert_array_equal(
        run["b"].depth, cubemap_to_erp(maps_of("b", "cubemap")["depth"][..., None], HEIGHT, WIDTH)[..., 0]
    )
    lean = pq.read_table(run.files(), columns=["id", "map_height", "map_width", "depth", "level_pitch"]).to_pylist()[0]
    with pytest.raises(ConfigError, match=r"row 'a': lacks level_roll; read these columns too"):
        pager_ray.row_decoder(small.folder, ["depth"])(lean)


@pytest.mark.parametrize("angle", [400.0, -90.5, float("inf")])
def test_rotations_that_are_none_are_damage(angle: float, tmp_path: Path) -> None:
    """A shard that says so is named, by the reader and by row."""
    small = SmallRun(tmp_path / "run", projection="cubemap", upright="columns")
    small.write("s1", small.prediction("a", level_pitch=angle, level_roll=0.0))
    run = pager_ray.open_run(small.folder)
    with pytest.raises(StorageError, match=r"is no readable shard \(level_pitch is"):
        run["a"]
    with pytest.raises(StorageError, match=r"row 'a': level_pitch is"):
        pager_ray.row_decoder(small.folder)(pq.read_table(run.files()).to_pylist()[0])


def test_shards_of_earlier_versions_have_no_level(tmp_path: Path) -> None:
    """Runs whose shards lack the columns are read as before."""
    small = SmallRun(tmp_path / "run", projection="cubemap")
    small.write("s1", small.prediction("a"))
    run = pager_ray.open_run(small.folder)
    (path,) = (Path(file.removeprefix("file://")) for file in run.files())
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name for name in table.column_names if name[:5] in ("level", "pose_")]), path)
    prediction = pager_ray.open_run(small.folder)["a"]
    assert prediction.level is None
    assert prediction.depth is not None
