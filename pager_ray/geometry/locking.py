"""One builder at a time for the sampling tables, so that threads of a worker share one copy."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Table = TypeVar("Table")

_BUILDING = Lock()


def built_once(cached_builder: Callable[..., Table], *key: Hashable) -> Table:
    """Call a cached builder under a lock.

    ``lru_cache`` alone lets threads that miss at the same moment all build, which for a 67 MB table is a memory peak of
    67 MB per thread.
    """
    with _BUILDING:
        return cached_builder(*key)
