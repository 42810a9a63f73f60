"""The training loop of one worker: samples to steps, with a state that a killed run goes on from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from torch import nn

from pager_ray.errors import ConfigError, PagerError, StorageError
from pager_ray.train.export import write_checkpoint
from pager_ray.train.journal import append_record, mend_log
from pager_ray.train.start import fresh_network, sized, trainable
from pager_ray.train.state import not_finite, read_state, write_state
from pager_ray.train.step import Averager, make_batch, make_optimiser, share_weights, train_step

if TYPE_CHECKING:
    from pager_ray.model.network import PagerNetwork
    from pager_ray.train.panoramas import FaceSample
    from pager_ray.train.settings import TrainSettings

STATE, LOG, CHECKPOINT = "state.pt", "log.jsonl", "checkpoint"

MOST_SKIPPED: Final = 100
"""Steps in a row whose gradient was not finite, after which training is at its end: single ones pass."""


class Source(Protocol):
    """What gives samples by number."""

    def sample(self, number: int, face_size: int) -> FaceSample:
        """The sample of a number."""


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0

    def share(self, settings: TrainSettings) -> float:
        """Share of the budget that is used."""
        budget = settings.budget
        return self.samples / budget.samples if budget.samples else self.seconds / 60 / budget.minutes


@dataclass(frozen=True)
class Team:
    """This worker among all: averages gradients and agrees on the time."""

    rank: int = 0
    size: int = 1

    def reduce(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average the gradients of all workers in place."""
        import torch.distributed as dist

        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        flat /= self.size
        at = 0
        for p in parameters:
            p.grad = flat[at : at + p.numel()].view(p.shape)
            at += p.numel()

    def agree(self, seconds: float) -> float:
        """The first worker's clock."""
        if self.size == 1:
            return seconds
        import torch.distributed as dist

        value = torch.tensor([seconds], dtype=torch.float64, device=served_device())
        dist.broadcast(value, 0)
        return float(value)


def served_device() -> torch.device:
    """A device whose tensors the workers can exchange: those of a CPU where they may, which NCCL does not take.

    Of GPUs it is the one that this process has chosen with ``torch.cuda.set_device``.
    """
    import torch.distributed as dist

    served = [entry.partition(":")[0] for entry in dist.get_backend_config().split(",")]
    return torch.device("cpu" if "cpu" in served else served[0])


