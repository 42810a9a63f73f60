"""Standing predictions: a run of ours and a folder that somebody else wrote read the same."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pager_ray.encode.npz import encode_npz
from pager_ray.errors import ConfigError, InputError, StorageError
from pager_ray.evaluate import open_predictions
from pager_ray.evaluate.predictions import NpzPredictions
from pager_ray.storage import Folder, safe_name
from tests.reader.runs import SmallRun

RNG = np.random.default_rng(0)
DEPTH = RNG.random((1, 16, 32), dtype=np.float32) + 1
NORMALS = RNG.standard_normal((3, 16, 32)).astype(np.float32)


def released(root: Path, **options: bool) -> Path:
    """A folder as the released inference leaves it, written with NumPy alone."""
    for name, array in (("depth", DEPTH), ("normals", NORMALS)):
        folder = root / name / "preds"
        folder.mkdir(parents=True)
        save = np.savez_compressed if options.get("compressed") else np.savez
        save(folder / "Zürich_HB_0.npz", array)
    return root


@pytest.mark.parametrize("compressed", [False, True])
def test_folders_of_others_are_read(tmp_path: Path, compressed: bool) -> None:
    """File names are the ids, arrays are channels first; both come as maps, depth (H, W) and normals (H, W, 3)."""
    stored = open_predictions(str(released(tmp_path, compressed=compressed)))
    assert stored.maps == ("depth", "normals")
    maps = stored.read("Zürich_HB_0", ("depth", "normals"))
    np.testing.assert_array_equal(maps.depth, DEPTH[0])
    np.testing.assert_array_equal(maps.normals, NORMALS.transpose(1, 2, 0))
    assert stored.read("Zürich_HB_0", ("depth",)).normals is None


@pytest.mark.parametrize("name", ["a b & c's", safe_name("a b & c's")], ids=["as-it-is", "encoded"])
def test_ids_that_are_no_plain_names_are_found(tmp_path: Path, name: str) -> None:
    """Files are found under the id as it is, as others write them, and encoded, as we do."""
    released(tmp_path)
    np.savez(tmp_path / "depth" / "preds" / f"{name}.npz", DEPTH)
    np.testing.assert_array_equal(open_predictions(str(tmp_path)).read("a b & c's", ("depth",)).depth, DEPTH[0])


def test_folders_lie_on_any_url() -> None:
    """Object stores hold the same layout."""
    folder = Folder("memory://bucket/preds/depth/preds")
    try:
        folder.write("a.npz", encode_npz("depth", DEPTH[0]))
        stored = open_predictions("memory://bucket/preds")
        assert stored.maps == ("depth",)
        np.testing.assert_array_equal(stored.read("a", ("depth",)).depth, DEPTH[0])
    finally:
        fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize(
    ("content", "error_class", "message"),
    [
        (None, "missing_prediction", "does not exist; predict sample 'a b' into it"),
        (b"", "bad_prediction", "is no readable npz file .*; write it again"),
        (encode_npz("depth", DEPTH[0])[:-900], "bad_prediction", "is no readable npz file .*; write it again"),
        (
            encode_npz("normals", NORMALS.transpose(1, 2, 0)),
            "bad_prediction",
            r"holds \(3, 16, 32\), takes \(1, H, W\)",
        ),
        (encode_npz("depth", RNG.random((6, 16, 16))), "bad_prediction", r"holds \(6, 1, 16, 16\), takes \(1, H, W\)"),
    ],
    ids=["absent", "empty", "cut", "normals-for-depth", "faces"],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, error_class: str, message: str) -> None:
    """A prediction that is not there, damaged, or of another shape is an error with its file's name and what to do."""
    released(tmp_path)
    if content is not None:
        (tmp_path / "depth" / "preds" / "a b.npz").write_bytes(content)
    with pytest.raises(InputError, match=rf"depth/preds/a b\.npz: {message}") as caught:
        open_predictions(str(tmp_path)).read("a b", ("depth",))
    assert caught.value.error_class == error_class


def test_no_id_leaves_the_folder(tmp_path: Path) -> None:
    """An id with separators is one file name inside the folder."""
    released(tmp_path / "preds")
    (tmp_path / "secret.npz").write_bytes(encode_npz("depth", DEPTH[0]))
    with pytest.raises(InputError) as caught:
        NpzPredictions(str(tmp_path / "preds")).read("../../../secret", ("depth",))
    assert caught.value.error_class == "missing_prediction"


