"""The libraries of the extras, loaded when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any

from pager_ray.errors import ConfigError


def load(module: str, extra: str = "export") -> Any:
    """Import a module of an extra of the package.

    Args:
        module: its name.
        extra: who brings it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"export: this format needs {module.partition('.')[0]}, which is not installed ({error}); add it with "
            f"pip install 'pager_ray[{extra}]'"
        ) from error
