"""``pager-ray gallery``: a static page over a run."""

from __future__ import annotations

import re

import click

from pager_ray.cli.options import echo_lines
from pager_ray.errors import ConfigError
from pager_ray.report.display import shown


@click.command()
@click.option("--to", metavar="FOLDER", help="Where to write it, any fsspec URL; by default gallery/ inside OUTPUT.")
@click.option("--details", default="1000", show_default=True, metavar="N|all", help="How many get a page of their own.")
@click.option("--overwrite", is_flag=True, help="Replace a gallery that stands there.")
@click.option(
    "--images-from",
    metavar="URI",
    help="Folder, or https://HOST, that source pictures are read from; without it previews stand in for them.",
)
@click.argument("output")
def gallery(to: str | None, details: str, overwrite: bool, images_from: str | None, output: str) -> int:
    """Write a static page over the results of OUTPUT: thumbnails, sorting, filters, 360° views and point clouds."""
    if details != "all" and not re.fullmatch(r"\d{1,9}", details):
        raise ConfigError(f"--details: got {details!r}; takes a number of panoramas or all")
    from pager_ray.gallery import build_gallery

    with shown():
        built = build_gallery(
            output,
            to,
            details=None if details == "all" else int(details),
            overwrite=overwrite,
            images_from=images_from,
        )
    echo_lines(built.lines())
    return 0
