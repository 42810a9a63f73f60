"""``pager-ray convert``: pictures to other programs' files, on this machine."""

from __future__ import annotations

import re
from typing import Any

import click

from pager_ray.cli.export import FORMAT_NAMES, MAKING, settings_of
from pager_ray.cli.options import CommandWithKeys, all_of, config_option, given_elsewhere, tell
from pager_ray.config import load_config
from pager_ray.errors import ConfigError
from pager_ray.report.display import shown

_FORMATS = tuple(name for name in FORMAT_NAMES if name != "colmap")
"""All but the one that puts a run's panoramas together."""

_KEY = re.compile(r"[a-z_]+(\.[a-z_]+)*=")

_OPTIONS = (
    click.option(
        "--to",
        "formats",
        required=True,
        multiple=True,
        metavar="FORMAT,…",
        help=f"Any of {', '.join(_FORMATS)}; exr and png are depth's.",
    ),
    click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"])),
    click.option("--overwrite", is_flag=True, help="Make files anew that an earlier start left there."),
    *MAKING,
)


@click.command(cls=CommandWithKeys)
@config_option
@all_of(_OPTIONS)
@click.argument("words", nargs=-1, required=True, metavar="INPUTS... OUT [KEY=VALUE]...")
def convert(config_path: str | None, words: tuple[str, ...], **given: Any) -> int:
    """Predict INPUTS - pictures, folders, listings - and write OUT/FORMAT/ID…; the same command again goes on.

    On this machine, without Ray and without a run that stays; with the embedded checkpoint, or checkpoint=NAME.
    """
    places = [word for word in words if not _KEY.match(word)]
    keys = [word for word in words if _KEY.match(word)]
    if len(places) < 2:
        raise ConfigError(
            f"convert: got {', '.join(places) or 'no place'}; takes what to convert, then the folder for the files"
        )
    *inputs, output = places
    given_elsewhere(keys, "output.uri", "OUT", output)
    names = _names(given["formats"])
    config = load_config(
        config_path,
        [
            "checkpoint=embedded",
            # One panorama at a time, wherever the model runs.
            "compute.gpus_per_worker=0",
            *keys,
            *(f"input.uris={one}" for one in inputs),
            f"output.uri={output}",
        ],
    )
    from pager_ray.convert import run_convert
    from pager_ray.export.formats import FORMATS

    turned = [name for name in names if name in FORMATS and FORMATS[name].axes is not None]
    # Only where none has axes it is a mistake to name some.
    settings = [settings_of(name, given | ({} if name in turned or not turned else {"axes": None})) for name in names]
    with shown():
        outcome = run_convert(config, settings, device=given["device"], overwrite=given["overwrite"])
    return tell(outcome)


def _names(options: tuple[str, ...]) -> list[str]:
    from pager_ray.export.formats import ALIASES

    names = [part.strip() for option in options for part in option.split(",") if part.strip()]
    if not names:
        raise ConfigError(f"--to: got nothing; takes {', '.join(_FORMATS)}")
    names = list(dict.fromkeys(ALIASES.get(name, name) for name in names))
    if unknown := [name for name in names if name not in FORMAT_NAMES]:
        raise ConfigError(f"--to: got {unknown[0]!r}; takes {', '.join(_FORMATS)}")
    return names
