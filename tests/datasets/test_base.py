"""Tests of pager_ray.datasets.base, and of what holds for every dataset on storage."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pager_ray.datasets import Dataset, Sample, open_dataset
from pager_ray.datasets.base import FolderDataset, file_id
from pager_ray.datasets.root import Root
from pager_ray.errors import ConfigError, InputError
from pager_ray.storage import SAFE_NAME_BYTES, safe_name
from tests.datasets.folders import (
    STANFORD,
    TREES,
    TRUTHS,
    folder_name,
    picture_bytes,
    write_dataset,
    write_tree,
    write_zip,
)

pytestmark = pytest.mark.usefixtures("small_protocols")

NAMES = list(TREES)


def read_all(dataset: Dataset) -> list[tuple]:
    """Everything that a dataset gives, without where it lies."""
    found = []
    for sample in dataset.samples():
        truth = dataset.read_ground_truth(sample)
        normals = truth.normals.tobytes() if truth.normals is not None else b""
        arrays = (dataset.read_rgb(sample).tobytes(), truth.depth.tobytes(), truth.mask.tobytes(), normals)
        found.append((sample.id, sample.scene, sample.labels, sample.source, *arrays))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_any_store_gives_the_same(name: str, tmp_path: Path, memory_url: str) -> None:
    """A path, a file:// URL, an in-memory store and a zip archive give the same samples, pictures and ground truth."""
    paths = [write_dataset(name, root) for root in (str(tmp_path), memory_url)]
    paths.append(Path(paths[0]).as_uri())
    write_zip(f"{tmp_path}/all.zip", folder_name(name), TREES[name])
    paths.append(f"zip://{'synthetic' if name == 'synthetic' else ''}::{tmp_path}/all.zip")
    first, *others = (read_all(open_dataset(name, path)) for path in paths)
    assert first
    for other in others:
        assert other == first


