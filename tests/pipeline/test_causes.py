"""A claim's end on a cluster: one line says what is wrong, whatever Ray puts around it; so does the run file."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.data._internal.util import iterate_with_retry

from pager_ray.errors import CheckpointError, PagerError
from pager_ray.pipeline.causes import known_cause
from pager_ray.pipeline.plain_actors import Named
from pager_ray.runs.claim import run_to_end
from pager_ray.storage import Folder
from pager_ray.version import __version__
from tests.runs.test_claim import claim, failing, outcome


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "run"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_our_own_errors_arrive_as_they_are(output: Folder, wrapped: bool) -> None:
    """What a stage raised on purpose reaches the user as it was, whatever Ray puts around it."""
    raised = CheckpointError("/w/model.pth: is damaged; fetch it again")
    task = ray.exceptions.RayTaskError("infer", "Traceback:\n  …", raised)
    with pytest.raises(CheckpointError) as caught:
        run_to_end(claim(output), failing(task.as_instanceof_cause() if wrapped else raised), known_cause)
    assert str(caught.value) == "/w/model.pth: is damaged; fetch it again"
    assert outcome(output) == ("failed", "CheckpointError: /w/model.pth: is damaged; fetch it again")


@pytest.mark.parametrize("crosses", [False, True])
def test_what_ray_data_adds_to_our_errors_is_left_out(output: Folder, crosses: bool) -> None:
    """A stage's error is one sentence for the user and the run file, without Ray's advice, which it comes with."""

    def stage() -> Iterator[None]:
        raise CheckpointError("/w/model.pth: is damaged; fetch it again")
        yield

    with pytest.raises(CheckpointError, match=r"configure `ray\.data\.DataContext") as noisy:
        list(iterate_with_retry(stage, "apply UDF transform", match=[], max_attempts=1))
    raised = pickle.loads(pickle.dumps(noisy.value)) if crosses else noisy.value  # noqa: S301
    task = ray.exceptions.RayTaskError("infer", "Traceback:\n  …", raised)
    with pytest.raises(CheckpointError) as caught:
        run_to_end(claim(output), failing(task.as_instanceof_cause()), known_cause)
    assert str(caught.value) == "/w/model.pth: is damaged; fetch it again"
    assert outcome(output) == ("failed", "CheckpointError: /w/model.pth: is damaged; fetch it again")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ray.exceptions.RaySystemError("no node has 512 MiB"), "System error: no node has 512 MiB"),
        (
            ray.exceptions.OutOfMemoryError("Task was killed:\n  the node ran low on memory\n"),
            "the node ran low on memory",
        ),
        (ray.exceptions.GetTimeoutError(), "GetTimeoutError"),
    ],
)
def test_errors_of_the_cluster_are_one_line(output: Folder, error: Exception, reason: str) -> None:
    """What Ray itself fails with is one line with its reason and where to look, even where it says nothing."""
    with pytest.raises(PagerError) as caught:
        run_to_end(claim(output), failing(error), known_cause)
    message = f"the job failed on the cluster: {reason}; run again with pager-ray --verbose for the traceback"
    assert str(caught.value) == message
    assert outcome(output) == ("failed", f"PagerError: {message}")


def test_a_nodes_installation_is_told(output: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without this package, or with another version of it, is told with what to do, not with Ray's last line."""
    board = pickle.dumps(Named(None, "pager_ray board x"))
    monkeypatch.setattr("pager_ray.pipeline.plain_actors.__version__", "0.0.9")
    with pytest.raises(PagerError) as refused:
        pickle.loads(board)  # noqa: S301
    other = (
        f"a node of the cluster has pager_ray 0.0.9, and this job is of {__version__}; install the same version on "
        "every node, then run the same command again"
    )
    assert str(refused.value) == other
    lacks = (
        f"a node of the cluster lacks the module pager_ray; install pager_ray {__version__} and what it needs on every "
        "node, or give every node the same image, then run the same command again"
    )
    for raised, message in (
        (f"pager_ray.errors.PagerError: {refused.value}\n\n", other),
        ("ModuleNotFoundError: No module named 'pager_ray'\n\nThe worker was told.", lacks),
    ):
        # As Ray makes it of what is raised while arguments arrive.
        error = ray.exceptions.RaySystemError(raised.splitlines()[0], f"Traceback (most recent call last):\n{raised}")
        with pytest.raises(PagerError) as caught:
            run_to_end(claim(output), failing(error), known_cause)
        assert str(caught.value) == message


def test_an_interrupt_is_no_other_error() -> None:
    """Ctrl-C that comes while an error is handled is an interrupt, and not that error."""
    interrupt = KeyboardInterrupt()
    interrupt.__context__ = PagerError("the disk is full")
    assert known_cause(interrupt) is None
