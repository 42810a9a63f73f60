"""Tests of pager_ray.datasets.matterport."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pager_ray.datasets import open_dataset
from pager_ray.errors import ConfigError
from tests.datasets.folders import dpt_bytes, image_bytes, picture_bytes, write_dataset, write_tree

NAME = "Matterport3D360"


def test_samples_are_pictures_with_depth_of_test_scenes(tmp_path: Path) -> None:
    """Scenes that the list does not name and pictures without depth are no samples; any part may hold a scene."""
    write_dataset(NAME, str(tmp_path))
    write_tree(
        f"{tmp_path}/{NAME}",
        {
            "another part/data/sceneA/key_rgb.png": picture_bytes(),
            "another part/data/sceneA/key_depth.dpt": b"",
            "part1/sceneA/too_high_rgb.png": picture_bytes(),
            "part1/sceneA/too_high_depth.dpt": b"",
            "data/sceneA/too_high_rgb.png": picture_bytes(),
            "data/sceneA/too_high_depth.dpt": b"",
            "part1/data/sceneA/_rgb.png": picture_bytes(),
            "part1/data/sceneA/_depth.dpt": b"",
            "part1/data/sceneA/deep/er_rgb.png": picture_bytes(),
            "part1/data/sceneA/deep/er_depth.dpt": b"",
        },
    )
    samples = open_dataset(NAME, str(tmp_path)).samples()
    assert [(sample.id, sample.scene, sample.labels) for sample in samples] == [
        ("key", "indoor", {"scene": "sceneA"}),
        ("sceneA_0", "indoor", {"scene": "sceneA"}),
    ]
    assert samples[1].uri == f"{tmp_path}/{NAME}/part1/data/sceneA/sceneA_0_rgb.png"


def test_cropped_rows(tmp_path: Path) -> None:
    """⌊0.14·1024⌋ rows at both ends are black in the picture and off in the mask; their depth stays."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    (sample,) = dataset.samples()
    write_tree(f"{tmp_path}/{NAME}", {sample.source["rgb"]: image_bytes(np.full((4, 8, 3), 9, np.uint8))})
    rgb, truth = dataset.read_rgb(sample), dataset.read_ground_truth(sample)
    inside = np.zeros(1024, np.bool_)
    inside[143 : 1024 - 143] = True
    np.testing.assert_array_equal((rgb > 0).all(axis=(1, 2)), inside)
    np.testing.assert_array_equal((rgb > 0).any(axis=(1, 2)), inside)
    np.testing.assert_array_equal(truth.mask.all(axis=1), inside)
    np.testing.assert_array_equal(truth.mask.any(axis=1), inside)
    assert (truth.depth == 2).all()


def test_depth_of_the_protocols_size_is_read_as_stored(tmp_path: Path) -> None:
    """Depth in range comes out bit for bit."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    (sample,) = dataset.samples()
    depth = np.random.default_rng(0).uniform(0.02, 74, (1024, 2048)).astype(np.float32)
    write_tree(f"{tmp_path}/{NAME}", {sample.source["depth"]: dpt_bytes(depth)})
    np.testing.assert_array_equal(dataset.read_ground_truth(sample).depth, depth)


def test_a_list_of_scenes_that_is_no_text(tmp_path: Path) -> None:
    """A list that cannot be read is a ConfigError that names it."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    write_tree(f"{tmp_path}/{NAME}", {"scenes_test.txt": b"\xff\xfe\x00"})
    with pytest.raises(ConfigError, match=r"scenes_test\.txt cannot be read .*; takes UTF-8 with a scene per line"):
        dataset.samples()
