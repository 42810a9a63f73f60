"""``key=value`` words to :class:`TrainSettings`, with the standard library alone."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pager_ray.errors import ConfigError
from pager_ray.train.settings import Budget, LossWeights, OptimiserSettings, Phase, TrainSettings

_SECTIONS = {"losses": LossWeights, "optimiser": OptimiserSettings, "budget": Budget}


def parse_settings(words: Sequence[str], base: Mapping[str, Any] | None = None) -> TrainSettings:
    """Apply ``key=value`` words such as ``budget.minutes=30`` or ``phases=[[0.4,56,8],[1,84,4]]``; values are JSON.

    Args:
        words: dotted assignments; a value that is no JSON is text.
        base: nested values that they are laid over.

    Raises:
        ConfigError: an unknown key, or a value of another kind.
    """
    values: dict[str, Any] = json.loads(json.dumps(dict(base or {})))
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word}: takes key=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *path, last = key.split(".")
        target = values
        for part in path:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{key}: {part} is a value, not a section")
        target[last] = value
    return build_settings(values)


def build_settings(values: Mapping[str, Any]) -> TrainSettings:
    """Nested plain values to settings.

    Raises:
        ConfigError: an unknown key, or a value of another kind.
    """
    given = dict(values)
    if "phases" in given:
        try:
            given["phases"] = tuple(_section(Phase, _named(Phase, phase), "phases.") for phase in given["phases"])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"phases: takes a list of [until, face_size, batch], got {given['phases']!r}") from error
    for name, section in _SECTIONS.items():
        if name in given:
            given[name] = _section(section, given[name], f"{name}.")
    return _section(TrainSettings, given, "")


def _named(kind: Any, values: Any) -> Any:
    """Values that may be given by their order alone."""
    if isinstance(values, Mapping):
        return values
    return dict(zip((field.name for field in dataclasses.fields(kind)), values, strict=True))


def _section(kind: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')}: takes keys and values, got {values!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise ConfigError(f"{prefix}{unknown[0]}: is no key; takes {', '.join(prefix + name for name in fields)}")
    for name, value in values.items():
        takes = fields[name].type
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        wrong = (
            (takes == "int" and (not number or value != int(value)))
            or (takes == "float" and not number)
            or (takes == "bool" and not isinstance(value, bool))
        )
        if wrong:
            raise ConfigError(f"{prefix}{name}: takes {takes}, got {value!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{prefix.rstrip('.') or 'settings'}: {error}") from error
