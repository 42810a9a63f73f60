"""A configuration as it may be seen: in ``run.json``, without credentials."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pager_ray.masking import mask_uri

_URIS = frozenset({"input.uris", "input.mask.uris", "output.uri", "checkpoint", "predictions", "evaluation.data_path"})
"""Keys whose values name places, in whichever configuration has them; other keys may have URLs, too."""


def shown_config(config: BaseModel) -> dict[str, Any]:
    """The configuration as JSON values, URIs masked."""
    return {name: _shown(value, name) for name, value in config.model_dump(mode="json").items()}


def _shown(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _shown(inner, f"{key}.{name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner, key) for inner in value]
    return mask_uri(value) if isinstance(value, str) and (key in _URIS or "://" in value) else value
