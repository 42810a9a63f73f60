"""The network that training begins with: fresh, or a checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pager_ray.errors import CheckpointError
from pager_ray.model.architecture import Architecture
from pager_ray.model.checkpoint import ResolvedCheckpoint
from pager_ray.model.network import PagerNetwork
from pager_ray.model.random_checkpoint import random_architecture, random_network
from pager_ray.model.weights import UNUSED_PREFIX, rename_old_layout

# Fresh networks learn faster with a quieter input stream and livelier blocks than random checkpoints have.
_TOKEN_GAIN = 0.2
_LAYER_SCALE = 0.6


def fresh_network(config: Mapping[str, Any], face_size: int, seed: int) -> PagerNetwork:
    """A network of random weights to be trained.

    Args:
        config: the content of a ``config.yaml``.
        face_size: side of its faces.
        seed: of the weights.
    """
    network = random_network(random_architecture(config, face_size=face_size), seed=seed)
    with torch.no_grad():
        backbone = network.backbone
        backbone.pos_embed.mul_(_TOKEN_GAIN)
        backbone.cls_token.mul_(_TOKEN_GAIN)
        backbone.camera_token.zero_()
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(_LAYER_SCALE)
            if name.endswith("depth.output_conv2.2.bias"):
                # Depth is learned relative to its median.
                parameter.zero_()
    return trainable(network)


def trainable(network: PagerNetwork) -> PagerNetwork:
    """Let a network record gradients, its convolutions in the layout that the heads' maps have."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return network.requires_grad_(True).train()


def sized(architecture: Architecture, face_size: int) -> Architecture:
    """The same network for faces of another size."""
    return replace(architecture, face_size=face_size)


def network_of(checkpoint: ResolvedCheckpoint) -> PagerNetwork:
    """A checkpoint's network in float32, to be trained further.

    Raises:
        CheckpointError: the weights do not fit the configuration.
    """
    from safetensors.torch import load_file

    stored = load_file(checkpoint.weights)
    names = rename_old_layout({name: name for name in stored}, checkpoint.architecture)
    state = {new: stored[old].float() for new, old in names.items() if not new.startswith(UNUSED_PREFIX)}
    with torch.device("meta"):
        network = PagerNetwork(checkpoint.architecture)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint.name}: {' '.join(str(error).split())[:300]}") from error
    return trainable(network)
