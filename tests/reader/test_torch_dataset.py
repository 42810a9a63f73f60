"""A run as a PyTorch dataset: random access, the same items in every process."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import pager_ray
from pager_ray.errors import ConfigError, InputError, RunNotFoundError, StorageError
from tests.reader.runs import HEIGHT, WIDTH, SmallRun, maps_of

IDS = ["a", "b/1", "c"]


def fill(small: SmallRun) -> SmallRun:
    small.write("s1", small.prediction("a"), small.prediction("b/1"))
    small.write("s2", small.prediction("c", scene=None, log_scale=None))
    return small


@pytest.fixture
def small(tmp_path: Path) -> SmallRun:
    """Three predictions in two shards; the last one without scene and scale."""
    return fill(SmallRun(tmp_path / "run"))


def check(item: dict) -> None:
    """An item holds what the run stores under its id, channels first."""
    stored = maps_of(item["id"])
    np.testing.assert_array_equal(item["depth"].numpy(), stored["depth"][None])
    np.testing.assert_array_equal(item["normals"].numpy(), np.moveaxis(stored["normals"], -1, 0))
    np.testing.assert_array_equal(item["sky"].numpy(), stored["sky"][None])


@pytest.mark.parametrize("output_format", ["parquet", "npz"])
def test_items_are_the_run(tmp_path: Path, output_format: str) -> None:
    """Each place gives its panorama, from either end, and none beyond them; unknown scene and scale have a value."""
    dataset = pager_ray.torch_dataset(fill(SmallRun(tmp_path / "run", output_format)).folder)
    assert len(dataset) == 3
    assert dataset.ids == IDS
    items = [dataset[k] for k in range(len(dataset))]
    assert [item["id"] for item in items] == IDS
    for item in items:
        check(item)
        assert all(item[name].dtype == torch.float32 for name in dataset.maps)
    assert dataset[-1]["id"] == "c"
    assert (items[0]["scene"], items[0]["log_scale"]) == ("indoor", 0.5)
    assert items[2]["scene"] == ""
    assert math.isnan(items[2]["log_scale"])
    for outside in (3, -4):
        with pytest.raises(IndexError, match="has 3 panoramas"):
            dataset[outside]
    # Iterating a map-style dataset ends at the first IndexError.
    assert len(list(dataset)) == 3


def check_workers(small: SmallRun, context: str, workers: int) -> None:
    """Batches of workers hold every panorama once and as stored."""
    dataset = pager_ray.torch_dataset(small.folder)
    check(dataset[0])  # the parent has it open before workers are forked
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context=context)
    batches = list(loader)
    assert [id for batch in batches for id in batch["id"]] == IDS
    assert batches[0]["depth"].shape == (2, 1, HEIGHT, WIDTH)
    for batch in batches:
        for k, id in enumerate(batch["id"]):
            check({"id": id} | {name: batch[name][k] for name in ("depth", "normals", "sky")})


def test_forked_workers_open_the_run_themselves(small: SmallRun) -> None:
    """Several share what their parent has of it."""
    check_workers(small, "fork", 2)


def test_items_stay_what_they_were(small: SmallRun) -> None:
    """A run that grows changes neither the number of items nor their places, in this process and in workers."""
    dataset = pager_ray.torch_dataset(small.folder)
    small.write("s0", small.prediction("0"))
    sent = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own object
    for one in (dataset, sent):
        assert [one[k]["id"] for k in range(len(one))] == IDS
    assert len(pager_ray.torch_dataset(small.folder)) == 4


def test_ids_choose_and_order(small: SmallRun) -> None:
    """Given ids are the items, in their order; an id without prediction is refused at once."""
    dataset = pager_ray.torch_dataset(small.folder, ids=iter(["c", "a"]))
    assert [dataset[k]["id"] for k in range(2)] == ["c", "a"]
    with pytest.raises(RunNotFoundError, match="no prediction with id 'bad'"):
        pager_ray.torch_dataset(small.folder, ids=["a", "bad"])


def test_maps_choose_what_is_read(small: SmallRun, tmp_path: Path) -> None:
    """Items have the maps asked for alone; a map that the checkpoint does not give is refused at once."""
    assert set(pager_ray.torch_dataset(small.folder, ["sky"])[0]) == {"id", "uri", "scene", "log_scale", "sky", "valid"}
    depth = SmallRun(tmp_path / "depth", modalities=("depth",))
    depth.write("s1", depth.prediction("x"))
    assert pager_ray.torch_dataset(depth.folder).maps == ("depth",)
    with pytest.raises(ConfigError, match=r"maps: got normals; .* takes depth"):
        pager_ray.torch_dataset(depth.folder, ["depth", "normals"])


def test_transforms_are_applied(small: SmallRun) -> None:
    """The transform's result is the item."""
    dataset = pager_ray.torch_dataset(small.folder, transform=lambda item: item["depth"].mean())
    assert float(dataset[1]) == pytest.approx(maps_of("b/1")["depth"].mean(), rel=1e-6)


