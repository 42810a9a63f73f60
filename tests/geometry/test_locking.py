"""Tests of pager_ray.geometry.locking."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier

from pager_ray.geometry.locking import built_once


def test_threads_share_one_build() -> None:
    """Threads that miss at the same moment get one table, built once."""
    threads = 8
    built = []
    together = Barrier(threads)

    @lru_cache(maxsize=1)
    def build(key: str) -> list[str]:
        built.append(key)
        return [key]

    def work(_: int) -> int:
        together.wait(timeout=600)
        return id(built_once(build, "table"))

    with ThreadPoolExecutor(threads) as pool:
        tables = set(pool.map(work, range(threads)))
    assert len(tables) == 1
    assert built == ["table"]
