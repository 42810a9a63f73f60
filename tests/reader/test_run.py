"""Reading runs back: committed rows and nothing else, every layout alike, and damage named instead of shown."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pager_ray
from pager_ray.errors import ConfigError, PagerError, RunNotFoundError, StorageError
from pager_ray.geometry import cubemap_to_erp
from pager_ray.reader import open_run
from pager_ray.reader.run import _Index
from pager_ray.runs import standing
from pager_ray.runs.ledger import LEDGER_SCHEMA, record_of
from pager_ray.runs.shards import PREDICTION_COLUMNS, REJECT_COLUMNS
from pager_ray.validity import Validity
from tests.reader.runs import GENERATION, HEIGHT, WIDTH, SmallRun, maps_of

LAYOUTS = [("parquet", "erp"), ("parquet", "cubemap"), ("npz", "erp"), ("npz", "cubemap")]


@pytest.fixture
def small(tmp_path: Path) -> SmallRun:
    """Two committed shards with three predictions and one reject, and a shard whose writer died."""
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("b/room 1"), small.reject("bad"), small.prediction("a"))
    small.write("s2", small.prediction("c", scene=None, p_outdoor=None, log_scale=None))
    small.write("s3", small.prediction("d"), committed=False)
    return small


def test_what_was_written_is_read(small: SmallRun) -> None:
    """Ids, scalars and maps of every committed row come back, in order of shards and rows."""
    run = open_run(small.folder)
    assert run.ids() == ["b/room 1", "a", "c"]
    assert len(run) == 3
    assert [prediction.id for prediction in run] == run.ids()
    assert "a" in run
    assert "bad" not in run
    first, last = run["b/room 1"], run["c"]
    assert (first.id, first.uri, first.scene) == ("b/room 1", "/in/b/room 1.jpg", "indoor")
    assert (first.p_outdoor, first.log_scale) == (0.25, 0.5)
    assert (first.height, first.width, first.fov) == (HEIGHT, WIDTH, 90.0)
    assert [last.scene, last.p_outdoor, last.log_scale, last.si_depth] == [None] * 4
    for prediction in run:
        for name, array in maps_of(prediction.id).items():
            np.testing.assert_array_equal(getattr(prediction, name), array)


def test_rows_of_dead_writers_are_not_shown(small: SmallRun) -> None:
    """A shard whose commit record is still pending is neither listed, counted, nor given by id."""
    run = open_run(small.folder)
    assert "d" not in run
    assert run.table(["id"]).column("id").to_pylist() == run.ids()
    with pytest.raises(RunNotFoundError):
        run["d"]


@pytest.mark.parametrize(("output_format", "projection"), LAYOUTS)
def test_every_layout_reads_alike(tmp_path: Path, output_format: str, projection: str) -> None:
    """Shards and npz files, panoramas and faces give the same kind of maps."""
    small = SmallRun(tmp_path / "run", output_format, projection)
    small.write("s1", small.prediction("x"), small.prediction("y/1"))
    for prediction in open_run(small.folder):
        stored = maps_of(prediction.id, projection)
        assert (prediction.height, prediction.width) == (HEIGHT, WIDTH)
        for name, array in stored.items():
            got = getattr(prediction, name)
            assert got.dtype == np.float32
            assert got.shape == ((HEIGHT, WIDTH, 3) if name == "normals" else (HEIGHT, WIDTH))
            if projection == "erp":
                np.testing.assert_array_equal(got, array)
                assert prediction.faces(name) is None
            else:
                np.testing.assert_array_equal(prediction.faces(name), array)
        if projection == "cubemap":
            stitched = cubemap_to_erp(stored["depth"][..., None], HEIGHT, WIDTH)[..., 0]
            np.testing.assert_array_equal(prediction.depth, stitched)
        np.testing.assert_allclose(prediction.si_depth, prediction.depth * np.exp(-0.5), rtol=1e-6)


@pytest.mark.parametrize("output_format", ["parquet", "npz"])
@pytest.mark.parametrize("modalities", [("depth",), ("normals",)])
def test_heads_that_are_missing_give_none(tmp_path: Path, output_format: str, modalities: tuple[str, ...]) -> None:
    """A run of a single-head checkpoint gives that map, and None for the others."""
    small = SmallRun(tmp_path / "run", output_format, modalities=modalities)
    small.write("s1", small.prediction("x", log_scale=None))
    prediction = open_run(small.folder)["x"]
    given = {name for name in ("depth", "si_depth", "normals", "sky") if getattr(prediction, name) is not None}
    assert given == set(modalities)


def test_lossy_codecs_stay_within_their_bound(tmp_path: Path) -> None:
    """Maps are decoded by the codec that the shard names, whatever the configuration says now."""
    small = SmallRun(tmp_path / "run", codec="default")
    small.write("s1", small.prediction("x"))
    small.manifest["config"]["output"]["codec"] = "exact"
    small.save()
    prediction = open_run(small.folder)["x"]
    np.testing.assert_allclose(prediction.depth, maps_of("x")["depth"], rtol=1e-3)
    assert not np.array_equal(prediction.depth, maps_of("x")["depth"])
    np.testing.assert_allclose(prediction.sky, maps_of("x")["sky"], atol=1 / 255)


def test_one_panorama_reads_one_row_group(small: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening one prediction reads its own row group, not the whole shard's arrays."""
    run = open_run(small.folder)
    run.ids()
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
        groups.append(number)
        return read(self, number, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("reads whole shards"))
    assert run["a"].depth is not None
    assert groups == [1]


