"""From a YAML file and dotted overrides to a validated :class:`RunConfig`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, overload

from pydantic import BaseModel, ValidationError

from pager_ray.bounded import Unreasonable, parse_yaml, text_of
from pager_ray.config.evaluation import EvaluateConfig, ScoreConfig
from pager_ray.config.schema import PlanConfig, RunConfig
from pager_ray.config.section import tuple_words
from pager_ray.config.training import TrainConfig
from pager_ray.errors import ConfigError
from pager_ray.masking import carries_secret, mask_uri
from pager_ray.submitted import NOT_SHIPPED, is_submitted

MAX_CONFIG_BYTES = 1 << 18
"""A configuration is a page of text; a larger file is a mistake (a listing, an image) and is not parsed."""


Config = TypeVar("Config", RunConfig, PlanConfig, EvaluateConfig, ScoreConfig, TrainConfig)

# What people must give, or look for first, stands before what may be left as it is.
_FIRST = ("input", "predictions", "evaluation", "output", "checkpoint")


@overload
def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> RunConfig: ...
@overload
def load_config(path: str | Path | None, overrides: Sequence[str], model: type[Config]) -> Config: ...
def load_config(path: str | Path | None = None, overrides: Sequence[str] = (), model: Any = RunConfig) -> Any:
    """Read a YAML file, apply ``key=value`` overrides and validate the whole.

    Args:
        path: YAML file, or None for defaults alone.
        overrides: dotted assignments such as ``output.uri=/data/run``. For keys that take text the value is that text,
            whatever it holds; a list of texts is given by repetition, or as YAML in brackets. Other values are YAML.
        model: the job's configuration: :class:`RunConfig`, :class:`EvaluateConfig`, :class:`ScoreConfig`
            or :class:`~pager_ray.config.training.TrainConfig`.

    Raises:
        ConfigError: one line that names the key, what it got and what it takes; in a submitted job, where the output is
            a path relative to its folder, too.
    """
    values = _read_yaml(Path(path)) if path is not None else {}
    kinds, given = dict(_text_keys(model, "")), set[str]()
    known = [key for key, _, _ in describe_keys(model)]
    _check_levels(values, known)
    for override in overrides:
        _assign(values, override, kinds, known, given)
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, model)) from error
    for key, takes in model.REQUIRED.items():
        if not reduce(getattr, key.split("."), config):
            raise ConfigError(f"{key}: got nothing; takes {takes}")
    if carries_secret(config.output.uri):
        raise ConfigError(
            f"output.uri: {mask_uri(config.output.uri)} carries credentials in its URL; give them through the "
            "environment or a profile"
        )
    if is_submitted() and "://" not in config.output.uri and not Path(config.output.uri).expanduser().is_absolute():
        raise ConfigError(
            f"output.uri: got {config.output.uri}, inside the copy of the working folder that Ray makes for a "
            "submitted job and deletes after it; takes a URL, or an absolute path of storage that all nodes share"
        )
    return config


def describe_keys(model: type[BaseModel] = RunConfig) -> Iterator[tuple[str, str, str]]:
    """Yield ``(dotted key, default, meaning)`` of every key: what must be given first, then in order of the schema."""
    yield from _describe(model, "", getattr(model, "REQUIRED", {}))


def _describe(model: type[BaseModel], prefix: str, required: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    import yaml

    for name, field in sorted(model.model_fields.items(), key=lambda item: _place(item[0])):
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _describe(inner, f"{prefix}{name}.", required)
            continue
        default = field.get_default(call_default_factory=True)
        # As it is typed: YAML would quote words such as off.
        is_word = isinstance(default, str) and default
        shown = (
            default if is_word else yaml.safe_dump(default, default_flow_style=True).strip().removesuffix("...").strip()
        )
        key = f"{prefix}{name}"
        yield key, "(required)" if key in required else shown, field.description or ""


def _place(section: str) -> int:
    return _FIRST.index(section) if section in _FIRST else len(_FIRST)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; --config takes a short YAML file")
        values = parse_yaml(text_of(path.read_bytes()), MAX_CONFIG_BYTES)
    except OSError as error:
        takes = "--config takes a YAML file"
        if isinstance(error, FileNotFoundError) and is_submitted():
            takes += f"; {NOT_SHIPPED}"
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); {takes}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: is not YAML ({' '.join(str(error).split())}); takes a mapping of keys such as `input:`"
        ) from error
    except Unreasonable as error:
        raise ConfigError(f"{path}: {error}; --config takes a short YAML file") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}; takes a mapping of keys such as `input:`")
    return values


def _text_keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, bool]]:
    """Keys whose values are text, each with whether it takes several."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _text_keys(kind, f"{prefix}{name}.")
        elif _is_text(kind):
            yield f"{prefix}{name}", False
        elif get_origin(kind) is list and _is_text(get_args(kind)[0]):
            yield f"{prefix}{name}", True


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return all(inner is type(None) or _is_text(inner) for inner in get_args(kind))
    return kind is str


