"""The benchmarks as the released implementation reads them, from a small tree in each one's layout."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pager_ray.datasets import open_dataset
from pager_ray.geometry import erp_to_cubemap

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "datasets_expected.json").read_text(encoding="utf-8"))
SAMPLES = [(name, sample["id"]) for name, dataset in EXPECTED.items() for sample in dataset["samples"]]

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


@lru_cache(maxsize=1)
def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "datasets_expected.npz", allow_pickle=False) as file:
        return dict(file)


def test_every_benchmark_is_covered() -> None:
    """All five benchmarks and their sixteen samples are compared."""
    assert set(EXPECTED) == {"Matterport3D360", "Stanford2D3DS", "Replica360_4K", "Structured3D", "ZuriPano"}
    assert len(SAMPLES) == 16


@pytest.mark.parametrize("name", EXPECTED)
def test_samples(name: str) -> None:
    """Ids, size and range are the released ones; scenes for training and pictures without depth are left out."""
    dataset, expected = open_dataset(name, str(GOLDEN / "datasets")), EXPECTED[name]
    assert [sample.id for sample in dataset.samples()] == sorted(sample["id"] for sample in expected["samples"])
    assert {(sample["height"], sample["width"]) for sample in expected["samples"]} == {(dataset.height, dataset.width)}
    assert dataset.depth_range == (expected["min_depth"], expected["max_depth"])
    assert ("normals" in dataset.modalities) == (f"{name}|{expected['samples'][0]['id']}|normals" in arrays())
    assert dataset.is_benchmark


@pytest.mark.parametrize(("name", "id"), SAMPLES)
def test_ground_truth(name: str, id: str) -> None:
    """Depth (mean over all pixels, valid or not), mask and normals equal the released ones bit for bit."""
    dataset = open_dataset(name, str(GOLDEN / "datasets"))
    sample = next(sample for sample in dataset.samples() if sample.id == id)
    expected = next(sample for sample in EXPECTED[name]["samples"] if sample["id"] == id)
    truth = dataset.read_ground_truth(sample)
    assert truth.depth.shape == truth.mask.shape == (dataset.height, dataset.width)
    assert (truth.depth.dtype, truth.mask.dtype) == (np.float32, np.bool_)
    assert int(truth.mask.sum()) == expected["mask_pixels"]
    assert truth.depth.mean(dtype=np.float64) == pytest.approx(expected["depth_mean"], rel=1e-12)
    at = tuple(arrays()[f"{name}|{id}|yx"])
    assert at[0].size == 200
    np.testing.assert_array_equal(truth.depth[at], arrays()[f"{name}|{id}|depth"])
    np.testing.assert_array_equal(truth.mask[at], arrays()[f"{name}|{id}|mask"])
    if "normals" in dataset.modalities:
        assert truth.normals is not None
        assert truth.normals.dtype == np.float32
        np.testing.assert_array_equal(truth.normals[at].T, arrays()[f"{name}|{id}|normals"])
    else:
        assert truth.normals is None


@pytest.mark.parametrize(("name", "id"), SAMPLES)
def test_picture(name: str, id: str) -> None:
    """The network's input, made from the picture at the protocol's size and with its crops, is the released one."""
    dataset = open_dataset(name, str(GOLDEN / "datasets"))
    rgb = dataset.read_rgb(next(sample for sample in dataset.samples() if sample.id == id))
    assert rgb.shape == (dataset.height, dataset.width, 3)
    assert rgb.dtype == np.uint8
    faces = erp_to_cubemap(rgb / np.float32(255), 28, 90.0)
    normalised = ((faces - MEAN) / DEVIATION).transpose(0, 3, 1, 2)
    expected = arrays()[f"{name}|{id}|cubemap"]
    # 2/255 before normalisation is what decoders and resamplers may differ by.
    np.testing.assert_allclose(normalised, expected, rtol=0, atol=2 / 255 / DEVIATION.min())
    # One that does not resample as Pillow does would still pass above; on average nothing may be left.
    assert np.abs(normalised - expected).mean() < 1e-3
