"""Demo: a page on this machine to drop a panorama on, look around in its geometry, and take files along."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pager_ray.errors import ConfigError


def run_demo(model: Mapping[str, Any], *, host: str, port: int, share: bool, cache: str | None, keep: int) -> None:
    """Load the model and serve the page until the process is interrupted.

    Args:
        model: fields of :class:`~pager_ray.demo.studio.Model`.
        host, port: where.
        share: also open Gradio's public tunnel.
        cache: folder of results; by default ``demo`` in the package's cache.
        keep: results to keep.

    Raises:
        ConfigError: Gradio is not installed.
        CheckpointError: the checkpoint cannot be used.
        PagerError: the address cannot be used.
    """
    try:
        from pager_ray.demo.page import serve
    except ImportError as error:
        raise ConfigError(
            f"demo: needs gradio, which is not installed ({error}); add it with pip install 'pager_ray[demo]'"
        ) from error
    from pager_ray.demo.studio import Model, Studio
    from pager_ray.model.node_cache import cache_folder

    folder = Path(cache).expanduser() if cache else cache_folder() / "demo"
    serve(Studio(Model(**model), folder.resolve(), keep), host, port, share=share)
