"""``pager-ray``: the command line.

Exit codes: 0 complete; 1 failed; 2 wrong usage or configuration; 3 complete, but with rejects; 4 stopped by the error
budget; 5 a comparison's gate failed; 130 interrupted; 143 stopped by SIGTERM. All but 2 and 5 leave an output that the
same command resumes.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence

import click

from pager_ray.cli.compare import compare
from pager_ray.cli.convert import convert
from pager_ray.cli.demo import demo
from pager_ray.cli.evaluate import evaluate
from pager_ray.cli.export import export
from pager_ray.cli.gallery import gallery
from pager_ray.cli.plan import plan
from pager_ray.cli.publish import publish
from pager_ray.cli.run import run
from pager_ray.cli.samples import samples
from pager_ray.cli.scale import scale
from pager_ray.cli.score import score
from pager_ray.cli.status import status
from pager_ray.cli.train import train
from pager_ray.cli.verify import EXIT_FAILED, verify
from pager_ray.errors import PagerError, Terminated, exit_code_of
from pager_ray.plain import MaskingFilter, plain_text
from pager_ray.version import __version__

EXIT_USAGE = 2

_TALKATIVE = (
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
)
"""What `--verbose` is not meant for: lines of these for every request or block."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Whose message is the help of a group that was given no command; click before 8.2 prints it by itself."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="pager-ray")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens in detail.")
def cli(verbose: bool) -> None:
    """360° panoramas to depth, metric scale, normals and sky, as a distributed job."""
    # Other libraries tell of blocks and requests, some of each; ours of panoramas. Which libraries there are depends on
    # the stores and formats in use.
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname).1s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(MaskingFilter())
    logging.getLogger("pager_ray").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)


_COMMANDS = (
    *(run, plan, evaluate, score, status, verify, compare),
    *(scale, gallery, export, convert, publish, demo, samples, train),
)
for _command in _COMMANDS:
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``pager-ray``; exits with the documented codes."""
    _open_streams()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = exit_code(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough, as `head` has; click gives this code where it meets the closed pipe itself.
        code = EXIT_FAILED
        _drop_output()
    except OSError as error:
        if error.errno not in _FULL:
            raise
        code = EXIT_FAILED
        _drop_output()
        click.echo(f"pager-ray: standard output cannot be written ({error.strerror}); make room there", err=True)
    sys.exit(code)


def _open_streams() -> None:
    """Put the null device where a standard stream is closed (``>&-``): what is said there, nobody wanted to hear.

    The stream's descriptor would go to the next file or connection that is opened, and libraries and other processes
    would write to that. Where a stream's encoding lacks a character of a name, it is written out, as in logs.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # The lowest that is free, which is the stream's own.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            stream = open(null, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115 - the process's own
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Python flushes standard output once more at its end, and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        if isinstance(error, _NO_ARGUMENTS):
            error.show()
            return EXIT_USAGE
        message = plain_text(" ".join(error.format_message().split()))
        click.echo(f"pager-ray: {message} (--help shows what there is)", err=True)
        return EXIT_USAGE
    except PagerError as error:
        click.echo(f"pager-ray: {plain_text(' '.join(str(error).split()))}", err=True)
        return exit_code_of(error)
    except (KeyboardInterrupt, click.Abort) as error:
        # click turns every interrupt into its own.
        is_told = isinstance(error, Terminated) or isinstance(error.__cause__, Terminated)
        interrupt = Terminated() if is_told else KeyboardInterrupt()
        click.echo(f"{'stopped by SIGTERM' if is_told else 'interrupted'}; the same command resumes", err=True)
        return exit_code_of(interrupt)
    return result if isinstance(result, int) else 0
