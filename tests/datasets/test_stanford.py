"""Tests of pager_ray.datasets.stanford."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pager_ray.datasets import open_dataset
from tests.datasets.folders import STANFORD, image_bytes, picture_bytes, write_dataset, write_tree

NAME = "Stanford2D3DS"


def test_samples_are_panoramas_with_area_and_room(tmp_path: Path) -> None:
    """Panoramas below any rgb folder are samples, perspective views are none; area and room type become labels."""
    write_dataset(NAME, str(tmp_path))
    names = {
        "area_5a/pano/rgb/camera_ab12_conferenceRoom_2": {"area": "area_5a", "room_type": "conferenceRoom"},
        "area_5b/rgb/camera_ab13_copyRoom_10": {"area": "area_5b", "room_type": "copyRoom"},
        "rgb/unusual": {},
    }
    write_tree(f"{tmp_path}/{NAME}", {f"{name}{STANFORD}_rgb.png": b"" for name in names})
    samples = {sample.id: sample for sample in open_dataset(NAME, str(tmp_path)).samples()}
    assert set(samples) == {"camera_0f_WC_1", *(name.rpartition("/")[2] for name in names)}
    assert samples["camera_0f_WC_1"].labels == {"area": "area_3", "room_type": "WC"}
    for name, labels in names.items():
        assert samples[name.rpartition("/")[2]].labels == labels
    assert {sample.scene for sample in samples.values()} == {"indoor"}
    assert samples["unusual"].source["depth"] == f"depth/unusual{STANFORD}_depth.png"
    assert len(f"{STANFORD}_rgb.png") == 37


def test_depth_and_cropped_rows(tmp_path: Path) -> None:
    """Steps are 128/65535 m; the largest lies beyond the range; ⌊0.15·2048⌋ rows are off in the mask only."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    (sample,) = dataset.samples()
    steps = np.full((2048, 4096), 5120, np.uint16)
    steps[1000] = 65535
    steps[1001] = 0
    files = {sample.source["depth"]: image_bytes(steps), sample.source["rgb"]: picture_bytes(seed=2)}
    write_tree(f"{tmp_path}/{NAME}", files)
    truth, rgb = dataset.read_ground_truth(sample), dataset.read_rgb(sample)
    valid = np.zeros(2048, np.bool_)
    valid[307 : 2048 - 307] = True
    valid[1000:1002] = False
    np.testing.assert_array_equal(truth.mask.all(axis=1), valid)
    np.testing.assert_array_equal(truth.mask.any(axis=1), valid)
    assert truth.depth[[0, 999, 1000, 1001, 2047], 7].tolist() == [
        np.float32(5120 * 128 / 65535),
        np.float32(5120 * 128 / 65535),
        75.0,
        np.float32(0.01),
        np.float32(5120 * 128 / 65535),
    ]
    assert (rgb.max(axis=(1, 2)) > 0).all()
