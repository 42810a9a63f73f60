"""What several test folders share: golden files, a tiny checkpoint, rendered samples, one Ray for all."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.harness.fixtures"]

GOLDEN = Path(__file__).parent / "golden"

# Nothing in the tests may reach a network: the Hub's client answers from its cache or fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="session")
def tiny_unified() -> Path:
    """A checkpoint in the released format with all five heads, 56-px faces, random weights."""
    return GOLDEN / "tiny_unified"


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Listing of eight rendered panoramas of 128x256, four indoor and four outdoor."""
    from pager_ray.samples import write_samples

    return Path(write_samples(tmp_path_factory.mktemp("samples"), 8, height=128, seed=3))


@pytest.fixture(scope="session")
def ray_cluster():
    """One Ray for the session: starting one costs seconds."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that tests let fail are asked once, where no test says otherwise: the default waits two minutes."""
    from pager_ray.read import fetch
    from pager_ray.retrying import Retry

    monkeypatch.setattr(fetch, "PATIENT", Retry(0))
