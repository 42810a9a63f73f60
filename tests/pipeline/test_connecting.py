"""Every way of Ray not being there is one line with a remedy, before Ray itself has waited for minutes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import ray
from ray._private.node import Node

from pager_ray.errors import ConfigError, PagerError
from pager_ray.pipeline import connecting
from pager_ray.pipeline.connecting import connect


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str | None]:
    """What Ray was asked to connect to; it is not asked really, and finds folders of its own."""
    calls: list[str | None] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: calls.append(address))
    monkeypatch.setattr(connecting, "ANSWER_SECONDS", 1.0)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return calls


def refused(address: str | None, kind: type[PagerError] = PagerError) -> str:
    with pytest.raises(kind) as caught:
        connect(address)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    accepted.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """An address at which nobody is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("given", ["compute.address", "RAY_ADDRESS"])
def test_nobody_at_an_address(
    closed: str, scheme: str, given: str, monkeypatch: pytest.MonkeyPatch, started: list[str | None]
) -> None:
    """Where nothing listens the line says so, with what to correct; Ray is not asked."""
    address = f"{scheme}{closed}"
    if given == "RAY_ADDRESS":
        monkeypatch.setenv("RAY_ADDRESS", address)
    told = refused(address if given == "compute.address" else None)
    assert told.startswith(f"nobody answers at {address} (")
    assert told.endswith(f"; start the cluster, or correct {given}")
    assert started == []


class Guarded(grpc.GenericRpcHandler):
    """A cluster's head that knows one token."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if ("authorization", "Bearer right") not in details.invocation_metadata:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.mark.parametrize("token", ["right", "wrong", None])
def test_a_cluster_that_takes_another_token(
    token: str | None, monkeypatch: pytest.MonkeyPatch, started: list[str | None]
) -> None:
    """One line says whether a token is missing or wrong, and where to get it; with the right one Ray is asked."""
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Guarded()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    monkeypatch.setattr(connecting, "_token", lambda: [("authorization", f"Bearer {token}")] if token else [])
    try:
        if token == "right":
            connect(address)
        else:
            told = refused(address)
            found = "Ray has none here" if token is None else "the one that Ray finds here is another"
            assert told.startswith(
                f"the cluster at {address} takes jobs with its token alone, and {found}; set RAY_AUTH"
            )
    finally:
        server.stop(None)
    assert started == ([address] if token == "right" else [])


def test_somebody_else_at_an_address(silent: str) -> None:
    """A server that is no Ray is told from one that is slow."""
    assert refused(silent).startswith(f"what answers at {silent} is no Ray; correct compute.address")


def test_a_head_on_this_machine_listens_at_its_nodes_address(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes loopback for the node's own address, where alone its heads listen: that is looked at too."""
    port = silent.rpartition(":")[2]
    monkeypatch.setattr(ray._private.services, "resolve_ip_for_localhost", lambda _: "127.0.0.1")
    assert refused(f"127.0.0.2:{port}").startswith(f"what answers at 127.0.0.2:{port} is no Ray")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://head"])
def test_where_jobs_are_submitted_is_no_cluster(address: str) -> None:
    """A dashboard's address says how to submit there."""
    assert "ray job submit --address" in refused(address, ConfigError)


@pytest.mark.parametrize("address", ["head", "head:port", "head:99999", "ray://head"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """A name without a port, or with one that is none, is told with what is taken."""
    assert refused(address, ConfigError) == f"compute.address: got {address}; takes host:port, auto or local"


def test_auto_joins_nobody_elses_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a Ray on this machine, or with another user's, auto is refused; with one's own it is taken."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert "no Ray runs on this machine" in refused("auto", ConfigError)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:6379")
    connect("auto")
    monkeypatch.setattr(os, "getuid", lambda: 123456)
    assert "is another user's" in refused("auto", ConfigError)


def test_without_an_address_nobody_elses_ray_is_joined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[str | None]
) -> None:
    """One's own Ray on this machine is taken, as Ray does; another user's is left alone, and one is started."""
    session = tmp_path / "ray_current_cluster"
    monkeypatch.setattr(ray._common.utils, "get_ray_address_file", lambda _: str(session))
    connect(None)
    session.write_text("127.0.0.1:6379")
    connect(None)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    connect(None)
    assert started == [None, None, "local"]


def test_a_temporary_folder_that_sockets_cannot_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's limit on names of sockets is told with the variable that helps."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", f"/tmp/{'x' * 60}")
    assert refused(None).endswith("(at most 39 characters); set RAY_TMPDIR=/tmp, or another short one")


