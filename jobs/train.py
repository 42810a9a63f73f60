"""The training job for ``ray job submit --working-dir . -- python jobs/train.py --config FILE [key=value …]``.

The same as ``pager-ray train``, exit codes included; ``RAY_ADDRESS``, which job submission sets, names the cluster.
"""

import sys

from pager_ray.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
