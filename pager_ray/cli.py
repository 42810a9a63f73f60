"""``pager-ray``: the command line.

Exit codes: 0 complete; 1 failed; 2 wrong usage or configuration; 3 complete, but with rejects; 4 stopped by the error
budget; 5 a comparison's gate failed; 130 interrupted; 143 stopped by SIGTERM. All but 2 and 5 leave an output that the
same command resumes.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

from pager_ray import __version__
from pager_ray.config import EvaluateConfig, RunConfig, ScoreConfig, describe_keys, load_config
from pager_ray.errors import ConfigError, ErrorBudgetExceeded, PagerError, StorageError, Terminated
from pager_ray.export.options import export_from_options, export_options
from pager_ray.masking import MaskingFilter, plain_text
from pager_ray.plan.options import plan_options

if TYPE_CHECKING:
    from pager_ray.report.outcome import EvaluationOutcome

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUDGET = 4
EXIT_WORSE = 5
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

ALL_REJECTS = "all"
"""In place of a class of rejects to do again."""


class _CommandWithKeys(click.Command):
    """A command whose help ends with every configuration key, its default and its meaning."""

    config: type[BaseModel] = RunConfig

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the keys as a definition list."""
        with formatter.section("Configuration keys"):
            formatter.write_dl([(f"{key}={default}", meaning) for key, default, meaning in describe_keys(self.config)])


class _EvaluateCommand(_CommandWithKeys):
    config = EvaluateConfig


class _ScoreCommand(_CommandWithKeys):
    config = ScoreConfig


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="pager-ray")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens in detail.")
def cli(verbose: bool) -> None:
    """360° panoramas to depth, metric scale, normals and sky, as a distributed job."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname).1s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(MaskingFilter())
    # The libraries' own progress is about blocks and requests; ours is about panoramas.
    for name in (
        "ray",
        "fsspec",
        "s3fs",
        "botocore",
        "aiobotocore",
        "httpx",
        "PIL",
        "asyncio",
        "urllib3",
        "numexpr",
        "matplotlib",
    ):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)


_retry_rejects = click.option(
    "--retry-rejects",
    is_flag=False,
    flag_value=ALL_REJECTS,
    metavar="[CLASS]",
    help="Do rejected inputs again, all or those of one class such as transient, beside what is not done yet.",
)


def _what_again(value: str | None, overwrite: bool, overrides: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The class to do again and the overrides; a KEY=VALUE right behind the bare option is an override."""
    if value is not None and overwrite:
        raise ConfigError("--retry-rejects: does a run's rejects again, and --overwrite deletes them; give one of them")
    if value is not None and "=" in value:
        return ALL_REJECTS, (value, *overrides)
    return value, overrides


@cli.command(cls=_CommandWithKeys)
@click.option("--config", "config_path", type=click.Path(dir_okay=False), help="YAML file with configuration keys.")
@click.option("--overwrite", is_flag=True, help="Delete a run that stands at output.uri and start anew.")
@_retry_rejects
@click.option("--plan", "plan_path", metavar="FILE", help="What `plan --json` wrote, to tell beside what the run took.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def run(
    config_path: str | None,
    overwrite: bool,
    retry_rejects: str | None,
    plan_path: str | None,
    overrides: tuple[str, ...],
) -> int:
    """Predict every panorama of input.uris into output.uri; the same command again resumes."""
    again, overrides = _what_again(retry_rejects, overwrite, overrides)
    config = load_config(config_path, overrides)
    from pager_ray.plan.outcome import read_plan

    planned = read_plan(plan_path) if plan_path is not None else None
    # Ray and torch take seconds to import: wrong usage is answered before.
    from pager_ray.pipeline.job import run_job
    from pager_ray.report import summary_lines

    summary = run_job(config, overwrite=overwrite, retry_rejects=again, plan=planned)
    for line in summary_lines(summary):
        click.echo(line)
    return summary.exit_code


@cli.command(cls=_CommandWithKeys)
@click.option("--config", "config_path", type=click.Path(dir_okay=False), help="YAML file with configuration keys.")
@plan_options
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def plan(config_path: str | None, json_path: str | None, overrides: tuple[str, ...], **asked: Any) -> int:
    """Measure a few of input.uris and say what the run will take; writes nothing to output.uri."""
    config = load_config(config_path, overrides)
    from pager_ray.plan.request import Request, plan_job
    from pager_ray.report.plan_text import plan_lines

    result = plan_job(config, Request.of(**asked))
    for line in plan_lines(result):
        click.echo(line)
    _write_json(json_path, result.to_json())
    return 0


