"""Ray for one job: the cluster it runs on, and how much of it each kind of task reserves."""

from __future__ import annotations

import gc
import logging
import math
import signal
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import ray
from ray.data import ActorPoolStrategy

from pager_ray.config.schema import ComputeConfig
from pager_ray.errors import ConfigError
from pager_ray.pipeline.connecting import connect, disconnect
from pager_ray.pipeline.plain_actors import by_value
from pager_ray.stages.settings import SMALL_CLUSTER_CPUS, SMALL_TASK_CPUS

# What stays free beside the model actors, which hold their reservation for the whole run: one of Ray's own tasks (they
# take a CPU each) and two of ours. Without it the first stage waits for ever for a CPU that no actor gives back.
RAY_TASK_CPUS = 1.0
FREE_TASKS = 2

# A block's compressed inputs, one decoded panorama and its faces. Reserving memory also keeps Ray from fusing the
# stage into the model actor where both reserve the same CPUs, which would let the model wait for every decode.
READ_TASK_MEMORY = 512 * 2**20

CALLS_PER_GPU_ACTOR = 2

GRACE_SECONDS = 0.25
"""How long a job is given to fail, or to want its cluster, before the cluster is connected beside it."""


@dataclass(frozen=True)
class Reservation:
    """CPUs and GPUs that Ray reserves per read or stitch task and per model actor.

    ``model_threads`` bounds torch in an actor on CPUs; None leaves it alone. ``model_workers`` is the largest pool.
    ``node_memory`` is the most that one node has for tasks; None where no node is known yet.
    """

    task_cpus: float
    actor_cpus: float
    actor_gpus: float
    model_threads: int | None
    model_workers: int
    node_memory: int | None = None


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster for the time of a ``with`` block, or start one on this machine; an existing one is kept."""
    if ray.is_initialized():
        with quiet_ray():
            yield
        return
    with _own_sigterm():
        connect(address)
    try:
        with quiet_ray():
            yield
    finally:
        disconnect()


class Connection:
    """A cluster that a job will want: found, or started here, beside what the job does before it wants it.

    Ray takes seconds to start, as a checkpoint takes to be digested or a manifest to be written. What fails at once
    waits for no Ray: it begins :data:`GRACE_SECONDS` later.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._wanted = threading.Event()
        self._begun: Future[bool] | None = None

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Connect beside a ``with`` block, and disconnect at its end; within it, :meth:`opened` takes the cluster."""
        if ray.is_initialized():
            yield
            return
        # The system ends Ray's processes with the thread that started them: this one's lives as long as the block.
        with ThreadPoolExecutor(1, "connection to Ray") as thread:
            self._begun = thread.submit(self._connect)
            try:
                yield
            finally:
                self._wanted.set()
                if self._begun.exception() is None and self._begun.result():
                    disconnect()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The cluster for the time of a ``with`` block.

        Raises:
            ConfigError: the address is none that a job can use.
            PagerError: nobody answers there, or Ray cannot be started here.
        """
        self._wanted.set()
        if self._begun is not None:
            self._begun.result()
        with connected(self._address):
            yield

    def _connect(self) -> bool:
        if self._wanted.wait(GRACE_SECONDS):
            return False
        connect(self._address)
        return True


@contextmanager
def giving_back() -> Iterator[None]:
    """Leave nothing reserved on a cluster that lives on, however a ``with`` block ends.

    Ray takes an actor away once nobody has a handle to it. After a failure the frames of the error have some for as
    long as the caller keeps it, and cycles have some until Python looks for cycles, which may be never: the next job
    would wait for CPUs or GPUs of this one's model actors, and nothing would ever move. Calls that are under way end
    first.
    """
    try:
        yield
    except BaseException as error:
        _forget_locals(error)
        raise
    finally:
        if ray.is_initialized():
            gc.collect()


