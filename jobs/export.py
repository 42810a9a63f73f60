"""The export job for ``ray job submit --working-dir . -- python jobs/export.py OUTPUT --to FORMAT [option …]``.

The same as ``pager-ray export``, exit codes included; ``RAY_ADDRESS``, which job submission sets, names the cluster.
"""

import sys

from pager_ray.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
