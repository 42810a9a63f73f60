from __future__ import annotations

import uuid
from collections.abc import Iterator

import fsspec
import pytest

from pager_ray.datasets.matterport import Matterport3D360
from pager_ray.datasets.parquet import close_cursors
from pager_ray.datasets.replica import Replica360_4K
from pager_ray.datasets.stanford import Stanford2D3DS
from pager_ray.datasets.structured3d import Structured3D
from pager_ray.datasets.zuripano import ZuriPano


@pytest.fixture(autouse=True)
def no_open_cursors() -> Iterator[None]:
    """Files that one test reads are not open in the next."""
    close_cursors()
    yield
    close_cursors()


@pytest.fixture
def small_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks at 32×64: what does not depend on the size is tested quickly."""
    for benchmark in (Matterport3D360, Stanford2D3DS, Replica360_4K, Structured3D, ZuriPano):
        monkeypatch.setattr(benchmark, "height", 32)
        monkeypatch.setattr(benchmark, "width", 64)


@pytest.fixture
def memory_url() -> Iterator[str]:
    """A folder of its own in fsspec's in-memory store."""
    name = f"/{uuid.uuid4().hex}"
    yield f"memory:/{name}"
    memory = fsspec.filesystem("memory")
    if memory.exists(name):
        memory.rm(name, recursive=True)
