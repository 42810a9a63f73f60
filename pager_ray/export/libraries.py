"""The libraries of the ``export`` extra, loaded when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any

from pager_ray.errors import ConfigError


def load(module: str) -> Any:
    """Import a module of the ``export`` extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"export: this format needs {module.partition('.')[0]}, which is not installed ({error}); add it with "
            "pip install 'pager_ray[export]'"
        ) from error
