"""``python -m pager_ray.train``; see :mod:`pager_ray.train.script`."""

from __future__ import annotations

import sys

from pager_ray.train.script import main

if __name__ == "__main__":
    sys.exit(main())
