"""One training step: a batch, a network and its optimiser to losses. Nothing of files, processes or schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from pager_ray.infer.predictor import IMAGENET_MEAN, IMAGENET_STD
from pager_ray.model.architecture import FACES, Architecture
from pager_ray.model.dense_head import DenseMaps
from pager_ray.model.network import PagerNetwork
from pager_ray.train.losses import Raw, Truth, loss_parts

if TYPE_CHECKING:
    from jaxtyping import Float32
    from torch import Tensor

    from pager_ray.model.scale_head import Scale
    from pager_ray.train.panoramas import FaceSample
    from pager_ray.train.settings import LossWeights, OptimiserSettings


@dataclass(frozen=True)
class Batch:
    """Normalised faces (B, 6, 3, S, S) and their truth, on one device."""

    faces: Float32[Tensor, "b 6 3 s s"]
    truth: Truth


def make_batch(samples: Sequence[FaceSample], device: torch.device | str = "cpu") -> Batch:
    """Put samples of one face size together and normalise them as the product does."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples])).to(device)

    mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=device).view(1, 1, 3, 1, 1)
    return Batch(
        faces=(stacked("rgb") - mean) / std,
        truth=Truth(
            log_z=stacked("log_z"),
            normals=stacked("normals"),
            sky=stacked("sky"),
            known=stacked("known"),
            outdoor=torch.tensor([sample.outdoor for sample in samples], device=device),
        ),
    )


def forward(network: PagerNetwork, batch: Batch, *, bfloat16: bool = False) -> Raw:
    """Run every head that the network has, each scale head on the panoramas that it is for."""
    heads = network.architecture.modalities
    device = batch.faces.device.type
    network.refresh()
    with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
        levels = network.backbone(batch.faces, network.camera_tokens)
        dense: dict[str, DenseMaps] = {n: network.head(n)(levels) for n in ("depth", "normals") if n in heads}
        sky = network.head("sky")(levels, dense["depth"].trunk) if "sky" in heads else None
        scales: list[tuple[Tensor, Scale]] = []
        for is_outdoor, name in ((False, "scale_indoor"), (True, "scale_outdoor")):
            rows = torch.nonzero(batch.truth.outdoor == is_outdoor).flatten()
            if name in heads and rows.numel():
                faces = (rows[:, None] * FACES + torch.arange(FACES, device=rows.device)).flatten()
                # The scale heads read the depth head, and do not bend it.
                fused = [level[faces].detach() for level in dense["depth"].fused]
                log_depth = dense["depth"].values[faces, :1].detach()
                scales.append((rows, network.head(name)([level[faces] for level in levels], fused, log_depth)))
    return Raw(
        depth=dense["depth"].values.float().unflatten(0, (-1, FACES)) if "depth" in dense else None,
        normals=dense["normals"].values.float().unflatten(0, (-1, FACES)) if "normals" in dense else None,
        sky=sky.float().unflatten(0, (-1, FACES))[:, :, 0] if sky is not None else None,
        scales=scales,
        # A reader of the tokens, which do not bend towards it.
        scene=network.scene_logits([levels[-1].detach()]) if network.architecture.scene_router else None,
    )


class Averager:
    """An exponential mean of a network's weights, updated in one pass over all of them."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = [value.detach() for value in network.parameters()]
        self._names = [name for name, _ in network.named_parameters()]
        self.values = [value.clone() for value in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights; faster at the beginning, when the first ones mean nothing."""
        decay = min(self.decay, (step + 1) / (step + 20))
        torch._foreach_lerp_(self.values, self._live, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """The mean weights by name."""
        return dict(zip(self._names, self.values, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`."""
        for name, value in zip(self._names, self.values, strict=True):
            value.copy_(state[name])


def make_optimiser(network: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """AdamW; matrices decay, vectors, positions and tokens do not."""
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        plain = parameter.ndim < 2 or "pos_embed" in name or "token" in name.rpartition(".")[2]
        (rest if plain else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, foreach=True)


def train_step(
    network: PagerNetwork,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    weights: LossWeights,
    *,
    learning_rate: float,
    clip_norm: float,
    bfloat16: bool = False,
    reduce: Callable[[Sequence[nn.Parameter]], None] | None = None,
) -> dict[str, Tensor]:
    """Take one step; none where the gradient is not finite, which would leave no weight that is.

    Args:
        network: with gradients, as :func:`pager_ray.train.start.trainable` gives it.
        optimiser: over its parameters.
        batch: on the network's device.
        weights: of the parts of the loss.
        learning_rate: for this step.
        clip_norm: greatest norm of the whole gradient.
        bfloat16: run matrix products and convolutions in bfloat16.
        reduce: averages the gradients of all workers in place; None for one worker.

    Returns:
        Detached scalars: the weighted sum as ``loss``, every part by its name, and ``gradient_norm``. Where that is not
        finite, weights and optimiser are as they were.
    """
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    parts = loss_parts(forward(network, batch, bfloat16=bfloat16), batch.truth)
    loss = cast("Tensor", sum(getattr(weights, name) * value for name, value in parts.items()))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parameters = list(network.parameters())
    if reduce is not None:
        reduce(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm)
    # All workers have the same gradient here: all of them leave the step out, or none.
    if torch.isfinite(norm):
        optimiser.step()
    else:
        optimiser.zero_grad(set_to_none=True)
    return {"loss": loss.detach(), **{name: value.detach() for name, value in parts.items()}, "gradient_norm": norm}


def share_weights(source: PagerNetwork, architecture: Architecture) -> PagerNetwork:
    """The same parameters in a network of another face size: no weight depends on it."""
    with torch.device("meta"):
        network = PagerNetwork(architecture)
    for key, parameter in source.named_parameters():
        module, _, name = key.rpartition(".")
        setattr(network.get_submodule(module), name, parameter)
    return network.to(next(source.parameters()).device).train()
