"""How much of a killed job's finished work its next start repeats: python benchmarks/resume.py.

Renders panoramas, starts the job with a tiny untrained checkpoint on CPUs, kills its driver with SIGKILL once half of
the rows are committed, starts it again, and compares what the model actors predicted in the two starts.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from pager_ray.config import load_config
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.pipeline import job
from pager_ray.pipeline.infer import InferActor
from pager_ray.reader import open_run
from pager_ray.runs import RunLayout
from pager_ray.samples import write_samples
from pager_ray.storage import Folder


def committed_ids(output: Path) -> set[str]:
    """Ids of the rows that count at this moment."""
    return set(RunLayout(Folder(str(output))).ledger.read().column("id").to_pylist())


def start(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--start", str(folder), "--log", str(log)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def run_start(folder: Path, log: Path) -> int:
    """One start of the job in this process, its model actors noting every row that they predict."""

    class NotingActor(InferActor):
        def __call__(self, table: pa.Table) -> pa.Table:
            predicted = super().__call__(table)
            with log.open("a") as file:
                file.writelines(f"{id}\n" for id in predicted.column("id").to_pylist())
            return predicted

    replaced: Any = job
    replaced.InferActor = NotingActor
    settings = [f"input.uris={folder}/panoramas/samples.csv", f"output.uri={folder}/run"]
    settings += [f"checkpoint={folder}/checkpoint", "compute.gpus_per_worker=0", "compute.address=local"]
    return job.run_job(load_config(None, settings)).exit_code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start is not None:
        sys.exit(run_start(options.start, options.log))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_samples(folder / "panoramas", options.rows, height=128, ground_truth=False)
        write_random_checkpoint(folder / "checkpoint", "tiny")
        first_log, second_log = folder / "first.log", folder / "second.log"

        first = start(folder, first_log)
        while len(committed_ids(folder / "run")) < options.rows // 2:
            if first.poll() is not None:
                sys.exit("the first start ended before it was half done")
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()
        # Ray's processes outlive their driver for up to 2.5 s; what they still commit counts.
        time.sleep(3)
        committed = committed_ids(folder / "run")

        code = start(folder, second_log).wait()
        before, after = set(first_log.read_text().split()), second_log.read_text().split()
        repeated = before & set(after)
        final = open_run(folder / "run").ids()
        print(f"first start    predicted {len(before)}, committed {len(committed)} of {options.rows}")
        print(f"second start   predicted {len(after)}, exit code {code}")
        print(f"repeated       {len(repeated)} of {len(before)} finished rows = {len(repeated) / len(before):.1%}")
        print(f"missing        {options.rows - len(set(final))}, duplicated {len(final) - len(set(final))}")


if __name__ == "__main__":
    main()
