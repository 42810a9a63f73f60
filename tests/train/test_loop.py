"""A training run gets better, and a killed one goes on as if nothing had been."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from pager_ray.errors import PagerError, StorageError
from pager_ray.train import loop
from pager_ray.train.loop import CHECKPOINT, LOG, STATE, Team, Trainer
from pager_ray.train.overrides import build_settings
from pager_ray.train.panoramas import FaceSample, Folder
from pager_ray.train.settings import TrainSettings
from tests.train.conftest import TINY, corridor

SMALLER: Mapping[str, Any] = {
    **TINY,
    "modalities": ["depth", "normals"],
    "scene_router": False,
}
"""Two heads of five, for what steps do whatever they train."""


def settings(samples: int, **more: object) -> TrainSettings:
    values = {"budget": {"samples": samples}, "phases": [[1.0, 28, 2]], "network": SMALLER, "log_every": 1}
    return build_settings({**values, **more})


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / LOG).read_text().splitlines()]


def test_loss_falls(scenes: Path, tmp_path: Path) -> None:
    """Sixteen steps on two panoramas take a quarter of it away."""
    optimiser = {"warmup_steps": 2, "learning_rate": 4e-3}
    trainer = Trainer(settings(32, optimiser=optimiser, network=TINY), Folder(scenes, 0), tmp_path)
    trainer.run()
    found = losses(tmp_path)
    assert len(found) == 16
    assert sum(found[-4:]) < 0.75 * sum(found[:4])


def test_killed_training_goes_on(scenes: Path, tmp_path: Path) -> None:
    """Steps after a restart have the losses, and end at the weights, of a run that nobody killed."""
    eight = settings(8, phases=[[0.5, 28, 2], [1.0, 42, 2]], network=TINY)
    whole = Trainer(eight, Folder(scenes, 3), tmp_path / "whole")
    whole.run()
    first = Trainer(eight, Folder(scenes, 3), tmp_path / "killed")
    first.run(until=0.5)
    second = Trainer(eight, Folder(scenes, 3), tmp_path / "killed")
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


class Poisoned:
    """Samples of a folder, some of them with a picture that no network survives."""

    def __init__(self, folder: Path, numbers: Collection[int]) -> None:
        self.inner, self.numbers = Folder(folder, 0), numbers

    def sample(self, number: int, face_size: int) -> FaceSample:
        found = self.inner.sample(number, face_size)
        return replace(found, rgb=found.rgb * np.float32(np.nan)) if number in self.numbers else found


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def test_normals_that_are_not_finite_are_not_known(tmp_path: Path) -> None:
    """NaN and infinity in normals teach what zeros do: training ends at the very weights."""
    found = []
    for name, values in (("zero", (0, 0)), ("wild", (np.nan, np.inf))):
        (tmp_path / name).mkdir()
        arrays = corridor(64, outdoor=False)
        arrays["normals"] = arrays["normals"].astype(np.float32) / 127
        arrays["normals"][40:42], arrays["normals"][42:44] = 0, 0
        arrays["normals"][40:42, :, 1], arrays["normals"][42:44, :, 2] = values
        np.savez(tmp_path / name / "0.npz", **arrays)
        trainer = Trainer(settings(4), Folder(tmp_path / name, 0), tmp_path / f"out-{name}")
        trainer.run()
        assert not trainer.skipped_in_a_row
        found.append(weights(trainer))
    for name, value in found[0].items():
        assert torch.isfinite(value).all()
        torch.testing.assert_close(found[1][name], value)


def test_a_gradient_that_is_not_finite_changes_nothing(scenes: Path, tmp_path: Path) -> None:
    """Such a step is left out and counted: the others are taken, and the mean follows them alone."""
    trainer = Trainer(settings(6), Poisoned(scenes, {2}), tmp_path)
    trainer.run(until=0.3)
    before, mean = weights(trainer), {name: value.clone() for name, value in trainer.average.state().items()}
    trainer.run(until=0.6)
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())
    assert all(torch.equal(value, mean[name]) for name, value in trainer.average.state().items())
    trainer.run()
    assert any(not torch.equal(value, before[name]) for name, value in weights(trainer).items())
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())
    records = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [record.get("skipped") for record in records] == [None, 1, None]
    assert ["loss" in record for record in records] == [True, False, True]


def test_what_one_worker_cannot_use_all_leave_out(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean gradient decides, not the own one, which is finite here."""

    def reduce(self: Team, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, torch.inf)

    monkeypatch.setattr(Team, "reduce", reduce)
    monkeypatch.setattr(Team, "agree", lambda self, seconds: seconds)
    trainer = Trainer(settings(4), Folder(scenes, 0), tmp_path, team=Team(1, 2))
    before = weights(trainer)
    trainer.run()
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Makes a process group of one with a backend for each device that is named."""
    yield lambda backend: dist.init_process_group(
        backend, init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1
    )
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("backend", "device"),
    [("cuda:gloo", "cuda"), ("cpu:gloo", "cpu"), ("gloo", "cpu"), ("cuda:gloo,cpu:gloo", "cpu")],
)
def test_what_workers_exchange_lies_where_their_backend_takes_it(
    group: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, backend: str, device: str
) -> None:
    """A group for GPUs alone, as NCCL's is, takes no tensor of a CPU: the clock is made on the device it serves."""
    group(backend)
    made: list[torch.device] = []
    plain = torch.tensor

    def tensor(data: Any, *, device: torch.device | None = None, **more: Any) -> torch.Tensor:
        made.append(device or torch.device("cpu"))
        return plain(data, **more)

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(dist, "broadcast", lambda value, source: None)
    assert Team(0, 2).agree(1.5) == 1.5
    assert made == [torch.device(device)]