def test_files_and_schema_are_those_that_count(small: SmallRun) -> None:
    """Other readers get the committed shards alone, and what their columns mean."""
    run = open_run(small.folder)
    table = pa.concat_tables([pq.read_table(uri) for uri in run.files()])
    assert table.column("id").to_pylist() == run.ids()
    schema = run.schema()
    assert schema.names == [*PREDICTION_COLUMNS, "valid", "depth", "normals", "sky"]
    assert schema.field("depth").metadata[b"unit"] == b"metre"


def test_a_run_without_predictions_has_no_schema(tmp_path: Path) -> None:
    """Before the first shard there are no files, and the schema is an error that says so."""
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.reject("bad"))
    run = open_run(small.folder)
    assert run.files() == []
    with pytest.raises(RunNotFoundError, match="has no prediction yet"):
        run.schema()


def test_the_table_has_no_pixels(small: SmallRun) -> None:
    """The table holds one row per prediction with the documented columns, or those asked for in their order."""
    run = open_run(small.folder)
    assert run.table().column_names == PREDICTION_COLUMNS
    some = run.table(["log_scale", "id"])
    assert some.column_names == ["log_scale", "id"]
    assert some.to_pylist() == [
        {"log_scale": 0.5, "id": "b/room 1"},
        {"log_scale": 0.5, "id": "a"},
        {"log_scale": None, "id": "c"},
    ]


@pytest.mark.parametrize("columns", [["pixels"], ["id", "depth"]])
def test_unknown_columns_are_named(small: SmallRun, columns: list[str]) -> None:
    """A column that the table does not have is refused by name, with those it has; maps are no columns."""
    with pytest.raises(ConfigError, match=rf"columns: {columns[-1]} unknown; takes id, uri"):
        open_run(small.folder).table(columns)


def test_a_single_name_is_no_list_of_letters(small: SmallRun) -> None:
    """One column or one map may be given alone, as maps are to the other readers."""
    run = open_run(small.folder)
    assert run.table("log_scale").to_pydict() == {"log_scale": [0.5, 0.5, None]}
    only = run.read("a", "depth")
    np.testing.assert_array_equal(only.depth, maps_of("a")["depth"])
    assert only.normals is None


