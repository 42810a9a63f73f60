"""``pager-ray score``: metrics of predictions that stand already."""

from __future__ import annotations

import click

from pager_ray.cli.options import (
    CommandWithKeys,
    config_option,
    given_elsewhere,
    overrides_argument,
    retry_rejects_option,
    tell,
    tell_of_loading,
    what_again,
)
from pager_ray.config import ScoreConfig, load_config
from pager_ray.report.display import shown
from pager_ray.tracing import span


class _ScoreCommand(CommandWithKeys):
    config = ScoreConfig


@click.command(cls=_ScoreCommand)
@config_option
@click.option("--dataset", help="Short for evaluation.dataset=NAME.")
@click.option("--data-path", help="Short for evaluation.data_path=URI.")
@click.option("--alignment", "alignments", multiple=True, help="Short for evaluation.alignments; may be repeated.")
@click.option("--output", help="Short for output.uri=URI; by default scores/<dataset> inside PREDICTIONS.")
@click.option("--overwrite", is_flag=True, help="Delete scores that stand at the output and start anew.")
@retry_rejects_option
@click.argument("predictions")
@overrides_argument
def score(
    config_path: str | None,
    dataset: str | None,
    data_path: str | None,
    alignments: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    retry_rejects: str | None,
    predictions: str,
    overrides: tuple[str, ...],
) -> int:
    """Score standing PREDICTIONS, a run's output or a folder of npz files, against a dataset."""
    options = {
        "predictions": (predictions,),
        "evaluation.dataset": (dataset,),
        "evaluation.data_path": (data_path,),
        "evaluation.alignments": alignments,
        "output.uri": (output,),
    }
    again, overrides = what_again(retry_rejects, overwrite, overrides)
    given_elsewhere(overrides, "predictions", "PREDICTIONS", predictions)
    given = [f"{key}={value}" for key, values in options.items() for value in values if value is not None]
    config = load_config(config_path, [*given, *overrides], ScoreConfig)
    with shown():
        tell_of_loading()
        with span("load Ray"):
            from pager_ray.pipeline.evaluation import run_scoring

        outcome = run_scoring(config, overwrite=overwrite, retry_rejects=again)
    return tell(outcome)
