"""A real S3 server on loopback: Ceph's gateway over one monitor and one disk, all of it in a test's own folder.

It is the real thing in what matters to a run: signatures, conditional puts, multipart uploads, listings, and objects
that survive a SIGKILL of every process.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import botocore.session  # type: ignore[import-untyped]

ACCESS_KEY, SECRET_KEY = "pager-ray-tests", "no-secret-at-all"

START_SECONDS = 600
STOP_SECONDS = 60

_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool", "setpriv")

WHY_NOT = "needs an S3 server: install the Debian packages ceph-mon, ceph-osd, radosgw and ceph-common"

# Below those that the kernel gives to outgoing connections, so that a server finds its own free after a restart, and
# above those up to 7300, of which the disk's daemon takes some.
_PORTS = range(20_000, 32_000)

# PR_SET_PDEATHSIG fires when the *thread* dies that started a process, and tests restart servers from threads of their
# own. This one lives as long as the process.
_SPAWNER = ThreadPoolExecutor(1, thread_name_prefix="s3-spawner")

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor_port}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
keyring = {folder}/keyring
run dir = {folder}/run
log file = {folder}/log/$name.log
mon cluster log file = {folder}/log/cluster.log
crash dir = {folder}/run
pid file =
# Sockets' paths may have 107 bytes; folders of tests are longer.
admin socket =
auth allow insecure global id reclaim = false

# One copy on one disk.
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
# There is no manager, which is who would scale these. Every placement group costs time at each start.
osd pool default pg autoscale mode = off
osd pool default pg num = 2

# A disk that comes back after a kill must not wait until its former self's heartbeats have expired; the monitor
# publishes each step of that way, by default at most one a second. Read leases stay as they are (0.8 of the grace): on
# a machine that is busy, shorter ones lapse, and requests of that moment are never answered.
osd heartbeat interval = 1
osd heartbeat grace = 2
paxos propose interval = 0.05
paxos min wait = 0.01
mon tick interval = 1

# A gateway tells its peers of each new bucket, and waits for as long as a killed one counts as a peer.
osd client watch timeout = 2

mon data = {folder}/mon
# The monitor gives up where less than this percentage of the host's disk is free.
mon data avail crit = 1
mon data avail warn = 1
osd data = {folder}/osd
osd objectstore = bluestore
# A sparse file: it takes what is written to it.
bluestore block create = true
bluestore block size = {disk_bytes}

# Memory: the smallest target there is, and caches well below it.
osd memory target = 939524096
bluestore cache autotune = false
bluestore cache size = 67108864
osd op num shards = 2
log max recent = 100

[client]
# A client that comes before the disk waits for the address in an outdated map; it asks for a newer one at these times.
objecter tick interval = 0.2
objecter timeout = 0.5
rgw data = {folder}/run
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 32
# Buckets of tests are small; one that is being resharded refuses writes.
rgw override bucket index max shards = 1
rgw dynamic resharding = false
rgw enable lc threads = false
rgw enable quota threads = false
rgw enable usage log = false
"""


def installed() -> bool:
    """Whether this machine has all that a server needs."""
    return all(shutil.which(program) for program in _PROGRAMS)


