"""Tests of pager_ray.datasets.registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pager_ray.datasets import Dataset, dataset_names, open_dataset
from pager_ray.errors import ConfigError
from tests.datasets.folders import write_dataset

OWN = [
    "Matterport3D360",
    "Stanford2D3DS",
    "Replica360_4K",
    "Structured3D",
    "ZuriPano",
    "synthetic",
    "PanoInfinigen/indoor",
    "PanoInfinigen/nature",
    "PanoInfinigen/urban",
]

MODULE = '''
from pager_ray.datasets import FolderDataset, Sample

class Rooms(FolderDataset):
    """Rooms of our own."""
    name = "Rooms"
    height, width = 8, 16
    layout = "<n>.png"

    def fits(self, root):
        return bool(root.names())

    def list_samples(self):
        yield Sample("a", self.root.shown("a.png"), "indoor", {}, {"rgb": "a.png"})

    def read_ground_truth(self, sample):
        raise AssertionError("opening a dataset reads no ground truth")

NOTHING = 5
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that adds four datasets: one that works and three that cannot be loaded."""
    site = tmp_path / "site"
    info = site / "our_rooms-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-rooms\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[pager_ray.datasets]\n"
        "Rooms = our_rooms:Rooms\n"
        "Gone = our_rooms_that_are_gone:Rooms\n"
        "Raising = our_rooms_raising:Rooms\n"
        "Number = our_rooms:NOTHING\n"
        "Unnamed = our_rooms:Missing\n"
        "ZuriPano = our_rooms_that_are_gone:Rooms\n"
    )
    (site / "our_rooms.py").write_text(MODULE)
    (site / "our_rooms_raising.py").write_text("raise ValueError('not today\\nnor tomorrow')\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if not k.startswith("our_rooms")})
    return tmp_path


def test_names() -> None:
    """Our own datasets come in the order of the documentation."""
    assert dataset_names()[: len(OWN)] == OWN


@pytest.mark.parametrize("name", OWN)
def test_every_name_can_be_opened(name: str, tmp_path: Path) -> None:
    """Each name opens the dataset that says it is called so, and only training data are no benchmark."""
    if name.startswith("PanoInfinigen"):
        from tests.datasets.folders import infinigen_bytes, write_tree

        config = name.partition("/")[2]
        write_tree(f"{tmp_path}/PanoInfinigen", {f"data/{config}/train-0.parquet": infinigen_bytes()})
        path = str(tmp_path)
    else:
        path = write_dataset(name, str(tmp_path))
    dataset = open_dataset(name, path)
    assert isinstance(dataset, Dataset)
    assert dataset.name == name
    assert dataset.is_benchmark == (not name.startswith("PanoInfinigen"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Zuripano", "no dataset 'Zuripano'; did you mean ZuriPano.; there are Matterport3D360, "),
        ("qqqq", "no dataset 'qqqq'; there are Matterport3D360, "),
        ("PanoInfinigen", "did you mean PanoInfinigen/"),
        ("PanoInfinigen/indoor/val/more", "no dataset"),
        ("ZuriPano/test", "no dataset"),
        ("", "no dataset ''; there are"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    """A name that no dataset has is a ConfigError with the nearest and all known ones."""
    with pytest.raises(ConfigError, match=message):
        open_dataset(name, None)


def test_other_packages_add_datasets(package: Path) -> None:
    """A dataset of an installed package is listed and opened by its name; it cannot take one of ours."""
    assert dataset_names() == [*OWN, "Gone", "Number", "Raising", "Rooms", "Unnamed"]
    (package / "Rooms").mkdir()
    (package / "Rooms" / "a.png").write_bytes(b"")
    dataset = open_dataset("Rooms", str(package))
    assert [sample.uri for sample in dataset.samples()] == [f"{package}/Rooms/a.png"]
    assert type(open_dataset("ZuriPano", write_dataset("ZuriPano", str(package)))).__module__.startswith("pager_ray.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Gone", "dataset 'Gone': our_rooms_that_are_gone:Rooms cannot be loaded .ModuleNotFoundError"),
        ("Raising", "dataset 'Raising': .* cannot be loaded .ValueError: not today nor tomorrow"),
        ("Unnamed", "dataset 'Unnamed': .* cannot be loaded .AttributeError.*; update or remove the package"),
        ("Number", r"dataset 'Number': our_rooms:NOTHING is no subclass of pager_ray\.datasets\.Dataset; update or"),
    ],
)
def test_packages_that_cannot_be_loaded(package: Path, name: str, message: str) -> None:
    """A dataset whose package is broken is a ConfigError that names it, when it is asked for and not before."""
    assert name in dataset_names()
    assert open_dataset("synthetic", write_dataset("synthetic", str(package))).samples()
    with pytest.raises(ConfigError, match=message) as caught:
        open_dataset(name, str(package))
    assert "\n" not in str(caught.value)


def test_knows_nothing_of_ray_and_torch() -> None:
    """Datasets are read where neither Ray nor torch is loaded."""
    code = (
        "import sys, pager_ray.datasets as d; d.dataset_names(); "
        "sys.exit(', '.join({'ray', 'torch', 'huggingface_hub'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
