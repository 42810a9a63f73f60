"""``python -m tests.harness.busy [--times N] -- COMMAND …``: a command while endless loops occupy every core.

Runs it several times in a row, until it fails. The loops end with this process, and by themselves after some hours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack

HOURS = 6.0

LOOP = """import os, time
end = time.monotonic() + {seconds}
while time.monotonic() < end and os.getppid() == {parent}:
    pass
"""


def main() -> int:
    """The exit code of the first run that fails, or 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    loop = LOOP.format(seconds=HOURS * 3600, parent=os.getpid())
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            process = subprocess.Popen([sys.executable, "-c", loop])
            stack.callback(process.wait)
            stack.callback(process.kill)
        for number in range(1, options.times + 1):
            began = time.monotonic()
            code = subprocess.run(options.command, check=False).returncode
            sys.stdout.write(f"run {number} of {options.times}: exit code {code}, {time.monotonic() - began:.0f} s\n")
            sys.stdout.flush()
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
