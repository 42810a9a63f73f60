"""What several commands share: options, help with configuration keys, results as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from pager_ray.config import RunConfig, describe_keys
from pager_ray.errors import ConfigError, StorageError
from pager_ray.plain import get_logger, plain_text
from pager_ray.report.outcomes import Outcome
from pager_ray.schemes import own_path
from pager_ray.version import __version__

log = get_logger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])

ALL_REJECTS = "all"
"""In place of a class of rejects to do again."""


class CommandWithKeys(click.Command):
    """A command whose help ends with every configuration key, its default and its meaning."""

    config: type[BaseModel] = RunConfig

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the keys as a definition list."""
        with formatter.section("Configuration keys"):
            formatter.write_dl([(f"{key}={default}", meaning) for key, default, meaning in describe_keys(self.config)])


class Finite(click.FloatRange):
    """A range that NaN is outside of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number.

        Raises:
            click.BadParameter: it is none, or out of range.
        """
        number = super().convert(value, param, ctx)
        return number if number == number else self.fail(f"{value!r} is not a number.", param, ctx)


class LocalPath(click.Path):
    """A path on this machine, also as ``file://``; URLs of other places are refused, and no folder is called so."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            ConfigError: it is a URL of another file system.
            click.BadParameter: it is not of the kind that is taken.
        """
        named = param.opts[0] if isinstance(param, click.Option) else "path"
        return super().convert(str(own_path(value, named)), param, ctx)


config_option = click.option(
    "--config", "config_path", type=LocalPath(dir_okay=False), help="YAML file with configuration keys."
)

overrides_argument = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")

retry_rejects_option = click.option(
    "--retry-rejects",
    is_flag=False,
    flag_value=ALL_REJECTS,
    metavar="[CLASS]",
    help="Do rejected inputs again, all or those of one class such as transient, beside what is not done yet.",
)


trace_option = click.option(
    "--trace",
    "trace_path",
    type=LocalPath(),
    metavar="FILE",
    help="Write what happened when, stages and model included, as a Chrome trace; ui.perfetto.dev opens it.",
)


def json_option(what: str) -> Callable[[Command], Command]:
    """Also write ``what`` as JSON; see :func:`write_json`."""
    return click.option("--json", "json_path", type=LocalPath(dir_okay=False), help=f"Also write {what} as JSON.")


def all_of(options: tuple[Callable[[Any], Any], ...]) -> Callable[[Command], Command]:
    """A decorator that gives a command all of the options, in their order."""
    return lambda command: reduce(lambda inner, option: option(inner), reversed(options), command)


def what_again(value: str | None, overwrite: bool, overrides: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The class to do again and the overrides; a KEY=VALUE right behind the bare option is an override."""
    if value is not None and overwrite:
        raise ConfigError("--retry-rejects: does a run's rejects again, and --overwrite deletes them; give one of them")
    if value is not None and "=" in value:
        return ALL_REJECTS, (value, *overrides)
    return value, overrides


def given_elsewhere(overrides: Iterable[str], key: str, name: str, value: str) -> None:
    """Refuse an override of a key that an argument has given: one of the two would be lost without a word.

    Raises:
        ConfigError: there is one.
    """
    if any(override.startswith(f"{key}=") for override in overrides):
        raise ConfigError(f"{key}: is what {name} says, and that is {value}; leave the key away")


def tell_of_loading() -> None:
    """The first line of a job: what comes next is silent for some seconds."""
    log.info("pager-ray %s, loading Ray", __version__)


def tell(outcome: Outcome) -> int:
    """Print how a job ended; gives its exit code."""
    echo_lines(outcome.lines())
    return outcome.exit_code


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines, each of which stays one whatever names and messages it repeats."""
    for line in lines:
        click.echo(plain_text(line))


def write_json(path: str | None, content: dict[str, Any]) -> None:
    """Write a result where ``--json`` names a file.

    Raises:
        StorageError: it cannot be written.
    """
    if path is None:
        return
    try:
        Path(path).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"--json: {path} cannot be written ({error.strerror or error}); choose a file that can be"
        ) from error
