"""Nodes of tests are started again where Ray gave up because the machine was busy, and not where something is wrong."""

from __future__ import annotations

import math
import shutil
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness import head as heads
from tests.harness.head import TOO_BUSY, RayHead


@pytest.mark.parametrize(
    ("said", "seconds", "started"),
    [(TOO_BUSY, math.inf, 3), (TOO_BUSY, -1.0, None), ("no such option", math.inf, None)],
)
def test_a_node_is_started_again(monkeypatch, said: str, seconds: float, started: int | None) -> None:
    """While time is left, each in the place of the one that was given up, which is killed."""
    failures = 2
    monkeypatch.setattr(heads, "START_SECONDS", seconds)
    head, killed, begun = RayHead(), [], []
    shutil.rmtree(head.folder)

    def run(options: list[str]) -> Any:
        number = len(begun)
        node = SimpleNamespace(number=number, kill=lambda: killed.append(number))
        begun.append(node)
        head.nodes.append(node)  # type: ignore[arg-type]
        return node

    def wait(node: Any) -> None:
        if node.number < failures:
            raise RuntimeError(f"the node did not start: … {said} …")

    monkeypatch.setattr(head, "_run", run)
    if started is None:
        with pytest.raises(RuntimeError, match=said):
            head._start_node([], wait)
        return
    node = head._start_node([], wait)
    assert (len(begun), node.number, head.nodes, killed) == (started, started - 1, [node], [0, 1])