def test_other_folders_are_refused(tmp_path: Path) -> None:
    """A folder with neither a run nor arrays says what was expected."""
    with pytest.raises(ConfigError, match=r"neither a run's output .* depth/preds/<id>\.npz.*; give one of them"):
        open_predictions(str(tmp_path))


@pytest.mark.parametrize("content", [{}, {"config": None}, {"config": [1]}, {"config": {"output": 3}}])
def test_a_run_file_of_others_beside_arrays_says_nothing(tmp_path: Path, content: object) -> None:
    """Another program's file of that name leaves the arrays what they are."""
    released(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(content), encoding="utf-8")
    found = open_predictions(str(tmp_path))
    assert found.maps == ("depth", "normals")
    assert (found.face_size, found.fov) == (None, None)


@pytest.mark.parametrize("faces", [{"face_size": 10**9}, {"face_size": "x"}, {"cube_fov": 180}, {"cube_fov": None}])
def test_faces_that_no_network_has_are_refused(tmp_path: Path, faces: dict[str, object]) -> None:
    """What a run file says of faces is asked for as memory later: it is believed where it can be."""
    released(tmp_path)
    content = {"checkpoint": {"face_size": 504, "cube_fov": 90.0} | faces}
    (tmp_path / "run.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StorageError, match=r"its run\.json cannot be understood .*; restore it from a copy, or move"):
        open_predictions(str(tmp_path))


@pytest.fixture
def run(tmp_path: Path) -> SmallRun:
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("a"), small.reject("b"))
    return small


def test_samples_that_a_run_lacks_are_named(run: SmallRun) -> None:
    """A sample without a prediction is named with the run, and with how its ids get there."""
    with pytest.raises(InputError) as caught:
        open_predictions(str(run.folder)).read("b", ("depth",))
    assert caught.value.error_class == "missing_prediction"
    assert str(caught.value) == (
        f"{run.folder}: has no prediction with id 'b'; give the run a listing with the dataset's ids"
    )


def test_a_shard_that_is_cut_off_costs_its_own_predictions(run: SmallRun) -> None:
    """Those of other shards are scored; a store that does not answer stops the job."""
    run.write("s2", run.prediction("c"))
    path = run.folder / "predictions" / "s1.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    predictions = open_predictions(str(run.folder))
    with pytest.raises(InputError, match=r"s1\.parquet: is no readable shard") as caught:
        predictions.read("a", ("depth",))
    assert caught.value.error_class == "bad_prediction"
    assert predictions.read("c", ("depth",)).depth is not None
    path.unlink()
    with pytest.raises(InputError, match="is no readable shard") as caught:
        open_predictions(str(run.folder)).read("a", ("depth",))
    assert caught.value.error_class == "bad_prediction"


def test_a_store_that_does_not_answer_is_no_bad_prediction(run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be that of every sample."""
    predictions = open_predictions(str(run.folder))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Folder, "open", refuse)
    monkeypatch.setattr(Folder, "read", refuse)
    with pytest.raises((StorageError, PermissionError)):
        predictions.read("a", ("depth",))


def test_files_that_are_written_anew_are_other_predictions(tmp_path: Path) -> None:
    """Scores of those before are none of these; the same files are the same, whoever asks."""
    root = released(tmp_path)
    first = open_predictions(str(root)).identity
    assert open_predictions(str(root)).identity == first
    np.savez(root / "depth" / "preds" / "Zürich_HB_0.npz", DEPTH * 2)
    second = open_predictions(str(root)).identity
    assert second != first
    np.savez(root / "normals" / "preds" / "another.npz", NORMALS)
    assert open_predictions(str(root)).identity not in (first, second)


def test_maps_of_a_run_that_are_damaged_are_named(run: SmallRun) -> None:
    """A run's map that cannot be decoded is a bad prediction: shard, map, id, damage and what to do."""
    path = run.folder / "predictions" / "s1.parquet"
    content = path.read_bytes()
    blob = run.prediction("a")["depth"]
    start = content.index(blob) + len(blob) // 2
    path.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    with pytest.raises(InputError, match=r"s1\.parquet: depth of 'a': .* is damaged: .*restore its file") as caught:
        open_predictions(str(run.folder)).read("a", ("depth",))
    assert caught.value.error_class == "bad_prediction"
