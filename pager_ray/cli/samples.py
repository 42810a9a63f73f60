"""``pager-ray samples``: rendered panoramas with exact truth."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--count", default=6, show_default=True, type=click.IntRange(1, 100_000), help="Panoramas to render.")
@click.option("--height", default=512, show_default=True, type=click.IntRange(64, 8192), help="ERP height in pixels.")
@click.option("--seed", default=0, show_default=True, help="Scenes are a function of the seed.")
def samples(folder: str, count: int, height: int, seed: int) -> int:
    """Render sample panoramas with exact depth, normals and sky beside them, and a listing of them.

    FOLDER is a path or any fsspec URL.
    """
    from pager_ray.samples.writer import LISTING, put_samples

    listing = put_samples(folder, count, height=height, seed=seed)
    if "://" not in folder:
        # As it was typed.
        listing = str(Path(folder).expanduser() / LISTING)
    click.echo(f"{count} panoramas of {2 * height}x{height}, listed in {listing}")
    return 0
