"""Many containers listed by tasks of the cluster: reading headers and footers is waiting for the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import ray
from ray.exceptions import RayError

from pager_ray.errors import own_cause
from pager_ray.listing.containers import FEW, Indexer, index_here, index_one
from pager_ray.pipeline.cluster import connected
from pager_ray.plain import get_logger
from pager_ray.read.containers import Container, IndexSettings, Members
from pager_ray.read.containers.places import members_of
from pager_ray.stages.settings import SMALL_TASK_CPUS

log = get_logger(__name__)

CONTAINERS_PER_TASK = 16
TASKS_AHEAD = 256
"""Tasks that are begun before the first one's result is taken: the driver holds no more results than these."""

DEATHS = 3
"""A container whose worker died this often, alone, is one that cannot be read."""


def index_on_cluster(address: str | None, kept: ExitStack) -> Indexer:
    """An indexer that lists few containers here, and many on a cluster, which stays connected.

    Args:
        address: of the cluster.
        kept: what is left when the cluster is no longer needed.
    """

    def index(containers: Sequence[Container], settings: IndexSettings) -> Iterator[Members]:
        if len(containers) <= FEW:
            yield from index_here(containers, settings)
            return
        kept.enter_context(connected(address))
        log.info("%s containers are listed on the cluster", f"{len(containers):,}")
        yield from index_by_tasks(containers, settings)

    return index


def index_by_tasks(containers: Sequence[Container], settings: IndexSettings) -> Iterator[Members]:
    """List containers by tasks of the connected cluster, in order."""
    begun: deque[tuple[Sequence[Container], ray.ObjectRef]] = deque()
    for first in range(0, len(containers), CONTAINERS_PER_TASK):
        part = containers[first : first + CONTAINERS_PER_TASK]
        begun.append((part, _index_some.remote(part, settings)))
        if len(begun) >= TASKS_AHEAD:
            yield from _result(*begun.popleft(), settings)
    while begun:
        yield from _result(*begun.popleft(), settings)


@ray.remote(num_cpus=SMALL_TASK_CPUS, max_retries=DEATHS)
def _index_some(containers: Sequence[Container], settings: IndexSettings) -> list[Members]:
    return [index_one(container, settings) for container in containers]


def _result(part: Sequence[Container], reference: ray.ObjectRef, settings: IndexSettings) -> list[Members]:
    try:
        found: list[Members] = ray.get(reference)
        return found
    except RayError as error:
        own = own_cause(error)
        if own is not None:
            raise own from error
        if len(part) > 1:
            # One of them kills its worker, or takes all memory: it is found by itself.
            alone = [(one, _index_some.remote([one], settings)) for one in part]
            return [members for one, single in alone for members in _result([one], single, settings)]
        text = f"killed the worker that listed it {DEATHS + 1} times; look at the file, and give workers more memory"
        return [Members(members_of([]), problem=text, problem_class="worker_death")]