def test_items_may_be_written_to(small: SmallRun) -> None:
    """Tensors own their memory: changing one in place changes nothing else."""
    dataset = pager_ray.torch_dataset(small.folder)
    for name in dataset.maps:
        dataset[0][name].add_(1)
    check(dataset[0])


def test_the_source_picture_comes_along(tmp_path: Path) -> None:
    """With image, items have the source at the size of the maps; one that is gone is an error that names it."""
    pixels = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    # Four times as large: the mean of each block is a pixel again.
    Image.fromarray(pixels.repeat(4, axis=0).repeat(4, axis=1)).save(tmp_path / "x.png")
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("x", uri=str(tmp_path / "x.png")), small.prediction("y"))
    with pytest.raises(ConfigError, match=r"image: .* name the folder or the web host .* images_from"):
        pager_ray.torch_dataset(small.folder, ["depth"], image=True)
    dataset = pager_ray.torch_dataset(small.folder, ["depth"], image=True, images_from=tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"x\.png: does not lie below .*elsewhere, where pictures are read from"):
        dataset[0]
    dataset = pager_ray.torch_dataset(small.folder, ["depth"], image=True, images_from="/")
    assert dataset[0]["image"].dtype == torch.uint8
    np.testing.assert_array_equal(dataset[0]["image"].numpy(), np.moveaxis(pixels, -1, 0))
    with pytest.raises(InputError, match=r"/in/y\.jpg"):
        dataset[1]


def test_the_source_picture_is_read_as_the_run_read_it(tmp_path: Path) -> None:
    """What a run took for a panorama by its own settings is one when its picture is shown beside its maps."""
    pixels = np.full((4 * HEIGHT, 4 * WIDTH + WIDTH // 6, 3), 99, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("x", uri=str(tmp_path / "x.png")))
    with pytest.raises(InputError, match="is 2:1"):
        pager_ray.torch_dataset(small.folder, ["depth"], image=True, images_from="/")[0]
    small.manifest["config"]["input"] = {"aspect_tolerance": 0.05, "gpano": "ignore"}
    small.save()
    dataset = pager_ray.torch_dataset(small.folder, ["depth"], image=True, images_from="/")
    assert dataset[0]["image"].shape == (3, HEIGHT, WIDTH)
    small.manifest["config"]["input"] = {"gpano": "perhaps"}
    small.save()
    with pytest.raises(StorageError, match=r"run\.json cannot be understood"):
        pager_ray.open_run(small.folder)


def test_a_forked_process_does_not_use_its_parents_run(small: SmallRun) -> None:
    """The run that is open belongs to one process: another one's id makes it open its own."""
    dataset = pager_ray.torch_dataset(small.folder)
    mine = dataset._run()
    assert dataset._run() is mine
    dataset._opened = (os.getpid() + 1, mine)
    assert dataset._run() is not mine


def test_a_source_is_found_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a relative prefix from whatever folder, also where a run of an earlier version kept ``..`` in its URIs."""
    (tmp_path / "pics").mkdir()
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (64, 32)).save(tmp_path / "pics" / "x.png")
    small = SmallRun(tmp_path / "run")
    small.write("s1", small.prediction("x", uri=f"{tmp_path}/sub/../pics/x.png"))
    monkeypatch.chdir(tmp_path / "sub")
    dataset = pager_ray.torch_dataset("../run", ["depth"], image=True, images_from="../pics")
    monkeypatch.chdir(tmp_path)
    for one in (dataset, pager_ray.torch_dataset("run", ["depth"], image=True, images_from="pics/")):
        assert one[0]["image"].shape == (3, HEIGHT, WIDTH)
