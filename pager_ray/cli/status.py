"""``pager-ray status``: how a job stands."""

from __future__ import annotations

import click

from pager_ray.cli.options import Finite


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Look again and again until the job is over; exits as the job did.")
@click.option("--interval", default=5.0, show_default=True, type=Finite(0.1, 3600), help="Seconds between.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per look.")
@click.argument("output")
def status(watch: bool, interval: float, as_json: bool, output: str) -> int:
    """Show how the job that writes to OUTPUT stands, from any machine and without Ray."""
    from pager_ray.reader.status import read_status
    from pager_ray.report.status_text import show_status

    return show_status(lambda: read_status(output), watch=watch, interval=interval, as_json=as_json)
