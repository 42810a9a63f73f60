"""Converted scenes are those of one dataset, and each sample keeps its number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pager_ray.datasets import GroundTruth
from pager_ray.errors import RunMismatchError, StorageError
from pager_ray.train.convert import SAMPLES, convert_sample, number_samples, write_arrays
from pager_ray.train.scenes import write_panoramas
from pager_ray.train.scenes.panoramas import panorama_path

SETTINGS = {"dataset": "A", "data_path": "/data", "height": 64}


def shown(name: str) -> np.ndarray:
    """A picture of its own for each sample."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, (64, 128, 3), dtype=np.uint8)


def numbers(folder: Path, ids: Sequence[str], settings: Mapping[str, Any] = SETTINGS) -> dict[str, int]:
    return number_samples(folder, settings, ids, lambda place: shown(ids[place]))


def left_by_the_last_version(folder: Path, ids: Sequence[str], height: int = 64) -> None:
    """Files by number, and no note of what they are."""
    for number, name in enumerate(ids):
        truth = GroundTruth(np.ones((64, 128), np.float32), np.ones((64, 128), bool), None)
        write_arrays(panorama_path(folder, number), convert_sample(shown(name), truth, height), outdoor=False)


def test_a_sample_keeps_its_number(tmp_path: Path) -> None:
    """Whatever is added before it, or taken away; what is new comes behind."""
    assert numbers(tmp_path, ["b", "d"]) == {"b": 0, "d": 1}
    assert numbers(tmp_path, ["a", "b", "c", "d"]) == {"a": 2, "b": 0, "c": 3, "d": 1}
    assert numbers(tmp_path, ["d", "e"]) == {"d": 1, "e": 4}


@pytest.mark.parametrize(
    ("change", "told"),
    [({"dataset": "B"}, "dataset"), ({"height": 128}, "height"), ({"data_path": "/other"}, "data_path")],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    """With both values and nothing that agrees, and what is noted stays."""
    numbers(tmp_path, ["a"])
    with pytest.raises(RunMismatchError) as refused:
        numbers(tmp_path, ["b"], SETTINGS | change)
    was, now = {told: SETTINGS[told]}, change
    assert str(refused.value) == f"{tmp_path} holds scenes of {was}, not of {now}; choose another folder"
    assert numbers(tmp_path, ["a"]) == {"a": 0}


def test_rendered_and_converted_scenes_are_not_mixed(tmp_path: Path) -> None:
    """Neither into the folder of the other."""
    list(write_panoramas(tmp_path / "rendered", 0, 1, height=64))
    with pytest.raises(RunMismatchError, match="'seed': 0"):
        numbers(tmp_path / "rendered", ["a"])
    (tmp_path / "converted").mkdir()
    numbers(tmp_path / "converted", ["a"])
    with pytest.raises(RunMismatchError, match="'dataset': 'A'"):
        list(write_panoramas(tmp_path / "converted", 0, 1, height=64))


def test_scenes_of_the_last_version_are_gone_on_with(tmp_path: Path) -> None:
    """Without a note, files are the samples in their order; from then on there is one."""
    left_by_the_last_version(tmp_path, ["b", "d"])
    assert numbers(tmp_path, ["b", "d", "e"]) == {"b": 0, "d": 1, "e": 2}
    assert json.loads((tmp_path / SAMPLES).read_text()) == ["b", "d", "e"]
    assert numbers(tmp_path, ["a", "b", "d"]) == {"a": 3, "b": 0, "d": 1}


@pytest.mark.parametrize(
    ("ids", "height", "message"),
    [
        (["x", "y", "z"], 64, r"0000000\.npz shows another picture"),
        (["b", "c", "d"], 64, r"0000001\.npz shows another picture"),
        (["b"], 64, r"it has 1 samples, none is 0000001\.npz"),
        (["b", "d"], 32, "height was 64, now 32"),
    ],
)
def test_scenes_of_the_last_version_that_differ_are_refused(
    tmp_path: Path, ids: list[str], height: int, message: str
) -> None:
    """Another dataset, a sample more before them, one that is gone, another size; nothing is noted then."""
    left_by_the_last_version(tmp_path, ["b", "d"])
    with pytest.raises(RunMismatchError, match=message):
        numbers(tmp_path, ids, SETTINGS | {"height": height})
    assert numbers(tmp_path, ["b", "d"]) == {"b": 0, "d": 1}


@pytest.mark.parametrize("name", ["scenes.json", SAMPLES])
@pytest.mark.parametrize("content", ["", "3", "[1", '[["a", 1, 2]]'])
def test_damaged_notes_are_named(tmp_path: Path, name: str, content: str) -> None:
    """One line with the file."""
    numbers(tmp_path, ["a"])
    (tmp_path / name).write_text(content)
    with pytest.raises(StorageError, match=name.replace(".", r"\.")):
        numbers(tmp_path, ["a"])


def test_normals_that_are_not_finite_are_not_known() -> None:
    """A direction of which one part is missing is none, and its depth still counts."""
    normals = np.tile(np.float32([0, 1, 0]), (64, 128, 1))
    normals[3, 5], normals[4, 6] = (np.nan, 1, 0), (0, np.inf, 0)
    truth = GroundTruth(np.ones((64, 128), np.float32), np.ones((64, 128), bool), normals)
    found = convert_sample(shown("a"), truth, 64)
    assert not found["normals"][[3, 4], [5, 6]].any()
    assert (found["normals"].sum(axis=-1) == 127).sum() == 64 * 128 - 2
    assert np.isfinite(found["depth"]).all()
