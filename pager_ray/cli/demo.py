"""``pager-ray demo``: a page on this machine."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.option("--checkpoint", default="embedded", show_default=True, help="Alias, Hub id, folder or URL.")
@click.option("--revision", help="Branch, tag or commit of a Hub checkpoint.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="auto", show_default=True, help="As of pager-ray run.")
@click.option("--router-weights", metavar="FILE", help="The scene router's CLIP weights; by default open_clip's own.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on; 0.0.0.0 is every network.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535), help="Port to serve on.")
@click.option("--share", is_flag=True, help="Also open a public tunnel to the page, by Gradio's servers.")
@click.option(
    "--auth",
    metavar="USER:PASSWORD",
    envvar="PAGER_RAY_DEMO_AUTH",
    help="Login that the page asks for; needed with --share. Better given as PAGER_RAY_DEMO_AUTH: processes are seen.",
)
@click.option("--cache", metavar="FOLDER", help="For results; by default demo/ in ~/.cache/pager_ray.")
@click.option("--keep", default=50, show_default=True, type=click.IntRange(1), help="Results to keep.")
def demo(host: str, port: int, share: bool, auth: str | None, cache: str | None, keep: int, **model: Any) -> int:
    """Serve a page on this machine: drop a panorama, look around in its geometry, take files along."""
    from pager_ray.demo import run_demo

    run_demo(model, host=host, port=port, share=share, cache=cache, keep=keep, auth=auth)
    return 0
