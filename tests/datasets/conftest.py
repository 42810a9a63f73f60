from __future__ import annotations

import uuid
from collections.abc import Iterator

import fsspec
import pytest

from pager_ray.datasets.parquet import close_cursors


@pytest.fixture(autouse=True)
def no_open_cursors() -> Iterator[None]:
    """Files that one test reads are not open in the next."""
    close_cursors()
    yield
    close_cursors()


@pytest.fixture
def memory_url() -> Iterator[str]:
    """A folder of its own in fsspec's in-memory store."""
    name = f"/{uuid.uuid4().hex}"
    yield f"memory:/{name}"
    memory = fsspec.filesystem("memory")
    if memory.exists(name):
        memory.rm(name, recursive=True)
