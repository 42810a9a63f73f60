"""Tests of pager_ray.datasets.infinigen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pager_ray.datasets import open_dataset
from pager_ray.datasets.decode import decode_rgb
from pager_ray.errors import ConfigError, InputError
from tests.datasets.folders import infinigen_bytes, npy_bytes, parquet_bytes, picture_bytes, write_tree


def write_configs(tmp_path: Path) -> str:
    files = {
        "data/indoor/train-00000.parquet": infinigen_bytes(2),
        "data/indoor/train-00001.parquet": infinigen_bytes(1),
        "data/indoor/val-00000.parquet": infinigen_bytes(1, 12, 24),
        "data/nature/train-00000.parquet": infinigen_bytes(1, channel_axis=True),
        "data/urban/test-00000.parquet": infinigen_bytes(1),
    }
    write_tree(f"{tmp_path}/PanoInfinigen", files)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("name", "ids", "scene", "size"),
    [
        ("indoor", ["train-00000_0000", "train-00000_0001", "train-00001_0000"], "indoor", (8, 16)),
        ("indoor/train", ["train-00000_0000", "train-00000_0001", "train-00001_0000"], "indoor", (8, 16)),
        ("indoor/val", ["val-00000_0000"], "indoor", (12, 24)),
        ("nature", ["train-00000_0000"], "outdoor", (8, 16)),
        ("urban/test", ["test-00000_0000"], "outdoor", (8, 16)),
    ],
)
def test_configs_and_splits(tmp_path: Path, name: str, ids: list[str], scene: str, size: tuple[int, int]) -> None:
    """A name chooses config and split; the size is the first picture's; it is never a benchmark."""
    dataset = open_dataset(f"PanoInfinigen/{name}", write_configs(tmp_path))
    samples = dataset.samples()
    config, _, split = name.partition("/")
    assert [sample.id for sample in samples] == ids
    assert {sample.scene for sample in samples} == {scene}
    assert samples[0].labels == {"config": config, "split": split or "train"}
    assert (dataset.height, dataset.width) == size
    assert not dataset.is_benchmark
    assert dataset.modalities == ("depth", "normals")
    assert dataset.name == f"PanoInfinigen/{name.removesuffix('/train')}"


@pytest.mark.parametrize("name", ["indoor", "nature"])
def test_maps_with_and_without_a_channel_axis(tmp_path: Path, name: str) -> None:
    """Depth and normals are the same whichever way their axes stand."""
    dataset = open_dataset(f"PanoInfinigen/{name}", write_configs(tmp_path))
    sample = dataset.samples()[0]
    truth = dataset.read_ground_truth(sample)
    assert (truth.depth == 2).all()
    assert truth.mask.all()
    assert truth.normals is not None
    assert truth.normals.shape == (8, 16, 3)
    assert (truth.normals == [0, 1, 0]).all()
    np.testing.assert_array_equal(dataset.read_rgb(sample), decode_rgb(picture_bytes(8, 16, 0), 8, 16))


def test_what_is_no_number_is_not_valid(tmp_path: Path) -> None:
    """Infinite or missing depth is out of the mask and stays finite; normals without numbers become zero."""
    depth = np.array([[np.inf, np.nan], [2, 60000]], np.float16)
    normals = np.array([[[np.nan] * 3, [np.inf, 0, 1]], [[0, 1, 0], [1, 0, 0]]], np.float64)
    row = {"image": picture_bytes(2, 2), "depth": npy_bytes(depth), "normals": npy_bytes(normals)}
    write_tree(f"{tmp_path}/PanoInfinigen", {"data/urban/train-0.parquet": parquet_bytes([row])})
    dataset = open_dataset("PanoInfinigen/urban", str(tmp_path))
    truth = dataset.read_ground_truth(dataset.samples()[0])
    assert truth.mask.tolist() == [[False, False], [True, False]]
    np.testing.assert_array_equal(truth.depth, np.array([[75, 0.01], [2, 75]], np.float32))
    assert truth.normals is not None
    assert truth.normals.dtype == np.float32
    np.testing.assert_array_equal(truth.normals, [[[0, 0, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0]]])


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    """An array of objects is bad ground truth: nothing of it is run."""
    row = {"image": picture_bytes(), "depth": npy_bytes(np.array([{}, []], object)), "normals": b"x"}
    write_tree(f"{tmp_path}/PanoInfinigen", {"data/urban/train-0.parquet": parquet_bytes([row])})
    dataset = open_dataset("PanoInfinigen/urban", str(tmp_path))
    with pytest.raises(InputError, match=r"train-0\.parquet#0: holds object") as caught:
        dataset.read_ground_truth(dataset.samples()[0])
    assert caught.value.error_class == "bad_ground_truth"


def test_the_first_picture_must_tell_the_size(tmp_path: Path) -> None:
    """Without a readable first picture there is no protocol: a ConfigError names it."""
    row = {"image": b"garbage", "depth": b"", "normals": b""}
    write_tree(f"{tmp_path}/PanoInfinigen", {"data/urban/train-0.parquet": parquet_bytes([row])})
    dataset = open_dataset("PanoInfinigen/urban", str(tmp_path))
    with pytest.raises(ConfigError, match=r"first picture's size cannot be told: .*train-0\.parquet"):
        dataset.protocol()


@pytest.mark.parametrize("name", ["moon", "indoor/validation", "indoor/"])
def test_unknown_configs_and_splits(tmp_path: Path, name: str) -> None:
    """A config or split that does not exist is a ConfigError that lists those that do."""
    with pytest.raises(ConfigError, match="indoor, nature, urban and train, val, test"):
        open_dataset(f"PanoInfinigen/{name}", write_configs(tmp_path))
