"""The command line: documented exit codes, and one line for what went wrong."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pager_ray
from pager_ray.cli import cli, exit_code, main
from pager_ray.config import EvaluateConfig, RunConfig, ScoreConfig, describe_keys
from pager_ray.errors import (
    CheckpointError,
    ConfigError,
    ErrorBudgetExceeded,
    InputError,
    PagerError,
    RunMismatchError,
    StorageError,
    Terminated,
)
from pager_ray.model.node_cache import cache_folder
from pager_ray.pipeline import job
from pager_ray.report.outcomes import RunSummary
from pager_ray.runs import Reconciliation
from tests.reader.runs import SmallRun

ENOUGH = ["input.uris=in", "output.uri=out", "checkpoint=embedded"]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on standard error, where nothing may be on standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def fake_job(monkeypatch: pytest.MonkeyPatch, outcome: BaseException | RunSummary) -> list[tuple[RunConfig, bool]]:
    """Replace the job by one that ends at once; gives what it was called with."""
    calls: list[tuple[RunConfig, bool]] = []

    def run_job(config: RunConfig, *, overwrite: bool = False, **_: object) -> RunSummary:
        calls.append((config, overwrite))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(job, "run_job", run_job)
    return calls


def summary(rejects: int) -> RunSummary:
    classes = {"missing": rejects} if rejects else {}
    result = Reconciliation(10, 10 - rejects, rejects, [], [], [], classes)
    return RunSummary("/data/run", result, 10, 5.0, previews=False)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*ENOUGH, "output.formt=npz"], "pager-ray: output.formt: unknown key; did you mean output.format?"),
        ([*ENOUGH, "output.size=3"], "pager-ray: output.size: got '3'; takes"),
        ([*ENOUGH, "checkpoint"], "pager-ray: 'checkpoint': is no override; takes key=value"),
        (["output.uri=out"], "pager-ray: input.uris: got nothing"),
        (["--config", "absent.yaml"], "pager-ray: absent.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_wrong_configuration_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key, value or file is one line that names it, and 2, before any work."""
    assert exit_code(["run", *arguments]) == 2
    message = said(capsys)
    assert message.startswith(line)
    assert message.count("\n") == 1