def _forget_locals(error: BaseException | None) -> None:
    """Empty the frames of an error and of those behind it; what it says and where it was raised stays."""
    seen: set[int] = set()
    behind = [error]
    while behind:
        if (one := behind.pop()) is not None and id(one) not in seen:
            seen.add(id(one))
            for frame, _ in traceback.walk_tb(one.__traceback__):
                _clear(frame)
            behind += [one.__cause__, one.__context__]


def _clear(frame: FrameType | None) -> None:
    """Empty a frame and those that called it, which it holds; those that still run stay as they are."""
    while frame is not None:
        with suppress(RuntimeError):
            frame.clear()
        frame = frame.f_back


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does: connecting puts Ray's own handler in its place, which ends the process with code 15."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread() and before is not None:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def quiet_ray() -> Iterator[None]:
    """Keep Ray Data's own story of blocks and operators out of a log that is about panoramas, unless it is wanted.

    Its errors reach the caller as exceptions; its log of them is pages of traceback.
    """
    logger = logging.getLogger("ray.data")
    before = logger.level
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.CRITICAL)
    try:
        with by_value():
            yield
    finally:
        logger.setLevel(before)


def reserve(compute: ComputeConfig) -> Reservation:
    """Decide reservations from what the connected cluster has.

    A head without CPUs and nothing beside it is a cluster that grows when work comes; nobody knows yet how large its
    nodes will be, so tasks and actors ask for whole CPUs, one each.

    Raises:
        ConfigError: GPUs are asked for on a lone machine that has none.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    resources = ray.cluster_resources()
    cpus = resources.get("CPU", 0.0)
    lone = len(nodes) == 1 and cpus > 0
    if compute.gpus_per_worker and not resources.get("GPU") and lone:
        raise ConfigError(
            f"compute.gpus_per_worker: got {compute.gpus_per_worker:g}, but this machine has no GPU; set it to 0 to "
            "run on CPUs, or give the address of a cluster"
        )
    task_cpus = compute.cpus_per_task
    if task_cpus == "auto":
        task_cpus = SMALL_TASK_CPUS if 0 < cpus < SMALL_CLUSTER_CPUS else 1.0
    if task_cpus > largest and lone:
        raise ConfigError(
            f"compute.cpus_per_task: got {task_cpus:g}, but this machine has {largest:g} CPUs; takes no more than that"
        )
    workers = compute.gpu_workers if isinstance(compute.gpu_workers, int) else compute.gpu_workers[1]
    if cpus:
        room = max(0.0, cpus - RAY_TASK_CPUS - FREE_TASKS * task_cpus)
        wanted = 1.0 if compute.gpus_per_worker else min(largest, max(1.0, cpus // workers))
        actor_cpus = math.floor(min(wanted, room / workers) * 100) / 100
        threads = int(min(largest, max(1.0, cpus // workers)))
    else:
        actor_cpus, threads = 1.0, 1
    if compute.threads_per_worker != "auto":
        threads = compute.threads_per_worker
    model_threads = None if compute.gpus_per_worker else threads
    memory = max((node.get("memory", 0.0) for node in nodes if node.get("CPU")), default=0.0)
    return Reservation(task_cpus, actor_cpus, compute.gpus_per_worker, model_threads, workers, int(memory) or None)


def actor_pool(compute: ComputeConfig) -> ActorPoolStrategy:
    """The pool of model actors that the configuration asks for.

    An actor on a GPU takes two calls at once: one is on the device while the other's results are on their way out and
    the next blocks on their way in. On CPUs the model has the cores that this would need.
    """
    workers = compute.gpu_workers
    size = {"size": workers} if isinstance(workers, int) else {"min_size": workers[0], "max_size": workers[1]}
    if not compute.gpus_per_worker:
        return ActorPoolStrategy(**size)
    return ActorPoolStrategy(
        **size, max_concurrent_calls_per_actor=CALLS_PER_GPU_ACTOR, enable_true_multi_threading=True
    )
