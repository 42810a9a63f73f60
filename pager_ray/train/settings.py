"""What a training run is told: network, losses, optimiser, schedule. Plain dataclasses: no library is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pager_ray.errors import ConfigError
from pager_ray.model.architecture import PATCH_SIZE

# The released architecture at a size that one CPU core trains in hours and runs in tenths of a second.
SMALL: Final[Mapping[str, Any]] = {
    "pretrained_model_name": "custom",
    "scene_router": True,
    "modalities": ["depth", "normals", "sky", "scale_indoor", "scale_outdoor"],
    "backbone": {
        "embed_dim": 192,
        "depth": 8,
        "num_heads": 6,
        "out_layers": [1, 3, 5, 7],
        "alt_start": 1,
        "qknorm_start": 1,
        "rope_start": 1,
    },
    "head": {"features": 32, "out_channels": [32, 48, 64, 96]},
}


@dataclass(frozen=True)
class Phase:
    """A stretch of the schedule.

    Attributes:
        until: share of the budget at which it ends.
        face_size: side of a face in pixels; no weight depends on it.
        batch: panoramas per worker and step.
    """

    until: float
    face_size: int
    batch: int


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the loss; see :mod:`pager_ray.train.losses`."""

    depth: float = 1.0
    gradient: float = 0.7
    surface: float = 0.3
    normals: float = 1.0
    sky: float = 0.7
    scale: float = 0.4
    confidence: float = 0.03
    scene: float = 0.1


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW with warm-up, a constant learning rate and a decay over the last part of the budget."""

    learning_rate: float = 1.5e-3
    weight_decay: float = 0.03
    beta1: float = 0.9
    beta2: float = 0.98
    warmup_steps: int = 80
    decay_from: float = 0.75
    final_share: float = 0.02
    clip_norm: float = 1.5
    ema: float = 0.995


@dataclass(frozen=True)
class Budget:
    """When training ends: after so many panoramas over all workers, or so many minutes; one of the two."""

    samples: int = 0
    minutes: float = 0.0

    def __post_init__(self) -> None:
        if (self.samples > 0) == (self.minutes > 0):
            raise ConfigError("budget: takes samples or minutes, one of the two, above 0")


@dataclass(frozen=True)
class TrainSettings:
    """One training run.

    Attributes:
        phases: face sizes and batches.
        budget: when it ends.
        network: content of the ``config.yaml`` of a fresh network.
        losses: weights of the parts.
        optimiser: and its schedule.
        seed: of weights, order and augmentation.
        cameras: share of the samples whose picture goes through a camera's effects; takes Pillow.
        bfloat16: run matrix products and convolutions in bfloat16.
        log_every: steps between two records of the log.
        save_every_minutes: how much of it a kill costs at most.
        export_every_minutes: how often the mean weights are written as a checkpoint; 0 for the end alone.
        describe: further keys of the checkpoint's configuration, such as ``note`` and ``licence``.
    """

    phases: tuple[Phase, ...]
    budget: Budget
    network: Mapping[str, Any] = field(default_factory=lambda: dict(SMALL))
    losses: LossWeights = LossWeights()
    optimiser: OptimiserSettings = OptimiserSettings()
    seed: int = 0
    cameras: float = 0.0
    bfloat16: bool = False
    log_every: int = 20
    save_every_minutes: float = 3.0
    export_every_minutes: float = 0.0
    describe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        untils = [phase.until for phase in self.phases]
        if not untils or untils != sorted(untils) or not math.isclose(untils[-1], 1.0):
            raise ConfigError(f"phases: must end one after the other, the last at 1, got {untils}")
        for phase in self.phases:
            if phase.face_size % PATCH_SIZE or phase.batch < 1:
                raise ConfigError(
                    f"phases: takes a face_size that is a multiple of {PATCH_SIZE} and a batch from 1, got "
                    f"{phase.face_size} and {phase.batch}"
                )

    def phase_at(self, progress: float) -> Phase:
        """The phase at a share of the budget."""
        return next((phase for phase in self.phases if progress < phase.until), self.phases[-1])

    def learning_rate_at(self, progress: float, step: int) -> float:
        """Warm-up by steps, then constant, then falling as 1 − √x to its final share."""
        o = self.optimiser
        rate = o.learning_rate * min(1.0, (step + 1) / max(o.warmup_steps, 1))
        if progress > o.decay_from:
            x = min(1.0, (progress - o.decay_from) / max(1.0 - o.decay_from, 1e-9))
            rate *= o.final_share + (1.0 - o.final_share) * (1.0 - math.sqrt(x))
        return rate
