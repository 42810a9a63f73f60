"""Connecting to a cluster, or starting Ray on this machine: every way of failing is one line, and soon.

Ray waits for minutes for an address at which nobody is, tells of folders that it cannot write in tracebacks, and joins
whatever session it finds. What can be known before is looked at before.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._private.node import Node
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from pager_ray.errors import ConfigError, PagerError
from pager_ray.plain import get_logger
from pager_ray.stages.settings import SMALL_CLUSTER_CPUS, SMALL_TASK_CPUS

log = get_logger(__name__)

LOCAL = "local"
AUTO = "auto"

ANSWER_SECONDS = 30.0
"""How long a cluster may take to answer before it is said that nobody is there."""

# What Ray adds to its temporary folder for its longest socket, and what the system allows.
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_MAX_SOCKET = 107

_WORKERS_KEPT = "RAY_num_workers_soft_limit"

_START: Final = {
    # A node's process begins to make its object store, looks for it half a millisecond later, and often again a second
    # after that: for as long as by default, ten seconds, but every twentieth of one.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
    # It is there when its agents are, interpreters that import for half a minute where others keep all cores busy.
    "RAY_raylet_start_wait_time_s": "60",
}

_SERVERS: Final = ("start_api_server", "start_monitor", "start_log_monitor")

_WHO_ARE_YOU = "/ray.rpc.NodeInfoGcsService/GetClusterId"

_BUSY = "timed out during startup"
_STARTS = 4
"""A node gives up after fifteen seconds without its agents, interpreters that import; on a machine with other work one
of the next may be quicker."""


def connect(address: str | None) -> None:
    """Connect to the cluster at an address, or start Ray on this machine.

    Args:
        address: ``host:port``, ``ray://host:port``, ``auto``, ``local`` or, for what ``RAY_ADDRESS`` says or else a Ray
            of one's own on this machine, None.

    Raises:
        ConfigError: the address is none that a job can use.
        PagerError: nobody answers there, or Ray cannot be started here.
    """
    given = address or os.environ.get("RAY_ADDRESS") or LOCAL
    where = "compute.address" if address else "RAY_ADDRESS"
    if given == LOCAL and address is None and _owner_of_session() not in (None, os.getuid()):
        # Ray would join whatever runs on this machine.
        address = LOCAL
    if given == LOCAL:
        _check_this_machine()
    elif given == AUTO:
        _check_session_is_ours(where)
    else:
        _check_address(given, where)
    with ExitStack() as stack:
        if given == LOCAL:
            stack.enter_context(_variables_of_own_ray())
            stack.enter_context(without_servers())
        _connect(address, given)


def disconnect() -> None:
    """Leave a cluster, or end the Ray that :func:`connect` started on this machine."""
    ray.shutdown()


def _connect(address: str | None, given: str) -> None:
    for left in reversed(range(_STARTS if given == LOCAL else 1)):
        try:
            _init(address)
            return
        except Exception as error:
            if not left or _BUSY not in str(error):
                raise _explained(error, given) from error
        log.warning("Ray took too long to start, most likely because this machine is busy; it is started again")
        disconnect()


@contextmanager
def _variables_of_own_ray() -> Iterator[None]:
    """Settings of a Ray of one's own, which only its processes see; those that somebody has set stay what they are.

    Of idle workers Ray keeps one per CPU, for a second. Tasks of a small job take a share of a CPU, so that more of
    them run than there are CPUs; most of their workers ended after each block, and the next block waited for another
    one's imports. A small machine's Ray keeps as many as a job has tasks at once.
    """
    # As Ray counts them: a container's share of a large machine may be small.
    cpus = ray._private.utils.get_num_cpus()
    kept = {_WORKERS_KEPT: str(math.ceil(cpus / SMALL_TASK_CPUS))} if cpus < SMALL_CLUSTER_CPUS else {}
    added = {name: value for name, value in (_START | kept).items() if name not in os.environ}
    # Ray's own processes are started meanwhile.
    os.environ |= added
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def without_servers() -> Iterator[None]:
    """A Ray that starts in this block has a node and nothing beside it.

    Ray of one's own needs no dashboard, which nobody looks at, no autoscaler, as it has no nodes to start, and no
    monitor of logs, as workers' lines are not asked for. Each is an interpreter that imports for seconds while the
    node's own do, and for the first one Ray waits before the node begins, also where it is told to include no
    dashboard. No option of ``ray.init`` leaves them out; these are methods of the one version of Ray that the project
    allows.
    """
    kept = {name: getattr(Node, name) for name in _SERVERS}

    def start_none(self: Node, **_: Any) -> None:
        # A worker's command names the dashboard's address.
        self._webui_url = ""  # type: ignore[attr-defined]

    try:
        for name in kept:
            setattr(Node, name, start_none)
        yield
    finally:
        for name, method in kept.items():
            setattr(Node, name, method)


def _init(address: str | None) -> None:
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        # How to leave out a token that Ray makes for itself.
        logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
        # A job may connect beside its other work; it keeps the handler that it has.
        logging.getLogger("ray._private.worker").addFilter(_of_signals)
    ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)


def _of_signals(record: logging.LogRecord) -> bool:
    """Whether a line of Ray's says more than that a thread can set no handler of signals."""
    return not str(record.msg).startswith("SIGTERM handler is not set")


