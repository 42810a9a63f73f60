"""Actors that Ray can make again: what they are made of comes with the order, not from the object store.

Ray Data gives the workers of an actor pool their settings, their function and an actor of its own as places in the
object store and as handles. Ray warns of each such worker, as an error in the user's log: once one of these is lost,
the worker cannot be started again. All of it is a few kilobytes, and actors have names.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import ray

from pager_ray.errors import PagerError
from pager_ray.version import __version__

OTHER_VERSION = "a node of the cluster has pager_ray"
"""How the refusal of another version begins: Ray hands on what is raised while arguments arrive as text alone."""


class Named:
    """A handle of an actor that travels as the actor's name.

    Args:
        handle: of an actor with a name.
        name: in the job's own namespace.
    """

    def __init__(self, handle: Any, name: str) -> None:
        self._handle, self._name = handle, name

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return getattr(self._handle, method)

    def __reduce__(self) -> tuple[Any, ...]:
        """Looked up where it arrives, by the same program: whatever a worker does for a job begins with its board."""
        return found_actor, (self._name, __version__)


def found_actor(name: str, version: str) -> Any:
    """The actor of that name, in a worker of a job of that version.

    Raises:
        PagerError: this node has another version, whose results may be others.
    """
    if version != __version__:
        raise PagerError(
            f"{OTHER_VERSION} {__version__}, and this job is of {version}; install the same version on every node, "
            "then run the same command again"
        )
    return ray.get_actor(name)


def new_name(kind: str) -> str:
    """A name that no other actor has."""
    return f"pager_ray {kind} {uuid.uuid4().hex}"


class _Tracker:
    """Ray Data's actor that knows where workers are, found where it is needed."""

    def __reduce__(self) -> tuple[Any, ...]:
        from ray.data._internal.execution.node_trackers import get_or_create_actor_location_tracker

        return get_or_create_actor_location_tracker, ()


@contextmanager
def by_value() -> Iterator[None]:
    """Have Ray Data order its workers that way for the time of a ``with`` block."""
    from ray.data._internal.execution.operators import actor_pool_map_operator as module

    operator, create = module.ActorPoolMapOperator, "get_or_create_actor_location_tracker"
    values = {"_data_context_ref": "data_context", "_map_transformer_ref": "_map_transformer"}
    known = all(hasattr(operator, name) for name in values) and hasattr(module, create)
    if not known or any(name in vars(operator) for name in values):
        # Another Ray than the one that is known, or done by a job around this one.
        yield
        return
    original = getattr(module, create)

    def tracker() -> _Tracker:
        original()
        return _Tracker()

    for name, value in values.items():
        setattr(operator, name, property(attrgetter(value)))
    setattr(module, create, tracker)
    try:
        yield
    finally:
        setattr(module, create, original)
        for name in values:
            delattr(operator, name)
