"""A training run gets better, and a killed one goes on as if nothing had been."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pager_ray.train.loop import LOG, STATE, Trainer
from pager_ray.train.overrides import build_settings
from pager_ray.train.panoramas import Folder
from pager_ray.train.settings import TrainSettings
from tests.train.conftest import TINY


def settings(samples: int, **more: object) -> TrainSettings:
    values = {"budget": {"samples": samples}, "phases": [[0.5, 28, 2], [1.0, 42, 2]], "network": TINY, "log_every": 1}
    return build_settings({**values, **more})


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / LOG).read_text().splitlines()]


def test_loss_falls(scenes: Path, tmp_path: Path) -> None:
    """Sixteen steps on two panoramas take a quarter of it away."""
    optimiser = {"warmup_steps": 2, "learning_rate": 4e-3}
    trainer = Trainer(settings(32, optimiser=optimiser, phases=[[1.0, 28, 2]]), Folder(scenes, 0), tmp_path)
    trainer.run()
    found = losses(tmp_path)
    assert len(found) == 16
    assert sum(found[-4:]) < 0.75 * sum(found[:4])


def test_killed_training_goes_on(scenes: Path, tmp_path: Path) -> None:
    """Steps after a restart have the losses, and end at the weights, of a run that nobody killed."""
    whole = Trainer(settings(8), Folder(scenes, 3), tmp_path / "whole")
    whole.run()
    first = Trainer(settings(8), Folder(scenes, 3), tmp_path / "killed")
    first.run(until=0.5)
    second = Trainer(settings(8), Folder(scenes, 3), tmp_path / "killed")
    assert second.progress.samples == 4
    second.run()
    assert losses(tmp_path / "killed") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for name, value in whole.average.state().items():
        torch.testing.assert_close(second.average.state()[name], value, rtol=1e-4, atol=1e-5)


def test_half_written_state_is_not_read(scenes: Path, tmp_path: Path) -> None:
    """A state that was being written when the process died leaves the one before."""
    trainer = Trainer(settings(4), Folder(scenes, 0), tmp_path)
    trainer.run()
    (tmp_path / (STATE + ".partial")).write_bytes(b"half")
    assert Trainer(settings(8), Folder(scenes, 0), tmp_path).progress.samples == 4
