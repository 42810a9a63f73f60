"""The progress board in this process: the real one, asked without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pager_ray.pipeline.board import Board
from pager_ray.stages.counts import Counts


class LocalBoard:
    """A board whose methods answer at once; ``board`` is the real one behind it."""

    def __init__(self, counts: Counts | None = None, max_rejects: int | None = None) -> None:
        self.board = Board(counts or Counts(100), max_rejects)

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.board, name))


@pytest.fixture(scope="module", autouse=True)
def answers_at_once() -> Iterator[None]:
    """``ray.get`` of what is no reference is the thing itself; import this fixture to use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "get", lambda answer, **_: answer)
        yield