def test_an_unknown_checkpoint_is_one_line_and_exit_code_1(
    tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint that is not there gives 1 and one line that names it, and no output."""
    run = [f"input.uris={samples}", f"output.uri={tmp_path}/run", f"checkpoint={tmp_path}/no-such-weights"]
    assert exit_code(["run", *run]) == 1
    message = said(capsys)
    assert message.startswith(f"pager-ray: {tmp_path}/no-such-weights: no such checkpoint folder")
    assert message.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_inputs_that_are_not_there_are_one_line_and_exit_code_2(
    tmp_path: Path, tiny_unified: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An input that matches nothing gives 2 and one line, and no output."""
    run = [f"input.uris={tmp_path}/nothing/", f"output.uri={tmp_path}/run", f"checkpoint={tiny_unified}"]
    assert exit_code(["run", *run]) == 2
    assert said(capsys) == (
        f"pager-ray: input.uris[0]: {tmp_path}/nothing/ does not exist; takes a folder, a glob, an image file or a "
        "listing (.parquet, .csv, .txt), or a container of images (.tar, .zip, .parquet)\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("input.uris: is wrong"), 2),
        (RunMismatchError("output.uri: holds another run"), 2),
        (ErrorBudgetExceeded("too many rejects"), 4),
        (CheckpointError("no weights"), 1),
        (StorageError("disk full"), 1),
        (InputError("missing", "gone"), 1),
        (PagerError("two\n  lines"), 1),
    ],
)
def test_every_error_has_its_exit_code(
    error: PagerError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stops a job is one line on standard error with the documented code."""
    fake_job(monkeypatch, error)
    assert exit_code(["run", *ENOUGH]) == code
    assert said(capsys) == f"pager-ray: {' '.join(str(error).split())}\n"


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130 and says that the run can go on."""
    fake_job(monkeypatch, KeyboardInterrupt())
    assert exit_code(["run", *ENOUGH]) == 130
    assert said(capsys).strip() == "interrupted; the same command resumes"


def test_a_termination_is_exit_code_143(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that SIGTERM has stopped ends as the shell says of a process that the signal ended, and can go on."""
    fake_job(monkeypatch, Terminated())
    assert exit_code(["run", *ENOUGH]) == 143
    assert said(capsys).strip() == "stopped by SIGTERM; the same command resumes"


def test_programming_errors_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody raised on purpose keeps its traceback."""
    fake_job(monkeypatch, ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        exit_code(["run", *ENOUGH])


@pytest.mark.parametrize(("rejects", "code"), [(0, 0), (3, 3)])
def test_a_finished_run_says_where_to_look(
    rejects: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A complete run gives 0, one with rejects 3 with their number and path on the last line."""
    fake_job(monkeypatch, summary(rejects))
    assert exit_code(["run", *ENOUGH]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{10 - rejects} of 10 panoramas predicted")
    assert (lines[-1] == "3 rejects: /data/run/rejects") == bool(rejects)


def test_options_reach_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file, the overrides and --overwrite are what the job gets; overrides win."""
    calls = fake_job(monkeypatch, summary(0))
    path = tmp_path / "run.yaml"
    path.write_text("input: {uris: [a]}\noutput: {uri: out, size: native}\ncheckpoint: embedded\n")
    assert exit_code(["run", "--config", str(path), "output.size=64x128", "--overwrite", "scene_mode=indoor"]) == 0
    assert exit_code(["run", *ENOUGH]) == 0
    (config, overwrite), (_, default) = calls
    assert (config.input.uris, config.output.size, config.scene_mode) == (["a"], "64x128", "indoor")
    assert (overwrite, default) == (True, False)


@pytest.mark.parametrize(
    ("command", "config"), [("run", RunConfig), ("evaluate", EvaluateConfig), ("score", ScoreConfig)]
)
def test_help_lists_every_key(command: str, config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` of a job shows each of its configuration keys with its default and its meaning."""
    assert exit_code([command, "--help"]) == 0
    # Lines break anywhere, also at hyphens.
    shown = "".join(capsys.readouterr().out.split())
    for key, default, meaning in describe_keys(config):
        assert "".join(f"{key}={default}{meaning}".split()) in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "output.uri=out"], "pager-ray: evaluation.dataset: got nothing; takes the name of a dataset"),
        (["evaluate", "evaluation.dataset=ZuriPano"], "pager-ray: output.uri: got nothing; takes a folder"),
        (["evaluate", "input.uris=in"], "pager-ray: input: unknown key"),
        (["score", "out"], "pager-ray: evaluation.dataset: got nothing"),
        (["score"], "pager-ray: Missing argument 'PREDICTIONS'."),
        (
            ["score", "out", "--dataset", "ZuriPano", "predictions=other"],
            "pager-ray: predictions: is what PREDICTIONS says, and that is out; leave the key away",
        ),
        (
            ["convert", "a.jpg", "files", "--to", "glb", "output.uri=other"],
            "pager-ray: output.uri: is what OUT says, and that is files; leave the key away",
        ),
        (
            ["score", "out", "--dataset", "ZuriPano", "--alignment", "affine"],
            "pager-ray: evaluation.alignments: got 'affine'; takes 'metric', 'scale' or 'scale_and_shift'",
        ),
        (
            ["evaluate", "evaluation.alignments=[scale, scale]"],
            "pager-ray: evaluation.alignments: got ['scale', 'scale']; takes one or more different names",
        ),
        (["compare", "a"], "pager-ray: Missing argument 'B'."),
        (
            ["run", *ENOUGH, "--overwrite", "--retry-rejects"],
            "pager-ray: --retry-rejects: does a run's rejects again, and --overwrite deletes them; give one of them",
        ),
        (
            ["run", *ENOUGH, "--append", "--overwrite"],
            "pager-ray: --append: adds to a run, and --overwrite deletes it; give one of them",
        ),
        (["run", *ENOUGH, "--redo-changed"], "pager-ray: --redo-changed: goes with --append, which finds what changed"),
        (
            ["scale", "out", "--remove", "--json", "scales.json"],
            "pager-ray: --json: tells what became of the sequences, and --remove forgets it; give one of them",
        ),
        (["verify", "out", "--sample", "0.25"], "pager-ray: --sample: got '0.25'; takes a share such as 1%"),
    ],
)
def test_wrong_evaluations_are_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key, value or argument of the evaluation commands is one line that names it, before any work."""
    assert exit_code(arguments) == 2
    message = said(capsys)
    assert message.startswith(line)
    assert message.count("\n") == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` names the program and the package's version."""
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out == f"pager-ray, version {pager_ray.__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` lists the commands."""
    assert exit_code(["-h"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in cli.commands if name not in shown] == []
    assert set(cli.commands) >= {"run", "evaluate", "score", "compare", "verify", "samples"}


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """``pager-ray`` alone is wrong usage that its help answers, on lines as ``--help`` has them."""
    assert exit_code(["--help"]) == 0
    shown = capsys.readouterr().out
    assert exit_code([]) == 2
    assert said(capsys) == shown


def test_samples_are_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``samples`` writes pictures of the asked size, their ground truth and a listing that names them."""
    assert exit_code(["samples", str(tmp_path / "in"), "--count", "2", "--height", "64"]) == 0
    listing = tmp_path / "in" / "samples.csv"
    assert capsys.readouterr().out == f"2 panoramas of 128x64, listed in {listing}\n"
    with listing.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["scene"] for row in rows] == ["indoor", "outdoor"]
    for row in rows:
        with Image.open(tmp_path / "in" / row["uri"]) as picture:
            assert picture.size == (128, 64)
        with np.load(tmp_path / "in" / "ground_truth" / f"{row['id']}.npz") as truth:
            assert truth["depth"].shape == (64, 128)


@pytest.mark.parametrize(
    ("folder", "options", "code"), [("in", ["--seed", "-1"], 2), ("file/in", [], 1)], ids=["seed", "folder"]
)
def test_samples_that_cannot_be_written(
    tmp_path: Path, folder: str, options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A seed that is none gives 2, a folder that cannot be made 1, each with one line."""
    (tmp_path / "file").touch()
    size = ["--count", "1", "--height", "64"]
    assert exit_code(["samples", str(tmp_path / folder), *size, *options]) == code
    message = said(capsys)
    assert message.startswith("pager-ray: cannot write")
    assert message.count("\n") == 1


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point ends the process with the same codes."""
    fake_job(monkeypatch, summary(3))
    with pytest.raises(SystemExit) as caught:
        main(["run", *ENOUGH])
    assert caught.value.code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["run", "--nosuch"],
        ["samples"],
        ["samples", "x", "--count", "0"],
        ["status", "x", "--interval", "nan"],
    ],
)
def test_wrong_usage_is_one_line(arguments, capsys):
    """Unknown commands, options and values are one line on standard error and exit code 2."""
    assert exit_code(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_credentials_in_the_output_are_refused(tmp_path, capsys):
    """An output URL with a password is refused without repeating it."""
    (tmp_path / "a.jpg").touch()
    assert (
        exit_code(["run", f"input.uris={tmp_path}/a.jpg", "output.uri=s3://key:hunter2@bucket/x", "checkpoint=pager"])
        == 2
    )
    message = capsys.readouterr().err
    assert "hunter2" not in message
    assert message.startswith("pager-ray: output.uri: s3://bucket/x carries credentials")


@pytest.mark.parametrize("mistake", ["inputs", "output"])
def test_cheap_mistakes_are_told_before_a_checkpoint_is_sought(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped input and an output that is somebody else's cost no weights: the checkpoint is not looked for."""
    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    (tmp_path / "out" / "predictions").mkdir(parents=True)
    (tmp_path / "out" / "predictions" / "mine.parquet").write_bytes(b"")
    monkeypatch.setattr(job, "resolve_checkpoint", lambda *_, **__: pytest.fail("a checkpoint was sought"))
    inputs, output = ("absent", "new") if mistake == "inputs" else ("a.png", "out")
    run = [f"input.uris={tmp_path}/{inputs}", f"output.uri={tmp_path}/{output}", "checkpoint=pager"]
    assert exit_code(["run", *run]) == 2
    expected = "input.uris[0]: " if mistake == "inputs" else "output.uri: "
    assert said(capsys).splitlines()[-1].startswith(f"pager-ray: {expected}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "run", "--json"],
        ["compare", "a", "b", "--json"],
        ["plan", *ENOUGH, "--json"],
        ["run", *ENOUGH, "--trace"],
        ["run", *ENOUGH, "--config"],
        ["demo", "--port=1", "--cache"],
    ],
)
@pytest.mark.parametrize("url", ["s3://bucket/x.json", "memory://x.json", "zip://a::/x.zip"])
def test_what_lies_on_this_machine_takes_no_url(
    arguments: list[str], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before any work: no folder is made, or found, that is called ``s3:``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    assert exit_code([*arguments, url]) == 2
    assert said(capsys) == f"pager-ray: {arguments[-1]}: got {url}; takes a path on this machine\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["s3:", "bucket"]


def test_json_may_be_a_file_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the file that its path names."""
    monkeypatch.chdir(tmp_path)
    small = SmallRun(tmp_path / "run")
    small.write("aaaaaaaaaaaa-00000000-000000", small.prediction("a"))
    small.complete()
    assert exit_code(["scale", "run", "--json", f"file://{tmp_path}/run/../found.json"]) == 0
    assert "sequences" in (tmp_path / "found.json").read_text()


def test_the_cache_is_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A URL of another place is refused by the variable's name."""
    monkeypatch.setenv("PAGER_RAY_CACHE", f"file://{tmp_path}/x/../cache")
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("PAGER_RAY_CACHE", "s3://bucket/cache")
    with pytest.raises(ConfigError, match=r"^PAGER_RAY_CACHE: got s3://bucket/cache; takes a path on this machine$"):
        cache_folder()
