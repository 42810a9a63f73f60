"""The command line as a program of its own: how it ends, what it writes, what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ENOUGH = ["input.uris=in", "output.uri=out", "checkpoint=embedded"]


def test_sigterm_before_the_pipeline_ends_the_command() -> None:
    """While inputs are listed there is nothing to finish: the command ends at once with 143 and one line."""
    code = (
        "import os, signal, pager_ray.cli, pager_ray.cli.run as command\n"
        "command.load_config = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        "pager_ray.cli.main(['run', 'input.uris=x', 'output.uri=y'])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert (ended.returncode, ended.stderr.strip()) == (143, "stopped by SIGTERM; the same command resumes")


def test_wrong_usage_is_answered_without_ray_and_torch() -> None:
    """As a program it answers a wrong key with exit code 2 and one line, before the heavy libraries load."""
    code = (
        "import sys; from pager_ray.cli import exit_code; code = exit_code(sys.argv[1:]);"
        "sys.exit(99 if {'ray', 'torch'} & set(sys.modules) else code)"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", code, "run", *ENOUGH, "output.formt=npz"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pager-ray: output.formt: unknown key; did you mean output.format?\n"


def test_a_closed_pipe_ends_quietly() -> None:
    """A reader that has enough, as `head -1`, ends the command without a word."""
    ended = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m pager_ray run --help | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    # Where the help was written before the reader left, all is well.
    assert ended.stdout.strip() in ("1", "0")
    assert ended.stderr == ""


def test_a_full_device_is_one_line() -> None:
    """Standard output without room is told once, with exit code 1."""
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "pager_ray", "run", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert ended.returncode == 1
    assert ended.stderr == "pager-ray: standard output cannot be written (No space left on device); make room there\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_harm_nothing(closed: str, tmp_path: Path) -> None:
    """What would be said on a stream that is closed is said to nobody; the work is done, and the exit code says so."""
    samples = f"{sys.executable} -m pager_ray samples in --count 1 --height 64 {closed}"
    wrong = f"{sys.executable} -m pager_ray run --nosuch {closed}"
    both = f"exec 9>&1; {samples}; echo $? >&9; {wrong}; echo $? >&9"
    ended = subprocess.run(["bash", "-c", both], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert [line for line in ended.stdout.splitlines() if line.isdigit()] == ["0", "2"]
    assert "Traceback" not in ended.stderr
    # No file was opened under a stream's number and written to by who meant the stream.
    assert (tmp_path / "in" / "samples.csv").read_text().startswith("uri,")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminals_need_not_know_every_sign(encoding: str, tmp_path: Path) -> None:
    """A name or a help text with others than a terminal's encoding has ends no command: they are written out."""
    env = os.environ | {"PYTHONIOENCODING": encoding}
    for arguments in (["run", "--help"], ["samples", "日本/ü", "--count", "1", "--height", "64"]):
        command = [sys.executable, "-m", "pager_ray", *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=900)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout
    assert (tmp_path / "日本" / "ü" / "samples.csv").exists()


LOGGING = """
import logging, sys
from pager_ray.cli.entry import cli
cli.callback(verbose=len(sys.argv) > 1)
for name in ("azure.core.pipeline.policies.http_logging_policy", "a.library.of.tomorrow", "botocore", "pager_ray.runs"):
    logging.getLogger(name).info("%s tells", name)
    logging.getLogger(name).warning("%s warns", name)
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_what_other_libraries_tell_is_not_ours(verbose: bool) -> None:
    """At the default level only warnings of theirs are shown; in detail all but those of every request."""
    command = [sys.executable, "-c", LOGGING, *(["--verbose"] if verbose else [])]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    told = {line.split()[2].partition(".")[0] for line in said.splitlines() if line.endswith(" tells")}
    warned = [line for line in said.splitlines() if line.endswith(" warns")]
    assert told == ({"azure", "a", "botocore", "pager_ray"} if verbose else {"pager_ray"})
    assert len(warned) == 4