def test_unknown_maps_are_named(small: SmallRun) -> None:
    """A map that no run has is refused, in place of a prediction without it."""
    with pytest.raises(ConfigError, match="maps: dpeth unknown; takes depth, normals, sky"):
        open_run(small.folder).read("a", ["depth", "dpeth"])


@pytest.mark.parametrize("id", [0, slice(0, 2), None, b"a", ["a"], pa.scalar("a")])
def test_what_is_no_id_is_named(small: SmallRun, id: object) -> None:
    """Places in a list, and scalars of a table's column, are no ids: one line, and the KeyError of mappings."""
    run = open_run(small.folder)
    assert id not in run
    with pytest.raises(KeyError) as caught:
        run[id]  # type: ignore[index]
    assert isinstance(caught.value, PagerError)
    kind = type(id).__name__
    assert str(caught.value) == (
        f"{small.folder}: has no prediction with id {id!r} ({kind}); ids are text: take one of ids()"
    )


def test_rejects_say_why(small: SmallRun) -> None:
    """Inputs that gave nothing are listed with their reason."""
    rejects = open_run(small.folder).rejects()
    assert rejects.column_names == REJECT_COLUMNS
    assert rejects.to_pylist() == [{key: small.reject("bad")[key] for key in REJECT_COLUMNS}]


def test_a_run_without_rows_is_empty(tmp_path: Path) -> None:
    """A run that has just begun has no ids, and tables with the documented columns and no rows."""
    run = open_run(SmallRun(tmp_path / "run").folder)
    assert run.ids() == []
    assert list(run) == []
    assert run.manifest["state"] == "running"
    assert (run.table().num_rows, run.table().column_names) == (0, PREDICTION_COLUMNS)
    assert (run.rejects().num_rows, run.rejects().column_names) == (0, REJECT_COLUMNS)


@pytest.mark.parametrize("columns", [None, ["id", "depth_p50"], ["height"]])
def test_empty_tables_have_the_types_of_full_ones(tmp_path: Path, columns: list[str] | None) -> None:
    """Tables of an empty run have the columns' types, so that they join and append like any others."""
    empty, full = SmallRun(tmp_path / "empty"), SmallRun(tmp_path / "full")
    full.write("s", full.prediction("a"), full.reject("b"))
    assert open_run(empty.folder).table(columns).schema.types == open_run(full.folder).table(columns).schema.types
    assert open_run(empty.folder).rejects().schema.types == open_run(full.folder).rejects().schema.types


def test_a_growing_run_is_shown_as_it_was_opened(small: SmallRun) -> None:
    """What is committed later appears after a refresh, all at once."""
    run = open_run(small.folder)
    assert len(run) == 3
    small.write("s0", small.prediction("e"))
    small.complete()
    assert "e" not in run
    assert run.table(["id"]).num_rows == 3
    assert run.manifest["state"] == "running"
    run.refresh()
    assert run.ids()[0] == "e"
    assert run.table(["id"]).num_rows == 4
    assert run.manifest["state"] == "complete"
    assert repr(run) == f"Run('{small.folder}', complete, 4 predictions)"


def test_runs_on_object_stores(small: SmallRun) -> None:
    """A run on any fsspec URL reads like a local one."""
    memory = fsspec.filesystem("memory")
    try:
        memory.put(f"{small.folder}/", "/bucket/run", recursive=True)
        run = open_run("memory://bucket/run/")
        assert run.ids() == open_run(small.folder).ids()
        np.testing.assert_array_equal(run["a"].depth, maps_of("a")["depth"])
    finally:
        memory.store.clear()


