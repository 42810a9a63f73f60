"""``pager-ray scale``: a consistent scale over the sequences of a run."""

from __future__ import annotations

import click

from pager_ray.cli.options import echo_lines, json_option, write_json
from pager_ray.errors import ConfigError


@click.command()
@click.option("--remove", is_flag=True, help="Delete what an earlier call made: each frame has its own scale again.")
@json_option("what became of the sequences")
@click.argument("output")
def scale(remove: bool, json_path: str | None, output: str) -> int:
    """Make the metric scale consistent over the sequences of the run at OUTPUT, as scale.sequence=robust does.

    Predictions stay as they are. Depth that pager_ray reads or exports has the scale of its sequence from then on.
    """
    if remove and json_path is not None:
        raise ConfigError("--json: tells what became of the sequences, and --remove forgets it; give one of them")
    from pager_ray.report.scales import scale_lines
    from pager_ray.scaling import remove_scales, settle_scales

    if remove:
        remove_scales(output)
        echo_lines(["scale     each frame has its own again"])
        return 0
    report = settle_scales(output)
    write_json(json_path, report.to_json())
    echo_lines(scale_lines(report))
    return 0
