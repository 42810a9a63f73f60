"""``pager-ray publish``: a finished run to the Hugging Face Hub."""

from __future__ import annotations

import click

from pager_ray.cli.options import echo_lines
from pager_ray.report.display import shown


@click.command()
@click.option("--private", is_flag=True, help="Make a new dataset visible to its owner alone.")
@click.option("--previews", is_flag=True, help="Publish the previews too.")
@click.argument("output")
@click.argument("dataset", metavar="hf://datasets/OWNER/NAME")
def publish(output: str, dataset: str, private: bool, previews: bool) -> int:
    """Publish the run at OUTPUT: its Parquet files as they are, with a card; again, what changed.

    Where sources were read (column uri, and input.uris in run.json) is part of a run, and becomes public with it.
    """
    from pager_ray.publish import publish_run

    with shown():
        published = publish_run(output, dataset, private=private, previews=previews)
    echo_lines(published.lines())
    return 0
