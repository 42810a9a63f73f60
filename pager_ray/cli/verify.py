"""``pager-ray verify``: inputs, results and rejects reconciled, results decoded again."""

from __future__ import annotations

import re

import click

from pager_ray.cli.options import echo_lines, json_option, write_json
from pager_ray.errors import ConfigError

EXIT_FAILED = 1


@click.command()
@click.option("--sample", default="100%", show_default=True, help="Share of the results to decode, such as 1%.")
@json_option("what was found")
@click.argument("output")
def verify(sample: str, json_path: str | None, output: str) -> int:
    """Reconcile inputs, results and rejects of OUTPUT and decode its results again; exits with 1 on any problem."""
    from pager_ray.reader.verify import verify_output

    verification = verify_output(output, _share(sample))
    echo_lines(verification.lines())
    write_json(json_path, verification.to_json())
    return EXIT_FAILED if verification.problems else 0


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
    if not match or float(match[1]) > 100:
        raise ConfigError(f"--sample: got {text!r}; takes a share such as 1%")
    return float(match[1]) / 100
