"""A job under fire: python -m tests.stress.chaos [--rows 300] [--kills 66] [--seed 0] [--store s3|local].

Runs the job on a Ray cluster of several nodes on this machine, reading from and writing to a real S3 server (Ceph RGW
on loopback), and kills: its driver, model actors, workers that read or stitch, writers before and after each of their
steps, whole nodes, and the S3 server. A driver that died is started again, as its user would; nodes and store come
back. In the end the output is verified. Prints the kills per point, the rows that were done more than once, and what
is missing, duplicated or unreadable. Exit code 1 where anything is.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.reader import open_run
from pager_ray.reader.verify import verify_output
from pager_ray.samples import write_samples
from tests.harness import faults
from tests.harness.s3 import WHY_NOT, S3Server, installed
from tests.harness.valve import Valve

ROOT = Path(__file__).resolve().parents[2]

DRIVER, NODE, STORE = "driver", "node", "S3 server"
READERS = ["before fetch", "after fetch", "after decode", "after project"]
MODELS = ["before forward", "after forward"]
STITCHERS = ["before encode", "after encode"]
WRITERS = [
    "before putting npz file",
    "after putting npz file",
    "before putting preview",
    "after putting preview",
    "before putting results",
    "after putting results",
    "before putting record",
    "after putting record",
    "after report the shard",
]
# Each of them once in a round, in random order.
ROUND = [DRIVER, NODE, STORE, *READERS, *MODELS, *STITCHERS, *WRITERS]

NODE_CPUS = 2
ROWS_PER_SHARD = 2
SPREAD = 0.7
"""The last kill comes when about this share of the rows is predicted."""
PATIENCE = 8
"""Panoramas that are predicted while a death is waited for; then nobody comes by that point any more."""
LEFT_OVER = 4
"""Panoramas that wait for the last kill: the run does not end before it."""
SLOWLY = 2.0
"""Seconds between panoramas while a death is waited for: what is behind the model gets its turn meanwhile."""


@dataclass
class Chaos:
    """One run under fire."""

    folder: Path
    output: str
    inputs: str
    address: str
    cluster: Any
    server: S3Server | None
    environment: dict[str, str]
    log: Any
    rows: int
    workers: int = 2
    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    job: subprocess.Popen[bytes] | None = None

    @property
    def orders(self) -> Path:
        """Folder of deaths on order."""
        return self.folder / "orders"

    def start(self) -> None:
        """Give the user's command (again)."""
        command = [sys.executable, "-m", "tests.harness.faults", "run", f"input.uris={self.inputs}"]
        command += [f"output.uri={self.output}", f"checkpoint={self.folder}/checkpoint", "scene_mode=indoor"]
        command += ["compute.gpus_per_worker=0", f"compute.gpu_workers={self.workers}", "compute.threads_per_worker=1"]
        command += [
            "compute.cpus_per_task=0.5",
            f"output.rows_per_shard={ROWS_PER_SHARD}",
            "output.size=64x128",
            "output.format=npz",
        ]
        command += ["output.previews=true", "sky.fill=true"]
        environment = os.environ | self.environment | {"RAY_ADDRESS": self.address}
        self.job = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log, cwd=ROOT)
        self.starts += 1

    def stop(self) -> None:
        """End the job, where it is not over."""
        if self.job is not None and self.job.poll() is None:
            self.job.kill()

    def ended(self) -> int | None:
        """The job's exit code; None while it runs."""
        assert self.job is not None
        return self.job.poll()

    def predicted(self) -> int:
        """How many rows the model has done, by now."""
        return len(set(faults.predicted(self.orders)))

    @property
    def valve(self) -> Valve:
        """How far the model may go: the run is not to end before the last kill, however fast the machine is."""
        return faults.hold(self.orders)

    def let_one_through(self) -> None:
        """One more, unless a block's worth waits for a model that is still starting: rows are let through by what the
        job does, not by how long it takes."""
        if self.valve.left < ROWS_PER_SHARD:
            self.valve.let_through(1)

    def kill(self, point: str) -> None:
        """Order one death and wait for it; where nobody comes by, as all rows are past that point, it is withdrawn."""
        assert self.job is not None
        if point == DRIVER:
            self.job.kill()
            self.job.wait()
            self.kills[point] += 1
            self.start()
        elif point == NODE:
            self.cluster.remove_node(next(iter(self.cluster.worker_nodes)), allow_graceful=False)
            self.kills[point] += 1
            self.cluster.add_node(num_cpus=NODE_CPUS, object_store_memory=200 * 2**20)
        elif point == STORE:
            if self.server is None:
                return
            self.server.kill()
            self.kills[point] += 1
            time.sleep(2)
            self.server.restart()
        else:
            before, enough = len(faults.deaths(self.orders)), self.predicted() + PATIENCE
            faults.order(self.orders, point)
            let_through = time.monotonic()
            while faults.is_pending(self.orders, point) and self.ended() is None:
                if time.monotonic() - let_through > SLOWLY:
                    if self.predicted() >= min(enough, self.rows - LEFT_OVER):
                        break
                    self.let_one_through()
                    let_through = time.monotonic()
                time.sleep(0.05)
            (self.orders / point).unlink(missing_ok=True)
            self.kills[point] += len(faults.deaths(self.orders)) - before