@pytest.mark.parametrize(("variable", "what"), [("RAY_TMPDIR", "its temporary folder"), ("HOME", "the folder of its")])
def test_folders_that_cannot_be_written(variable: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers with arbitrary user ids: the folder, why, and the variable that helps are named."""
    monkeypatch.setenv(variable, "/dev/null")
    told = refused("local")
    assert f"{what}" in told
    assert f"set {variable} to a folder that can be written" in told


def test_a_busy_machine_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray that takes too long to start is started some more times; then the line says to wait."""
    calls = []

    def slow(**_: object) -> None:
        calls.append(1)
        raise RuntimeError("The current node timed out during startup. This could happen because\nof many things")

    monkeypatch.setattr(ray, "init", slow)
    assert refused(None).endswith("; wait until this machine has less to do, then run the same command again")
    assert len(calls) == connecting._STARTS > 2


def test_what_is_started_at_last_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray that was too slow the first times and then is not: a job begins, with one line for each time."""
    calls, ended = [], []

    def slow(**_: object) -> None:
        calls.append(1)
        if len(calls) < connecting._STARTS:
            raise RuntimeError("The current node timed out during startup. This could happen")

    monkeypatch.setattr(ray, "init", slow)
    monkeypatch.setattr(connecting, "disconnect", lambda: ended.append(1))
    connect("local")
    assert len(calls) == len(ended) + 1 == connecting._STARTS


def test_another_version_is_named(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of another version says both, and what to install."""
    monkeypatch.setattr(connecting, "_check_address", lambda *_: None)

    def other(**_: object) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\nThis process: Ray 2.60.0")

    monkeypatch.setattr(ray, "init", other)
    told = refused(silent)
    assert told.startswith(
        f"Ray cannot be reached at {silent}: Version mismatch: The cluster was started with: Ray: 2.9.0"
    )
    assert told.endswith("install the cluster's versions of Ray and Python here")


@pytest.mark.parametrize(("cpus", "address", "kept"), [(2, None, "8"), (2, "local", "8"), (64, "local", None)])
def test_a_small_ray_of_ones_own_keeps_its_workers(
    cpus: int, address: str | None, kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as tasks run at once; only Ray's own processes see it, and whoever set it is obeyed."""
    seen: list[str | None] = []
    monkeypatch.delenv("RAY_num_workers_soft_limit", raising=False)
    monkeypatch.setattr(ray._private.utils, "get_num_cpus", lambda: cpus)
    monkeypatch.setattr(ray, "init", lambda **_: seen.append(os.environ.get(connecting._WORKERS_KEPT)))
    connect(address)
    assert "RAY_num_workers_soft_limit" not in os.environ
    monkeypatch.setenv("RAY_num_workers_soft_limit", "3")
    connect(address)
    assert seen == [kept, "3"]
    assert os.environ.get(connecting._WORKERS_KEPT) == "3"


def test_a_ray_of_ones_own_looks_often_and_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """For its store as long as Ray does by default, but not once a second; for its node longer; who sets it decides."""
    names = [f"RAY_raylet_{name}" for name in ("client_connect_timeout_milliseconds", "client_num_connect_attempts")]
    names.append("RAY_raylet_start_wait_time_s")
    seen: list[list[int]] = []
    monkeypatch.setattr(ray, "init", lambda **_: seen.append([int(os.environ[name]) for name in names]))
    for name in names:
        monkeypatch.delenv(name, raising=False)
    connect(None)
    assert not {*names} & {*os.environ}
    monkeypatch.setenv(names[0], "7")
    connect("local")
    (pause, times, wait), (given, *_) = seen
    assert pause < 100
    assert pause * times == 10_000
    assert wait == 60
    assert given == 7


@pytest.mark.parametrize("address", ["local", "elsewhere"])
def test_a_ray_of_ones_own_starts_no_servers(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it starts, and only then: whoever starts another in this process has Ray's own."""
    names = connecting._SERVERS
    plain = [getattr(Node, name) for name in names]
    seen: list[list[object]] = []
    monkeypatch.setattr(connecting, "_check_address", lambda *_: None)

    def fail(**_: object) -> None:
        seen.append([getattr(Node, name) for name in names])
        raise RuntimeError("no")

    monkeypatch.setattr(ray, "init", fail)
    refused(address)
    assert [mine is own for mine, own in zip(seen[0], plain, strict=True)] == [address != "local"] * len(names)
    assert [getattr(Node, name) for name in names] == plain
