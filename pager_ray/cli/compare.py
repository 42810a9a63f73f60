"""``pager-ray compare``: two evaluations, panorama by panorama."""

from __future__ import annotations

import click

from pager_ray.cli.options import echo_lines, json_option, write_json

EXIT_WORSE = 5


@click.command()
@click.option(
    "--fail-if",
    "gates",
    multiple=True,
    metavar="METRIC>AMOUNT",
    help="Exit with 5 when B is worse than A by more than the amount, absolute or in percent of A's mean, such as "
    "'depth_metric_abs_relative_difference>2%'; 'missing>0' counts samples that only A has. May be repeated.",
)
@json_option("the comparison")
@click.argument("a")
@click.argument("b")
def compare(gates: tuple[str, ...], json_path: str | None, a: str, b: str) -> int:
    """Compare evaluation B with evaluation A, panorama by panorama; positive effects are improvements."""
    from pager_ray.report.compare import compare_outputs

    comparison = compare_outputs(a, b, gates)
    echo_lines(comparison.lines())
    write_json(json_path, comparison.to_json())
    return EXIT_WORSE if comparison.failed else 0
