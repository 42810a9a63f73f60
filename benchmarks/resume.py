"""How much of a killed job's finished work its next start repeats.

Renders panoramas, starts the job with a tiny untrained checkpoint on CPUs, kills its driver with SIGKILL once half of
the rows are committed, starts it again, and compares what the model actors predicted in the two starts.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from benchmarks.frame import ROOT, Report
from pager_ray.config import load_config
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.pipeline.job import run_job
from pager_ray.pipeline.model_actor import InferActor
from pager_ray.reader import open_run
from pager_ray.runs import RunLayout
from pager_ray.samples import write_samples
from pager_ray.storage import Folder


def committed_ids(output: Path) -> set[str]:
    """Ids of the rows that count at this moment."""
    return set(RunLayout(Folder(str(output))).ledger.read().column("id").to_pylist())


def start(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks", "--call", "resume:run_start", json.dumps([str(folder), str(log)])]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def run_start(folder: str, log: str) -> int:
    """One start of the job in this process, its model actors noting every row that they predict."""

    class NotingActor(InferActor):
        def __call__(self, table: pa.Table) -> pa.Table:
            predicted = super().__call__(table)
            with open(log, "a", encoding="utf-8") as file:
                file.writelines(f"{id}\n" for id in predicted.column("id").to_pylist())
            return predicted

    settings = [f"input.uris={folder}/panoramas/samples.csv", f"output.uri={folder}/run"]
    settings += [f"checkpoint={folder}/checkpoint", "compute.gpus_per_worker=0", "compute.address=local"]
    return run_job(load_config(None, settings), model_stage=NotingActor).exit_code


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=200)


def measure(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_samples(folder / "panoramas", options.rows, height=128, ground_truth=False)
        write_random_checkpoint(folder / "checkpoint", "tiny")
        first_log, second_log = folder / "first.log", folder / "second.log"

        first = start(folder, first_log)
        while len(committed_ids(folder / "run")) < options.rows // 2:
            if first.poll() is not None:
                raise SystemExit("the first start ended before it was half done")
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()
        # Ray's processes outlive their driver for up to 2.5 s; what they still commit counts.
        time.sleep(3)
        committed = committed_ids(folder / "run")

        start(folder, second_log).wait()
        before, after = set(first_log.read_text().split()), second_log.read_text().split()
        repeated = before & set(after)
        final = open_run(folder / "run").ids()
    table = report.table(f"{options.rows} panoramas", {"predicted": "d", "committed": "d"})
    table.row("first start", len(before), len(committed))
    table.row("second start", len(after), len(final))
    report.line(f"repeated: {len(repeated)} of {len(before)} finished rows")
    report.figure("finished rows that the next start repeats", len(repeated), "rows", note=f"of {len(before)}")
    report.figure("rows missing after the next start", options.rows - len(set(final)), "rows", most=0)
    report.figure("rows twice after the next start", len(final) - len(set(final)), "rows", most=0)
