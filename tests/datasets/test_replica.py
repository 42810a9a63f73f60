"""Tests of pager_ray.datasets.replica."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pager_ray.datasets import open_dataset
from tests.datasets.folders import image_bytes, picture_bytes, write_dataset, write_tree

NAME = "Replica360_4K"


def test_samples_are_named_by_scene_and_number(tmp_path: Path) -> None:
    """Ids are scene and number; the room type is the scene's name without its number."""
    write_dataset(NAME, str(tmp_path))
    more = {"room_1/0003_rgb_pano.jpg": b"", "hotel/0000_rgb_pano.jpg": b"", "room_1/deep/0001_rgb_pano.jpg": b""}
    write_tree(f"{tmp_path}/{NAME}", {**more, "room_1/0003_rgb_pano.png": b"", "0000_rgb_pano.jpg": b""})
    samples = open_dataset(NAME, str(tmp_path)).samples()
    assert [(sample.id, sample.labels) for sample in samples] == [
        ("frl_apartment_0_0007", {"scene": "frl_apartment_0", "room_type": "frl_apartment"}),
        ("hotel_0000", {"scene": "hotel", "room_type": "hotel"}),
        ("room_1_0003", {"scene": "room_1", "room_type": "room"}),
    ]
    assert {sample.scene for sample in samples} == {"indoor"}


def test_mask_and_depth_must_both_allow(tmp_path: Path) -> None:
    """A pixel is valid where the mask is above 0, whatever its own size is, and depth is in range."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    (sample,) = dataset.samples()
    mask = np.zeros((4, 4), np.uint8)
    mask[1] = 1
    write_tree(f"{tmp_path}/{NAME}", {sample.source["mask"]: image_bytes(mask)})
    truth = dataset.read_ground_truth(sample)
    np.testing.assert_array_equal(truth.mask, np.arange(2048)[:, None] // 512 == np.ones((1, 4096)))
    assert (truth.depth == 2).all()
    assert truth.normals is None


def test_whole_picture_is_shown(tmp_path: Path) -> None:
    """The picture is cropped nowhere, whatever the mask says."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    (sample,) = dataset.samples()
    write_tree(f"{tmp_path}/{NAME}", {sample.source["rgb"]: picture_bytes(kind="JPEG", seed=3)})
    rgb = dataset.read_rgb(sample)
    assert rgb[0].any()
    assert rgb[-1].any()
