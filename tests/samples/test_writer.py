"""Samples on disk: complete, readable, and what the renderer made."""

from __future__ import annotations

import csv
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from pager_ray.cli import exit_code
from pager_ray.errors import ConfigError, StorageError
from pager_ray.listing import list_inputs
from pager_ray.samples import make_scene, render, write_samples


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / "new", 5, height=48, seed=2)


def _rows(listing: Path) -> list[dict[str, str]]:
    with listing.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_listing_names_every_sample_once(listing: Path) -> None:
    """samples.csv has uri, id and scene of each sample, unique, with pictures that exist beside it."""
    rows = _rows(listing)
    assert listing.name == "samples.csv"
    assert list(rows[0]) == ["uri", "id", "scene"]
    assert len({row["id"] for row in rows}) == len(rows) == 5
    assert [row["scene"] for row in rows] == ["indoor", "outdoor", "indoor", "outdoor", "indoor"]
    assert {path.name for path in listing.parent.glob("*.jpg")} == {row["uri"] for row in rows}


def test_files_hold_what_the_renderer_made(listing: Path) -> None:
    """The ground truth on disk equals the rendered one exactly, and the JPEG is close to the rendered picture."""
    for number, row in enumerate(_rows(listing)):
        made = render(make_scene(2 + number // 2, row["scene"]), 48, 96)
        with np.load(listing.parent / "ground_truth" / f"{row['id']}.npz") as truth:
            assert sorted(truth) == ["depth", "normals", "sky"]
            for name in truth:
                np.testing.assert_array_equal(truth[name], getattr(made, name))
        picture = np.asarray(Image.open(listing.parent / row["uri"]))
        assert picture.shape == (48, 96, 3)
        assert np.abs(picture.astype(int) - made.rgb).mean() < 6


def test_a_longer_series_starts_with_the_same_samples(listing: Path, tmp_path: Path) -> None:
    """Sample k does not depend on how many follow, and ground truth can be left out."""
    shorter = write_samples(tmp_path, 2, height=48, seed=2, ground_truth=False)
    assert _rows(shorter) == _rows(listing)[:2]
    for row in _rows(shorter):
        assert (tmp_path / row["uri"]).read_bytes() == (listing.parent / row["uri"]).read_bytes()
    assert not (tmp_path / "ground_truth").exists()


def test_styles_take_turns(listing: Path) -> None:
    """Consecutive samples of a kind show different styles."""
    styles = [row["id"].partition("-")[2] for row in _rows(listing)]
    assert len(set(styles)) == 5


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (3, -1)])
def test_impossible_counts_are_refused(tmp_path: Path, count: int, seed: int) -> None:
    """No samples, or a negative seed, is a ConfigError and leaves nothing behind."""
    with pytest.raises(ConfigError, match="count must be at least 1, seed at least 0"):
        write_samples(tmp_path / "none", count, height=32, seed=seed)
    assert not (tmp_path / "none").exists()


def test_an_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    """A path that cannot become a folder is named in the error."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        StorageError, match=f"cannot write samples to {tmp_path}/file: .*; choose a folder that can be written to"
    ):
        write_samples(tmp_path / "file", 1, height=32)


def test_samples_lie_on_any_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The same files as in a local folder, at the URL that was given, and nothing here; again over them."""
    monkeypatch.chdir(tmp_path)
    command = ["samples", "--count=2", "--height=64"]
    assert exit_code([*command, "here"]) == 0
    assert capsys.readouterr().out == "2 panoramas of 128x64, listed in here/samples.csv\n"
    for url in ("memory://samples-of/test", "memory://samples-of/test/", f"file://{tmp_path}/deep/../there"):
        assert exit_code([*command, url]) == 0
        listing = capsys.readouterr().out.rpartition("listed in ")[2].strip()
        assert listing in ("memory://samples-of/test/samples.csv", f"{tmp_path}/there/samples.csv")
        assert [(row.id, row.scene) for row in list_inputs([listing])] == [
            (row.id, row.scene) for row in list_inputs(["here/samples.csv"])
        ]
        with fsspec.open(f"{listing.rpartition('/')[0]}/samples.json") as file:
            assert file.read() == (tmp_path / "here" / "samples.json").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"here", "there"}
    assert exit_code([*command, "github://o:r@main/x"]) == 2
    assert "github:// is not taken for an output" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"^samples: got memory://x; takes a path on this machine$"):
        write_samples("memory://x", 1)
