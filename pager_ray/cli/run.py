"""``pager-ray run``: the inference job."""

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
from pager_ray.config import load_config
from pager_ray.errors import ConfigError
from pager_ray.report.display import shown
from pager_ray.tracing import span, traced


@click.command(cls=CommandWithKeys)
@config_option
@click.option("--overwrite", is_flag=True, help="Delete a run that stands at output.uri and start anew.")
@retry_rejects_option
@click.option(
    "--append", is_flag=True, help="Take what input.uris has by now into the run that stands, and do what is new."
)
@click.option(
    "--redo-changed", is_flag=True, help="With --append: do again what was replaced since; else it is an error."
)
@click.option("--plan", "plan_path", metavar="FILE", help="What `plan --json` wrote, to tell beside what the run took.")
@trace_option
@overrides_argument
def run(
    config_path: str | None,
    overwrite: bool,
    retry_rejects: str | None,
    append: bool,
    redo_changed: bool,
    plan_path: str | None,
    trace_path: str | None,
    overrides: tuple[str, ...],
) -> int:
    """Predict every panorama of input.uris into output.uri; the same command again resumes."""
    again, overrides = what_again(retry_rejects, overwrite, overrides)
    if append and overwrite:
        raise ConfigError("--append: adds to a run, and --overwrite deletes it; give one of them")
    if redo_changed and not append:
        raise ConfigError("--redo-changed: goes with --append, which finds what changed; give both")
    config = load_config(config_path, overrides)
    from pager_ray.plan.outcome import read_plan

    planned = read_plan(plan_path) if plan_path is not None else None
    with shown(), traced(trace_path):
        tell_of_loading()
        # Ray takes seconds to import: wrong usage is answered before.
        with span("load Ray"):
            from pager_ray.pipeline.job import run_job
            from pager_ray.runs.growing import Growing

        growing = Growing(redo_changed) if append else None
        summary = run_job(config, overwrite=overwrite, retry_rejects=again, plan=planned, growing=growing)
    return tell(summary)
