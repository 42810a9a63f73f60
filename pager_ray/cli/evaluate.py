"""``pager-ray evaluate``: inference and metrics in one pass over a dataset."""

from __future__ import annotations

import click

from pager_ray.cli.options import (
    CommandWithKeys,
    config_option,
    overrides_argument,
    retry_rejects_option,
    tell,
    tell_of_loading,
    trace_option,
    what_again,
)
from pager_ray.config import EvaluateConfig, load_config
from pager_ray.report.display import shown
from pager_ray.tracing import span, traced


class _EvaluateCommand(CommandWithKeys):
    config = EvaluateConfig


@click.command(cls=_EvaluateCommand)
@config_option
@click.option("--overwrite", is_flag=True, help="Delete an evaluation that stands at output.uri and start anew.")
@retry_rejects_option
@trace_option
@overrides_argument
def evaluate(
    config_path: str | None,
    overwrite: bool,
    retry_rejects: str | None,
    trace_path: str | None,
    overrides: tuple[str, ...],
) -> int:
    """Predict and score every sample of a dataset; the same command again resumes."""
    again, overrides = what_again(retry_rejects, overwrite, overrides)
    config = load_config(config_path, overrides, EvaluateConfig)
    with shown(), traced(trace_path):
        tell_of_loading()
        with span("load Ray"):
            from pager_ray.pipeline.evaluation import run_evaluation

        outcome = run_evaluation(config, overwrite=overwrite, retry_rejects=again)
    return tell(outcome)