def test_workers_agree_over_a_group(group: Callable[[str], None]) -> None:
    """Clock and mean gradient go through a group's own backend."""
    group("cpu:gloo")
    assert Team(0, 2).agree(1.5) == 1.5
    parameter = nn.Parameter(torch.zeros(2, 3))
    parameter.grad = torch.full((2, 3), 4.0)
    Team(0, 2).reduce([parameter])
    torch.testing.assert_close(parameter.grad, torch.full((2, 3), 2.0))


@pytest.mark.parametrize("rank", [0, 1])
def test_training_that_learns_nothing_stops(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """Too many such steps in a row end it on every worker, at a step that is named; the state of before stands."""
    monkeypatch.setattr(loop, "MOST_SKIPPED", 3)
    Trainer(settings(2), Folder(scenes, 0), tmp_path).run()
    stood = (tmp_path / STATE).read_bytes()
    source = Poisoned(scenes, set(range(2, 6)) | set(range(8, 100)))
    trainer = Trainer(settings(100), source, tmp_path)
    trainer.team = Team(rank)
    with pytest.raises(PagerError, match=f"3 steps in a row, up to step {7 - rank}; no weight"):
        trainer.run()
    assert (tmp_path / STATE).read_bytes() == stood


@pytest.mark.parametrize("where", ["network", "average", "optimiser"])
def test_what_is_not_finite_is_never_saved(scenes: Path, tmp_path: Path, where: str) -> None:
    """Neither as a state nor as a checkpoint: the error names the step, and what stood stands."""
    trainer = Trainer(settings(4), Folder(scenes, 0), tmp_path)
    trainer.run()
    stood = [path.read_bytes() for path in (tmp_path / STATE, tmp_path / CHECKPOINT / "model.safetensors")]
    tensors = {
        "network": next(iter(trainer.network.parameters())).data,
        "average": trainer.average.values[0],
        "optimiser": next(iter(trainer.optimiser.state.values()))["exp_avg"],
    }
    tensors[where].fill_(torch.nan)
    with pytest.raises(PagerError, match=rf"at step 2 {where}\..* is not finite"):
        trainer.run()
    if where == "average":
        with pytest.raises(PagerError, match="at step 2 average"):
            trainer.export()
    assert [path.read_bytes() for path in (tmp_path / STATE, tmp_path / CHECKPOINT / "model.safetensors")] == stood


def test_a_poisoned_state_is_not_gone_on_from(scenes: Path, tmp_path: Path) -> None:
    """One that an earlier version saved is refused with its name."""
    Trainer(settings(2), Folder(scenes, 0), tmp_path).run()
    state: dict[str, Any] = torch.load(tmp_path / STATE, weights_only=True)
    next(iter(state["network"].values())).fill_(torch.inf)
    torch.save(state, tmp_path / STATE)
    with pytest.raises(StorageError, match=r"state\.pt: cannot be gone on from, network\."):
        Trainer(settings(4), Folder(scenes, 0), tmp_path)


def test_a_torn_log_is_continued_on_a_line_of_its_own(scenes: Path, tmp_path: Path) -> None:
    """A start drops the half record that a kill left, and every line is a record again."""
    Trainer(settings(2), Folder(scenes, 0), tmp_path).run()
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 2, "sam')
    Trainer(settings(4), Folder(scenes, 0), tmp_path).run()
    assert len(losses(tmp_path)) == 2


def test_a_damaged_state_is_named(scenes: Path, tmp_path: Path) -> None:
    """It is not gone on from, nor begun anew without a word."""
    (tmp_path / STATE).write_bytes(b"")
    with pytest.raises(StorageError, match=r"state\.pt: is no whole state"):
        Trainer(settings(4), Folder(scenes, 0), tmp_path)
