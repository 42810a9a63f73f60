"""A configuration as it may be seen: in ``run.json``, without credentials."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pager_ray.masking import mask_uri

_URIS = ("input.uris", "output.uri", "checkpoint", "predictions", "evaluation.data_path")
"""Keys whose values name places, in whichever configuration has them."""


def shown_config(config: BaseModel) -> dict[str, Any]:
    """The configuration as JSON values, URIs masked."""
    shown = config.model_dump(mode="json")
    for key in _URIS:
        *path, last = key.split(".")
        section: Any = shown
        for name in path:
            section = section.get(name, {})
        value = section.get(last)
        if isinstance(value, list):
            section[last] = [mask_uri(uri) for uri in value]
        elif value is not None:
            section[last] = mask_uri(value)
    return shown
