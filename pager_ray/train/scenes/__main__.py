"""Render training panoramas into a folder: ``python -m pager_ray.train.scenes OUT --count 1000``."""

from __future__ import annotations

import argparse
import os
import sys
import time

from pager_ray.errors import PagerError
from pager_ray.train.scenes.catalogue import FAMILIES
from pager_ray.train.scenes.panoramas import write_panoramas


def main(argv: list[str] | None = None) -> int:
    """Render what the command line asks for; 0, or 2 when it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m pager_ray.train.scenes", description=__doc__)
    parser.add_argument("folder", help="where OUT/<index>.npz go; those that are there are kept")
    parser.add_argument("--start", type=int, default=0, help="first index (default: %(default)s)")
    parser.add_argument("--count", type=int, required=True, help="how many")
    parser.add_argument("--size", default="512x256", help="width x height (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all scenes (default: %(default)s)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="default: one per core (%(default)s)"
    )
    parser.add_argument("--leave-out", nargs="*", default=[], choices=FAMILIES, help="families that are not rendered")
    options = parser.parse_args(argv)
    try:
        width, height = (int(side) for side in options.size.split("x"))
    except ValueError:
        parser.error(f"--size takes WIDTHxHEIGHT, not {options.size!r}")
    if width != 2 * height:
        parser.error(f"--size takes a width twice the height, not {options.size!r}")
    begun, done = time.monotonic(), 0
    try:
        for _ in write_panoramas(
            options.folder,
            options.start,
            options.count,
            height=height,
            seed=options.seed,
            leave_out=tuple(options.leave_out),
            processes=options.processes,
        ):
            done += 1
            if done % 100 == 0:
                print(f"{done} rendered, {(time.monotonic() - begun) / done:.3f} s each", file=sys.stderr, flush=True)  # noqa: T201
    except PagerError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
