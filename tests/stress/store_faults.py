"""What a failing network costs a job: python -m tests.stress.store_faults [--rows 120] [--share 0.05].

Runs the job twice on a real S3 server (Ceph RGW on loopback), through a proxy: first one that passes everything on,
then one where the given share of requests each fails with a 5xx, is slow, is reset, or has its body cut off. Both runs
must end with every input predicted once, verified. Prints what the proxy did, the times and their ratio. Exit code 1
where anything is lost.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.reader.verify import verify_output
from pager_ray.samples import write_samples
from tests.harness.proxy import FaultProxy, Faults
from tests.harness.s3 import WHY_NOT, S3Server, installed


def run(folder: Path, server: S3Server, name: str, faults: Faults, seed: int) -> tuple[float, dict[str, int], bool]:
    """One run: seconds, what the proxy did, whether it is whole."""
    with FaultProxy(server.url, faults, seed=seed) as proxy:
        command = [sys.executable, "-m", "pager_ray", "run", "input.uris=s3://faults/in/"]
        command += [f"output.uri=s3://faults/{name}", f"checkpoint={folder}/checkpoint", "scene_mode=indoor"]
        command += ["compute.gpus_per_worker=0", "output.size=64x128", "output.rows_per_shard=2"]
        environment = os.environ | server.environment(proxy.url) | {"RAY_ADDRESS": "local"}
        began = time.monotonic()
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        counts = dict(proxy.counts)
    if ended.returncode:
        print(ended.stderr, file=sys.stderr)
        return seconds, counts, False
    found = verify_output(f"s3://faults/{name}")
    return seconds, counts, not found.problems and found.reconciliation.rejects == 0


def main() -> int:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--share", type=float, default=0.05, help="of requests, for each kind of fault")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not installed():
        sys.exit(WHY_NOT)
    share = options.share
    with tempfile.TemporaryDirectory() as temporary, S3Server(Path(temporary) / "s3") as server:
        folder = Path(temporary)
        listing = Path(write_samples(folder / "panoramas", options.rows, height=64, ground_truth=False))
        write_random_checkpoint(folder / "checkpoint", "tiny")
        server.make_bucket("faults")
        os.environ.update(server.environment())
        import s3fs

        for picture in listing.parent.glob("*.jpg"):
            s3fs.S3FileSystem().pipe_file(f"faults/in/{picture.name}", picture.read_bytes())
        quiet, requests, whole = run(folder, server, "quiet", Faults(), options.seed)
        faults = Faults(error=share, slow=share, reset=share, truncate=share)
        failing, counts, survived = run(folder, server, "failing", faults, options.seed)
    print(f"{options.rows} panoramas, {share:.0%} of requests for each kind of fault")
    print(f"quiet     {quiet:6.1f} s, {requests['requests']} requests, {'whole' if whole else 'NOT WHOLE'}")
    done = ", ".join(f"{kind} {count}" for kind, count in counts.items() if kind != "requests")
    state = "whole" if survived else "NOT WHOLE"
    print(f"failing   {failing:6.1f} s, {counts['requests']} requests ({done}), {state}")
    print(f"overhead  {failing / quiet - 1:6.0%}")
    return 0 if whole and survived else 1


if __name__ == "__main__":
    sys.exit(main())