@pytest.mark.parametrize("place", ["empty", "absent"])
def test_a_folder_without_a_run_is_named(tmp_path: Path, place: str) -> None:
    """A folder that holds no run, or does not exist, is one clear line that names it."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunNotFoundError) as caught:
        open_run(tmp_path / place)
    assert str(caught.value) == f"{tmp_path}/{place}: holds no run (no run.json); give the output.uri of a run"


def test_an_unknown_id_is_named(small: SmallRun) -> None:
    """An id without a prediction is one clear line, also as the KeyError that mappings raise."""
    with pytest.raises(KeyError) as caught:
        open_run(small.folder)["bad"]
    assert isinstance(caught.value, PagerError)
    assert (
        str(caught.value)
        == f"{small.folder}: has no prediction with id 'bad'; take one of ids(), or look into rejects() for why"
    )


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema_version": "99"}'])
def test_a_run_file_that_cannot_be_understood_is_named(small: SmallRun, content: bytes) -> None:
    """A damaged run file, or one of another version, is an error that names it."""
    small.layout.root.write("run.json", content)
    with pytest.raises(StorageError, match=r"run\.json"):
        open_run(small.folder)


@pytest.mark.parametrize("section", ["config", "checkpoint", "state"])
@pytest.mark.parametrize("value", [None, {}, []])
def test_a_run_file_without_its_sections_is_named(small: SmallRun, section: str, value: object) -> None:
    """A run file that lacks what predictions are read with is an error when the run is opened, not a KeyError later."""
    del small.manifest[section]
    if section != "state":
        small.manifest[section] = value
    small.save()
    with pytest.raises(
        StorageError,
        match=r"its run\.json (lacks|cannot be understood) .*; restore it from a copy, or start the run anew",
    ):
        open_run(small.folder)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "garbage":
        path.write_bytes(b"no parquet")
    else:
        content[-200:-8] = bytes(192)
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "garbage", "footer"])
def test_damaged_shards_are_named(small: SmallRun, how: str) -> None:
    """A shard that cannot be read is an error with its path, whatever is asked of the run."""
    run, opened = open_run(small.folder), open_run(small.folder)
    opened.ids()
    damage(small.folder / "predictions" / "s1.parquet", how)
    damage(small.folder / "rejects" / "s1.parquet", how)
    for ask in (run.table, lambda: opened["a"]):
        with pytest.raises(StorageError, match=r"predictions/s1\.parquet: is no readable shard"):
            ask()
    with pytest.raises(StorageError, match=r"rejects/s1\.parquet: is no readable shard"):
        run.rejects()
    assert opened["c"].depth is not None


def test_a_damaged_map_is_never_shown(small: SmallRun) -> None:
    """A flipped bit in a stored map is an error when the map is asked for; other rows stay readable."""
    path = small.folder / "predictions" / "s1.parquet"
    content = path.read_bytes()
    blob = small.prediction("a")["depth"]
    start = content.index(blob) + len(blob) // 2
    path.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    run = open_run(small.folder)
    with pytest.raises(StorageError, match=r"predictions/s1\.parquet: depth of 'a': .*damaged.*; .*restore its file"):
        _ = run["a"].depth
    np.testing.assert_array_equal(run["a"].sky, maps_of("a")["sky"])
    np.testing.assert_array_equal(run["b/room 1"].depth, maps_of("b/room 1")["depth"])


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.trace, "w")


def archive(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.fixture
def npz_run(tmp_path: Path) -> SmallRun:
    small = SmallRun(tmp_path / "run", "npz")
    small.write("s1", small.prediction("x"))
    return small


def test_files_are_never_unpickled(npz_run: SmallRun, tmp_path: Path) -> None:
    """Pickled objects in the place of a map are refused without running them."""
    trace = tmp_path / "trace"
    bomb = np.array([Bomb(str(trace))], dtype=object)
    raw = pickle.dumps(Bomb(str(trace)))
    folder = npz_run.layout.npz("depth")
    for content in (archive(arr_0=bomb), raw):
        folder.write("x.npz", content)
        with pytest.raises(StorageError, match=r"depth/preds/x\.npz: is no npz file"):
            _ = open_run(npz_run.folder)["x"].depth
    assert not trace.exists()


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "words", "other name"])
def test_damaged_npz_files_are_named(npz_run: SmallRun, how: str) -> None:
    """An npz file that is cut, damaged, empty or something else is an error with its path."""
    folder = npz_run.layout.npz("normals")
    good = folder.read("x.npz")
    content = {
        "truncated": good[: len(good) // 2],
        "flipped": flipped(good),
        "empty": b"",
        "words": b"no archive",
        "other name": archive(depth=np.zeros((1, 2, 4), np.float32)),
    }[how]
    folder.write("x.npz", content)
    prediction = open_run(npz_run.folder)["x"]
    with pytest.raises(StorageError, match=r"normals/preds/x\.npz: is no npz file"):
        _ = prediction.normals
    np.testing.assert_array_equal(prediction.depth, maps_of("x")["depth"])


def bare(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def bad_deflate() -> bytes:
    """A compressed npz file with damage inside the compressed bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, arr_0=maps_of("x")["depth"][None])
    content = file.getvalue()
    return content[:100] + bytes(40) + content[140:]


