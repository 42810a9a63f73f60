"""``pager-ray``: the command line; one file per command, with its options."""

from pager_ray.cli.entry import cli, exit_code, main

__all__ = ["cli", "exit_code", "main"]
