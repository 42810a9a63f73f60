"""Untrained checkpoints in the released format, for tests, benchmarks and trying the job without the weights.

``python -m pager_ray.model.random_checkpoint OUT --preset da3-giant|mid|tiny`` writes one. Its predictions mean
nothing, but they are finite, vary over the image and lie in a room's range of depths.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pager_ray.errors import CheckpointError, PagerError
from pager_ray.model.architecture import MODALITIES, PRESETS, Architecture, parse_architecture
from pager_ray.model.checkpoint import CONFIG, WEIGHTS
from pager_ray.model.dense_head import DENSE_CHANNELS
from pager_ray.model.network import PagerNetwork
from pager_ray.model.weights import parameter_dtypes

if TYPE_CHECKING:
    from jaxtyping import Float32
    from torch import Tensor

TINY: dict[str, Any] = {
    "face_size": 56,
    "pretrained_model_name": "custom",
    "backbone": {
        "embed_dim": 32,
        "depth": 10,
        "num_heads": 2,
        "out_layers": [3, 5, 7, 9],
        "alt_start": 3,
        "qknorm_start": 3,
        "rope_start": 3,
    },
    "head": {"features": 16, "out_channels": [8, 16, 32, 32]},
}

MID: dict[str, Any] = {
    "face_size": 252,
    "pretrained_model_name": "custom",
    "backbone": {
        "embed_dim": 384,
        "depth": 16,
        "num_heads": 6,
        "out_layers": [7, 11, 13, 15],
        "alt_start": 5,
        "qknorm_start": 5,
        "rope_start": 5,
    },
    "head": {"features": 96, "out_channels": [96, 192, 384, 384]},
}
"""The proportions of ``da3-giant`` at a size that two CPU threads run in seconds, for measuring there."""

_CUSTOM = {"tiny": TINY, "mid": MID}

_DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_CHUNK_NUMBERS = 4 << 20

# Starting values under which activations keep their size through forty blocks and four fusions.
_LAYER_SCALE = 0.3
_TOKEN_STD = 0.5
_RESIDUAL_GAIN = 0.5
_OUTPUT_GAIN = 0.8
_OUTPUT_LAYER = "output_conv2.2"
_TYPICAL_DEPTH_METRES = 3.0
_SKY_OUTPUT_LAYER = "sky.fuse.2"
# Mostly no sky: random maps around the threshold would hide the depth of every preview behind filled sky.
_SKY_LOGIT = -1.5


def write_random_checkpoint(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any] | str = "tiny",
    *,
    modalities: Sequence[str] | None = None,
    face_size: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write ``model.safetensors`` and ``config.yaml`` with random weights, tensor by tensor.

    The same arguments give the same bytes. Memory stays at some tens of megabytes whatever the size.

    Args:
        folder: is created; files in it are replaced.
        config: the content of a ``config.yaml``, or a preset: ``tiny`` (0.6 M parameters), ``mid`` or ``da3-giant``.
        modalities: the heads; all five where neither this nor the configuration names them.
        face_size: face side in pixels, where not the configuration's.
        seed: of the random numbers.
        dtype: float32, float16 or bfloat16.

    Raises:
        CheckpointError: the configuration describes no network, or the folder cannot be written.
    """
    if dtype not in _DTYPE_NAMES:
        raise CheckpointError(f"dtype: takes {', '.join(map(str, _DTYPE_NAMES))}, got {dtype}")
    architecture = random_architecture(config, modalities=modalities, face_size=face_size)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        # JSON is YAML that also reads without PyYAML.
        (target / CONFIG).write_text(json.dumps(architecture.to_config(), indent=2) + "\n", encoding="utf-8")
        _write_weights(target / WEIGHTS, architecture, seed, dtype)
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error.strerror or error}); choose a folder that can be written to"
        ) from error
    return target


def random_architecture(
    config: Mapping[str, Any] | str, *, modalities: Sequence[str] | None = None, face_size: int | None = None
) -> Architecture:
    """The network of an untrained checkpoint; arguments as for :func:`write_random_checkpoint`.

    Raises:
        CheckpointError: the configuration describes no network.
    """
    values = _preset_config(config) if isinstance(config, str) else dict(config)
    values = {"modalities": list(MODALITIES)} | values
    if modalities is not None:
        values["modalities"] = list(modalities)
    if face_size is not None:
        values["face_size"] = face_size
    return parse_architecture(values, where="configuration of a random checkpoint")


