"""Reservations: what each kind of task asks of the cluster it finds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from pager_ray.config import load_config
from pager_ray.config.schema import ComputeConfig
from pager_ray.errors import ConfigError, PagerError
from pager_ray.pipeline import cluster as cluster_module
from pager_ray.pipeline.cluster import (
    FREE_TASKS,
    RAY_TASK_CPUS,
    Connection,
    Reservation,
    connected,
    reserve,
)
from pager_ray.stages.settings import SMALL_CLUSTER_CPUS, SMALL_TASK_CPUS


def config_of(*overrides: str) -> ComputeConfig:
    return load_config(None, ["input.uris=in", "output.uri=out", "checkpoint=in", *overrides]).compute


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends that a cluster of the given nodes is connected."""

    def pretend(*nodes: dict[str, float]) -> None:
        total: dict[str, float] = {}
        for node in nodes:
            for name, amount in node.items():
                total[name] = total.get(name, 0.0) + amount
        described = [{"NodeID": f"{n}", "Alive": True, "Resources": node} for n, node in enumerate(nodes)]
        monkeypatch.setattr(ray, "cluster_resources", lambda: total)
        monkeypatch.setattr(ray, "nodes", lambda: described)

    return pretend


@pytest.mark.parametrize("cpus", [1.0, 2.0, SMALL_CLUSTER_CPUS - 1.0])
def test_small_machines_reserve_shares(cluster: Any, cpus: float) -> None:
    """With few CPUs every task and actor reserves a share of one, and torch still uses them all."""
    cluster({"CPU": cpus})
    asked = reserve(config_of("compute.gpus_per_worker=0"))
    assert asked.task_cpus == SMALL_TASK_CPUS
    assert asked.actor_cpus <= 1.5
    assert asked.model_threads == int(cpus)


# Each number of CPUs with fewer, as many and more workers, on either device.
@pytest.mark.parametrize(
    ("cpus", "workers", "device"),
    [(1, 1, "0"), (2, 1, "1"), (2, 2, "0"), (3, 2, "1"), (3, 64, "0"), (4, 3, "1"), (4, 8, "0"), (8, 4, "1"),
     (8, 64, "0"), (64, 8, "0"), (64, 64, "1")],
)  # fmt: skip
def test_a_full_pool_leaves_room(cluster: Any, cpus: int, workers: int, device: str) -> None:
    """Beside every model actor of the pool one of Ray's tasks and two of ours fit: no stage waits for ever."""
    cluster({"CPU": float(cpus), "GPU": 64.0})
    asked = reserve(config_of(f"compute.gpus_per_worker={device}", f"compute.gpu_workers={workers}"))
    assert asked.actor_cpus >= 0
    assert cpus - workers * asked.actor_cpus >= min(cpus, RAY_TASK_CPUS + FREE_TASKS * asked.task_cpus)


@pytest.mark.parametrize("nodes", [[8.0, 8.0], [16.0] * 10, [2.0, 64.0]])
def test_an_actor_fits_on_a_node(cluster: Any, nodes: list[float]) -> None:
    """However many nodes there are, an actor asks for no more than one of them has, and torch uses no more."""
    cluster(*({"CPU": cpus} for cpus in nodes))
    asked = reserve(config_of("compute.gpus_per_worker=0"))
    assert asked.actor_cpus <= max(nodes)
    assert asked.model_threads is not None
    assert asked.model_threads <= max(nodes)


@pytest.mark.parametrize(
    ("cpus", "workers", "actor_cpus", "threads"),
    [(8, "1", 5, 8), (8, "2", 2.5, 4), (16, "[1, 4]", 3.25, 4), (64, "5", 12, 12)],
)
def test_model_actors_on_cpus_share_the_machine(
    cluster: Any, cpus: int, workers: str, actor_cpus: float, threads: int
) -> None:
    """On CPUs the actors split the machine between them, less room for the other stages, at the pool's full size."""
    cluster({"CPU": float(cpus)})
    asked = reserve(config_of("compute.gpus_per_worker=0", f"compute.gpu_workers={workers}"))
    assert (asked.task_cpus, asked.actor_cpus, asked.actor_gpus, asked.model_threads) == (1.0, actor_cpus, 0, threads)
    assert asked.model_workers == max(json.loads(f"[{workers}]") if workers.isdigit() else json.loads(workers))


def test_a_given_number_of_threads_is_taken(cluster: Any) -> None:
    """What the configuration says of torch's threads holds whatever the machine and the pool."""
    cluster({"CPU": 8.0})
    asked = ("compute.gpus_per_worker=0", "compute.threads_per_worker=3")
    assert [reserve(config_of(*asked, f"compute.gpu_workers={n}")).model_threads for n in (1, 7)] == [3, 3]


def test_model_actors_on_gpus_take_one_cpu(cluster: Any) -> None:
    """With GPUs an actor reserves the configured share of one and a CPU; torch's threads are left alone."""
    cluster({"CPU": 16.0, "GPU": 2.0})
    assert reserve(config_of()) == Reservation(1.0, 1.0, 1.0, None, 1)
    assert reserve(config_of("compute.gpus_per_worker=0.5")).actor_gpus == 0.5


