"""Demo: a page on this machine to drop a panorama on, look around in its geometry, and take files along."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from pager_ray.errors import ConfigError, PagerError
from pager_ray.schemes import own_path


def run_demo(
    model: Mapping[str, Any],
    *,
    host: str,
    port: int,
    share: bool,
    cache: str | None,
    keep: int,
    auth: str | None = None,
) -> None:
    """Load the model and serve the page until the process is interrupted.

    Args:
        model: fields of :class:`~pager_ray.demo.studio.Model`.
        host, port: where.
        share: also open Gradio's public tunnel.
        cache: folder of results; by default ``demo`` in the package's cache.
        keep: results to keep.
        auth: ``user:password`` that the page asks for; a public tunnel needs it.

    Raises:
        ConfigError: Gradio is not installed, ``auth`` is missing or none, or ``cache`` is no folder of this machine.
        CheckpointError: the checkpoint cannot be used.
        PagerError: the address cannot be used.
    """
    login = _login(auth)
    given = None if cache is None else own_path(cache, "--cache")
    if share and login is None:
        raise ConfigError("--share: opens the page to everybody; give --auth USER:PASSWORD with it")
    check_address(host, port)
    try:
        from pager_ray.demo.page import serve
    except ImportError as error:
        raise ConfigError(
            f"demo: needs gradio, which is not installed ({error}); add it with pip install 'pager_ray[demo]'"
        ) from error
    from pager_ray.demo.studio import Model, Studio
    from pager_ray.model.node_cache import cache_folder

    folder = cache_folder() / "demo" if given is None else given
    serve(Studio(Model(**model), folder.resolve(), keep), host, port, share=share, auth=login)


def check_address(host: str, port: int) -> None:
    """Take an address and give it back, before anything that takes seconds is loaded.

    Raises:
        PagerError: the port is taken, or the address cannot be used.
    """
    try:
        # As the server that comes after it chooses between them.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise address_error(host, port, error) from error


def address_error(host: str, port: int, error: OSError) -> PagerError:
    """What is said of an address that cannot be served at."""
    return PagerError(f"--port: {host}:{port} cannot be used ({error}); choose another --port or --host")


def _login(auth: str | None) -> tuple[str, str] | None:
    if auth is None:
        return None
    user, separator, password = auth.partition(":")
    if not separator or not user or not password:
        # Whatever was given may be the password.
        raise ConfigError("--auth: takes USER:PASSWORD, neither of them empty")
    return user, password
