"""Ray for one job: the cluster it runs on, and how much of it each kind of task reserves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from pager_ray.config import RunConfig
from pager_ray.errors import ConfigError

SMALL_CLUSTER_CPUS = 4

# On a small machine whole-CPU reservations deadlock for minutes: the resume filter, the model actor and the readers
# together want more CPUs than there are, and each waits for another. Reservations are not limits, so shares do.
SMALL_TASK_CPUS = 0.25
SMALL_ACTOR_CPUS = 0.5


@dataclass(frozen=True)
class Reservation:
    """CPUs and GPUs that Ray reserves per read or stitch task and per model actor.

    ``model_threads`` bounds torch in an actor on CPUs; None leaves it alone.
    """

    task_cpus: float
    actor_cpus: float
    actor_gpus: float
    model_threads: int | None


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster for the time of a ``with`` block, or start one on this machine; an existing one is kept."""
    if ray.is_initialized():
        yield
        return
    ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    quieten_ray()
    try:
        yield
    finally:
        ray.shutdown()


def quieten_ray() -> None:
    """Keep Ray Data's own story of blocks and operators out of a log that is about panoramas, unless it is wanted.

    Its errors reach the caller as exceptions; its log of them is pages of traceback.
    """
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def reserve(config: RunConfig) -> Reservation:
    """Decide reservations from what the connected cluster has.

    Raises:
        ConfigError: GPUs are asked for on a lone machine that has none.
    """
    resources = ray.cluster_resources()
    cpus, compute = resources.get("CPU", 1.0), config.compute
    is_small = cpus < SMALL_CLUSTER_CPUS
    task_cpus = compute.cpus_per_task
    if task_cpus == "auto":
        task_cpus = SMALL_TASK_CPUS if is_small else 1.0
    if compute.gpus_per_worker == 0:
        most = compute.gpu_workers if isinstance(compute.gpu_workers, int) else compute.gpu_workers[1]
        share = max(1.0, (cpus - 1) // most)
        threads = max(1, int(cpus // most))
        return Reservation(task_cpus, SMALL_ACTOR_CPUS if is_small else share, 0, threads)
    if not resources.get("GPU") and len(ray.nodes()) == 1:
        raise ConfigError(
            f"compute.gpus_per_worker: got {compute.gpus_per_worker:g}, but this machine has no GPU; set it to 0 to "
            "run on CPUs, or give the address of a cluster"
        )
    return Reservation(task_cpus, SMALL_ACTOR_CPUS if is_small else 1.0, compute.gpus_per_worker, None)