@pytest.mark.parametrize("name", NAMES)
def test_the_datasets_own_folder_is_taken(name: str, tmp_path: Path) -> None:
    """``data_path`` may be the dataset's folder itself, whatever it is called."""
    write_tree(f"{tmp_path}/renamed", TREES[name])
    assert [sample.id for sample in open_dataset(name, f"{tmp_path}/renamed").samples()]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_roots_say_what_was_expected(name: str, tmp_path: Path) -> None:
    """A folder that is not there, empty or of something else is a ConfigError of one line with path and layout."""
    (tmp_path / "empty").mkdir()
    write_tree(f"{tmp_path}/other", {"holiday/photo.jpg": b"x", "readme.txt": b"x", "data/notes.txt": b"x"})
    (tmp_path / "file").write_bytes(b"x")
    for wrong in ("nothing", "empty", "other", "file"):
        with pytest.raises(ConfigError) as caught:
            open_dataset(name, f"{tmp_path}/{wrong}")
        message = str(caught.value)
        assert message.startswith(f"{name}: ")
        assert f"{tmp_path}/{wrong}" in message
        assert "\n" not in message
        assert ("pager-ray samples FOLDER --count 32 --height 512" if name == "synthetic" else "expected") in message


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("ZuriPano", "PanoInfinigen/nature")])
def test_data_path_is_needed(name: str) -> None:
    """Datasets that are on no Hub need a folder, and say so."""
    with pytest.raises(ConfigError, match=f"{name}: needs a data_path"):
        open_dataset(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_protocols_and_secrets(name: str) -> None:
    """A URL that no file system serves is a ConfigError, and its password is in no message."""
    with pytest.raises(ConfigError) as caught:
        open_dataset(name, "nowhere://user:hunter2@host/data")
    assert "host/data" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_named_and_sorted(name: str, tmp_path: Path) -> None:
    """Ids are unique file names in order; what a sample carries is text that goes through JSON."""
    samples = open_dataset(name, write_dataset(name, str(tmp_path))).samples()
    ids = [sample.id for sample in samples]
    assert ids == sorted(set(ids))
    for sample in samples:
        assert file_id(sample.id) == sample.id
        assert sample.scene in ("indoor", "outdoor")
        assert sample.uri.startswith(str(tmp_path))
        assert Sample(**json.loads(json.dumps(dataclasses.asdict(sample)))) == sample
        assert all(isinstance(value, str) for part in (sample.labels, sample.source) for value in part.values())


@pytest.mark.parametrize("name", NAMES)
def test_workers_get_the_same(name: str, tmp_path: Path) -> None:
    """A pickled dataset is small and reads the driver's samples as the driver does, also after it has read some."""
    dataset = open_dataset(name, write_dataset(name, str(tmp_path)))
    fresh = pickle.dumps(dataset)
    expected = read_all(dataset)
    for packed in (fresh, pickle.dumps(dataset)):
        assert len(packed) < 4000
        assert read_all(pickle.loads(packed)) == expected  # noqa: S301 -- our own bytes


@pytest.mark.parametrize("name", NAMES)
def test_protocol_is_told(name: str, tmp_path: Path) -> None:
    """The protocol is JSON and says size, range and decoding; truth and picture have that size."""
    dataset = open_dataset(name, write_dataset(name, str(tmp_path)))
    protocol = json.loads(json.dumps(dataset.protocol()))
    assert (protocol["dataset"], protocol["depth_range"]) == (name, [0.01, 75.0])
    assert protocol["depth"]
    assert ("normals" in protocol) <= ("normals" in protocol["modalities"])
    sample = dataset.samples()[0]
    assert dataset.read_rgb(sample).shape == (protocol["height"], protocol["width"], 3)
    truth = dataset.read_ground_truth(sample)
    assert truth.depth.shape == truth.mask.shape == (protocol["height"], protocol["width"])
    assert truth.mask.any()
    assert (truth.normals is not None) == ("normals" in protocol["modalities"])


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in TRUTHS.items() for file in files])
@pytest.mark.parametrize("content", [None, b"", b"garbage", "half"])
def test_bad_ground_truth_is_named(name: str, file: str, content: bytes | str | None, tmp_path: Path) -> None:
    """Ground truth that is missing, empty, something else or cut off is an error of its sample that names the file."""
    path = write_dataset(name, str(tmp_path))
    dataset = open_dataset(name, path)
    sample = dataset.samples()[0]
    target = tmp_path / folder_name(name) / file
    whole = target.read_bytes()
    target.unlink()
    if content is not None:
        target.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        dataset.read_ground_truth(sample)
    assert caught.value.error_class == "bad_ground_truth"
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    dataset.read_rgb(sample)


@pytest.mark.parametrize("name", TRUTHS)
def test_bad_pictures_are_named(name: str, tmp_path: Path) -> None:
    """A picture that is missing or damaged has the class that the reader gives it, and is named."""
    dataset = open_dataset(name, write_dataset(name, str(tmp_path)))
    sample = dataset.samples()[0]
    target = Path(sample.uri)
    whole = target.read_bytes()
    if name != "synthetic":  # whose size is that of its first picture
        target.unlink()
        with pytest.raises(InputError) as caught:
            dataset.read_rgb(sample)
        assert caught.value.error_class == "missing"
    else:
        assert dataset.height == 8
    target.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as caught:
        dataset.read_rgb(sample)
    assert caught.value.error_class == "corrupt_image"
    assert str(target) in str(caught.value)
    dataset.read_ground_truth(sample)