def _check_this_machine() -> None:
    """Refuse folders in which Ray cannot keep its session, its sockets or its token."""
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    if len(str(folder) + _SOCKET) > _MAX_SOCKET:
        raise PagerError(
            f"Ray cannot be started: its temporary folder {folder} is too long a name for sockets (at most "
            f"{_MAX_SOCKET - len(_SOCKET)} characters); set RAY_TMPDIR=/tmp, or another short one"
        )
    _check_writable(folder / "ray", "its temporary folder", "set RAY_TMPDIR to a folder that can be written")
    token = Path.home() / ".ray"
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN" not in os.environ:
        _check_writable(token, "the folder of its token", "set HOME to a folder that can be written")


def _check_writable(folder: Path, what: str, remedy: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PagerError(
            f"Ray cannot be started: {what} {folder} cannot be written ({error.strerror or error}); {remedy}"
        ) from error


def _check_session_is_ours(where: str) -> None:
    """Refuse to join another user's private Ray, which is what ``auto`` finds on a machine of many users."""
    owner = _owner_of_session()
    if owner is None:
        raise ConfigError(
            f"{where}: got auto, but no Ray runs on this machine; start one with `ray start --head`, give its "
            "host:port, or local"
        )
    if owner != os.getuid():
        raise ConfigError(
            f"{where}: got auto, but the Ray on this machine is another user's (uid {owner}); give host:port of the "
            "cluster that is meant, or local for one of your own"
        )


def _owner_of_session() -> int | None:
    """User of the Ray that runs on this machine for all to join; None where there is none."""
    try:
        return Path(ray._common.utils.get_ray_address_file(None)).stat().st_uid
    except FileNotFoundError:
        return None


def _check_address(address: str, where: str) -> None:
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"{where}: got {address}, where jobs are submitted; submit this one with `ray job submit --address "
            f"{address} … -- python jobs/infer.py`, or give the host:port of the cluster's head"
        )
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"{where}: got {address}; takes host:port, auto or local")
    host, refused = _host_that_answers(host, int(port))
    if refused is not None:
        raise PagerError(
            f"nobody answers at {address} ({refused.strerror or refused}); start the cluster, or correct {where}"
        ) from refused
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return
    channel: Any = grpc.insecure_channel(f"{host}:{port}")
    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
        _check_token(channel, address)
    except grpc.FutureTimeoutError as error:
        raise PagerError(
            f"what answers at {address} is no Ray; correct {where}: takes the host:port of a cluster's head"
        ) from error
    finally:
        channel.close()


def _check_token(channel: grpc.Channel, address: str) -> None:
    """Refuse a cluster that refuses this process's token, which Ray asks for half a minute with a raw line a second."""
    headers = _token()
    try:
        channel.unary_unary(_WHO_ARE_YOU)(b"", timeout=ANSWER_SECONDS, metadata=headers)
    except grpc.RpcError as error:
        # Whatever else it answers, Ray's own client will hear it too.
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            found = "the one that Ray finds here is another" if headers else "Ray has none here"
            raise PagerError(
                f"the cluster at {address} takes jobs with its token alone, and {found}; set RAY_AUTH_MODE=token, and "
                "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to what `ray get-auth-token` says on the cluster's head"
            ) from error


def _token() -> list[tuple[str, str]]:
    """What Ray shows to a cluster of the token that it finds here."""
    loader = AuthenticationTokenLoader.instance()
    if not is_token_auth_enabled() or not loader.has_token():
        return []
    return [(name.lower(), value) for name, value in loader.get_token_for_http_header().items()]


def _host_that_answers(host: str, port: int) -> tuple[str, OSError | None]:
    """The host, or the address of this node's own that Ray takes for its loopback: heads listen at the latter alone."""
    refused = None
    for each in dict.fromkeys((host, ray._private.services.resolve_ip_for_localhost(host))):
        try:
            socket.create_connection((each.strip("[]"), port), timeout=ANSWER_SECONDS).close()
        except OSError as error:
            refused = refused or error
        else:
            return each, None
    return host, refused


def _explained(error: Exception, address: str) -> PagerError:
    """One line of what Ray says of its own failure."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[:2]) or type(error).__name__
    if "ersion mismatch" in str(error):
        remedy = "install the cluster's versions of Ray and Python here"
    elif _BUSY in str(error):
        remedy = "wait until this machine has less to do, then run the same command again"
    elif address == LOCAL:
        remedy = "give this machine more processes, shared memory or disk as it says, then run the same command again"
    else:
        remedy = "look at the cluster's head, then run the same command again"
    what = "started" if address == LOCAL else f"reached at {address}"
    return PagerError(f"Ray cannot be {what}: {reason[:400]}; {remedy}")