@dataclass
class Trainer:
    """A network in training.

    Args:
        settings: of the run; budget and phases may differ from those of the run that it goes on from.
        source: of samples.
        folder: where the state and the log are; made if need be.
        team: the other workers.
        device: where the network is.
        on_log: gets every log record of the first worker.
        on_export: gets the folder of every checkpoint that the first worker has written; what it returns is logged.
        start: the network to begin with; a fresh one by default.
    """

    settings: TrainSettings
    source: Source
    folder: Path
    team: Team = field(default_factory=Team)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    on_log: Callable[[dict[str, Any]], None] | None = None
    on_export: Callable[[Path], dict[str, float]] | None = None
    start: PagerNetwork | None = None

    def __post_init__(self) -> None:
        """Build the network and read the state, where there is one; what a kill left of the log is made whole."""
        settings = self.settings
        self.folder.mkdir(parents=True, exist_ok=True)
        base = self.start or fresh_network(settings.network, settings.phases[-1].face_size, settings.seed)
        self.network = trainable(base).to(self.device)
        self.networks = {self.network.architecture.face_size: self.network}
        self.optimiser = make_optimiser(self.network, settings.optimiser)
        self.average = Averager(self.network, settings.optimiser.ema)
        self.progress = Progress()
        self.sums: dict[str, float] = {}
        self.summed = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        if not self.team.rank:
            mend_log(self.folder / LOG)
        if (self.folder / STATE).exists():
            self._restore()

    def network_for(self, face_size: int) -> PagerNetwork:
        """The network at a face size; all share their weights."""
        if face_size not in self.networks:
            architecture = sized(self.network.architecture, face_size)
            self.networks[face_size] = share_weights(self.network, architecture)
        return self.networks[face_size]

    def run(self, until: float = 1.0) -> Progress:
        """Train until a share of the budget is used; saves then, and writes the checkpoint once all of it is.

        Raises:
            PagerError: the gradient is not finite again and again, or weights are no longer: nothing of that is saved.
        """
        settings, progress = self.settings, self.progress
        began, before = time.monotonic(), progress.seconds
        saved = exported = time.monotonic()
        while (share := progress.share(settings)) < until:
            phase = settings.phase_at(share)
            first = progress.samples + self.team.rank * phase.batch
            samples = [self.source.sample(first + k, phase.face_size) for k in range(phase.batch)]
            parts = train_step(
                self.network_for(phase.face_size),
                self.optimiser,
                make_batch(samples, self.device),
                settings.losses,
                learning_rate=settings.learning_rate_at(share, progress.step),
                clip_norm=settings.optimiser.clip_norm,
                bfloat16=settings.bfloat16,
                reduce=self.team.reduce if self.team.size > 1 else None,
            )
            taken = math.isfinite(float(parts["gradient_norm"]))
            if taken:
                self.average.update(progress.step)
            progress.step += 1
            progress.samples += phase.batch * self.team.size
            progress.seconds = self.team.agree(before + time.monotonic() - began)
            self._log(parts if taken else None, phase.face_size, share)
            self._count_skipped(taken)
            if time.monotonic() - saved > 60 * settings.save_every_minutes:
                self.save()
                saved = time.monotonic()
            if 0 < 60 * settings.export_every_minutes < time.monotonic() - exported:
                self.export()
                exported = time.monotonic()
        self.save()
        if until >= 1.0:
            self.export()
        return progress

    def _count_skipped(self, taken: bool) -> None:
        """Stop, on every worker alike, where nothing is learned any more."""
        self.skipped_in_a_row = 0 if taken else self.skipped_in_a_row + 1
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise PagerError(
                f"training: the gradient was not finite at {MOST_SKIPPED} steps in a row, up to step "
                f"{self.progress.step}; no weight was changed by them. Look for truth or weights out of all bounds in "
                "the scenes and in the checkpoint that training began with, or lower optimiser.learning_rate"
            )

    def _check_finite(self, state: dict[str, Any]) -> None:
        if (name := not_finite(state)) is not None:
            raise PagerError(
                f"training: at step {self.progress.step} {name} is not finite, and nothing of it is saved; what was "
                f"saved before stands in {self.folder}. Lower optimiser.learning_rate, or begin with another checkpoint"
            )

    def export(self) -> None:
        """Write the mean weights in the released format, at the last phase's face size, and log their figures."""
        if self.team.rank:
            return
        self._check_finite({"average": self.average.state()})
        architecture = sized(self.network.architecture, self.settings.phases[-1].face_size)
        folder = write_checkpoint(
            self.folder / CHECKPOINT, architecture, self.average.state(), extra=self.settings.describe
        )
        if self.on_export is not None:
            self._record({"checkpoint": str(folder), **self.on_export(folder)})

    def _log(self, parts: dict[str, torch.Tensor] | None, face_size: int, share: float) -> None:
        """Count a step; every so often write what the steps were in the mean. None is one that was left out."""
        if self.team.rank:
            return
        for name, value in (parts or {}).items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.summed += parts is not None
        self.skipped += parts is None
        if self.progress.step % self.settings.log_every:
            return
        record = {
            "step": self.progress.step,
            "samples": self.progress.samples,
            "minutes": round(self.progress.seconds / 60, 2),
            "share": round(share, 4),
            "face_size": face_size,
            "learning_rate": round(self.settings.learning_rate_at(share, self.progress.step), 7),
            "cpu_seconds": round(time.process_time(), 1),
            **({"skipped": self.skipped} if self.skipped else {}),
            **{name: round(value / self.summed, 4) for name, value in self.sums.items()},
        }
        self.sums, self.summed, self.skipped = {}, 0, 0
        self._record(record)

    def _record(self, record: dict[str, Any]) -> None:
        append_record(self.folder / LOG, record)
        if self.on_log is not None:
            self.on_log(record)

    def save(self) -> None:
        """Write the state; whoever dies while it is written leaves the one before."""
        if self.team.rank:
            return
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state(),
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
        }
        self._check_finite(state)
        write_state(self.folder / STATE, state)

    def _restore(self) -> None:
        state = read_state(self.folder / STATE, self.device)
        if (name := not_finite(state)) is not None:
            raise StorageError(
                f"{self.folder / STATE}: cannot be gone on from, {name} is not finite in it; delete it, and the same "
                "command begins anew"
            )
        try:
            self.network.load_state_dict(state["network"])
            self.average.load(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{self.folder / STATE}: is of another network; go on with the one that it was begun with, or choose "
                "another folder"
            ) from error
        self.progress = Progress(**state["progress"])
