"""A state on the disk is whole, or named as what is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from pager_ray.errors import StorageError
from pager_ray.train.state import not_finite, read_progress, read_state, write_state

PROGRESS = {"step": 3, "samples": 12, "seconds": 1.5}


def state(**more: Any) -> dict[str, Any]:
    return {"network": {"w": torch.ones(300)}, "average": {}, "optimiser": {}, "progress": dict(PROGRESS), **more}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Tensors and progress come back, and nothing else is left in the folder."""
    write_state(tmp_path / "state.pt", state())
    torch.testing.assert_close(read_state(tmp_path / "state.pt")["network"]["w"], torch.ones(300))
    assert read_progress(tmp_path / "state.pt") == PROGRESS
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_content_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the name is replaced finds all of it."""
    path, done = tmp_path / "state.pt", list[str]()
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(f"sync {os.fstat(number).st_size}"), sync(number)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("replace"), replace(old, new)))
    write_state(path, state())
    assert done == [f"sync {path.stat().st_size}", "replace"]


def test_what_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one line with the file's name."""
    write_state(tmp_path / "state.pt", state())
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match=r"state\.pt: cannot be written \(No space left on device\)"):
        write_state(tmp_path / "state.pt", state(progress={}))
    assert read_progress(tmp_path / "state.pt") == PROGRESS


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_what_is_cut_off_is_named(tmp_path: Path, kept: float) -> None:
    """By one line that says what to do, whether its weights are asked for or not."""
    path = tmp_path / "state.pt"
    write_state(path, state())
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    for read in (read_state, read_progress):
        message = r"state\.pt: is no whole state of a training \(.+\); .*delete it"
        with pytest.raises(StorageError, match=message) as told:
            read(path)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content", [[1], {"network": {}}, state(progress={}), state(average=[1]), state(progress={"step": "3"})]
)
def test_what_is_no_state_is_named(tmp_path: Path, content: Any) -> None:
    """Also where torch reads it."""
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(StorageError, match=r"state\.pt: is no whole state of a training"):
        read_progress(tmp_path / "state.pt")


def test_code_in_a_state_is_not_run(tmp_path: Path) -> None:
    """A pickle of anything but tensors and plain values is refused."""
    torch.save(state(network={"w": Path("x")}), tmp_path / "state.pt")
    with pytest.raises(StorageError, match="no whole state"):
        read_state(tmp_path / "state.pt")


def test_tensors_that_are_not_finite_are_found_wherever_they_lie() -> None:
    """Integers are finite; the first wild one is named by its place."""
    found = {"a": {"b": torch.ones(2), "n": torch.tensor(3)}, "c": {"state": {0: {"m": torch.zeros(1)}}, "p": [1, "x"]}}
    assert not_finite(found) is None
    found["c"]["state"][0]["m"][0] = torch.inf  # type: ignore[index]
    assert not_finite(found) == "c.state.0.m"
