"""A tiny random checkpoint, a few pictures, and a studio that holds the one and is given the others."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from pager_ray.demo.studio import Model, Studio
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.samples import write_samples


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "checkpoint"
    write_random_checkpoint(folder, "tiny")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four rendered panoramas of 128×256."""
    folder = tmp_path_factory.mktemp("pictures")
    write_samples(folder, 4, height=128, ground_truth=False)
    return sorted(folder.glob("*.jpg"))


@pytest.fixture
def page() -> Any:
    """The module of the page: what it imports takes seconds, and every process of a run collects these files."""
    return importlib.import_module("pager_ray.demo.page")


@pytest.fixture
def studio(checkpoint: Path, tmp_path: Path) -> Studio:
    return Studio(Model(str(checkpoint)), tmp_path / "cache")