def _check_levels(values: Mapping[Any, Any], known: Sequence[str], prefix: str = "") -> None:
    """Refuse a key of a file that has several levels in one name, as it has on the command line.

    Raises:
        ConfigError: says how it is written in a file.
    """
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(name, str) and "." in name and key in known:
            levels = name.split(".")
            shown = ": {".join(levels) + ": …" + "}" * (len(levels) - 1)
            raise ConfigError(f"{key}: in a file each dot is a level; takes `{shown}`")
        if isinstance(value, dict) and key not in known:
            _check_levels(value, known, f"{key}.")


def _assign(
    values: dict[str, Any], override: str, text_keys: Mapping[str, bool], known: Sequence[str], given: set[str]
) -> None:
    """Put one override into the values.

    Args:
        text_keys: see :func:`_text_keys`.
        known: every key that there is.
        given: keys that overrides have set before this one; it is added.
    """
    import yaml

    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{override!r}: is no override; takes key=value, such as output.uri=/data/run")
    section = values
    for part in parts[:-1]:
        # A file's section may be empty.
        section[part] = {} if section.get(part) is None else section[part]
        section = section[part]
        if not isinstance(section, dict):
            raise ConfigError(f"{key}: {part} is no section of the configuration; --help lists the keys")
    if not text and (inner := _inside(key, known)):
        raise ConfigError(f"{key}: got nothing; {inner}")
    value: Any = text or None
    takes_many = text_keys.get(key)
    if text and (takes_many is None or (takes_many and text[0] == "[" and text[-1] == "]")):
        try:
            value = parse_yaml(text)
        except (yaml.YAMLError, Unreasonable) as error:
            raise ConfigError(
                f"{key}: got {text!r}, which is not YAML ({' '.join(str(error).split())}); takes what a line of the "
                "configuration file would"
            ) from error
    if takes_many and key in given and value is not None:
        before = section[parts[-1]]
        value = [*(before if isinstance(before, list) else [before]), *(value if isinstance(value, list) else [value])]
    section[parts[-1]] = value
    given.add(key)


def _inside(section: str, known: Sequence[str]) -> str:
    """What a section takes; empty where the key is none."""
    inner = [key for key in known if key.startswith(f"{section}.")]
    return f"takes keys of its own, such as {inner[0]}" if inner else ""


_KINDS = {"string": "text", "list": "a list, or one value", "integer": "a whole number", "boolean": "true or false"}
_OF_KINDS = re.compile(r"\ba valid (\w+)(, unable to .*)?")


def _in_words(kind: re.Match[str]) -> str:
    """What pydantic calls a valid string, list or number."""
    return _KINDS.get(kind[1], f"a {kind[1]}")


# What pydantic says of tuples, and of lists that have none.
_OF_SHAPE = frozenset({"tuple_type", "missing", "too_short", "too_long"})


def _shape_words(model: type[BaseModel], key: str) -> str:
    """What a key of several numbers takes; empty where it is no such key."""
    kind: Any = model
    for name in key.split("."):
        field = kind.model_fields.get(name) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        kind = None if field is None else field.annotation
    words = tuple_words(kind)
    return words and f"takes {'a list of' if get_origin(kind) is list else 'a whole number or'} {words}"


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line from pydantic's first complaint, in the words of dotted keys."""
    known = [key for key, _, _ in describe_keys(model)]
    first = error.errors(include_url=False)[0]
    # Members of a union appear in the location as type names; they are no part of the user's key.
    parts = [str(part) for part in first["loc"]]
    key = next((".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in known), None)
    if first["type"] in ("extra_forbidden", "invalid_key"):
        wrong = ".".join(parts)
        close = difflib.get_close_matches(wrong, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "--help lists the keys"
        return f"{wrong}: unknown key; {hint}"
    takes = "; ".join(
        dict.fromkeys(
            _OF_KINDS.sub(
                _in_words, item["msg"].removeprefix("Value error, ").replace("Input should be", "takes")
            ).strip()
            for item in error.errors(include_url=False)
            if key is None or ".".join(str(part) for part in item["loc"]).startswith(key)
        )
    )
    got = first.get("input")
    place = key or ".".join(parts) or "configuration"
    if first["type"] == "model_type":
        takes = _inside(place, known)
    elif _OF_SHAPE.intersection(item["type"] for item in error.errors(include_url=False)):
        takes = _shape_words(model, place) or takes
    if first["type"] == "value_error" and isinstance(got, dict):
        # Of keys that do not go together, each by itself is right.
        return takes if not parts or takes.startswith(f"{place}.") else f"{place}: {takes}"
    shown = repr(got) if isinstance(got, (str, int, float, bool, list)) else type(got).__name__
    shown = "nothing" if got is None else shown
    return f"{place}: got {shown}; {takes}"
