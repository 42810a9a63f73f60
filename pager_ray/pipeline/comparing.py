"""Frames of many sequences compared by tasks of the cluster: each decodes a few hundred maps of depth."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache

import numpy as np
import ray
from ray.exceptions import RayError

from pager_ray.errors import PagerError, own_cause
from pager_ray.pipeline.cluster import connected
from pager_ray.plain import get_logger
from pager_ray.reader.run import open_run
from pager_ray.scaling import Compared, Comparer, Part, compare_here

log = get_logger(__name__)

FEW = 4
"""Parts that are compared here: a cluster is not worth the while."""

TASKS_AHEAD = 256


def compare_on_cluster(address: str | None, kept: ExitStack) -> Comparer:
    """Compares a few frames here, and many on a cluster, which stays connected.

    Args:
        address: of the cluster.
        kept: what is left when the cluster is no longer needed.
    """

    def compare(uri: str, parts: Sequence[Part]) -> Iterator[np.ndarray]:
        if len(parts) <= FEW:
            yield from compare_here(uri, parts)
            return
        kept.enter_context(connected(address))
        log.info("scale: the frames of sequences are compared on the cluster, in %s tasks", f"{len(parts):,}")
        # A worker that outlives this looks at the run anew.
        token = secrets.token_hex(8)
        begun: deque[ray.ObjectRef] = deque()
        for part in parts:
            begun.append(_compare_some.remote(uri, token, part))
            if len(begun) >= TASKS_AHEAD:
                yield _result(begun.popleft())
        while begun:
            yield _result(begun.popleft())

    return compare


@ray.remote(num_cpus=1)
def _compare_some(uri: str, token: str, part: Part) -> np.ndarray:
    return _opened(uri, token)(part)


@lru_cache(maxsize=1)
def _opened(uri: str, token: str) -> Compared:
    return Compared(open_run(uri, scale="raw"))


def _result(reference: ray.ObjectRef) -> np.ndarray:
    try:
        found: np.ndarray = ray.get(reference)
        return found
    except RayError as error:
        own = own_cause(error)
        if own is not None:
            raise own from error
        raise PagerError(
            f"scale: a task that compares frames died ({type(error).__name__}); the predictions are complete: run the "
            "same command again, or `pager-ray scale`"
        ) from error
