"""Tests of pager_ray.datasets.synthetic."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pager_ray.datasets import open_dataset
from pager_ray.errors import ConfigError, InputError
from pager_ray.samples.writer import write_samples
from tests.datasets.folders import write_dataset, write_tree


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, 4, 32)
    return folder


def test_reads_what_the_command_writes(rendered: Path) -> None:
    """Every written sample is listed with kind and style, and its arrays come out as written; sky is not valid."""
    dataset = open_dataset("synthetic", str(rendered))
    samples = dataset.samples()
    assert len(samples) == 4
    assert [sample.scene for sample in samples] == ["indoor", "outdoor"] * 2
    assert (dataset.height, dataset.width) == (32, 64)
    skies = 0
    for sample in samples:
        number, style = sample.id.split("-", 1)
        assert number.isdigit()
        assert sample.labels == {"scene": style}
        truth = dataset.read_ground_truth(sample)
        with np.load(rendered / "ground_truth" / f"{sample.id}.npz", allow_pickle=False) as stored:
            sky = stored["sky"]
            np.testing.assert_array_equal(truth.depth, np.clip(stored["depth"], 0.01, 75).astype(np.float32))
            np.testing.assert_array_equal(truth.normals, stored["normals"])
        assert not truth.mask[sky].any()
        assert truth.mask[~sky].mean() > 0.9
        skies += bool(sky.any())
        with Image.open(rendered / f"{sample.id}.jpg") as picture:
            assert np.abs(np.asarray(picture).astype(int) - dataset.read_rgb(sample)).max() <= 2
    assert skies == 2


def test_the_size_is_the_first_pictures(tmp_path: Path) -> None:
    """Pictures and truth of another size are brought to that of the listing's first picture."""
    path = write_dataset("synthetic", str(tmp_path))
    arrays = io.BytesIO()
    np.savez(arrays, depth=np.full((4, 8), 3, np.float32), normals=np.zeros((4, 8, 3)), sky=np.zeros((4, 8), bool))
    picture = io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(picture, "JPEG")
    listing = b"uri,id,scene\n0000-office.jpg,0000-office,indoor\nother.jpg,other,outdoor\n"
    files = {"samples.csv": listing, "other.jpg": picture.getvalue(), "ground_truth/other.npz": arrays.getvalue()}
    write_tree(path, files)
    dataset = open_dataset("synthetic", path)
    sample = dataset.samples()[1]
    assert (sample.id, sample.labels) == ("other", {})
    assert dataset.read_rgb(sample).shape == (8, 16, 3)
    truth = dataset.read_ground_truth(sample)
    assert truth.depth.shape == truth.mask.shape == (8, 16)
    assert truth.mask.all()


def test_samples_without_ground_truth_are_refused(tmp_path: Path) -> None:
    """A folder written without ground truth is a ConfigError that says which command writes it."""
    write_samples(tmp_path, 1, 32, ground_truth=False)
    with pytest.raises(ConfigError, match="run `pager-ray samples FOLDER --count 32 --height 512`"):
        open_dataset("synthetic", str(tmp_path))


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (b"uri,id\na.jpg,a\n", "no column scene; takes uri, id and scene"),
        (b"\xff\xfe", "cannot be read .*; run `pager-ray samples FOLDER"),
        (b"uri,id,scene\n", "holds no sample; expected samples.csv"),
        (b"uri,id,scene\n../a.jpg,a,indoor\n", "row 1: takes the name"),
        (b"uri,id,scene\n/etc/passwd,a,indoor\n", "row 1: takes the name"),
        (b"uri,id,scene\na.jpg,../a,indoor\n", "row 1: takes the name"),
        (b"uri,id,scene\na.jpg,,indoor\n", "row 1: takes the name"),
        (b"uri,id,scene\na.jpg,a,indoor\nb.jpg,b,sideways\n", "row 2: takes the name"),
        (b"uri,id,scene\na.jpg\n", "row 1: takes the name"),
    ],
)
def test_wrong_listings(tmp_path: Path, listing: bytes, message: str) -> None:
    """A listing that lacks columns, names files elsewhere or another scene is a ConfigError with the row."""
    path = write_dataset("synthetic", str(tmp_path))
    write_tree(path, {"samples.csv": listing})
    with pytest.raises(ConfigError, match=message):
        open_dataset("synthetic", path).samples()


def test_arrays_of_unlike_sizes(tmp_path: Path) -> None:
    """Maps of different sizes, or a sky that is not bool, are bad ground truth that says the shapes."""
    path = write_dataset("synthetic", str(tmp_path))
    dataset = open_dataset("synthetic", path)
    sample = dataset.samples()[0]
    good = {"depth": np.ones((8, 16)), "normals": np.ones((8, 16, 3)), "sky": np.zeros((8, 16), bool)}
    for name, wrong in (("depth", np.ones((4, 8))), ("normals", np.ones((4, 8, 3))), ("sky", np.zeros((8, 16)))):
        arrays = io.BytesIO()
        np.savez(arrays, **(good | {name: wrong}))
        write_tree(path, {sample.source["truth"]: arrays.getvalue()})
        with pytest.raises(InputError, match="takes maps of one size and a bool sky") as caught:
            dataset.read_ground_truth(sample)
        assert caught.value.error_class == "bad_ground_truth"


def test_an_unreadable_first_picture(tmp_path: Path) -> None:
    """Without a first picture, or any row, there is no size: a ConfigError says so."""
    path = write_dataset("synthetic", str(tmp_path))
    write_tree(path, {"0000-office.jpg": b"garbage"})
    with pytest.raises(ConfigError, match=r"size cannot be told: .*0000-office\.jpg"):
        open_dataset("synthetic", path).protocol()
    write_tree(path, {"samples.csv": b"uri,id,scene\n"})
    with pytest.raises(ConfigError, match=r"samples\.csv lists nothing; run `pager-ray samples FOLDER"):
        open_dataset("synthetic", path).protocol()