def random_network(
    architecture: Architecture,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> PagerNetwork:
    """Build a network with random weights on a device, without a file; the camera encoder is still in it.

    Args:
        architecture: what to build.
        device: where the numbers are drawn and stay; each kind of device draws its own.
        dtype: of matrix and convolution weights; the same seed gives the same numbers, rounded.
        seed: of the random numbers.
    """
    with torch.device("meta"):
        network = PagerNetwork(architecture)
    generator = torch.Generator(device).manual_seed(seed)
    dtypes = parameter_dtypes(network, dtype)
    for key, value in network.state_dict().items():
        shape = tuple(value.shape)
        mean, std = _distribution(key, shape)
        numbers = torch.randn(math.prod(shape), generator=generator, device=device).mul_(std).add_(mean)
        module, _, name = key.rpartition(".")
        if module.endswith(_OUTPUT_LAYER):
            numbers = _centre_output(key, shape, numbers).to(device)
        parameter = nn.Parameter(numbers.view(shape).to(dtypes[key]), requires_grad=False)
        setattr(network.get_submodule(module), name, parameter)
    return network.to(device)


def _preset_config(name: str) -> dict[str, Any]:
    if name in _CUSTOM:
        return dict(_CUSTOM[name])
    if name not in PRESETS:
        raise CheckpointError(f"unknown preset {name!r}; known are {', '.join([*_CUSTOM, *sorted(PRESETS)])}")
    return {"pretrained_model_name": name}


def _write_weights(path: Path, architecture: Architecture, seed: int, dtype: torch.dtype) -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in PagerNetwork(architecture).state_dict().items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, shape in shapes.items():
        end = offset + math.prod(shape) * dtype.itemsize
        header[key] = {"dtype": _DTYPE_NAMES[dtype], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(seed)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for key, shape in shapes.items():
            mean, std = _distribution(key, shape)
            for begin in range(0, math.prod(shape), _CHUNK_NUMBERS):
                count = min(_CHUNK_NUMBERS, math.prod(shape) - begin)
                numbers = torch.randn(count, generator=generator).mul_(std).add_(mean)
                if key.rpartition(".")[0].endswith(_OUTPUT_LAYER):
                    numbers = _centre_output(key, shape, numbers)
                file.write(numbers.to(dtype).view(torch.uint8).numpy().data)
    temporary.replace(path)


def _distribution(key: str, shape: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation of a parameter's starting values."""
    module, _, name = key.rpartition(".")
    if name == "gamma":
        return _LAYER_SCALE, 0.1 * _LAYER_SCALE
    if name in ("cls_token", "pos_embed", "camera_token"):
        return 0.0, _TOKEN_STD
    if name == "bias":
        return (_SKY_LOGIT, 0.0) if module.endswith(_SKY_OUTPUT_LAYER) else (0.0, 0.02)
    if len(shape) == 1:
        return 1.0, 0.02
    fan_in = shape[0] if "resize_layers.0" in module or "resize_layers.1" in module else math.prod(shape[1:])
    std = fan_in**-0.5
    if "resConfUnit" in module:
        std *= _RESIDUAL_GAIN * math.sqrt(2.0)
    elif module.endswith(_OUTPUT_LAYER):
        std *= _OUTPUT_GAIN
    return 0.0, std


def _centre_output(key: str, shape: Sequence[int], numbers: Float32[Tensor, " n"]) -> Float32[Tensor, " n"]:
    """Keep the mean of a head's output where it belongs: depth around that of a room, the rest around zero."""
    if key.endswith("weight"):
        # The layer reads rectified features, whose mean is positive: rows that sum to zero do not pass it on.
        rows = numbers.view(shape[0], -1)
        return (rows - rows.mean(dim=1, keepdim=True)).flatten()
    is_depth = shape[0] == DENSE_CHANNELS["depth"]
    return torch.tensor([math.log(_TYPICAL_DEPTH_METRES), 0.0]) if is_depth else torch.zeros_like(numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of ``python -m pager_ray.model.random_checkpoint``."""
    parser = argparse.ArgumentParser(
        prog="python -m pager_ray.model.random_checkpoint",
        description="Write an untrained PaGeR checkpoint: its predictions mean nothing.",
    )
    parser.add_argument("out", type=Path, help="folder to write model.safetensors and config.yaml to")
    parser.add_argument("--preset", default="tiny", choices=[*_CUSTOM, *sorted(PRESETS)])
    parser.add_argument("--modalities", nargs="+", choices=MODALITIES, help="the heads (default: all five)")
    parser.add_argument("--face-size", type=int, help="face side in pixels (default: the preset's)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        folder = write_random_checkpoint(
            options.out,
            options.preset,
            modalities=options.modalities,
            face_size=options.face_size,
            seed=options.seed,
        )
    except PagerError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    sys.stdout.write(f"untrained checkpoint: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
