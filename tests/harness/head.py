"""A real Ray cluster for tests, as ``ray start`` makes one: head and nodes with token authentication, apart from all.

Everything of it lies in a folder of its own and on ports of its own, so that another Ray on this machine is neither
found nor stopped; ``ray stop`` would end them all.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.harness.forking import workers_of
from tests.harness.ports import free_ports
from tests.harness.starting import STARTING

REPOSITORY = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))

PORTS = ("--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0")

START_SECONDS = 600.0
STOP_SECONDS = 60.0

TOO_BUSY = "timed out during startup"
"""What Ray says of a node that did not register within its time, as beside others: it is tried again. Its node waits
fifteen seconds for its agents, interpreters that import, which nothing changes."""


class Node:
    """One ``ray start --block``: a node, head or not, that lives until it is killed."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.log = log

    def kill(self) -> None:
        """End all of its processes at once, as a machine does that is taken away."""
        try:
            tree = [psutil.Process(self.process.pid)]
            tree += tree[0].children(recursive=True)
        except psutil.NoSuchProcess:
            tree = []
        for worker in workers_of(process.pid for process in tree):
            with suppress(psutil.NoSuchProcess):
                tree += [worker, *worker.children(recursive=True)]
        for process in tree:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(STOP_SECONDS)

    def drain(self) -> None:
        """Tell it to end, as a cloud does before it takes a machine away."""
        self.process.send_signal(signal.SIGTERM)


class RayHead:
    """A head, and nodes that join it; also a context manager.

    Args:
        cpus: that the head offers.
        gpus: that the head pretends to have.
        environment: further variables for all of its processes.
        options: further options of ``ray start``.
    """

    def __init__(
        self,
        cpus: int = 2,
        gpus: int = 0,
        environment: dict[str, str] | None = None,
        options: list[str] | None = None,
        object_store: int = 512 * 2**20,
    ) -> None:
        # Ray keeps sockets there, whose paths may have no more than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="pr-", dir="/tmp"))
        self.port, self.dashboard_port, self.metrics_port, *rest = free_ports(7)
        self._agent_ports, self._client_port = rest[:3], rest[3]
        self._token = self.folder / "token"
        self._token.write_text(secrets.token_hex(32))
        self._token.chmod(0o600)
        self._more = environment or {}
        self._start = [
            "--head",
            f"--port={self.port}",
            "--include-dashboard=true",
            # No driver of the tests asks for its workers' output.
            "--include-log-monitor=false",
            f"--dashboard-port={self.dashboard_port}",
            f"--ray-client-server-port={self._client_port}",
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",
            f"--object-store-memory={object_store}",
            f"--temp-dir={self.folder / 'ray'}",
            *(options or []),
        ]
        self.nodes: list[Node] = []
        self._drivers: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that talks to the cluster."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return (
            inherited
            | STARTING
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(self._token),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
                "RAY_prestart_worker_first_driver": "0",
                # Entrypoints say `python`, as users do.
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")]),
            }
            | self._more
        )

    @property
    def address(self) -> str:
        """For ``ray.init`` and ``compute.address``."""
        return f"127.0.0.1:{self.port}"

    @property
    def jobs_url(self) -> str:
        """For ``ray job … --address``."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def __enter__(self) -> RayHead:
        """Start the head and wait until it takes jobs."""
        agent = self._agent_ports
        ports = [
            f"--metrics-export-port={self.metrics_port}",
            f"--dashboard-agent-listen-port={agent[0]}",
            f"--dashboard-agent-grpc-port={agent[1]}",
            f"--runtime-env-agent-port={agent[2]}",
        ]
        try:
            self._start_node([*self._start, *ports], lambda _: self._wait())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self.close()

    def add_options(self, *options: str) -> None:
        """Further options of ``ray start``, before the head is started."""
        self._start.extend(options)

    def add_node(self, cpus: int, gpus: int = 0, object_store: int = 256 * 2**20) -> Node:
        """Let another node join, with CPUs and GPUs that it pretends to have."""
        options = [
            f"--address={self.address}",
            "--dashboard-agent-listen-port=0",
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",
            f"--object-store-memory={object_store}",
            f"--temp-dir={self.folder / 'ray'}",
        ]

        def joined(node: Node) -> None:
            # One after the other: nodes of one machine that start at once take each other's ports.
            deadline = time.monotonic() + START_SECONDS
            while "Ray runtime started" not in node.log.read_text():
                if node.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the node did not start: {node.log.read_text()[-3000:]}")
                time.sleep(0.1)

        return self._start_node(options, joined)

    def _start_node(self, options: list[str], wait: Callable[[Node], None]) -> Node:
        """Start a node and wait until it is up; where Ray gave up because the machine is busy, again while time is
        left."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            node = self._run(options)
            try:
                wait(node)
                return node
            except RuntimeError as error:
                if TOO_BUSY not in str(error) or time.monotonic() > deadline:
                    raise
            self.nodes.remove(node)
            node.kill()

    def _run(self, options: list[str]) -> Node:
        log = self.folder / f"node-{len(self.nodes)}.log"
        command = [RAY, "start", "--block", "--disable-usage-stats", *PORTS, *options]
        node = Node(command, self.environment, log)
        self.nodes.append(node)
        return node

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.nodes[0].process.poll() is not None:
                break
            if self._takes_jobs() and self._serves_metrics():
                return
            time.sleep(0.2)
        raise RuntimeError(f"the head did not start: {self.nodes[0].log.read_text()[-3000:]}")

    def _takes_jobs(self) -> bool:
        """Whether the head answers what ``ray job list`` asks, which costs seconds of processor each time."""
        try:
            self._ask("")
        except OSError:
            return False
        return True

    def _serves_metrics(self) -> bool:
        """Whether the head's agent is up, which comes after the head takes jobs."""
        try:
            self.scrape()
        except OSError:
            return False
        return True

    def ray(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Call Ray's command line as a user of the cluster does, from this project's folder."""
        environment = self.environment | {"RAY_API_SERVER_ADDRESS": self.jobs_url}
        return subprocess.run(
            [RAY, *arguments],
            env=environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
        )

    def job(self, name: str) -> dict[str, Any]:
        """What the cluster says of a submitted job."""
        return self._ask(name)

    def logs(self, name: str) -> str:
        """What a submitted job has written so far."""
        return str(self._ask(f"{name}/logs")["logs"])

    def _ask(self, path: str) -> Any:
        request = urllib.request.Request(
            f"{self.jobs_url}/api/jobs/{path}", headers={"Authorization": f"Bearer {self._token.read_text()}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def scrape(self) -> str:
        """The head's metrics, as Prometheus gets them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def start(self, module: str, *arguments: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Run one of this project's modules as a driver of the cluster."""
        environment = self.environment | {"RAY_ADDRESS": self.address}
        with (log or self.folder / f"{module}.log").open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=environment,
                cwd=REPOSITORY,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._drivers.append(process)
        return process

    def close(self) -> None:
        """Kill every process and delete the folder."""
        for driver in self._drivers:
            driver.kill()
            driver.wait()
        for node in reversed(self.nodes):
            node.kill()
        # Daemons that have left the tree of the process that started them name the folder in their arguments.
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in part for part in process.info["cmdline"] or []):
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
        shutil.rmtree(self.folder, ignore_errors=True)