def schedule(random_: random.Random) -> Iterator[str]:
    """Points without end: every kind once a round, each round in another order."""
    while True:
        yield from random_.sample(ROUND, len(ROUND))


def upload(listing: Path, server: S3Server | None, folder: Path) -> tuple[str, str]:
    """Inputs and output of the run: on the store, or in a local folder."""
    if server is None:
        return str(listing.parent), str(folder / "run")
    import s3fs

    server.make_bucket("chaos")
    os.environ.update(server.environment())
    filesystem = s3fs.S3FileSystem()
    for picture in listing.parent.glob("*.jpg"):
        filesystem.pipe_file(f"chaos/in/{picture.name}", picture.read_bytes())
    return "s3://chaos/in/", "s3://chaos/run"


def under_fire(chaos: Chaos, kills: int, random_: random.Random) -> None:
    """Start the job, kill as planned, start it again until it ends by itself."""
    valve = chaos.valve
    chaos.start()
    for point in schedule(random_):
        done = chaos.kills.total()
        # Spread over the whole run: a kill for every so many rows.
        while chaos.predicted() < SPREAD * chaos.rows * done / kills and chaos.ended() is None:
            chaos.let_one_through()
            time.sleep(0.1)
        time.sleep(random_.uniform(0.0, 1.0))
        if done >= kills or chaos.ended() is not None:
            break
        chaos.kill(point)
        print(f"{sum(chaos.kills.values()):3} kills, last {point}", file=sys.stderr, flush=True)
    valve.open()
    for _ in range(10):
        assert chaos.job is not None
        if chaos.job.wait(timeout=3000) in (0, 3):
            return
        chaos.start()
    raise SystemExit(f"the job did not end; see {chaos.log.name}")


def report(chaos: Chaos, rows: int, seconds: float) -> int:
    run = open_run(chaos.output)
    done = faults.predicted(chaos.orders)
    redone = len(done) - len(set(done))
    found = verify_output(chaos.output)
    state = found.reconciliation
    print(f"{rows} panoramas, {sum(chaos.kills.values())} kills, {chaos.starts} starts, {seconds:.0f} s")
    print()
    print("| killed | times |\n| --- | ---: |")
    for point in ROUND:
        print(f"| {point} | {chaos.kills[point]} |")
    print()
    print(f"rows predicted more than once   {redone} of {len(done)} = {redone / max(len(done), 1):.1%}")
    print(f"missing                         {len(state.missing)}")
    print(f"duplicated                      {len(state.duplicated)}")
    print(f"unreadable or out of bounds     {len(found.problems)}")
    classes = Counter(run.rejects().column("error_class").to_pylist())
    print(f"rejects                         {dict(classes) or 'none'}")
    print(f"decoded                         {found.decoded} of {rows}, state {found.state}")
    for problem in found.problems[:10]:
        print(f"PROBLEM {problem.where}: {problem.what}")
    return 0 if not found.problems and found.decoded + state.rejects == rows else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--kills", type=int, default=66)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="model actors (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", choices=("s3", "local"), default="s3")
    options = parser.parse_args()
    if options.store == "s3" and not installed():
        sys.exit(WHY_NOT)
    # Before Ray: its nodes and their workers inherit it.
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_DEDUP_LOGS"] = "1"
    from ray.cluster_utils import Cluster

    random_ = random.Random(options.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "orders").mkdir()
        listing = Path(write_samples(folder / "panoramas", options.rows, height=64, ground_truth=False))
        write_random_checkpoint(folder / "checkpoint", "tiny")
        server = stack.enter_context(S3Server(folder / "s3")) if options.store == "s3" else None
        inputs, output = upload(listing, server, folder)
        environment = {faults.FOLDER: str(folder / "orders")}
        os.environ.update(environment)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": 200 * 2**20, "include_dashboard": False},
        )
        stack.callback(cluster.shutdown)
        for _ in range(options.nodes - 1):
            cluster.add_node(num_cpus=NODE_CPUS, object_store_memory=200 * 2**20)
        log = stack.enter_context(open(Path(tempfile.gettempdir()) / "chaos.log", "wb"))
        chaos = Chaos(
            folder, output, inputs, cluster.address, cluster, server, environment, log, options.rows, options.workers
        )
        stack.callback(chaos.stop)
        began = time.monotonic()
        under_fire(chaos, options.kills, random_)
        return report(chaos, options.rows, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