class S3Server:
    """An S3 server with its own ports, keys and data; several can run on one machine.

    Its processes die with the one that made it, however that ends.

    Args:
        folder: where everything lies that it writes; created, and left behind.

    Attributes:
        url: the endpoint; the same after a restart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._monitor_port, self._port = _free_ports(2)
        self.url = f"http://127.0.0.1:{self._port}"
        self._initialised = False
        # In the order of starting; each needs the ones before it.
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the daemons that run."""
        return {name: process.pid for name, process in self._processes.items() if process.poll() is None}

    def start(self) -> None:
        """Start everything and wait until it answers; the first time also make the cluster and the key.

        Raises:
            RuntimeError: it runs, or a part of it does not start; holds the ends of the logs.
        """
        if self._processes:
            raise RuntimeError(f"the S3 server in {self._folder} runs already")
        try:
            if self._initialised:
                self._start_monitor()
                self._start_disk()
            else:
                self._initialise()
            self._spawn("client.rgw", "radosgw", "-n", "client.rgw", "-f")
            self._await_answer()
        except BaseException:
            self.kill()
            raise
        self._initialised = True

    def kill(self) -> None:
        """SIGKILL every daemon at once; a no-op when none runs."""
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def stop(self) -> None:
        """End every daemon in an orderly way, those that hang by SIGKILL; a no-op when none runs."""
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def restart(self) -> None:
        """Start again with the same data and URL, after :meth:`kill`, :meth:`stop` or from running."""
        self.stop()
        self.start()

    def environment(self, url: str | None = None) -> dict[str, str]:
        """What a process needs in its environment to reach the server through s3fs, botocore or pyarrow.

        Args:
            url: another way to the server, such as a proxy's.
        """
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url or self.url,
            # Checksums in trailers are younger than this gateway.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        client = botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()

    def _initialise(self) -> None:
        for name in ("mon", "osd", "run", "log"):
            (self._folder / name).mkdir(parents=True)
        cluster, disk = str(uuid.uuid4()), str(uuid.uuid4())
        (self._folder / "ceph.conf").write_text(
            _CONFIGURATION.format(
                folder=self._folder,
                fsid=cluster,
                monitor_port=self._monitor_port,
                port=self._port,
                disk_bytes=16 << 30,
            )
        )
        keyring, monitors = str(self._folder / "keyring"), str(self._folder / "monmap")
        self._run("ceph-authtool", keyring, "--create-keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name in ("client.admin", "client.rgw", "osd.0"):
            rights = [word for daemon in ("mon", "osd", "mgr") for word in ("--cap", daemon, "allow *")]
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *rights)
        address = f"[v2:127.0.0.1:{self._monitor_port}/0]"
        self._run("monmaptool", "--create", "--addv", "a", address, "--fsid", cluster, monitors)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)
        self._start_monitor()
        self._run("ceph", "osd", "new", disk)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._start_disk()
        # Before the gateway runs: either would make the pools, and two at once wait for each other.
        self._run(
            *("radosgw-admin", "user", "create", "--uid", "tests", "--display-name", "tests"),
            *("--access-key", ACCESS_KEY, "--secret", SECRET_KEY),
        )

    def _start_monitor(self) -> None:
        self._spawn("mon.a", "ceph-mon", "-i", "a", "-f")

    def _start_disk(self) -> None:
        self._spawn("osd.0", "ceph-osd", "-i", "0", "-f")

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CEPH_")}
        return inherited | {"CEPH_CONF": str(self._folder / "ceph.conf")}

    def _run(self, *command: str) -> None:
        try:
            subprocess.run(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=START_SECONDS,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            output = (error.output or b"").decode(errors="replace")
            raise RuntimeError(f"{' '.join(command[:3])} failed: {output[-2000:]}\n{self._tails()}") from error

    def _spawn(self, name: str, *command: str) -> None:
        with open(self._folder / "log" / f"{name}.out", "ab") as output:
            self._processes[name] = _SPAWNER.submit(
                subprocess.Popen,
                # Dies with this process; as a session of its own it is not reached by a terminal's interrupts.
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            ).result()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            for name, process in self._processes.items():
                try:
                    process.wait(0.03)
                except subprocess.TimeoutExpired:
                    continue
                raise RuntimeError(f"{name} ended with {process.returncode} while starting\n{self._tails()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.url} does not answer after {START_SECONDS} s\n{self._tails()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tails(self, lines: int = 15) -> str:
        logs = {path.name: path.read_text(errors="replace") for path in sorted((self._folder / "log").iterdir())}
        return "\n".join(
            "\n".join([f"--- {name}", *text.splitlines()[-lines:]]) for name, text in logs.items() if text.strip()
        )


def _free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            # As the daemons do: connections that have just ended do not keep a port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} ports from {_PORTS.start} to {_PORTS.stop} are free")


def main() -> None:
    """Serve until SIGTERM: the first line of the output is the environment in which clients reach a bucket, as JSON."""
    folder, bucket = sys.argv[1:]
    with S3Server(Path(folder)) as server:
        server.make_bucket(bucket)
        sys.stdout.write(f"{json.dumps(server.environment())}\n")
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        signal.pause()


if __name__ == "__main__":
    main()
