"""The configuration reference, made of the typed configuration: ``python -m pager_ray.config.reference > FILE``."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pager_ray.config.evaluation import EvaluateConfig, ScoreConfig
from pager_ray.config.loading import describe_keys
from pager_ray.config.schema import JobConfig, RunConfig
from pager_ray.config.section import tuple_words
from pager_ray.config.training import TrainConfig

_TITLES: Final = (
    ("`pager-ray run` and `pager-ray plan`", RunConfig),
    ("`pager-ray evaluate`", EvaluateConfig),
    ("`pager-ray score`", ScoreConfig),
    ("`pager-ray train`", TrainConfig),
)

_SIGNS: Final = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))

_PREAMBLE: Final = """\
# Configuration

<!-- Made by `python -m pager_ray.config.reference`; the words are those of pager_ray/config. -->

Keys come from a YAML file and from the command line, which wins:

```
pager-ray run --config configs/run.yaml output.uri=s3://bucket/run compute.gpu_workers='[1, 16]'
```

Values on the command line are YAML too. In the file, a dot is a level:

```yaml
output:
  uri: s3://bucket/run
```

An unknown key, or a value that a key does not take, is refused before any work, in one line that names the key, what it
got and what it takes (exit code 2). `run.json` of an output holds the configuration that it was made with.

A second start of the same output has to agree on everything that decides results: all keys but `compute.*` (of which
`compute.project_on=gpu` counts), `errors.*`, `input.schemes`, `input.private`, `output.uri`, `output.rows_per_shard`,
and the names (not the contents) of inputs and weights. `--overwrite` starts anew.
"""

_ENVIRONMENT: Final = """
## Environment

| variable | what it does |
| --- | --- |
| `RAY_ADDRESS` | the Ray cluster, where `compute.address` says none; `local` for one of this machine's own |
| `RAY_AUTH_MODE`, `RAY_AUTH_TOKEN` | Ray's token authentication |
| `RAY_JOB_STOP_WAIT_TIME_S` | how long a cluster waits after SIGTERM; bounds `errors.stop_seconds` |
| `PAGER_RAY_CACHE` | folder of weights fetched from buckets; by default `~/.cache/pager_ray` |
| `PAGER_RAY_SCHEMES` | further URL schemes for outputs, checkpoints, datasets and inputs, separated by commas |
| `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` | the Hugging Face Hub's cache, token and offline mode |
| `AWS_…`, `GOOGLE_APPLICATION_CREDENTIALS`, … | credentials and endpoints, as each store's client takes them |
"""


def reference() -> str:
    """The page, in Markdown: every key of every command with what it takes, its default and its meaning."""
    shared = {key for key, _, _ in describe_keys(JobConfig)} - {"checkpoint"}
    common = set.intersection(*({key for key, _, _ in describe_keys(model)} for model in (RunConfig, EvaluateConfig)))
    parts = [_PREAMBLE.rstrip()]
    for title, model in _TITLES:
        left_out = shared & common if model is EvaluateConfig else set()
        parts.append(f"\n## {title}\n")
        if left_out:
            parts.append(
                "All keys of `pager-ray run` but those of `input`, `output` and `scale` and `compute.project_on`, and "
                "these:\n"
            )
        parts.append("| key | takes | default | meaning |\n| --- | --- | --- | --- |")
        fields = dict(_fields(model))
        parts += [
            f"| `{key}` | {_cell(_takes(fields[key]))} | {_default(default)} | {_cell(meaning)} |"
            for key, default, meaning in describe_keys(model)
            if key not in left_out
        ]
    return "\n".join(parts) + "\n" + _ENVIRONMENT


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _takes(field: FieldInfo) -> str:
    limits = [(sign, getattr(one, name)) for name, sign in _SIGNS for one in field.metadata if hasattr(one, name)]
    said = [f" {sign} {value if isinstance(value, int) else format(value, 'g')}" for sign, value in limits]
    return _type_words(field.annotation, ",".join(said))


def _type_words(annotation: Any, limits: str) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_words(inner[0], limits)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_words(part, limits) for part in inner)
    if origin is list:
        return f"one or a list of: {_type_words(inner[0], limits)}"
    if origin is tuple:
        return f"`{tuple_words(annotation)}`"
    numbers = {int: f"whole number{limits}", float: f"number{limits}"}
    return (numbers | {str: "text", bool: "`true` or `false`", type(None): "`null`"})[annotation]


def _default(shown: str) -> str:
    return {"(required)": "required", "''": "–"}.get(shown, f"`{shown}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    click.echo(reference(), nl=False)