def test_dead_nodes_do_not_count(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone machine without a GPU is refused also when nodes have died beside it."""
    cluster({"CPU": 8.0})
    nodes = [*ray.nodes(), {"NodeID": "x", "Alive": False, "Resources": {"CPU": 64.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with pytest.raises(ConfigError, match="this machine has no GPU"):
        reserve(config_of())


def test_tasks_that_fit_nowhere_are_refused(cluster: Any) -> None:
    """A task larger than the machine is an error that names the key, instead of a job that waits for ever."""
    cluster({"CPU": 2.0})
    with pytest.raises(ConfigError, match=r"compute\.cpus_per_task: got 4, but this machine has 2 CPUs"):
        reserve(config_of("compute.gpus_per_worker=0", "compute.cpus_per_task=4"))


@pytest.mark.parametrize("cpus", [2.0, 32.0])
def test_a_given_share_per_task_is_taken(cluster: Any, cpus: float) -> None:
    """What the configuration reserves per task holds on machines of every size."""
    cluster({"CPU": cpus})
    assert reserve(config_of("compute.gpus_per_worker=0", "compute.cpus_per_task=1.5")).task_cpus == 1.5


@pytest.mark.parametrize("gpus", [{}, {"GPU": 0.0}])
def test_a_lone_machine_without_a_gpu_is_refused(cluster: Any, gpus: dict[str, float]) -> None:
    """GPUs that will never come are an error that names the key, instead of a job that waits for ever."""
    cluster({"CPU": 8.0} | gpus)
    with pytest.raises(
        ConfigError, match=r"compute\.gpus_per_worker: got 0\.5, but this machine has no GPU; set it to"
    ):
        reserve(config_of("compute.gpus_per_worker=0.5"))


def test_a_cluster_may_still_get_its_gpus(cluster: Any) -> None:
    """A cluster of several nodes may grow GPU nodes on demand: the job waits for them."""
    cluster({"CPU": 8.0}, {"CPU": 8.0})
    assert reserve(config_of()).actor_gpus == 1.0


def test_a_standing_cluster_is_left_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is connected already stays connected: nothing is started or shut down."""
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("started a second Ray"))
    monkeypatch.setattr(ray, "shutdown", lambda *_, **__: pytest.fail("shut down somebody's Ray"))
    with connected("ray://elsewhere:10001"):
        pass


def test_a_cluster_of_our_own_is_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started for the job ends with it, also when the job fails."""
    told: list[str | None] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *, address, **_: told.append(address))
    monkeypatch.setattr(ray, "shutdown", lambda: told.append("shut down"))

    def fail() -> None:
        with connected("10.0.0.1:6379"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert told == ["10.0.0.1:6379", "shut down"]


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A Ray that is connected, and shut down, in name alone: what was done, in order."""
    done: list[str] = []
    there = [False]

    def turn(on: bool, what: str) -> None:
        there[0] = on
        done.append(f"{what} in {threading.current_thread().name.partition('_')[0]}")

    monkeypatch.setattr(cluster_module, "connect", lambda _: turn(True, "connected"))
    monkeypatch.setattr(ray, "shutdown", lambda: turn(False, "shut down"))
    monkeypatch.setattr(ray, "is_initialized", lambda: there[0])
    yield done
    assert not there[0]


def test_ray_starts_beside_what_comes_before(connecting: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes its time finds Ray connected at its end, and what is connected is shut down once."""
    monkeypatch.setattr(cluster_module, "GRACE_SECONDS", 0.0)
    connection = Connection(None)
    with connection.meanwhile():
        while not connecting:
            time.sleep(0.01)
        with connection.opened():
            pass
        assert connecting == ["connected in connection to Ray"]
    assert connecting == ["connected in connection to Ray", "shut down in MainThread"]


def test_what_fails_at_once_waits_for_no_ray(connecting: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends before its grace does starts nothing, and one that wants Ray by then connects by itself."""
    monkeypatch.setattr(cluster_module, "GRACE_SECONDS", 3600.0)
    with pytest.raises(ConfigError), Connection(None).meanwhile():
        raise ConfigError("a typing error")
    assert not connecting
    connection = Connection(None)
    with connection.meanwhile(), connection.opened():
        assert connecting == ["connected in MainThread"]


def test_a_ray_that_does_not_start_is_told_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before is done all the same: its own mistakes are named first."""

    def refuse(_: str | None) -> None:
        raise PagerError("Ray cannot be started")

    monkeypatch.setattr(cluster_module, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(cluster_module, "connect", refuse)
    connection = Connection(None)
    done = []

    def job() -> None:
        with connection.meanwhile():
            done.append("claimed")
            with connection.opened():
                done.append("ran")

    with pytest.raises(PagerError, match="cannot be started"):
        job()
    assert done == ["claimed"]