def test_failing_stores_are_not_bad_ground_truth(
    tmp_path: Path, memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may be better the next time keeps the reader's class, for pictures and ground truth alike."""
    dataset = open_dataset("Replica360_4K", write_dataset("Replica360_4K", memory_url))
    sample = dataset.samples()[0]

    def refuse(*_: object, **__: object) -> bytes:
        raise TimeoutError(110, "Connection timed out")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", refuse)
    for read in (dataset.read_rgb, dataset.read_ground_truth):
        with pytest.raises(InputError, match="Connection timed out") as caught:
            read(sample)
        assert caught.value.error_class == "transient"


MORE = {
    "Matterport3D360": [f"part1/data/sceneA/more{i}_{end}" for i in range(40) for end in ("rgb.png", "depth.dpt")],
    "Stanford2D3DS": [f"area_3/pano/rgb/camera_{i:x}_office_1{STANFORD}_rgb.png" for i in range(40)],
    "Replica360_4K": [f"frl_apartment_0/1{i:03d}_rgb_pano.jpg" for i in range(40)],
    "Structured3D": [f"scene_03250/2D_rendering/{i + 100}/panorama/full/rgb_rawlight.png" for i in range(40)],
}


@pytest.mark.parametrize("name", MORE)
def test_listing_does_not_ask_for_every_sample(name: str, memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty samples more are listed with the same calls to the store."""
    dataset = open_dataset(name, write_dataset(name, memory_url))
    calls: list[str] = []
    store = type(fsspec.filesystem("memory"))

    def counting(method: str):
        original = getattr(store, method)

        def counted(self, *arguments, **options):
            calls.append(method)
            before = len(calls)
            result = original(self, *arguments, **options)
            del calls[before:]  # what the store asks itself
            return result

        return counted

    for method in ("ls", "find", "walk", "glob", "exists", "isfile", "isdir", "info", "open", "cat_file"):
        monkeypatch.setattr(store, method, counting(method))
    few, asked = len(dataset.samples()), len(calls)
    write_tree(f"{memory_url}/{name}", dict.fromkeys(MORE[name], b""))
    calls.clear()
    assert len(dataset.samples()) == few + 40
    assert 0 < len(calls) == asked


class Numbers(FolderDataset):
    """A third-party dataset of pictures without ground truth."""

    name = "Numbers"
    height, width = 8, 16
    layout = "<n>.png"

    def fits(self, root: Root) -> bool:
        return any(name.endswith(".png") for name in root.names())

    def list_samples(self):
        for name in self.root.names():
            yield Sample(name[0], self.root.shown(name), None, {}, {"rgb": name})

    def read_ground_truth(self, sample: Sample):
        raise InputError("bad_ground_truth", f"{sample.uri}: has none")


def test_two_samples_with_one_id_are_refused(tmp_path: Path) -> None:
    """Two pictures with one id would share a prediction: a ConfigError names both."""
    write_tree(str(tmp_path), {"1.png": picture_bytes(), "2.png": picture_bytes()})
    dataset = Numbers(str(tmp_path))
    assert [sample.id for sample in dataset.samples()] == ["1", "2"]
    np.testing.assert_array_equal(dataset.read_rgb(dataset.samples()[0]).shape, (8, 16, 3))
    write_tree(str(tmp_path), {"1 again.png": picture_bytes()})
    with pytest.raises(ConfigError, match=r"1 again\.png and .*1\.png both have the id '1'; remove one of them"):
        dataset.samples()


def test_a_dataset_without_samples_is_refused(tmp_path: Path) -> None:
    """A folder that looks right and holds no sample is a ConfigError with the layout."""
    write_tree(f"{tmp_path}/Structured3D", {"scene_00001/readme.txt": b""})
    with pytest.raises(ConfigError, match=r"Structured3D holds no sample; expected scene_"):
        open_dataset("Structured3D", str(tmp_path)).samples()


@pytest.mark.parametrize("text", ["../../etc/passwd", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", "x" * 300, "é" * 150])
def test_ids_that_are_no_file_names_are_encoded(text: str) -> None:
    """An id that would leave a folder, hide in it or not fit a file system becomes one that does not."""
    id = file_id(text)
    assert id == safe_name(text)
    assert not set("/\\\0\n") & set(id)
    assert not id.startswith(".")
    assert len(id.encode()) <= SAFE_NAME_BYTES


@pytest.mark.parametrize("text", ["scene_03250_485", "Zürich_HB_0", "place & time (2)", "#5"])
def test_ids_that_are_file_names_stay(text: str) -> None:
    """Ids stay as the released code gives them wherever they are file names."""
    assert file_id(text) == text