@cli.command(cls=_EvaluateCommand)
@click.option("--config", "config_path", type=click.Path(dir_okay=False), help="YAML file with configuration keys.")
@click.option("--overwrite", is_flag=True, help="Delete an evaluation that stands at output.uri and start anew.")
@_retry_rejects
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def evaluate(config_path: str | None, overwrite: bool, retry_rejects: str | None, overrides: tuple[str, ...]) -> int:
    """Predict and score every sample of a dataset; the same command again resumes."""
    again, overrides = _what_again(retry_rejects, overwrite, overrides)
    config = load_config(config_path, overrides, EvaluateConfig)
    from pager_ray.pipeline.evaluation import run_evaluation

    return _tell(run_evaluation(config, overwrite=overwrite, retry_rejects=again))


@cli.command(cls=_ScoreCommand)
@click.option("--config", "config_path", type=click.Path(dir_okay=False), help="YAML file with configuration keys.")
@click.option("--dataset", help="Short for evaluation.dataset=NAME.")
@click.option("--data-path", help="Short for evaluation.data_path=URI.")
@click.option("--alignment", "alignments", multiple=True, help="Short for evaluation.alignments; may be repeated.")
@click.option("--output", help="Short for output.uri=URI; by default scores/<dataset> inside PREDICTIONS.")
@click.option("--overwrite", is_flag=True, help="Delete scores that stand at the output and start anew.")
@_retry_rejects
@click.argument("predictions")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
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
        "predictions": predictions,
        "evaluation.dataset": dataset,
        "evaluation.data_path": data_path,
        "evaluation.alignments": list(alignments) or None,
        "output.uri": output,
    }
    again, overrides = _what_again(retry_rejects, overwrite, overrides)
    given = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    config = load_config(config_path, [*given, *overrides], ScoreConfig)
    from pager_ray.pipeline.evaluation import run_scoring

    return _tell(run_scoring(config, overwrite=overwrite, retry_rejects=again))


def _tell(outcome: EvaluationOutcome) -> int:
    for line in outcome.lines():
        click.echo(line)
    return outcome.exit_code


@cli.command()
@click.option("-w", "--watch", is_flag=True, help="Look again and again until the job is over; exits as the job did.")
@click.option("--interval", default=5.0, show_default=True, type=click.FloatRange(0.1, 3600), help="Seconds between.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per look.")
@click.argument("output")
def status(watch: bool, interval: float, as_json: bool, output: str) -> int:
    """Show how the job that writes to OUTPUT stands, from any machine and without Ray."""
    from pager_ray.reader.status import read_status
    from pager_ray.report.status_text import show_status

    return show_status(lambda: read_status(output), watch=watch, interval=interval, as_json=as_json)


@cli.command()
@click.option("--sample", default="100%", show_default=True, help="Share of the results to decode, such as 1%.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Also write what was found as JSON.")
@click.argument("output")
def verify(sample: str, json_path: str | None, output: str) -> int:
    """Reconcile inputs, results and rejects of OUTPUT and decode its results again; exits with 1 on any problem."""
    from pager_ray.reader.verify import verify_output

    verification = verify_output(output, _share(sample))
    for line in verification.lines():
        click.echo(line)
    _write_json(json_path, verification.to_json())
    return EXIT_FAILED if verification.problems else 0


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
    if not match or float(match[1]) > 100:
        raise ConfigError(f"--sample: got {text!r}; takes a share such as 1%")
    return float(match[1]) / 100


def _write_json(path: str | None, content: dict[str, Any]) -> None:
    if path is None:
        return
    try:
        Path(path).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"--json: {path} cannot be written ({error.strerror or error}); choose a file that can be"
        ) from error


