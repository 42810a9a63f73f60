"""``python -m pager_ray``: the command line."""

from pager_ray.cli import main

main()