def encrypted() -> bytes:
    """A npz file whose entries say that they are encrypted."""
    content = bytearray(archive(arr_0=maps_of("x")["depth"][None]))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        bare(np.zeros((1, HEIGHT, WIDTH), np.float32)),
        archive(arr_0=np.zeros((HEIGHT, WIDTH), np.float32)),
        archive(arr_0=np.zeros((HEIGHT, WIDTH, 1), np.float32)),
        archive(arr_0=np.float32(3)),
        archive(arr_0=np.zeros((1, HEIGHT, WIDTH), np.float64)),
        archive(arr_0=np.zeros((1, HEIGHT, WIDTH), np.int32)),
        archive(arr_0=np.zeros((1, HEIGHT // 2, WIDTH // 2), np.float32)),
        bad_deflate(),
        encrypted(),
    ],
    ids=["npy", "no channel", "channel last", "scalar", "float64", "int32", "size", "deflate", "encrypted"],
)
def test_npz_files_with_something_else_are_named(npz_run: SmallRun, content: bytes) -> None:
    """Only a float32 array of the shape that the row tells is shown; the rest is an error with the path."""
    npz_run.layout.npz("depth").write("x.npz", content)
    with pytest.raises(StorageError, match=r"depth/preds/x\.npz: is no npz file with one float32 array"):
        _ = open_run(npz_run.folder)["x"].depth


def test_a_missing_npz_file_is_named(npz_run: SmallRun) -> None:
    """A map whose file is gone is an error with the path, not a missing head."""
    npz_run.layout.npz("sky").delete(["x.npz"])
    with pytest.raises(StorageError, match=r"sky/preds/x\.npz: cannot be read"):
        _ = open_run(npz_run.folder)["x"].sky


def test_compressed_npz_files_read_too(npz_run: SmallRun) -> None:
    """Files that somebody compressed afterwards are still npz files."""
    file = io.BytesIO()
    np.savez_compressed(file, maps_of("x")["depth"][None])
    assert zipfile.ZipFile(file).infolist()[0].compress_type == zipfile.ZIP_DEFLATED
    npz_run.layout.npz("depth").write("x.npz", file.getvalue())
    np.testing.assert_array_equal(open_run(npz_run.folder)["x"].depth, maps_of("x")["depth"])


def test_scores_are_no_run(small: SmallRun) -> None:
    """The output of an evaluation is told from a run's, with what to read there instead."""
    small.manifest["identity"]["job"] = "evaluate"
    small.save()
    with pytest.raises(RunNotFoundError) as caught:
        open_run(small.folder)
    assert str(caught.value) == (
        f"{small.folder}: holds scores of `pager-ray evaluate`, no predictions of a run; read metrics/report.json and "
        "metrics/samples/*.parquet there"
    )


@settings(max_examples=50)
@given(shards=st.lists(st.integers(0, 4), max_size=30), order=st.randoms(use_true_random=False))
def test_every_prediction_has_its_place(shards: list[int], order: random.Random) -> None:
    """An id leads to its shard and to its row there, however shards lie between each other in the ledger."""
    names = [f"{number}é" for number in range(len(shards))]
    order.shuffle(names)
    told = [record_of(f"s{shard}", [name], [None], "0") for name, shard in zip(names, shards, strict=True)]
    index = _Index(pa.concat_tables([LEDGER_SCHEMA.empty_table(), *told]))
    seen: Counter[int] = Counter()
    for name, shard in zip(names, shards, strict=True):
        assert index.find(name) == (f"s{shard}", seen[shard])
        seen[shard] += 1
    assert index.find("") is index.find("é") is index.find("9") is None


@pytest.mark.parametrize("is_folded", [False, True])
def test_a_ledger_of_many_parts_reads_as_one(small: SmallRun, monkeypatch: pytest.MonkeyPatch, is_folded: bool) -> None:
    """In however many parts a ledger is read, and shards lie, ids, rows and places are the same."""
    if is_folded:
        small.layout.ledger.compact(GENERATION)
    whole = open_run(small.folder)
    monkeypatch.setattr(standing, "ROWS_AT_ONCE", 1)
    run = open_run(small.folder)
    assert run.ids() == whole.ids() == ["b/room 1", "a", "c"]
    assert run.table().equals(whole.table())
    assert run.files() == whole.files()
    assert run.rejects().equals(whole.rejects())
    assert [run[name].scene for name in run.ids()] == ["indoor", "indoor", None]


def test_opening_a_run_keeps_the_texts_of_its_ids_and_little_else(small: SmallRun) -> None:
    """Names and digests of shards, 100 bytes that many rows share, are not there once per row."""
    rows, shard = 65_536, 16
    ids = [f"{row:020}" for row in range(rows)]
    shards = [f"{row // shard:036}" for row in range(rows)]
    digests = [f"{row // shard:064}" for row in range(rows)]
    small.layout.ledger.finish(GENERATION, pa.table([ids, shards, [None] * rows, digests], schema=LEDGER_SCHEMA))
    before = pa.total_allocated_bytes()
    run = open_run(small.folder)
    kept = pa.total_allocated_bytes() - before
    assert run.ids() == ids
    # An id's text and offset, two codes and room for errors, in an allocation that may be half as large again; and
    # what the shards have.
    assert kept / rows < 1.5 * (20 + 4 + 8 + 5) + 100 / shard


@pytest.mark.parametrize("output_format", ["parquet", "npz"])
def test_a_damaged_mask_is_named(tmp_path: Path, output_format: str) -> None:
    """Which pixels are valid is read when it is asked for; damage is told with shard and id, and costs nothing else."""
    small = SmallRun(tmp_path / "run", output_format=output_format)
    found = Validity(HEIGHT, WIDTH, 2, 3, 20, 10, mask=np.eye(10, 20, dtype=bool))
    small.write(
        "s1",
        small.prediction("good", valid=found.to_row()),
        small.prediction("bad", valid=found.to_row() | {"mask": b"no picture"}),
    )
    run = open_run(small.folder)
    np.testing.assert_array_equal(run["good"].valid, found.erp(HEIGHT, WIDTH))
    bad = run["bad"]
    assert bad.depth is not None
    with pytest.raises(StorageError, match=r"s1.parquet: valid of 'bad': mask is no PNG"):
        _ = bad.valid


def test_runs_of_earlier_versions_are_valid_everywhere(tmp_path: Path) -> None:
    """A shard without the columns is read as before: all pixels are valid, their share is not known."""
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("a"))
    (path,) = (tmp_path / "run" / "predictions").glob("*.parquet")
    table = pq.read_table(path).drop_columns(["valid", "valid_fraction"])
    pq.write_table(table, path, row_group_size=1)
    run = open_run(small.folder)
    assert run["a"].valid.all()
    assert run["a"].valid.shape == (HEIGHT, WIDTH)
    assert run.table(["valid_fraction"]).to_pylist() == [{"valid_fraction": None}]
    assert pager_ray.torch_dataset(small.folder)[0]["valid"].all()