@cli.command()
@click.option(
    "--fail-if",
    "gates",
    multiple=True,
    metavar="METRIC>AMOUNT",
    help="Exit with 5 when B is worse than A by more than the amount, absolute or in percent of A's mean, such as "
    "'depth_metric_abs_relative_difference>2%'; 'missing>0' counts samples that only A has. May be repeated.",
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Also write the comparison as JSON.")
@click.argument("a")
@click.argument("b")
def compare(gates: tuple[str, ...], json_path: str | None, a: str, b: str) -> int:
    """Compare evaluation B with evaluation A, panorama by panorama; positive effects are improvements."""
    from pager_ray.report.compare import compare_outputs

    comparison = compare_outputs(a, b, gates)
    for line in comparison.lines():
        click.echo(line)
    _write_json(json_path, comparison.to_json())
    return EXIT_WORSE if comparison.failed else 0


@cli.command()
@click.option("--to", metavar="FOLDER", help="Where to write it, any fsspec URL; by default gallery/ inside OUTPUT.")
@click.option("--details", default="1000", show_default=True, metavar="N|all", help="How many get a page of their own.")
@click.option("--overwrite", is_flag=True, help="Replace a gallery that stands there.")
@click.option(
    "--images-from",
    metavar="URI",
    help="Folder, or https://HOST, that source pictures are read from; without it previews stand in for them.",
)
@click.argument("output")
def gallery(to: str | None, details: str, overwrite: bool, images_from: str | None, output: str) -> int:
    """Write a static page over the results of OUTPUT: thumbnails, sorting, filters, 360° views and point clouds."""
    if details != "all" and not re.fullmatch(r"\d{1,9}", details):
        raise ConfigError(f"--details: got {details!r}; takes a number of panoramas or all")
    from pager_ray.gallery import build_gallery

    built = build_gallery(
        output,
        to,
        details=None if details == "all" else int(details),
        overwrite=overwrite,
        images_from=images_from,
    )
    for line in built.lines():
        click.echo(line)
    return 0


@cli.command()
@export_options
@click.argument("run_uri", metavar="OUTPUT")
def export(run_uri: str, **given: Any) -> int:
    """Write the predictions of OUTPUT in the files of other programs; the same command again resumes."""
    outcome = export_from_options(run_uri, **given)
    for line in outcome.lines():
        click.echo(line)
    return outcome.exit_code


@cli.command()
@click.option("--checkpoint", default="pager", show_default=True, help="Alias, Hub id, folder or URL.")
@click.option("--revision", help="Branch, tag or commit of a Hub checkpoint.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="auto", show_default=True, help="As of pager-ray run.")
@click.option("--router-weights", metavar="FILE", help="The scene router's CLIP weights; by default open_clip's own.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on; 0.0.0.0 is every network.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535), help="Port to serve on.")
@click.option("--share", is_flag=True, help="Also open a public tunnel to the page, by Gradio's servers.")
@click.option("--cache", metavar="FOLDER", help="For results; by default demo/ in ~/.cache/pager_ray.")
@click.option("--keep", default=50, show_default=True, type=click.IntRange(1), help="Results to keep.")
def demo(host: str, port: int, share: bool, cache: str | None, keep: int, **model: Any) -> int:
    """Serve a page on this machine: drop a panorama, look around in its geometry, take files along."""
    from pager_ray.demo import run_demo

    run_demo(model, host=host, port=port, share=share, cache=cache, keep=keep)
    return 0


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--count", default=6, show_default=True, type=click.IntRange(1, 100_000), help="Panoramas to render.")
@click.option("--height", default=512, show_default=True, type=click.IntRange(64, 8192), help="ERP height in pixels.")
@click.option("--seed", default=0, show_default=True, help="Scenes are a function of the seed.")
def samples(folder: str, count: int, height: int, seed: int) -> int:
    """Render sample panoramas with exact depth, normals and sky beside them, and a listing of them."""
    from pager_ray.samples import write_samples

    listing = write_samples(folder, count, height=height, seed=seed)
    click.echo(f"{count} panoramas of {2 * height}x{height}, listed in {listing}")
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``pager-ray``; exits with the documented codes."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(exit_code(arguments))


def _terminate(*_: object) -> None:
    """SIGTERM where no pipeline runs that could finish what it has begun."""
    raise Terminated


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code; every failure is one line on standard error."""
    try:
        result = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"pager-ray: {error.format_message()} (--help shows what there is)", err=True)
        return EXIT_USAGE
    except ConfigError as error:
        return _complain(error, EXIT_USAGE)
    except ErrorBudgetExceeded as error:
        return _complain(error, EXIT_BUDGET)
    except PagerError as error:
        return _complain(error, EXIT_FAILED)
    except (KeyboardInterrupt, click.Abort) as error:
        # click turns every interrupt into its own.
        if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
            click.echo("stopped by SIGTERM; the same command resumes", err=True)
            return EXIT_TERMINATED
        click.echo("interrupted; the same command resumes", err=True)
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _complain(error: PagerError, code: int) -> int:
    click.echo(f"pager-ray: {plain_text(' '.join(str(error).split()))}", err=True)
    return code
