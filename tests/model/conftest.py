"""Golden checkpoints and small random ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pager_ray.model import PagerModel, load_model
from pager_ray.model.architecture import Architecture, parse_architecture
from pager_ray.model.network import PagerNetwork
from pager_ray.model.random_checkpoint import TINY, write_random_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Golden:
    """A released-format checkpoint with the numbers that it gives."""

    folder: Path
    model: PagerModel
    expected: Mapping[str, np.ndarray]

    @property
    def faces(self) -> torch.Tensor:
        return torch.from_numpy(self.expected["cubemap"])


@pytest.fixture(scope="session", params=["tiny_unified", "tiny_metric_depth", "tiny_normals"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return _golden(request.param)


@pytest.fixture(scope="session")
def unified() -> Golden:
    return _golden("tiny_unified")


def _golden(name: str) -> Golden:
    folder = GOLDEN / name
    with np.load(folder / "expected.npz") as file:
        expected = dict(file)
    return Golden(folder, load_model(folder, device="cpu"), expected)


@pytest.fixture(scope="session")
def geometry() -> Mapping[str, np.ndarray]:
    with np.load(GOLDEN / "geometry.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("tiny"), "tiny", seed=3)


def tiny_config(**changes: Any) -> dict[str, Any]:
    """The tiny configuration with other top-level keys; backbone and head sections are merged."""
    config: dict[str, Any] = {"modalities": ["depth"], **TINY}
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(config.get(key), dict) else value
    return config


def tiny_architecture(**changes: Any) -> Architecture:
    return parse_architecture(tiny_config(**changes), where="test")


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PagerModel]:
    """Builds a random tiny model; the same weights for configurations that need the same."""

    def build(**changes: Any) -> PagerModel:
        folder = write_random_checkpoint(tmp_path_factory.mktemp("random"), tiny_config(**changes), seed=5)
        return load_model(folder, device="cpu")

    return build


def meta_keys(architecture: Architecture) -> dict[str, list[int]]:
    with torch.device("meta"):
        return {key: list(value.shape) for key, value in PagerNetwork(architecture).state_dict().items()}


def random_faces(panoramas: int, size: int = 56, seed: int = 0) -> torch.Tensor:
    return torch.randn(panoramas, 6, 3, size, size, generator=torch.Generator().manual_seed(seed))


def assert_within(actual: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray, tolerance: float) -> None:
    """Largest difference, relative to the expected values' standard deviation."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    worst = np.abs(actual - expected).max() / expected.std()
    assert worst <= tolerance, f"differs by {worst:.2e} standard deviations"
